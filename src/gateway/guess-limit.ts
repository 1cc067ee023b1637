/**
 * Wrong guesses at a secret are few a second: each is an entry in the audit log. Whoever guesses is made to pause, and
 * everybody only when the guesses come from everywhere: else one address could keep all others from enrolling.
 */
import { networkOf } from '../../ca/acme/rate-limits.ts';
import type { Clock } from '../../ca/ports.ts';
import { TokenBucket } from '../../ca/token-bucket.ts';

const ofOne = { perSecond: 5, burst: 100 };
const ofAll = { perSecond: 50, burst: 1_000 };
const pauseMs = 1_000;
/** Networks remembered at once; the one that guessed least lately goes first. */
const most = 10_000;

interface Guesser {
  readonly bucket: TokenBucket;
  pausedUntil: number;
}

export class GuessLimit {
  readonly #clock: Clock;
  readonly #all: Guesser;
  readonly #networks = new Map<string, Guesser>();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#all = { bucket: new TokenBucket(clock, ofAll), pausedUntil: 0 };
  }

  pauses(address: string | undefined): boolean {
    const now = this.#clock.now().getTime();
    return now < this.#all.pausedUntil || now < (this.#networks.get(networkOf(address))?.pausedUntil ?? 0);
  }

  /** That was a wrong one. */
  count(address: string | undefined): void {
    const network = networkOf(address);
    const guesser = this.#networks.get(network) ?? { bucket: new TokenBucket(this.#clock, ofOne), pausedUntil: 0 };
    this.#networks.delete(network);
    this.#networks.set(network, guesser);
    const [oldest] = this.#networks.keys();
    if (this.#networks.size > most && oldest !== undefined) this.#networks.delete(oldest);
    const until = this.#clock.now().getTime() + pauseMs;
    for (const each of [guesser, this.#all]) if (!each.bucket.take()) each.pausedUntil = until;
  }
}
