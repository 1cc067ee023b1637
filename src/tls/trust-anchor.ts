/**
 * Somebody else's CA whose certificates may connect beside ours. Paths are proved by our own
 * verifier, with a small budget, since whoever connects chooses the certificates.
 */
import { verifyCertificateSignature } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { namesEqual } from '../../ca/x509/name.ts';
import type { PathLimits } from '../../ca/x509/path/budget.ts';
import type { PathCode, PathRefusal } from '../../ca/x509/path/verdict.ts';
import { verifyPath } from '../../ca/x509/path/verify-path.ts';
import { SallyportError } from '../errors.ts';
import type { GateErrorCode } from '../errors.ts';
import { foreignPrincipal } from '../identity/foreign-identity.ts';
import type { IdentityRule } from '../identity/foreign-identity.ts';
import type { Principal } from '../identity/principal.ts';
import { certifiedIn } from './trust.ts';
import type { TrustedIssuer } from './trust.ts';

export interface TrustAnchorOptions {
  /** As policy names it. */
  readonly name: string;
  /** Where paths may end. Empty: nobody is let in, as after a SPIFFE trust domain has withdrawn all its keys. */
  readonly roots: readonly Certificate[];
  /** CAs whose end entities may connect, or any CA under the roots. */
  readonly issuers: readonly Certificate[] | 'any';
  readonly identity: IdentityRule;
  /**
   * What is demanded of the revocation status: that it is known; nothing, of certificates that live at
   * most so long; nothing at all.
   */
  readonly status: 'required' | { readonly shortLivedMs: number } | 'dangerouslyOptional';
}

export interface AcceptedForeigner {
  readonly ok: true;
  readonly issuer: TrustedIssuer;
  readonly principal: Principal;
}

export interface RefusedForeigner {
  readonly ok: false;
  readonly code: GateErrorCode;
  /** Completes "the client certificate cannot be used: …". */
  readonly reason: string;
  /** Whether a CA of this anchor has signed it, so that the holder is no stranger. */
  readonly ours: boolean;
}

/** A path of six with a cross certificate or two; a handshake costs more than all of it. */
export const peerPathLimits: Partial<PathLimits> = { certificates: 6, intermediates: 24, signatures: 16, candidates: 64, paths: 4, comparisons: 10_000 };

/** Certificates a peer may send beside its own. */
export const MAX_CHAIN = 8;

export class TrustAnchor {
  readonly name: string;
  readonly roots: readonly Certificate[];
  readonly identity: IdentityRule;
  readonly status: TrustAnchorOptions['status'];
  /** Undefined where any CA below the roots may issue. */
  readonly pinned: readonly Certificate[] | undefined;

  /** @throws SallyportError `ERR_CONFIG_INVALID` */
  constructor({ name, roots, issuers, identity, status }: TrustAnchorOptions) {
    this.name = name;
    this.roots = roots;
    this.identity = identity;
    this.status = status;
    this.pinned = issuers === 'any' ? undefined : issuers;
    for (const certificate of this.authorities) {
      // RFC 5280 §4.2.1.9 and §4.2.1.3.
      if (certificate.basicConstraints?.ca !== true || certificate.keyUsage?.has('keyCertSign') === false) {
        throw new SallyportError('ERR_CONFIG_INVALID', `a certificate of trust.${name} is not that of a CA: give the certificates of the CAs`, { facts: { trust: name, thumbprint: certificate.thumbprint } });
      }
    }
  }

  /** Every CA certificate that was configured. */
  get authorities(): readonly Certificate[] {
    return [...this.roots, ...(this.pinned ?? [])];
  }

  /** Whether a certificate needs nobody's word that it is not revoked. Where somebody says it is, that counts all the same. */
  get statusOptional(): boolean {
    return this.status !== 'required';
  }

  /** Whether a CA may be believed in without anybody's word on its revocation: it was named in the configuration. */
  vouchesFor(certificate: Certificate): boolean {
    return this.statusOptional || (this.pinned ?? []).some((pinned) => sameAuthority(pinned, certificate));
  }

  /** `chain`: what the peer sent beside its certificate, in any order, believed in nothing. */
  accept(certificate: Certificate, chain: readonly Certificate[], at: Date): AcceptedForeigner | RefusedForeigner {
    const others = [...(this.pinned ?? []), ...chain.slice(0, MAX_CHAIN)].filter(({ thumbprint }) => thumbprint !== certificate.thumbprint);
    const verdict = verifyPath(certificate, {
      anchors: this.roots, intermediates: others, at, purpose: 'client',
      // How they stand is the index's to say, then and at every request.
      onUnknownStatus: 'allow', limits: peerPathLimits,
    });
    if (!verdict.ok) return this.#refusal(verdict, certificate);
    const [, ...cas] = verdict.path;
    const { anchor: root } = verdict;
    const [issuer = root, ...above] = cas;
    if (this.pinned !== undefined && !this.pinned.some((pinned) => sameAuthority(pinned, issuer))) {
      return { ok: false, code: 'ERR_PEER_ISSUER', reason: `it leads to a root of trust.${this.name} but was not issued by a pinned issuing CA`, ours: true };
    }
    if (typeof this.status === 'object' && certificate.notAfter.getTime() - certificate.notBefore.getTime() > this.status.shortLivedMs) {
      return { ok: false, code: 'ERR_PEER_PROFILE', reason: `it lives longer than trust.${this.name} allows for certificates whose revocation nobody publishes`, ours: true };
    }
    const principal = foreignPrincipal(certificate, issuer.spkiHash, { trust: this.name, rule: this.identity });
    if (typeof principal === 'string') return { ok: false, code: 'ERR_PEER_IDENTITY', reason: principal, ours: true };
    return { ok: true, principal, issuer: { issuerId: issuer.spkiHash, certificate: issuer, above, root, rootId: root.spkiHash, certified: certifiedIn(cas, root), anchor: this } };
  }

  #refusal({ code, reason }: PathRefusal, certificate: Certificate): RefusedForeigner {
    // One signature tells whom a refusal may be explained to and filed under: strangers are not worth more.
    const ours = this.authorities.some((issuer) => namesEqual(certificate.issuerNameDer, issuer.subjectNameDer) && verifyCertificateSignature(certificate, issuer.spki));
    return { ok: false, code: ours ? codeOfPath(code) : 'ERR_PEER_UNTRUSTED', reason, ours };
  }
}

/** A CA by name and key: what it is certified by may change. */
const sameAuthority = (a: Certificate, b: Certificate): boolean => a.spkiHash === b.spkiHash && namesEqual(a.subjectNameDer, b.subjectNameDer);

export const codeOfPath = (code: PathCode): GateErrorCode => {
  switch (code) {
    case 'ERR_PATH_EXPIRED':
      return 'ERR_PEER_EXPIRED';
    case 'ERR_PATH_NOT_YET_VALID':
      return 'ERR_PEER_NOT_YET_VALID';
    case 'ERR_PATH_PURPOSE':
    case 'ERR_PATH_EXTENSION':
      return 'ERR_PEER_PROFILE';
    default:
      return 'ERR_PEER_UNTRUSTED';
  }
};
