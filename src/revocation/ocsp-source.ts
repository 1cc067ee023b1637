/**
 * Asks somebody else's OCSP responder about the certificates that connect, and puts its word into the
 * index: at the first handshake of each, then again while it is connected. Answers hold until they
 * end by themselves; nobody is asked twice at a time about the same certificate.
 */
import type { Clock, IssuerId, Randomness, SerialHex } from '../../ca/ports.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { verifyOcspResponse } from '../../ca/x509/ocsp-response-check.ts';
import { encodeCertificateId, encodeOcspRequest, parseOcspResponse } from '../../ca/x509/ocsp.ts';
import type { OcspHash } from '../../ca/x509/ocsp.ts';
import { SallyportError } from '../errors.ts';
import type { FetchDocument } from './fetch-document.ts';
import type { RevocationIndex } from './revocation-index.ts';

export interface OcspSourceOptions {
  readonly url: string;
  readonly hash: OcspHash;
  readonly nonce: 'optional' | 'required' | 'none';
  readonly index: RevocationIndex;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly fetch: FetchDocument;
  /** Longest time between two questions about a certificate that is connected. */
  readonly refreshMs: number;
  readonly maxAgeMs?: number | undefined;
  readonly graceMs?: number | undefined;
  /** Certificates that are connected now. */
  readonly inUse: () => Iterable<AskedAbout>;
  readonly onProblem: (error: unknown) => void;
}

export interface AskedAbout {
  readonly certificate: Certificate;
  /** Who signed it. */
  readonly issuer: Certificate;
}

export interface OcspSourceState {
  readonly url: string;
  readonly answers: number;
  readonly lastAnswerAt: Date | undefined;
}

interface Known {
  /** Unix milliseconds up to which the answer good holds; 0 without one. */
  until: number;
  /** Unix milliseconds from which on it is worth asking again. */
  askAgainAt: number;
  thisUpdate: number;
  failures: number;
  asking: Promise<void> | undefined;
}

const MAX_ANSWER_OCTETS = 64 * 1024;
/** Shorter than a handshake may take. */
const TIMEOUT_MS = 5_000;
const MAX_KNOWN = 20_000;
const MAX_ASKING = 64;
/** RFC 6960 §4.2.2.1: without nextUpdate newer information is always available; so it holds for as long as one may take to ask. */
const WITHOUT_END_MS = 60_000;
const SWEEP_MS = 2_000;
const RETRY_MS = 2_000;
const LONGEST_RETRY_MS = 60_000;
const NONCE_OCTETS = 16;

export class OcspSource {
  readonly #options: OcspSourceOptions;
  readonly #known = new Map<string, Known>();
  readonly #issuers = new Set<IssuerId>();
  #asking = 0;
  #lastAnswerAt: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: OcspSourceOptions) {
    this.#options = options;
  }

  get state(): OcspSourceState {
    return { url: this.#options.url, answers: this.#known.size, lastAnswerAt: this.#lastAnswerAt === undefined ? undefined : new Date(this.#lastAnswerAt) };
  }

  start(): void {
    this.#timer = setInterval(() => {
      for (const about of this.#options.inUse()) void this.ask(about);
    }, SWEEP_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Undefined when the last answer holds; it is renewed in the background then, when that is due. Never rejects. */
  ask(about: AskedAbout): Promise<void> | undefined {
    const key = `${about.issuer.spkiHash}:${about.certificate.serial}`;
    const known = this.#remember(key);
    const now = this.#options.clock.now().getTime();
    if (now >= known.askAgainAt) this.#join(known, about);
    return now < known.until ? undefined : known.asking;
  }

  #join(known: Known, about: AskedAbout): void {
    if (known.asking !== undefined) return;
    const { clock, onProblem, url } = this.#options;
    if (this.#asking >= MAX_ASKING) {
      onProblem(new SallyportError('ERR_TRUST_FETCH', 'the OCSP responder is asked about as many certificates at once as it may be: it is too slow', { facts: { url } }));
      return;
    }
    this.#asking += 1;
    known.asking = this.#askNow(known, about).catch((error: unknown) => {
      known.failures += 1;
      known.askAgainAt = clock.now().getTime() + Math.min(LONGEST_RETRY_MS, RETRY_MS * 2 ** Math.min(known.failures - 1, 10));
      onProblem(error);
    }).finally(() => {
      known.asking = undefined;
      this.#asking -= 1;
    });
  }

  async #askNow(known: Known, { certificate, issuer }: AskedAbout): Promise<void> {
    const { url, hash, nonce: wantsNonce, index, clock, randomness, fetch, refreshMs, maxAgeMs = Number.POSITIVE_INFINITY } = this.#options;
    this.#cover(issuer.spkiHash);
    const nonce = wantsNonce === 'none' ? undefined : randomness.bytes(NONCE_OCTETS);
    const bytes = encodeOcspRequest({ certificateIds: [encodeCertificateId({ hash, issuer, serial: certificate.serial })], nonce });
    const answer = await fetch({ url, accept: 'application/ocsp-response', maxBytes: MAX_ANSWER_OCTETS, timeoutMs: TIMEOUT_MS, body: { type: 'application/ocsp-request', bytes } });
    if (answer.status === 'unchanged') throw new SallyportError('ERR_TRUST_FETCH', 'the OCSP responder answers a question that was not asked', { facts: { url } });
    const at = clock.now();
    const { status, thisUpdate, nextUpdate } = verifyOcspResponse(parseOcspResponse(Uint8Array.from(answer.bytes)), {
      certificate, issuer, at, nonce, nonceRequired: wantsNonce === 'required',
      delegateIsGood: (delegate) => index.status(issuer.spkiHash, delegate.serial, at.getTime(), delegate).status === 'good',
    });
    const now = at.getTime();
    const until = Math.min(nextUpdate?.getTime() ?? now + WITHOUT_END_MS, thisUpdate.getTime() + maxAgeMs);
    if (now >= until) throw new SallyportError('ERR_TRUST_FETCH', 'the OCSP answer is older than maxAge allows', { facts: { url, thisUpdate: thisUpdate.toISOString() } });
    // A replayed answer of yesterday must not undo what was said today.
    if (thisUpdate.getTime() < known.thisUpdate) throw new SallyportError('ERR_TRUST_FETCH', 'the OCSP answer is older than the one in use, which stays', { facts: { url, thisUpdate: thisUpdate.toISOString() } });
    known.thisUpdate = thisUpdate.getTime();
    known.failures = 0;
    known.askAgainAt = now + Math.min(refreshMs, (until - now) / 2);
    known.until = status.status === 'good' ? until : 0;
    this.#lastAnswerAt = now;
    this.#tell(issuer.spkiHash, certificate.serial, { status, thisUpdate });
  }

  #tell(issuerId: IssuerId, serial: SerialHex, { status, thisUpdate }: Pick<ReturnType<typeof verifyOcspResponse>, 'status' | 'thisUpdate'>): void {
    const { index } = this.#options;
    const known = index.lookup(issuerId, serial);
    if (status.status === 'revoked') index.add([{ issuerId, serial, revokedAt: status.revokedAt, reason: status.reason }]);
    // Only a hold is ever lifted (RFC 5280 §5.3.1), and not by what was said before it, which may still be passed around.
    else if (status.status === 'good' && known?.reason === 'certificateHold' && thisUpdate >= known.revokedAt) index.remove(issuerId, serial);
  }

  /** The index asks back how long the word on a certificate holds. */
  #cover(issuerId: IssuerId): void {
    if (this.#issuers.has(issuerId)) return;
    this.#issuers.add(issuerId);
    const { index, graceMs = 0, url } = this.#options;
    const untilOf = (serial: SerialHex): number => this.#known.get(`${issuerId}:${serial}`)?.until ?? 0;
    const withGrace = (until: number): number => (until === 0 ? 0 : until + graceMs);
    index.replaceIssuer(issuerId, index.newTable(), {
      freshUntil: 0, freshUntilOf: (serial) => withGrace(untilOf(serial)),
      ...(graceMs > 0 ? { isBorrowed: (at: number, serial: SerialHex) => at >= untilOf(serial) } : {}),
    }, `ocsp ${url}`);
  }

  /** The one that was asked about least lately is forgotten first. */
  #remember(key: string): Known {
    let known = this.#known.get(key);
    if (known === undefined) known = { until: 0, askAgainAt: 0, thisUpdate: 0, failures: 0, asking: undefined };
    else this.#known.delete(key);
    this.#known.set(key, known);
    if (this.#known.size > MAX_KNOWN) for (const [oldest, { asking }] of this.#known) {
      if (asking === undefined) this.#known.delete(oldest);
      break;
    }
    return known;
  }
}
