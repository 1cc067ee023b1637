/**
 * Keeps an identity alive: renewed at two thirds of its lifetime. The wall clock is asked at least once a
 * minute instead of sleeping until the day, because a machine that sleeps stops the timers, not the certificates.
 */
import type { Clock, Randomness } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import { systemClock, systemRandomness } from '../system.ts';
import { explainFailure } from './explain.ts';
import { loadIdentity } from './identity.ts';
import type { Identity, LoadIdentityOptions } from './identity.ts';
import type { NoticeSink } from './notice.ts';
import { renew } from './renew.ts';
import { RenewalStore } from './renewal-store.ts';

export interface RenewalOptions extends LoadIdentityOptions {
  readonly directory: string;
  /** MCP endpoint at which a new certificate is used first. */
  readonly gateway: URL;
  readonly notice: NoticeSink;
  readonly clock?: Clock;
  readonly randomness?: Randomness;
  /** Where in the time of renewal this one comes, from 0 to 1; drawn when absent, so that a fleet does not come at once. */
  readonly jitter?: number;
  /** For each connection. Default 15,000. */
  readonly timeoutMs?: number;
}

const longestSleepMs = 60_000;
const shortestSleepMs = 250;
const firstRetryMs = 10_000;
const longestRetryMs = 15 * 60_000;
/** While another bridge renews the same identity. */
const otherRenewsMs = 5_000;

/** When a certificate is renewed: between two thirds and three quarters of its lifetime. */
export function renewalDue({ notBefore, notAfter }: Pick<Identity, 'notBefore' | 'notAfter'>, jitter: number): Date {
  const lifetime = notAfter.getTime() - notBefore.getTime();
  return new Date(notBefore.getTime() + Math.floor(lifetime * (2 / 3 + Math.min(1, Math.max(0, jitter)) / 12)));
}

/** Renews until stopped. Nothing it does keeps the process alive, and no failure of it ends anything. */
export class Renewal {
  readonly #options: RenewalOptions;
  readonly #clock: Clock;
  readonly #jitter: number;
  readonly #store: RenewalStore;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #failures = 0;
  #notBefore = 0;
  #remainingMs = Number.POSITIVE_INFINITY;
  #said: string | undefined;
  #stopped = false;

  constructor(options: RenewalOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#jitter = options.jitter ?? Buffer.from((options.randomness ?? systemRandomness).bytes(4)).readUInt32BE() / 0xffff_ffff;
    this.#store = new RenewalStore(options.directory);
  }

  start(): void {
    void this.look().then((next) => this.#sleep(next));
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** Looks at the clock and renews when it is time; resolves with how long nothing is to be done. Never rejects. */
  async look(): Promise<number> {
    let next = longestSleepMs;
    this.#looking ??= this.#look().then(
      (ms) => void (next = ms),
      (error: unknown) => {
        next = this.#failed(error);
      },
    ).finally(() => {
      this.#looking = undefined;
    });
    await this.#looking;
    return Math.min(longestSleepMs, Math.max(shortestSleepMs, next));
  }

  async #look(): Promise<number> {
    const now = this.#clock.now().getTime();
    // A clock that was set back must not turn a pause of minutes into one of days.
    if (this.#notBefore - now > longestRetryMs) this.#notBefore = now;
    if (now < this.#notBefore) return this.#notBefore - now;
    const { directory, gateway, timeoutMs = 15_000 } = this.#options;
    const seen = await loadIdentity(directory, this.#options);
    if (seen.renewal === undefined) return longestSleepMs;
    // Said at every request. The credential for a renewal is gone with it, unless a successor lies there already.
    if (now > seen.notAfter.getTime() && (await this.#store.waiting()) === undefined) return longestSleepMs;
    this.#remainingMs = Math.max(0, seen.notAfter.getTime() - now);
    const due = renewalDue(seen, this.#jitter).getTime();
    if (now < due) {
      this.#failures = 0;
      return due - now;
    }
    const outcome = await this.#store.alone(async () => {
      const identity = await loadIdentity(directory, this.#options);
      // Another bridge was first.
      if (identity.thumbprint !== seen.thumbprint) return undefined;
      return renew({ identity, store: this.#store, gateway, clock: this.#clock, timeoutMs });
    }, this.#clock.now());
    if (outcome === undefined) return this.#pause(otherRenewsMs);
    if (outcome.outcome === 'waiting') throw outcome.why;
    this.#failures = 0;
    this.#said = undefined;
    // Whoever follows the directory says that it was taken into use.
    return shortestSleepMs;
  }

  #failed(error: unknown): number {
    const explained = error instanceof SallyportError ? error : explainFailure(error, { url: this.#options.gateway });
    this.#failures += 1;
    // Never so long that a short life ends in the meantime.
    const pauseMs = Math.max(shortestSleepMs, Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(20, this.#failures - 1), this.#remainingMs / 4));
    // Without an identity there is nothing to renew; whoever uses it says what is wrong with it.
    const none = explained.code === 'ERR_BRIDGE_IDENTITY' && this.#remainingMs === Number.POSITIVE_INFINITY;
    if (this.#said !== explained.message && !none) {
      this.#said = explained.message;
      this.#options.notice({ level: 'warn', message: `the certificate could not be renewed and is tried again until it expires: ${explained.message}`, facts: { code: explained.code, ...explained.facts } });
    }
    return this.#pause(pauseMs);
  }

  #pause(ms: number): number {
    this.#notBefore = this.#clock.now().getTime() + ms;
    return ms;
  }

  #sleep(ms: number): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => this.start(), ms);
    this.#timer.unref();
  }
}
