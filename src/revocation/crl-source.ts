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
  /** The CA that must have signed it. */
  readonly issuer: Certificate;
  readonly index: RevocationIndex;
  readonly clock: Clock;
  /** Oldest acceptable age, whatever nextUpdate says. */
  readonly maxAgeMs?: number | undefined;
  /** How long past nextUpdate a CRL may still be used. Default 0. */
  readonly graceMs?: number | undefined;
  /** Default 60,000. */
  readonly refreshMs?: number | undefined;
  /** A refresh failed; the CRL in use stays. Default: nothing. */
  readonly onProblem?: ((error: unknown) => void) | undefined;
}

export interface CrlSourceState {
  readonly crlNumber: bigint | undefined;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date | undefined;
  readonly entries: number;
  /** 1 at the end of its life; warn from 0.75. */
  readonly lifeSpent: number;
}

export class CrlSource {
  readonly #options: CrlSourceOptions;
  #head: CrlHead | undefined;
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
    if (head === undefined) return undefined;
    const { crlNumber, thisUpdate, nextUpdate } = head;
    const spent = this.#options.clock.now().getTime() - thisUpdate.getTime();
    return { crlNumber, thisUpdate, nextUpdate, entries: this.#entries, lifeSpent: spent / Math.max(1, this.#freshUntil(head) - thisUpdate.getTime()) };
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #load(): Promise<'changed' | 'unchanged'> {
    const { from, issuer, index, clock, maxAgeMs } = this.#options;
    const crl = typeof from === 'string' ? await readFile(from) : await from();
    const { head, table } = await loadCrl({ crl, issuer: issuer.der, at: clock.now(), maxAgeMs, seed: index.newSeed() }, { octets: typeof from === 'string' ? 'given' : 'kept' });
    const order = this.#head === undefined ? 1 : compareAge(head, this.#head);
    if (order < 0) {
      throw new CaError('ERR_CRL_STALE', 'the CRL is older than the one in use, which stays: publish the newest', {
        facts: { crlNumber: head.crlNumber?.toString(), inUse: this.#head?.crlNumber?.toString() },
      });
    }
    if (order === 0) return 'unchanged';
    this.#head = head;
    this.#entries = table.size;
    index.replaceIssuer(issuer.spkiHash, table, {
      freshUntil: this.#freshUntil(head),
      covers: (certificate) => crlCovers(head, certificate),
    });
    return 'changed';
  }

  #freshUntil({ thisUpdate, nextUpdate }: CrlHead): number {
    const { maxAgeMs = Number.POSITIVE_INFINITY, graceMs = 0 } = this.#options;
    return Math.min(thisUpdate.getTime() + maxAgeMs, nextUpdate === undefined ? Number.POSITIVE_INFINITY : nextUpdate.getTime() + graceMs);
  }
}

/** RFC 5280 §5.2.3: crlNumber tells which of two supersedes the other; thisUpdate where there is none. */
const compareAge = (next: CrlHead, current: CrlHead): number => {
  if (next.crlNumber !== undefined && current.crlNumber !== undefined && next.crlNumber !== current.crlNumber) return next.crlNumber > current.crlNumber ? 1 : -1;
  return Math.sign(next.thisUpdate.getTime() - current.thisUpdate.getTime());
};
