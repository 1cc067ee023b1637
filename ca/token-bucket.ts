/** Bounds how often something costly is done: a burst at once, then so many a second. */
import type { Clock } from './ports.ts';

export interface TokenBucketOptions {
  readonly perSecond: number;
  readonly burst: number;
}

export class TokenBucket {
  readonly #clock: Clock;
  readonly #options: TokenBucketOptions;
  #tokens: number;
  #filledAt: number;

  constructor(clock: Clock, options: TokenBucketOptions) {
    this.#clock = clock;
    this.#options = options;
    this.#tokens = options.burst;
    this.#filledAt = clock.now().getTime();
  }

  /** Whether it may be done now; if so, it counts. */
  take(): boolean {
    const now = this.#clock.now().getTime();
    // A clock that was set back gives nothing, and takes nothing.
    const gained = (Math.max(0, now - this.#filledAt) / 1_000) * this.#options.perSecond;
    this.#tokens = Math.min(this.#options.burst, this.#tokens + gained);
    this.#filledAt = now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}

/** One for each of those who ask, in bounded memory: the one not used for longest is forgotten first. */
export class TokenBuckets {
  readonly #clock: Clock;
  readonly #options: TokenBucketOptions & { readonly most: number };
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(clock: Clock, options: TokenBucketOptions & { readonly most: number }) {
    this.#clock = clock;
    this.#options = options;
  }

  take(who: string): boolean {
    const bucket = this.#buckets.get(who) ?? new TokenBucket(this.#clock, this.#options);
    this.#buckets.delete(who);
    this.#buckets.set(who, bucket);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size > this.#options.most && oldest !== undefined) this.#buckets.delete(oldest);
    return bucket.take();
  }
}
