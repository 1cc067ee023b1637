/**
 * Keeps an identity alive: renewed at two thirds of its lifetime. The wall clock is asked at least once a
 * minute instead of sleeping until the day, because a machine that sleeps stops the timers, not the certificates.
 */
import type { Clock, Randomness } from '../../ca/ports.ts';
import { renewalDue } from '../../ca/renewal-due.ts';
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
  /** MCP endpoint at which a new certificate is used first. Default: the one the identity names. */
  readonly gateway?: URL | undefined;
  readonly notice: NoticeSink;
  readonly clock?: Clock;
  readonly randomness?: Randomness;
  /** Where in the time of renewal this one comes, from 0 to 1; drawn when absent, so that a fleet does not come at once. */
  readonly jitter?: number;
  /** For each connection. Default 15,000. */
  readonly timeoutMs?: number;
  /** Whether the successor gets a key of its own. Default `new`. */
  readonly key?: 'new' | 'same' | undefined;
  /** After each look that succeeded; awaited before the next. */
  readonly onLook?: ((look: RenewalLook) => Promise<void>) | undefined;
}

/** What one look came to. */
export type RenewalLook =
  | { readonly outcome: 'fresh'; readonly identity: Identity; readonly due: Date }
  /** `replaces` is the serial of the one before. */
  | { readonly outcome: 'renewed'; readonly identity: Identity; readonly replaces: string }
  /** It names no renewal, or it has ended and the gateway renews it no more. */
  | { readonly outcome: 'unrenewable'; readonly identity: Identity; readonly why: 'noRenewal' | 'expired' }
  /** Another process is at it. */
  | { readonly outcome: 'elsewhere'; readonly identity: Identity };

export interface LookOptions extends LoadIdentityOptions {
  readonly directory: string;
  readonly store: RenewalStore;
  readonly gateway: URL | undefined;
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly jitter: number;
  readonly key: 'new' | 'same' | undefined;
  /** Whether it is time does not matter. */
  readonly force: boolean;
}

/** Renews when it is time. Rejects with why it could not be done; what is in use stays. */
export async function renewWhenDue(options: LookOptions): Promise<RenewalLook> {
  const { directory, store, clock, passphrase, timeoutMs, key } = options;
  const seen = await loadIdentity(directory, options);
  await store.repair(clock.now());
  const now = clock.now().getTime();
  if (seen.renewal === undefined) return { outcome: 'unrenewable', identity: seen, why: 'noRenewal' };
  const due = renewalDue(seen, options.jitter);
  if (now < due.getTime() && !options.force) return { outcome: 'fresh', identity: seen, due };
  const renewing = store.alone(async () => {
    const identity = await loadIdentity(directory, options);
    // Another process was first.
    if (identity.thumbprint !== seen.thumbprint) return undefined;
    const gateway = options.gateway ?? (identity.gateway === undefined ? undefined : new URL(identity.gateway));
    return renew({ identity, store, gateway, clock, timeoutMs, passphrase, key });
  }, clock.now());
  const renewed = await renewing.catch((error: unknown) => {
    // Whether one that has ended is still good for it, only the gateway knows (ca.renewalGrace).
    if (now > seen.notAfter.getTime() && isTooLate(error)) return 'tooLate' as const;
    throw error;
  });
  if (renewed === 'tooLate') return { outcome: 'unrenewable', identity: seen, why: 'expired' };
  if (renewed === undefined) return { outcome: 'elsewhere', identity: seen };
  if (renewed.outcome === 'waiting') throw renewed.why;
  return { outcome: 'renewed', identity: renewed.identity, replaces: seen.serial };
}

const isTooLate = (error: unknown): boolean => error instanceof SallyportError && (error.facts['reason'] === 'ERR_PEER_EXPIRED' || error.facts['reason'] === 'ERR_CA_TTL');

const longestSleepMs = 60_000;
const shortestSleepMs = 250;
const firstRetryMs = 10_000;
const longestRetryMs = 15 * 60_000;
/** While another process renews the same identity. */
const otherRenewsMs = 5_000;

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
    if (this.#stopped) return;
    void this.look().then((next) => this.#sleep(next));
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** What is under way is finished: a successor that was asked for is not left lying there. */
  async close(): Promise<void> {
    this.stop();
    await this.#looking;
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
    const { timeoutMs = 15_000, gateway, key } = this.#options;
    const { notAfter } = await loadIdentity(this.#options.directory, this.#options);
    // What has ended already is in no hurry, and an enrollment port that is away is not to be asked four times a second.
    this.#remainingMs = notAfter.getTime() > now ? notAfter.getTime() - now : Number.MAX_SAFE_INTEGER;
    const look = await renewWhenDue({ ...this.#options, gateway, key, timeoutMs, store: this.#store, clock: this.#clock, jitter: this.#jitter, force: false });
    await this.#options.onLook?.(look);
    switch (look.outcome) {
      // An expired one is said at every request.
      case 'unrenewable':
        return look.why === 'expired' ? this.#pause(longestRetryMs) : longestSleepMs;
      case 'elsewhere':
        return this.#pause(Math.min(otherRenewsMs, Math.max(shortestSleepMs, this.#remainingMs / 4)));
      case 'fresh':
        this.#failures = 0;
        return look.due.getTime() - now;
      case 'renewed':
        this.#failures = 0;
        this.#said = undefined;
        // Whoever follows the directory says that it was taken into use.
        return shortestSleepMs;
    }
  }

  #failed(error: unknown): number {
    const explained = error instanceof SallyportError ? error : explainFailure(error, { url: this.#options.gateway ?? new URL('https://gateway') });
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
