/** One renewal: the certificate in use is the credential for its successor, with the same key (glossary: renew). */
import type { X509Certificate } from 'node:crypto';
import { createHash } from 'node:crypto';
import type { Clock } from '../../ca/ports.ts';
import { createCsr } from '../../ca/x509/csr.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import type { SallyportError } from '../errors.ts';
import { notIssued, requestCertificate } from './certificate-request.ts';
import { explainFailure } from './explain.ts';
import { certificatesOf, isIssuedBy, samePublicKey, serialOf } from './identity.ts';
import type { Identity } from './identity.ts';
import { createIdentityFetch } from './identity-fetch.ts';
import type { RenewalStore } from './renewal-store.ts';

export interface RenewOptions {
  /** As it is on disk now. */
  readonly identity: Identity;
  readonly store: RenewalStore;
  /** MCP endpoint at which the successor is used for the first time. */
  readonly gateway: URL;
  readonly clock: Clock;
  readonly timeoutMs: number;
}

export type RenewOutcome =
  | { readonly outcome: 'renewed' }
  /** Issued and kept; the gateway has not taken it yet. */
  | { readonly outcome: 'waiting'; readonly why: SallyportError };

/** With this much left there is nothing to lose by using a successor that nobody has tried. */
const lastMinuteMs = 60_000;

/**
 * Gets a successor, or takes the one that waits, uses it once and then puts it in the place of the old one.
 * Rejects with the refusal in words; the old identity is untouched then.
 */
export async function renew({ identity, store, gateway, clock, timeoutMs }: RenewOptions): Promise<RenewOutcome> {
  const waiting = await store.waiting();
  let successor = waiting === undefined ? undefined : await acceptable(waiting, identity, clock.now()).catch(() => undefined);
  if (successor === undefined) {
    if (waiting !== undefined) await store.discardWaiting();
    const pem = await requested(identity, timeoutMs);
    successor = await acceptable(pem, identity, clock.now());
    await store.keepWaiting(pem);
  }
  const verdict = await firstUse(successor, { gateway, clock, timeoutMs });
  if (verdict?.facts['reason'] === 'ERR_PEER_REVOKED') {
    await store.discardWaiting();
    throw verdict;
  }
  // Any other refusal may pass, as when the gateway has not heard of it yet. Another one is not asked for meanwhile:
  // an agent may hold so many and no more.
  if (verdict !== undefined && clock.now().getTime() < identity.notAfter.getTime() - lastMinuteMs) return { outcome: 'waiting', why: verdict };
  await store.takeIntoUse();
  return { outcome: 'renewed' };
}

/** One request with the new certificate, of which nothing comes but the gateway's word on who sends it. */
async function firstUse(identity: Identity, { gateway, clock, timeoutMs }: Pick<RenewOptions, 'gateway' | 'clock' | 'timeoutMs'>): Promise<SallyportError | undefined> {
  const fetch = createIdentityFetch({ identity, clock, connectTimeoutMs: timeoutMs });
  try {
    const answer = await fetch(gateway, { method: 'OPTIONS', signal: AbortSignal.timeout(timeoutMs) });
    await answer.body?.cancel();
    return undefined;
  } catch (error) {
    return explainFailure(error, { url: gateway, identity });
  } finally {
    fetch.close();
  }
}

async function requested(identity: Identity, timeoutMs: number): Promise<string> {
  const csr = encodePem('CERTIFICATE REQUEST', createCsr(identity.key));
  const { certificate } = await requestCertificate({ url: new URL(identity.renewal ?? ''), what: 'renewal', tls: tlsOf(identity), body: { csr }, timeoutMs });
  return certificate;
}

const tlsOf = (identity: Identity): { key: string; cert: string; ca: string[] } => ({
  key: identity.key.export({ type: 'pkcs8', format: 'pem' }).toString(),
  cert: identity.leaf.toString(),
  ca: identity.roots.map((root) => root.toString()),
});

/** The identity with this certificate, when it is a true successor; whatever the answer claims is checked here. */
async function acceptable(pem: string, identity: Identity, now: Date): Promise<Identity> {
  let path: readonly X509Certificate[];
  try {
    path = certificatesOf(pem);
  } catch (cause) {
    throw unacceptable('holds something that is not a certificate', cause);
  }
  const [leaf, ...intermediates] = path;
  if (leaf === undefined || leaf.ca) throw unacceptable('holds no certificate of an agent');
  if (!samePublicKey(identity.key, leaf)) throw unacceptable('is for another key');
  if (leaf.subject !== identity.leaf.subject || leaf.subjectAltName !== identity.leaf.subjectAltName) throw unacceptable('is for another name');
  if (leaf.keyUsage?.toString() !== identity.leaf.keyUsage?.toString()) throw unacceptable('is for another purpose');
  if (leaf.validFromDate < identity.notBefore || leaf.validToDate <= identity.notAfter) throw unacceptable('does not last longer than the one in use');
  if (now < leaf.validFromDate || now > leaf.validToDate) throw unacceptable(`is valid from ${leaf.validFromDate.toISOString()} to ${leaf.validToDate.toISOString()}, and it is ${now.toISOString()} here: set the clock of this machine, as it`);
  if (!reachesRoot(path, identity.roots)) throw unacceptable('does not come from the CA of this identity');
  return { ...identity, leaf, intermediates, serial: serialOf(leaf), thumbprint: createHash('sha256').update(leaf.raw).digest('hex'), notBefore: leaf.validFromDate, notAfter: leaf.validToDate };
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
