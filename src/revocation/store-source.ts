/**
 * Fills the index from the store of our own CA and follows its change feed. Fails closed: when the
 * feed has not confirmed for `maxSilenceMs` that everything was heard, the status of the issuers'
 * certificates is unknown until it does again.
 */
import type { CaStore, Clock, IssuerId } from '../../ca/ports.ts';
import type { Change, ChangeFeed, Released, Revoked } from '../store/changes.ts';
import type { RevocationIndex } from './revocation-index.ts';

export interface StoreSourceOptions {
  readonly store: Pick<CaStore, 'revokedSerials'>;
  readonly changes: Pick<ChangeFeed, 'subscribe' | 'latest' | 'currentAsOf'>;
  readonly issuers: readonly IssuerId[];
  readonly index: RevocationIndex;
  readonly clock: Clock;
  /** Bound of staleness. Default 30,000. */
  readonly maxSilenceMs?: number | undefined;
  /** How often the feed is asked whether it is current. Default a tenth of `maxSilenceMs`. */
  readonly checkMs?: number | undefined;
  /** A change was applied and its connections were cut; for `ChangeFeed.acknowledge`. */
  readonly onApplied?: ((change: Revoked | Released, millis: number) => void) | undefined;
}

export class StoreSource {
  readonly #options: StoreSourceOptions;
  readonly #maxSilenceMs: number;
  readonly #issuers: Set<IssuerId>;
  #unsubscribe: (() => Promise<void>) | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: StoreSourceOptions) {
    this.#options = options;
    this.#issuers = new Set(options.issuers);
    this.#maxSilenceMs = options.maxSilenceMs ?? 30_000;
  }

  /** Resolves when everything revoked so far is in the index and everything to come will be. @throws CaError `ERR_STORE_UNAVAILABLE` */
  async start(): Promise<void> {
    const { changes, checkMs = this.#maxSilenceMs / 10 } = this.#options;
    // First listen, then read: what is committed in between arrives twice instead of never.
    const after = await changes.latest();
    this.#unsubscribe = await changes.subscribe((change) => { this.#apply(change); }, { after });
    try {
      for (const issuerId of this.#issuers) await this.#load(issuerId);
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#timer = setInterval(() => { this.#confirm(); }, checkMs).unref();
  }

  /** Takes in further issuers; resolves when everything revoked of them so far is in the index. @throws CaError `ERR_STORE_UNAVAILABLE` */
  async follow(issuers: readonly IssuerId[]): Promise<void> {
    for (const issuerId of issuers) {
      if (this.#issuers.has(issuerId)) continue;
      // Changes of any issuer are heard already.
      await this.#load(issuerId);
      this.#issuers.add(issuerId);
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    const unsubscribe = this.#unsubscribe;
    this.#unsubscribe = undefined;
    await unsubscribe?.();
  }

  async #load(issuerId: IssuerId): Promise<void> {
    const { store, index } = this.#options;
    await index.loadInBackground(issuerId, store.revokedSerials(issuerId), () => ({ freshUntil: this.#freshUntil() }));
  }

  #apply(change: Change): void {
    if (change.kind === 'tools') return;
    const started = performance.now();
    const { issuerId, serial, at } = change;
    if (change.kind === 'released') this.#options.index.remove(issuerId, serial);
    else this.#options.index.add([{ issuerId, serial, reason: change.reason, revokedAt: at }]);
    this.#options.onApplied?.(change, performance.now() - started);
  }

  #confirm(): void {
    const freshUntil = this.#freshUntil();
    for (const issuerId of this.#issuers) this.#options.index.setFreshUntil(issuerId, freshUntil);
  }

  #freshUntil(): number {
    const asOf = this.#options.changes.currentAsOf();
    return asOf === undefined ? 0 : asOf.getTime() + this.#maxSilenceMs;
  }
}
