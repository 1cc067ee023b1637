/**
 * How many refusals of strangers are reported one by one. Anyone who reaches the port can be
 * refused any number of times; the audit log must not become their disk-filling tool.
 */
import type { Clock } from '../../ca/ports.ts';

export interface RefusalBudgetOptions {
  /** Reports a second in the long run. */
  readonly perSecond: number;
  /** Reports at once. */
  readonly burst: number;
}

export class RefusalBudget {
  readonly #clock: Clock;
  readonly #options: RefusalBudgetOptions;
  #tokens: number;
  #refilledAt: number;
  #suppressed = 0;

  constructor(clock: Clock, options: RefusalBudgetOptions) {
    this.#clock = clock;
    this.#options = options;
    this.#tokens = options.burst;
    this.#refilledAt = clock.now().getTime();
  }

  /** Number of reports held back since the last one, or undefined when this one is to be held back too. */
  take(): number | undefined {
    const now = this.#clock.now().getTime();
    const { perSecond, burst } = this.#options;
    this.#tokens = Math.min(burst, this.#tokens + (Math.max(0, now - this.#refilledAt) * perSecond) / 1000);
    this.#refilledAt = now;
    if (this.#tokens < 1) {
      this.#suppressed += 1;
      return undefined;
    }
    this.#tokens -= 1;
    return this.drain();
  }

  /** Number of reports held back, counted from zero again. */
  drain(): number {
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    return suppressed;
  }
}
