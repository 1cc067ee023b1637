/** Builds paths from a certificate towards the anchors, depth first, and validates each that arrives (RFC 4158). */
import { isSupportedSignature } from '../algorithm.ts';
import { verifyCertificateSignature } from '../certificate.ts';
import { formatName } from '../name.ts';
import { authorityProblem, certificateProblem, keyProblem, problem } from './certificate-rules.ts';
import { nameKey } from './name-key.ts';
import { nestingProblem } from './purpose.ts';
import { validatePath } from './validate.ts';
import type { Certificate } from '../certificate.ts';
import type { Budget } from './budget.ts';
import type { Purpose } from './purpose.ts';
import type { PathFindings, PathRules } from './validate.ts';
import type { PathRefusal, Problem } from './verdict.ts';

export interface SearchOptions {
  readonly anchors: readonly Certificate[];
  readonly intermediates: readonly Certificate[];
  readonly at: Date;
  readonly purpose: Purpose;
  readonly budget: Budget;
  /** In one path, the anchor included. */
  readonly maxCertificates: number;
  readonly rules: PathRules;
}

export interface FoundPath extends PathFindings {
  readonly path: readonly Certificate[];
  readonly anchor: Certificate;
}

interface Candidate {
  readonly certificate: Certificate;
  readonly anchor: boolean;
}

/** How near a path came, so that of many refusals the one is told that says most. */
const NO_ISSUER = 0;
const BAD_SIGNATURE = 1;
const BAD_AUTHORITY = 2;
const COMPLETE = 1000;

export class PathSearch {
  /** The refusal that came nearest to a valid path, the first of equals. */
  nearest: PathRefusal | undefined;

  readonly #options: SearchOptions;
  readonly #byName = new Map<string, Candidate[]>();
  readonly #signatures = new Map<string, boolean>();
  #nearness = -1;

  constructor(options: SearchOptions) {
    this.#options = options;
    const seen = new Set<string>();
    for (const anchor of options.anchors) this.#offer({ certificate: anchor, anchor: true }, seen);
    for (const certificate of options.intermediates) this.#offer({ certificate, anchor: false }, seen);
  }

  /** The first valid path that begins with these certificates; undefined when there is none. Throws `BudgetSpent`. */
  from(path: readonly Certificate[]): FoundPath | undefined {
    const tip = path.at(-1);
    if (tip === undefined) return undefined;
    const candidates = this.#issuersOf(tip, path);
    for (const { certificate: issuer, anchor } of candidates) {
      this.#options.budget.spend('candidates');
      if (!this.#linked(tip, issuer, path)) continue;
      if (anchor) {
        const found = validatePath(path, issuer, this.#options.rules);
        if (!('code' in found)) return { path, anchor: issuer, ...found };
        this.#note(found, [...path, issuer], COMPLETE);
      } else if (path.length + 2 > this.#options.maxCertificates) {
        this.#note(problem('ERR_PATH_LIMIT', `the path would have more than ${this.#options.maxCertificates} certificates`, 'RFC 5280 §6.1', tip), path, path.length * 10 + BAD_AUTHORITY);
      } else {
        const found = this.from([...path, issuer]);
        if (found !== undefined) return found;
      }
    }
    if (candidates.length === 0) this.#note(this.#noIssuer(tip), path, path.length * 10 + NO_ISSUER);
    return undefined;
  }

  #offer(candidate: Candidate, seen: Set<string>): void {
    const { thumbprint, subject } = candidate.certificate;
    if (seen.has(thumbprint)) return;
    seen.add(thumbprint);
    const name = nameKey(subject);
    const same = this.#byName.get(name);
    if (same === undefined) this.#byName.set(name, [candidate]);
    else same.push(candidate);
  }

  /** RFC 5280 §6.1.3 (a)(4): by name. Of several keys under one name, the key identifiers decide which (§4.2.1.1). */
  #issuersOf(tip: Certificate, path: readonly Certificate[]): readonly Candidate[] {
    return (this.#byName.get(nameKey(tip.issuer)) ?? [])
      .filter(({ certificate }) => fits(tip, certificate))
      // A path that comes back to a key under the same name goes round in circles.
      .filter(({ certificate, anchor }) => anchor || !path.some((one) => one.spkiHash === certificate.spkiHash && nameKey(one.subject) === nameKey(certificate.subject)))
      .toSorted((a, b) => likelihood(tip, b) - likelihood(tip, a));
  }

  /** RFC 5280 §6.1.3 (a)(1) first: who did not sign it is not at fault for anything else. */
  #linked(tip: Certificate, issuer: Certificate, path: readonly Certificate[]): boolean {
    const { at, purpose } = this.#options;
    const depth = path.length * 10;
    const unusable = keyProblem(issuer);
    if (unusable !== undefined) return this.#note(unusable, [...path, issuer], depth + BAD_SIGNATURE);
    if (!isSupportedSignature(tip.signatureAlgorithm)) {
      return this.#note(problem('ERR_PATH_ALGORITHM', 'its signature algorithm is not supported: ECDSA and RSA PKCS#1 v1.5 with SHA-256, SHA-384 or SHA-512, Ed25519 and ML-DSA are', 'RFC 5280 §6.1.3 (a)(1)', tip), path, depth + BAD_SIGNATURE);
    }
    if (!this.#signed(tip, issuer)) {
      return this.#note(problem('ERR_PATH_SIGNATURE', `it was not signed with the key of ${formatName(issuer.subject)} that is known here`, 'RFC 5280 §6.1.3 (a)(1)', tip), path, depth + BAD_SIGNATURE);
    }
    const unfit = authorityProblem(issuer) ?? certificateProblem(issuer, at) ?? nestingProblem(issuer, purpose);
    return unfit === undefined || this.#note(unfit, [...path, issuer], depth + BAD_AUTHORITY);
  }

  #signed(tip: Certificate, issuer: Certificate): boolean {
    const pair = `${tip.thumbprint} ${issuer.spkiHash}`;
    let signed = this.#signatures.get(pair);
    if (signed === undefined) {
      this.#options.budget.spend('signatures');
      signed = verifyCertificateSignature(tip, issuer.spki);
      this.#signatures.set(pair, signed);
    }
    return signed;
  }

  #noIssuer(tip: Certificate): Problem {
    const named = this.#byName.get(nameKey(tip.issuer)) ?? [];
    const reason =
      nameKey(tip.issuer) === nameKey(tip.subject) ? 'it is self-issued and not among the trust anchors'
      : named.some(({ certificate }) => fits(tip, certificate)) ? `its issuer ${formatName(tip.issuer)} stands in the path already: the certificates lead in a circle`
      : named.length > 0 ? `of its issuer ${formatName(tip.issuer)} only other keys are known than the one it names`
      : `its issuer ${formatName(tip.issuer)} is neither a trust anchor nor among the certificates that came along`;
    return problem('ERR_PATH_INCOMPLETE', reason, 'RFC 5280 §6.1.3 (a)(4)', tip);
  }

  #note(found: Problem, path: readonly Certificate[], nearness: number): false {
    if (nearness > this.#nearness) {
      this.#nearness = nearness;
      this.nearest = { ok: false, ...found, path };
    }
    return false;
  }
}

const fits = (tip: Certificate, issuer: Certificate): boolean =>
  tip.authorityKeyIdentifier === undefined || issuer.subjectKeyIdentifier === undefined || tip.authorityKeyIdentifier === issuer.subjectKeyIdentifier;

/** Anchors before others, and the key that the certificate names before those it may mean. */
const likelihood = (tip: Certificate, { certificate, anchor }: Candidate): number =>
  (anchor ? 2 : 0) + (tip.authorityKeyIdentifier !== undefined && tip.authorityKeyIdentifier === certificate.subjectKeyIdentifier ? 1 : 0);
