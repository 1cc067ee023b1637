/** How often an address or an account may ask for what costs something. In memory, of this process, and bounded. */
import type { Clock } from '../ports.ts';
import { TokenBucket } from '../token-bucket.ts';
import type { TokenBucketOptions } from '../token-bucket.ts';
import { addressOf } from './address-range.ts';
import { AcmeProblem } from './problem.ts';

/** Each a burst at once, then so many a second. */
export const rates = {
  /** Of an IPv4 address, or of a /64 of IPv6. */
  request: { perSecond: 20, burst: 200 },
  /** Of an address: accounts without an external account, and bindings that are wrong. */
  account: { perSecond: 1 / 60, burst: 20 },
  /** Of an account. */
  order: { perSecond: 0.5, burst: 300 },
  /** Of an account: connections that validation makes. */
  validation: { perSecond: 0.5, burst: 300 },
} as const satisfies Readonly<Record<string, TokenBucketOptions>>;

export type Rate = keyof typeof rates;

/** Remembered at once; the one not used for longest goes first. */
const most = 10_000;

export class RateLimits {
  readonly #clock: Clock;
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws AcmeProblem `rateLimited` */
  take(rate: Rate, who: string): void {
    const key = `${rate} ${who}`;
    const bucket = this.#buckets.get(key) ?? new TokenBucket(this.#clock, rates[rate]);
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size > most && oldest !== undefined) this.#buckets.delete(oldest);
    if (bucket.take()) return;
    const seconds = Math.max(1, Math.ceil(1 / rates[rate].perSecond));
    throw new AcmeProblem('rateLimited', `too many in a short time (${rate}); try again in ${seconds} s`, { headers: { 'retry-after': String(seconds) } });
  }
}

/** Who has one address of IPv6 has 2^64 of them. */
export const networkOf = (address: string | undefined): string => {
  const parsed = addressOf(address ?? '');
  if (parsed === undefined) return 'unknown';
  return parsed.family === 4 ? `4 ${parsed.bits}` : `6 ${parsed.bits >> 64n}`;
};
