/**
 * Retires what renewals leave behind: the certificate that was replaced, once its successor has been in use for a
 * while, and successors whose answer was lost, so that nobody holds them. What waits is in the store, not in memory.
 */
import { certificateRevoked } from './events.ts';
import type { CaStore, CertificateRecord, Clock, Succession } from './ports.ts';
import { allCertificates } from './revocation.ts';
import { wholeSecond } from './revocation-selector.ts';

export interface RetirementOptions {
  readonly store: CaStore;
  readonly clock: Clock;
  /** From the first use of the successor; `never`: the one before lives to its end. */
  readonly overlapMs: number | 'never';
  readonly onRetired: (records: readonly CertificateRecord[]) => void;
  readonly onError: (error: unknown) => void;
}

const longestRoundMs = 60_000;
const shortestRoundMs = 1_000;
/** Successions of one transaction. */
const portionSize = 100;

export class Retirement {
  readonly #options: RetirementOptions;
  #round: NodeJS.Timeout | undefined;
  #sweeping: Promise<unknown> = Promise.resolve();
  #state: 'idle' | 'started' | 'closed' = 'idle';

  constructor(options: RetirementOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#state !== 'idle') return;
    this.#state = 'started';
    this.#next(0);
  }

  async close(): Promise<void> {
    this.#state = 'closed';
    clearTimeout(this.#round);
    await this.#sweeping;
  }

  /** Retires what is due now, and answers with it. */
  async sweep(): Promise<readonly CertificateRecord[]> {
    const { store, clock, overlapMs, onRetired } = this.#options;
    const now = clock.now();
    const seenBefore = overlapMs === 'never' ? now : new Date(now.getTime() - overlapMs);
    const retired: CertificateRecord[] = [];
    for (;;) {
      const portion = await store.successions(seenBefore, portionSize);
      if (overlapMs !== 'never' && portion.length > 0) {
        const due = (await Promise.all(portion.map((succession) => this.#leftBehind(succession, now, seenBefore)))).flat();
        const done = due.length === 0 ? [] : (await store.revoke(due, 'superseded', now, (record) => certificateRevoked(record, 'superseded', { time: now, actor: 'ca' }))).revoked;
        retired.push(...done);
      }
      // Only now: what a crash interrupts is done again.
      await store.settleSuccessions(portion);
      if (portion.length < portionSize) break;
    }
    if (retired.length > 0) onRetired(retired);
    return retired;
  }

  async #leftBehind({ agent, replaces, serial }: Succession, now: Date, seenBefore: Date): Promise<readonly CertificateRecord[]> {
    const live = await allCertificates(this.#options.store, { agent, states: ['issued'], validAt: wholeSecond(now) });
    return live.filter((record) => record.serial === replaces || (record.serial !== serial && record.replaces === replaces && record.firstSeenAt === undefined && record.createdAt < seenBefore));
  }

  #next(ms: number): void {
    if (this.#state !== 'started') return;
    const { overlapMs, onError } = this.#options;
    const roundMs = Math.max(shortestRoundMs, Math.min(longestRoundMs, overlapMs === 'never' ? longestRoundMs : overlapMs / 4));
    this.#round = setTimeout(() => {
      this.#sweeping = this.sweep().catch(onError).finally(() => this.#next(roundMs));
    }, ms);
    this.#round.unref();
  }
}
