/** One renewal: the certificate in use is the credential for its successor, which has a key of its own (glossary: rekey) unless the old one is to stay. */
import { createPrivateKey, createHash } from 'node:crypto';
import type { KeyObject, X509Certificate } from 'node:crypto';
import type { Clock } from '../../ca/ports.ts';
import { keyAlgorithmOf } from '../../ca/x509/algorithm.ts';
import { createCsr } from '../../ca/x509/csr.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { generatePrivateKey } from '../../ca/key-store.ts';
import type { SallyportError } from '../errors.ts';
import { notIssued, requestCertificate } from './certificate-request.ts';
import { explainFailure } from './explain.ts';
import { certificatesOf, isIssuedBy, samePublicKey, serialOf } from './identity.ts';
import type { Identity } from './identity.ts';
import { keyPemOf } from './identity-directory.ts';
import { createIdentityFetch } from './identity-fetch.ts';
import { rootsAfter } from './root-bundle.ts';
import type { PairTexts, RenewalStore } from './renewal-store.ts';

export interface RenewOptions {
  /** As it is on disk now. */
  readonly identity: Identity;
  readonly store: RenewalStore;
  /** MCP endpoint at which the successor is used for the first time. Default: where it was renewed. */
  readonly gateway: URL | undefined;
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** Encrypts the key of the successor when it encrypts that of the one in use. */
  readonly passphrase: string | undefined;
  /** Default `new`. */
  readonly key?: 'new' | 'same' | undefined;
}

export type RenewOutcome =
  | { readonly outcome: 'renewed'; readonly identity: Identity }
  /** Issued and kept; the gateway has not taken it yet. */
  | { readonly outcome: 'waiting'; readonly why: SallyportError };

/** With so little left there is nothing to lose by using a successor that nobody has tried. */
const lastMomentMs = (identity: Identity): number => Math.min(60_000, (identity.notAfter.getTime() - identity.notBefore.getTime()) / 12);

/** A successor and its place on disk. */
interface Successor {
  readonly id: string;
  readonly identity: Identity;
}

/**
 * Gets a successor, or takes the one that waits, uses it once and then puts it in the place of the old one.
 * Rejects with the refusal in words; the old identity is untouched then.
 */
export async function renew(options: RenewOptions): Promise<RenewOutcome> {
  const { identity, store, clock } = options;
  const successor = (await waitingSuccessor(options)) ?? (await issuedSuccessor(options));
  const verdict = await firstUse(successor.identity, options);
  if (verdict?.facts['reason'] === 'ERR_PEER_REVOKED') {
    await store.discard(successor.id);
    throw verdict;
  }
  // Any other refusal may pass, as when the gateway has not heard of it yet. Another one is not asked for meanwhile:
  // an agent may hold so many and no more.
  if (verdict !== undefined && clock.now().getTime() < identity.notAfter.getTime() - lastMomentMs(identity)) return { outcome: 'waiting', why: verdict };
  await store.takeIntoUse(successor.id);
  return { outcome: 'renewed', identity: successor.identity };
}

/** Of those that were kept, the one that lasts longest. */
export async function waitingSuccessor({ identity, store, clock, passphrase }: Pick<RenewOptions, 'identity' | 'store' | 'clock' | 'passphrase'>): Promise<Successor | undefined> {
  let best: Successor | undefined;
  for (const { id, ...texts } of await store.waiting()) {
    try {
      const candidate = acceptable(texts, identity, { key: keyOf(texts.key, passphrase), now: clock.now() });
      if (best === undefined || candidate.notAfter > best.identity.notAfter) best = { id, identity: candidate };
    } catch {
      // The pair before this one, or what something else left here: cleared away after the next renewal.
    }
  }
  return best;
}

async function issuedSuccessor(options: RenewOptions): Promise<Successor> {
  const { identity, store, clock, timeoutMs, passphrase } = options;
  const key = options.key === 'same' ? identity.key : await generatePrivateKey(keyAlgorithmOf(identity.key));
  const csr = encodePem('CERTIFICATE REQUEST', createCsr(key));
  const answer = await requestCertificate({ url: new URL(identity.renewal ?? ''), what: 'renewal', tls: tlsOf(identity), body: { csr }, timeoutMs });
  const roots = rootsAfter(answer, identity.roots, clock.now());
  const texts: PairTexts = { key: keyPemOf(key, (await store.keyIsEncrypted()) ? passphrase : undefined), certificate: answer.certificate, ca: roots.map((root) => encodePem('CERTIFICATE', root.raw)).join('') };
  const successor = acceptable(texts, identity, { key, now: clock.now() });
  return { id: await store.keepWaiting(texts), identity: successor };
}

const keyOf = (pem: string, passphrase: string | undefined): KeyObject => createPrivateKey(passphrase === undefined ? pem : { key: pem, passphrase });

/** One request with the new certificate, of which nothing comes but the gateway's word on who sends it. */
async function firstUse(identity: Identity, { gateway, clock, timeoutMs }: RenewOptions): Promise<SallyportError | undefined> {
  const url = gateway ?? new URL(identity.renewal ?? '');
  const fetch = createIdentityFetch({ identity, clock, connectTimeoutMs: timeoutMs });
  try {
    const answer = await fetch(url, { method: 'OPTIONS', signal: AbortSignal.timeout(timeoutMs) });
    await answer.body?.cancel();
    return undefined;
  } catch (error) {
    return explainFailure(error, { url, identity });
  } finally {
    fetch.close();
  }
}

const tlsOf = (identity: Identity): { key: string; cert: string; ca: string[] } => ({
  key: identity.key.export({ type: 'pkcs8', format: 'pem' }).toString(),
  cert: identity.leaf.toString(),
  ca: identity.roots.map((root) => root.toString()),
});

/** The identity with this certificate, when it is a true successor; whatever the answer claims is checked here. */
function acceptable(texts: PairTexts, identity: Identity, { key, now }: { readonly key: KeyObject; readonly now: Date }): Identity {
  let path: readonly X509Certificate[];
  try {
    path = certificatesOf(texts.certificate);
  } catch (cause) {
    throw unacceptable('holds something that is not a certificate', cause);
  }
  const [leaf, ...intermediates] = path;
  if (leaf === undefined || leaf.ca) throw unacceptable('holds no certificate of an agent');
  if (!samePublicKey(key, leaf)) throw unacceptable('is for another key');
  if (leaf.subject !== identity.leaf.subject || leaf.subjectAltName !== identity.leaf.subjectAltName) throw unacceptable('is for another name');
  if (leaf.keyUsage?.toString() !== identity.leaf.keyUsage?.toString()) throw unacceptable('is for another purpose');
  if (leaf.validFromDate < identity.notBefore || leaf.validToDate <= identity.notAfter) throw unacceptable('does not last longer than the one in use');
  if (now < leaf.validFromDate || now > leaf.validToDate) throw unacceptable(`is valid from ${leaf.validFromDate.toISOString()} to ${leaf.validToDate.toISOString()}, and it is ${now.toISOString()} here: set the clock of this machine, as it`);
  if (!reachesRoot(path, identity.roots)) throw unacceptable('does not come from the CA of this identity');
  return { ...identity, key, leaf, intermediates, roots: certificatesOf(texts.ca), serial: serialOf(leaf), thumbprint: createHash('sha256').update(leaf.raw).digest('hex'), notBefore: leaf.validFromDate, notAfter: leaf.validToDate };
}

/** Each certificate signed by the next, the last by a root that was trusted before. */
function reachesRoot(path: readonly X509Certificate[], roots: readonly X509Certificate[]): boolean {
  const connected = path.every((certificate, index) => {
    const issuer = path[index + 1];
    return issuer === undefined || isIssuedBy(certificate, issuer);
  });
  const last = path.at(-1);
  return connected && last !== undefined && roots.some((root) => root.raw.equals(last.raw) || isIssuedBy(last, root));
}

const unacceptable = (what: string, cause?: unknown): SallyportError =>
  notIssued(`the renewed certificate ${what}; it was not taken into use, the one before stays, and the operator of the gateway should know`, 'ERR_CERTIFICATE_INVALID', cause);
