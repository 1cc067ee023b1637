/** Looks something up again and again, one look at a time, at the distances of `refresh-schedule.ts`. */
import type { Clock, Randomness } from '../../ca/ports.ts';
import { waitBeforeLook } from './refresh-schedule.ts';

export interface LooksOptions {
  readonly clock: Clock;
  readonly randomness: Randomness;
  /** Longest time between two; may change. */
  readonly refreshMs: number | (() => number);
  readonly look: () => Promise<void>;
  /** Of what is had now. */
  readonly life: () => { readonly from: number; readonly until: number } | undefined;
  readonly onProblem: (error: unknown) => void;
}

export interface LooksState {
  /** Undefined while nobody looks by itself. */
  readonly nextLookAt: Date | undefined;
  readonly failures: number;
}

/** A clock may jump (suspend, NTP), so no sleep is longer. */
const LONGEST_SLEEP_MS = 60_000;

export class Looks {
  readonly #options: LooksOptions;
  #running: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #next: number | undefined;
  #failures = 0;
  #closed = false;

  constructor(options: LooksOptions) {
    this.#options = options;
  }

  get state(): LooksState {
    return { nextLookAt: this.#next === undefined ? undefined : new Date(this.#next), failures: this.#failures };
  }

  start(): void {
    this.now().catch((error: unknown) => { this.#options.onProblem(error); }).finally(() => { this.#schedule(); });
  }

  /** Joins a look that is under way. */
  now(): Promise<void> {
    this.#running ??= this.#look().finally(() => { this.#running = undefined; });
    return this.#running;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    try {
      await this.#options.look();
      this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      throw error;
    }
  }

  #schedule(): void {
    if (this.#closed) return;
    const { clock, randomness, refreshMs, life } = this.#options;
    const now = clock.now().getTime();
    const [octet = 0] = randomness.bytes(1);
    this.#next = now + waitBeforeLook({ now, life: life(), failures: this.#failures, refreshMs: typeof refreshMs === 'number' ? refreshMs : refreshMs(), random: octet / 255 });
    this.#sleep();
  }

  #sleep(): void {
    if (this.#closed) return;
    const left = (this.#next ?? 0) - this.#options.clock.now().getTime();
    if (left <= 0) this.start();
    else this.#timer = setTimeout(() => { this.#sleep(); }, Math.min(left, LONGEST_SLEEP_MS)).unref();
  }
}
