/**
 * Fills the index from the CRL of one issuer, for CAs that are not ours. Fails closed: without a
 * fresh CRL every certificate of the issuer is of unknown status. A failed refresh keeps the good
 * CRL until that goes stale by itself.
 */
import { readFile } from 'node:fs/promises';
import { CaError } from '../../ca/errors.ts';
import type { Clock } from '../../ca/ports.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { crlCovers } from '../../ca/x509/crl.ts';
import type { CrlHead } from '../../ca/x509/crl.ts';
import { loadCrl } from './crl-load.ts';
import type { RevocationIndex } from './revocation-index.ts';

export interface CrlSourceOptions {
  /** Path of a DER or PEM file, or what fetches such octets. */
  readonly from: string | (() => Promise<Uint8Array>);
  /** The CA that must have signed it, or those of which one must; which it is, the first CRL settles. */
  readonly issuer: Certificate | readonly Certificate[];
  readonly index: RevocationIndex;
  readonly clock: Clock;
  /** Oldest acceptable age, whatever nextUpdate says. */
  readonly maxAgeMs?: number | undefined;
  /** How long past nextUpdate a CRL may still be used. Default 0. */
  readonly graceMs?: number | undefined;
  /** Names the CRL among those that divide one issuer's certificates between them. Default: it is the only one. */
  readonly part?: string | undefined;
  /** Whether one that is past its end may still say what it knows to be revoked. Default `refused`. */
  readonly stale?: 'refused' | 'accepted' | undefined;
  /** Default 60,000. */
  readonly refreshMs?: number | undefined;
  /** A refresh failed; the CRL in use stays. Default: nothing. */
  readonly onProblem?: ((error: unknown) => void) | undefined;
}

export interface CrlSourceState {
  readonly issuer: Certificate;
  readonly crlNumber: bigint | undefined;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date | undefined;
  readonly entries: number;
  /** Of the delta CRL merged into it. */
  readonly deltaNumber: bigint | undefined;
  /** Unix milliseconds at which it may be used no longer, grace not counted. */
  readonly until: number;
  /** 1 at the end of its life; warn from 0.75. */
  readonly lifeSpent: number;
}

export class CrlSource {
  readonly #options: CrlSourceOptions;
  #head: CrlHead | undefined;
  #delta: CrlHead | undefined;
  #issuer: Certificate | undefined;
  #entries = 0;
  #running: Promise<'changed' | 'unchanged'> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: CrlSourceOptions) {
    this.#options = options;
  }

  /** Loads once, then refreshes at an interval. @throws CaError the reason why there is no CRL to use; refreshing goes on */
  async start(): Promise<void> {
    const { refreshMs = 60_000, onProblem } = this.#options;
    this.#timer = setInterval(() => { this.refresh().catch((error: unknown) => { onProblem?.(error); }); }, refreshMs).unref();
    await this.refresh();
  }

  /** @throws CaError `ERR_CRL_*`; the CRL in use stays */
  refresh(): Promise<'changed' | 'unchanged'> {
    this.#running ??= this.#load().finally(() => { this.#running = undefined; });
    return this.#running;
  }

  /** Undefined before the first CRL. */
  state(): CrlSourceState | undefined {
    const head = this.#head;
    const issuer = this.#issuer;
    if (head === undefined || issuer === undefined) return undefined;
    const { crlNumber, thisUpdate, nextUpdate } = head;
    const until = this.#until();
    const spent = this.#options.clock.now().getTime() - thisUpdate.getTime();
    return { issuer, crlNumber, thisUpdate, nextUpdate, entries: this.#entries, deltaNumber: this.#delta?.crlNumber, until, lifeSpent: spent / Math.max(1, until - thisUpdate.getTime()) };
  }

  /**
   * Takes a CRL into use, and a delta CRL with it. One that is older than what is in use is refused.
   * @throws CaError `ERR_CRL_*`; what is in use stays
   */
  async take(crl: Uint8Array, options: { readonly delta?: Uint8Array | undefined; readonly octets?: 'given' | 'kept' } = {}): Promise<'changed' | 'unchanged'> {
    const { issuer, index, clock, maxAgeMs, stale, part } = this.#options;
    const issuers = this.#issuer === undefined ? [issuer].flat() : [this.#issuer];
    const job = { crl, delta: options.delta, issuers: issuers.map(({ der }) => der), at: clock.now(), maxAgeMs, stale, seed: index.newSeed() };
    const { head, delta, issuerIndex, table } = await loadCrl(job, { octets: options.octets ?? 'kept' });
    const order = this.#order(head, delta);
    if (order < 0) {
      throw new CaError('ERR_CRL_STALE', 'the CRL is older than the one in use, which stays: publish the newest', {
        facts: { crlNumber: head.crlNumber?.toString(), inUse: this.#head?.crlNumber?.toString() },
      });
    }
    if (order === 0) return 'unchanged';
    const by = issuers[issuerIndex];
    if (by === undefined) throw new TypeError('a CRL has an issuer');
    this.#head = head;
    this.#delta = delta;
    this.#issuer = by;
    this.#entries = table.size;
    const { graceMs = 0 } = this.#options;
    const until = this.#until();
    index.replaceIssuer(by.spkiHash, table, {
      freshUntil: until + graceMs,
      ...(graceMs > 0 ? { isBorrowed: (at: number) => at >= until } : {}),
      covers: (certificate) => crlCovers(head, certificate),
    }, part);
    return 'changed';
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #load(): Promise<'changed' | 'unchanged'> {
    const { from } = this.#options;
    return typeof from === 'string' ? this.take(await readFile(from), { octets: 'given' }) : this.take(await from());
  }

  /** Above 0: newer than what is in use. A complete CRL of the same number with a newer delta is newer. */
  #order(head: CrlHead, delta: CrlHead | undefined): number {
    if (this.#head === undefined) return 1;
    const complete = compareAge(head, this.#head);
    // What a delta has told already must not be forgotten with it.
    const told = compareAge(delta ?? head, this.#delta ?? this.#head);
    if (complete < 0 || (complete > 0 && told < 0)) return -1;
    if (complete > 0) return 1;
    return delta === undefined && this.#delta !== undefined ? 0 : told;
  }

  #until(): number {
    return Math.min(...[this.#head, this.#delta].map((head) => (head === undefined ? Number.POSITIVE_INFINITY : this.#end(head))));
  }

  #end({ thisUpdate, nextUpdate }: CrlHead): number {
    const { maxAgeMs = Number.POSITIVE_INFINITY } = this.#options;
    return Math.min(thisUpdate.getTime() + maxAgeMs, nextUpdate?.getTime() ?? Number.POSITIVE_INFINITY);
  }
}

/** RFC 5280 §5.2.3: crlNumber tells which of two supersedes the other; thisUpdate where there is none. */
const compareAge = (next: CrlHead, current: CrlHead): number => {
  if (next.crlNumber !== undefined && current.crlNumber !== undefined && next.crlNumber !== current.crlNumber) return next.crlNumber > current.crlNumber ? 1 : -1;
  return Math.sign(next.thisUpdate.getTime() - current.thisUpdate.getTime());
};
