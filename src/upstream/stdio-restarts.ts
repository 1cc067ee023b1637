/**
 * How soon a child may be started again after others died: at once after the first, then later and
 * later while they keep dying soon after their start.
 */
import type { Clock } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';

/** Key for children that died before they answered the gateway at all: nobody can start one. No principal's id is empty. */
export const startKey = '';

/** A child that lived this long says that the command works. */
const provenMs = 60_000;
const firstPauseMs = 500;
const longestPauseMs = 30_000;
/** Whoever is remembered beyond this number is forgotten when his pause is over. */
const maxRemembered = 1_024;

interface Streak {
  readonly deaths: number;
  readonly lastDeath: number;
  readonly notBefore: number;
}

/** One back-off for each key: what dies for one must not hold up another. */
export class Restarts {
  readonly #clock: Clock;
  readonly #streaks = new Map<string, Streak>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Until a child may be started; 0: now. */
  waitMs(key: string): number {
    return Math.max(0, (this.#streaks.get(key)?.notBefore ?? 0) - this.#now());
  }

  /** @throws SallyportError `ERR_UPSTREAM_EXITED` during a pause */
  check(key: string, facts: { readonly upstream: string }): void {
    const waitMs = this.waitMs(key);
    if (waitMs === 0) return;
    throw new SallyportError(
      'ERR_UPSTREAM_EXITED',
      `the upstream's command keeps ending soon after its start and is started again in ${Math.ceil(waitMs / 100) / 10} s: see what it wrote to stderr in the log`,
      { facts: { ...facts, retryAfterMs: waitMs } },
    );
  }

  died(key: string, startedAt: number): void {
    const now = this.#now();
    const before = this.#streaks.get(key);
    // Children that ran side by side and died of one cause are one death.
    if (before !== undefined && startedAt < before.lastDeath) return;
    const deaths = now - startedAt >= provenMs ? 1 : (before?.deaths ?? 0) + 1;
    const pause = deaths === 1 ? 0 : Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(deaths - 2, 16));
    this.#streaks.set(key, { deaths, lastDeath: now, notBefore: now + pause });
    if (this.#streaks.size > maxRemembered) this.#forget(now);
  }

  /** The command works after all. */
  recovered(key: string): void {
    this.#streaks.delete(key);
  }

  #forget(now: number): void {
    for (const [key, { notBefore }] of this.#streaks) if (notBefore + provenMs < now) this.#streaks.delete(key);
  }

  #now(): number {
    return this.#clock.now().getTime();
  }
}
