/**
 * The only maker of a `VerifiedPeer`: our verdict on the far end of a TLS connection, after OpenSSL
 * has verified a path and the proof of possession. The same for a full handshake and a resumed
 * session; for the latter OpenSSL only repeats what it found once, so nothing here relies on it.
 */
import { hash } from 'node:crypto';
import type { ErrorFacts } from '../../ca/errors.ts';
import type { Clock, IssuerId, SerialHex } from '../../ca/ports.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { formatName, namesEqual } from '../../ca/x509/name.ts';
import { verifyPath } from '../../ca/x509/path/verify-path.ts';
import { SallyportError } from '../errors.ts';
import type { GateErrorCode } from '../errors.ts';
import { principalOf } from '../identity/principal-of.ts';
import type { Principal } from '../identity/principal.ts';
import type { RevocationIndex, RevocationStatus } from '../revocation/revocation-index.ts';
import { codeOfOpensslError } from './openssl-verdict.ts';
import { profileProblem } from './peer-profile.ts';
import { codeOfPath, peerPathLimits } from './trust-anchor.ts';
import type { TrustStore, TrustedIssuer } from './trust.ts';
import type { VerifiedPeer } from './verified-peer.ts';

/** What the socket says. */
export interface PeerFacts {
  /** DER of the peer's certificate. */
  readonly certificate: Uint8Array | undefined;
  /** DER of what it sent beside it; asked for only where a path has to be found. */
  readonly chain?: (() => readonly Uint8Array[]) | undefined;
  /** `socket.authorizationError`; undefined when OpenSSL found a path. */
  readonly opensslError: string | undefined;
  readonly remoteAddress: string | undefined;
  readonly resumed: boolean;
  /** Id of the proxy that has seen the proof of possession (RFC 9440). OpenSSL has not seen the certificate then. */
  readonly via?: string | undefined;
}

export interface PeerChecks {
  readonly trust: TrustStore;
  readonly index: RevocationIndex;
  readonly clock: Clock;
  /** Whether our inventory knows the certificate; asked once per certificate, of our own issuers only. Absent: not asked. */
  readonly isKnown?: ((issuerId: IssuerId, serial: SerialHex, thumbprint: string) => boolean | Promise<boolean>) | undefined;
  /** Brings the index up to date about one certificate of an anchor; undefined when it is. Never rejects. */
  readonly askStatus?: ((certificate: Certificate, issuer: TrustedIssuer) => Promise<void> | undefined) | undefined;
  /** A certificate of an anchor was let in after its status had run out, by a grace that was configured. */
  readonly onBorrowedTime?: ((certificate: Certificate, issuer: TrustedIssuer) => void) | undefined;
  /** What a certificate gets whose revocation status cannot be established. Default `deny`. */
  readonly onUnknownStatus?: 'deny' | 'allow' | undefined;
}

/** For the audit log; what could not be read is undefined. */
export interface PeerDescription {
  readonly subject: string | undefined;
  readonly serial: SerialHex | undefined;
  /** Of a pinned issuer; undefined for a certificate that no pinned issuer signed. */
  readonly issuer: IssuerId | undefined;
  readonly thumbprint: string | undefined;
  readonly address: string | undefined;
  /** Id of the proxy that named the certificate. */
  readonly via?: string | undefined;
}

export type PeerVerdict =
  | { readonly ok: true; readonly peer: VerifiedPeer; readonly certificate: Certificate; readonly issuer: TrustedIssuer }
  | { readonly ok: false; readonly error: SallyportError; readonly facts: PeerDescription };

/** A promise only when `isKnown` answers with one, which it does once per certificate. */
export const verifyPeer = (facts: PeerFacts, checks: PeerChecks): PeerVerdict | Promise<PeerVerdict> => {
  let candidate: Candidate;
  try {
    candidate = readCandidate(facts, checks);
  } catch (error) {
    if (error instanceof Refusal) return refused(error, facts);
    throw error;
  }
  const { certificate, issuer } = candidate;
  if (issuer.anchor !== undefined) return judgeForeigner(candidate, facts, checks);
  if (candidate.known || checks.isKnown === undefined) return judge(candidate, facts, checks, 'unasked');
  const known = checks.isKnown(issuer.issuerId, certificate.serial, certificate.thumbprint);
  if (typeof known === 'boolean') return judge(candidate, facts, checks, known);
  return known.then(
    (answer) => judge(candidate, facts, checks, answer),
    (cause: unknown) => refused(
      new Refusal('ERR_PEER_STATUS_UNKNOWN', 'the inventory could not be asked about the client certificate: check the store', candidate, cause), facts),
  );
};

/** The source may have to be asked about this very certificate first (OCSP). */
const judgeForeigner = (candidate: Candidate, facts: PeerFacts, checks: PeerChecks): PeerVerdict | Promise<PeerVerdict> => {
  const asked = checks.askStatus?.(candidate.certificate, candidate.issuer);
  // Whoever cannot be reached leaves the index as it was, and that decides.
  const conclude = (): PeerVerdict => {
    const verdict = judge(candidate, facts, checks, true);
    if (verdict.ok && checks.onBorrowedTime !== undefined) {
      const { certificate, issuer } = verdict;
      const status = checks.index.status(issuer.issuerId, certificate.serial, checks.clock.now().getTime(), certificate);
      if (status.status === 'good' && status.borrowed === true) checks.onBorrowedTime(certificate, issuer);
    }
    return verdict;
  };
  return asked === undefined ? conclude() : asked.then(conclude);
};

/** What changes while a connection lives: the clock, the index and its freshness. Undefined: still good. */
export const statusProblem = (
  principal: Principal, certificate: Certificate, issuer: TrustedIssuer, checks: Pick<PeerChecks, 'index' | 'clock' | 'onUnknownStatus'>,
): SallyportError | undefined => {
  const now = checks.clock.now().getTime();
  const { issuerId, serial } = principal;
  const facts = { subject: principal.subject, serial, issuer: issuerId };
  if (now >= expiryOf(certificate, issuer)) {
    return new SallyportError('ERR_PEER_EXPIRED', 'the client certificate has expired: renew it', { facts: { ...facts, notAfter: certificate.notAfter.toISOString() } });
  }
  const above = authorityProblem(issuer, now, checks.index);
  if (above !== undefined) return new SallyportError(above.code, above.message, { facts: { ...facts, ...above.facts } });
  const status = checks.index.status(issuerId, serial, now, certificate);
  if (status.status === 'revoked') {
    const held = status.entry.reason === 'certificateHold';
    return new SallyportError('ERR_PEER_REVOKED', held ? 'the client certificate is on hold: ask the operator, who can release it' : 'the client certificate was revoked: enroll again', {
      facts: { ...facts, reason: status.entry.reason, revokedAt: status.entry.revokedAt.toISOString() },
    });
  }
  if (status.status === 'unknown' && checks.onUnknownStatus !== 'allow' && issuer.anchor?.statusOptional !== true) {
    return new SallyportError('ERR_PEER_STATUS_UNKNOWN', unknownWords[status.because], { facts: { ...facts, because: status.because } });
  }
  return undefined;
};

/** Unix milliseconds of the first instant at which the path is no longer valid; notAfter is inclusive (RFC 5280 §4.1.2.5), to the second. */
export const expiryOf = (certificate: Certificate, issuer: TrustedIssuer): number =>
  Math.min(certificate.notAfter.getTime(), issuer.certificate.notAfter.getTime(), issuer.root.notAfter.getTime(), ...issuer.above.map(({ notAfter }) => notAfter.getTime())) + 1000;

/** What the index says of the CAs above. Of a CA of others that nobody pinned, somebody must say that it is not revoked. */
const authorityProblem = ({ anchor, certified }: TrustedIssuer, now: number, index: RevocationIndex): { readonly code: GateErrorCode; readonly message: string; readonly facts: ErrorFacts } | undefined => {
  for (const { issuerId, serial, certificate } of certified) {
    const entry = index.lookup(issuerId, serial);
    if (entry !== undefined) return { code: 'ERR_PEER_REVOKED', message: 'the issuing CA of the client certificate was revoked: issue from another', facts: { reason: entry.reason } };
    if (anchor === undefined || anchor.vouchesFor(certificate)) continue;
    const status = index.status(issuerId, serial, now, certificate);
    if (status.status === 'unknown') {
      return { code: 'ERR_PEER_STATUS_UNKNOWN', message: `the status of a CA above the client certificate cannot be established: give the CRL of its issuer, or pin it under trust.${anchor.name}.issuers`, facts: { because: status.because } };
    }
  }
  return undefined;
};

const unknownWords: Readonly<Record<Extract<RevocationStatus, { status: 'unknown' }>['because'], string>> = {
  noSource: 'nothing says which certificates of this issuer are revoked: configure a source of revocations for it',
  stale: 'the source of revocations is out of date: bring it up to date',
  notCovered: 'the CRL in use does not cover the client certificate: add the CRL that its distribution point names',
};

/** A certificate that passed everything that depends on nothing but itself and the trust store. */
interface Candidate {
  readonly certificate: Certificate;
  readonly issuer: TrustedIssuer;
  readonly principal: Principal;
  known: boolean;
}

/** What is known about the refused, as far as checking got. */
class Refusal extends Error {
  readonly code: GateErrorCode;
  readonly about: { readonly certificate?: Certificate; readonly issuer?: TrustedIssuer };

  constructor(code: GateErrorCode, message: string, about: Refusal['about'] = {}, cause?: unknown) {
    super(message, { cause });
    this.code = code;
    this.about = about;
  }
}

/**
 * Reading, checking the signature and compiling a principal cost about 200 µs, once per
 * certificate and trust store. Keyed by the hash of the exact bytes; new trust starts empty.
 */
const candidates = new WeakMap<TrustStore, Map<string, Candidate>>();
const MAX_CANDIDATES = 4096;

const readCandidate = (facts: PeerFacts, { trust, clock }: PeerChecks): Candidate => {
  if (facts.certificate === undefined) {
    throw new Refusal('ERR_PEER_NO_CERTIFICATE', 'the peer sent no certificate: configure a client certificate and key');
  }
  let known = candidates.get(trust);
  if (known === undefined) {
    known = new Map();
    candidates.set(trust, known);
  }
  const { via } = facts;
  const thumbprint = `${via === undefined ? '' : 'forwarded '}${hash('sha256', facts.certificate, 'hex')}`;
  let candidate = known.get(thumbprint);
  if (candidate !== undefined) known.delete(thumbprint);
  else candidate = makeCandidate(facts.certificate, facts, { trust, clock });
  // Least recently used first, so that the oldest goes.
  known.set(thumbprint, candidate);
  if (known.size > MAX_CANDIDATES) {
    const oldest = known.keys().next();
    if (oldest.done !== true) known.delete(oldest.value);
  }
  const now = clock.now().getTime();
  const { certificate, issuer } = candidate;
  for (const { notBefore } of [certificate, issuer.certificate, ...issuer.above, issuer.root]) {
    if (now < notBefore.getTime()) throw new Refusal('ERR_PEER_NOT_YET_VALID', 'the client certificate is not yet valid: check both clocks', candidate);
  }
  if (now >= expiryOf(certificate, issuer)) throw new Refusal('ERR_PEER_EXPIRED', 'the client certificate has expired: renew it', candidate);
  const problem = profileProblem(certificate);
  if (problem !== undefined) throw new Refusal('ERR_PEER_PROFILE', `the client certificate cannot be used: ${problem}`, candidate);
  if (facts.opensslError !== undefined && !provedOtherwise(facts.opensslError, issuer)) {
    throw new Refusal(codeOfOpensslError(facts.opensslError), `OpenSSL refuses the client certificate: ${facts.opensslError}`, candidate);
  }
  return candidate;
};

/** OpenSSL, as Node drives it, ends paths at self-signed certificates only; our own proof ends at any anchor. */
const provedOtherwise = (opensslError: string, { anchor, root }: TrustedIssuer): boolean =>
  anchor !== undefined && !namesEqual(root.subjectNameDer, root.issuerNameDer) && noSelfSignedEnd.has(opensslError);

const noSelfSignedEnd: ReadonlySet<string> = new Set(['UNABLE_TO_GET_ISSUER_CERT', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE']);

const makeCandidate = (der: Uint8Array, { chain, opensslError, via }: PeerFacts, { trust, clock }: Pick<PeerChecks, 'trust' | 'clock'>): Candidate => {
  let certificate: Certificate;
  try {
    // A copy: Node hands out views of a pool.
    certificate = parseCertificate(Uint8Array.from(der));
  } catch (cause) {
    throw new Refusal('ERR_PEER_PROFILE', 'the client certificate is not strict DER of RFC 5280: issue it anew', {}, cause);
  }
  const issuer = trust.issuerOf(certificate);
  if (issuer === undefined) {
    const foreigner = trust.anchors.length === 0 ? undefined : trust.foreigner(certificate, certificatesIn(chain?.() ?? []), clock.now());
    if (foreigner?.ok === true) return { certificate, issuer: foreigner.issuer, principal: foreigner.principal, known: true };
    if (foreigner?.ours === true) throw new Refusal(foreigner.code, `the client certificate cannot be used: ${foreigner.reason}`, { certificate });
    if (opensslError !== undefined) {
      throw new Refusal(codeOfOpensslError(opensslError) === 'ERR_PEER_PROFILE' ? 'ERR_PEER_PROFILE' : 'ERR_PEER_UNTRUSTED',
        `no trusted authority issued the client certificate (${opensslError}): enroll with this gateway's CA`, { certificate });
    }
    throw new Refusal('ERR_PEER_ISSUER', 'the client certificate leads to a trusted root but was not issued by a pinned issuing CA', { certificate });
  }
  if (via !== undefined) proveAlone(certificate, issuer, clock);
  return { certificate, issuer, principal: principalOf(certificate, issuer.issuerId), known: false };
};

/** Of a certificate that came in a header OpenSSL has proved nothing. */
const proveAlone = (certificate: Certificate, issuer: TrustedIssuer, clock: Clock): void => {
  const verdict = verifyPath(certificate, {
    anchors: [issuer.root], intermediates: [issuer.certificate, ...issuer.above], at: clock.now(), purpose: 'client',
    // How it stands is the index's to say, then and at every request.
    onUnknownStatus: 'allow', limits: peerPathLimits,
  });
  if (!verdict.ok) throw new Refusal(codeOfPath(verdict.code), `the client certificate cannot be used: ${verdict.reason}`, { certificate, issuer });
};

/** What cannot be read leads nowhere. */
const certificatesIn = (chain: readonly Uint8Array[]): readonly Certificate[] =>
  chain.flatMap((der) => {
    try {
      return [parseCertificate(Uint8Array.from(der))];
    } catch {
      return [];
    }
  });

/** `unasked`: nobody asked the inventory now, which must not keep others who share the trust store from asking. */
const judge = (candidate: Candidate, facts: PeerFacts, checks: PeerChecks, known: boolean | 'unasked'): PeerVerdict => {
  const { certificate, issuer, principal } = candidate;
  if (known === false) {
    return refused(new Refusal('ERR_PEER_UNKNOWN_SERIAL', 'the issuing CA signed this certificate but its inventory does not know it: treat the CA key as misused', candidate), facts);
  }
  candidate.known ||= known === true;
  const problem = statusProblem(principal, certificate, issuer, checks);
  if (problem !== undefined) return { ok: false, error: problem, facts: describe(candidate, facts) };
  const peer = {
    principal,
    certificate: certificate.der,
    expiresAt: expiryOf(certificate, issuer),
    remoteAddress: facts.remoteAddress,
    resumed: facts.resumed,
    via: facts.via,
  } as unknown as VerifiedPeer;
  return { ok: true, peer, certificate, issuer };
};

const refused = (refusal: Refusal, facts: PeerFacts): PeerVerdict => {
  const description = describe(refusal.about, facts);
  const { subject, serial, issuer, thumbprint } = description;
  const error = new SallyportError(refusal.code, refusal.message, { facts: { subject, serial, issuer, thumbprint }, cause: refusal.cause });
  return { ok: false, error, facts: description };
};

const describe = ({ certificate, issuer }: Refusal['about'], facts: PeerFacts): PeerDescription => ({
  subject: certificate === undefined ? undefined : formatName(certificate.subject),
  serial: certificate?.serial,
  issuer: issuer?.issuerId,
  thumbprint: certificate?.thumbprint ?? (facts.certificate === undefined ? undefined : hash('sha256', facts.certificate, 'hex')),
  address: facts.remoteAddress,
});
