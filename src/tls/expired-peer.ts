/** A certificate that expired a moment ago, shown where it may be renewed all the same: judged as it was in its last second. */
import type { CertificateKey } from '../../ca/requests.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import { SallyportError } from '../errors.ts';
import { statusProblem, verifyPeer } from './verify-peer.ts';
import type { PeerChecks, PeerDescription, PeerFacts } from './verify-peer.ts';

declare const proven: unique symbol;

/** Only `verifyExpiredPeer` makes one. It is no `VerifiedPeer`: renewal is all it is good for. */
export interface ExpiredPeer extends CertificateKey {
  readonly [proven]: true;
}

export type ExpiredVerdict = { readonly ok: true; readonly peer: ExpiredPeer } | { readonly ok: false; readonly error: SallyportError; readonly facts: PeerDescription };

/**
 * The handshake proved possession of the key whatever the date is. Everything else is asked as ever: OpenSSL may have
 * complained of nothing but the date, the CAs above must be valid now, and so must the word on revocation be fresh.
 */
export const verifyExpiredPeer = async (facts: PeerFacts, checks: PeerChecks & { readonly graceMs: number }): Promise<ExpiredVerdict> => {
  const now = checks.clock.now().getTime();
  const notAfter = facts.certificate === undefined ? undefined : endOf(facts.certificate);
  const complaint = facts.opensslError === 'CERT_HAS_EXPIRED' ? undefined : facts.opensslError;
  const inGrace = notAfter !== undefined && now < notAfter.getTime() + 1_000 + checks.graceMs;
  const then = inGrace ? notAfter : checks.clock.now();
  const verdict = await verifyPeer({ ...facts, opensslError: complaint }, { ...checks, clock: { now: () => new Date(Math.min(then.getTime(), now)) } });
  if (!verdict.ok) return verdict;
  const { principal } = verdict.peer;
  const { certificate, issuer } = verdict;
  const above = Math.min(issuer.certificate.notAfter.getTime(), issuer.root.notAfter.getTime());
  const problem =
    now >= above + 1_000
      ? new SallyportError('ERR_PEER_EXPIRED', 'the CA above the client certificate has expired: enroll again', { facts: { serial: principal.serial, issuer: principal.issuerId } })
      : statusProblem(principal, { ...certificate, notAfter: new Date(now) }, issuer, checks);
  const { subject, serial, issuerId, thumbprint } = principal;
  if (problem !== undefined) return { ok: false, error: problem, facts: { subject, serial, issuer: issuerId, thumbprint, address: facts.remoteAddress } };
  return { ok: true, peer: { issuerId, serial } as ExpiredPeer };
};

const endOf = (der: Uint8Array): Date | undefined => {
  try {
    return parseCertificate(Uint8Array.from(der)).notAfter;
  } catch {
    // Said by `verifyPeer`.
    return undefined;
  }
};
