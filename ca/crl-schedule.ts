/** When CRLs are rebuilt: after revocations, at most one in `coalesceMs`; at half-life; at start. */
import { bothOf } from './crl.ts';
import type { CrlDemand, CrlPublisher } from './crl.ts';
import type { Clock, SerialHex } from './ports.ts';
import type { IssuerName } from './requests.ts';

export interface CrlScheduleOptions {
  /** Only of issuers whose key is here. */
  readonly publishers: ReadonlyMap<IssuerName, CrlPublisher>;
  readonly clock: Clock;
  readonly coalesceMs: number;
  /** Further work of each round. */
  readonly maintain: () => Promise<void>;
  readonly onError: (error: unknown) => void;
}

/** Longest time between two looks at what is due; a sleeping laptop is caught up with at the next. */
const roundMs = 60_000;
const retryMs = 5_000;

export class CrlSchedule {
  readonly #options: CrlScheduleOptions;
  readonly #lastStart = new Map<IssuerName, number>();
  /** Rebuilds asked for and not begun. */
  readonly #waiting = new Map<IssuerName, { readonly timer: NodeJS.Timeout; demand: CrlDemand }>();
  readonly #building = new Set<Promise<void>>();
  #round: NodeJS.Timeout | undefined;
  #state: 'idle' | 'started' | 'closed' = 'idle';

  constructor(options: CrlScheduleOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    if (this.#state !== 'idle') return;
    this.#state = 'started';
    await this.#lookAround();
    // What was revoked by a process that died before it could publish is not on any CRL yet.
    for (const which of this.#options.publishers.keys()) if (!this.#lastStart.has(which)) this.#request(which, 'all');
  }

  /** These were revoked or released: rebuild what they are on soon. Any number of requests before the rebuild begins are one. Without serials: whatever has changed. */
  request(which: IssuerName, serials?: readonly SerialHex[]): void {
    this.#request(which, serials ?? 'anything');
  }

  #request(which: IssuerName, demand: CrlDemand, delayMs?: number): void {
    const waiting = this.#waiting.get(which);
    if (waiting !== undefined) {
      waiting.demand = bothOf(waiting.demand, demand);
      return;
    }
    if (!this.#options.publishers.has(which) || this.#state === 'closed') return;
    const sinceLast = performance.now() - (this.#lastStart.get(which) ?? -Infinity);
    const timer = setTimeout(() => {
      this.#build(which);
    }, delayMs ?? Math.max(0, this.#options.coalesceMs - sinceLast));
    this.#waiting.set(which, { timer, demand });
  }

  /** Builds what is waited for, now, and waits for it. */
  async close(): Promise<void> {
    this.#state = 'closed';
    clearTimeout(this.#round);
    for (const which of this.#waiting.keys()) this.#build(which);
    await Promise.all(this.#building);
  }

  #build(which: IssuerName): void {
    const waiting = this.#waiting.get(which);
    clearTimeout(waiting?.timer);
    this.#waiting.delete(which);
    this.#lastStart.set(which, performance.now());
    const building = this.#publish(which, waiting?.demand ?? 'anything').finally(() => this.#building.delete(building));
    this.#building.add(building);
  }

  async #publish(which: IssuerName, demand: CrlDemand): Promise<void> {
    try {
      await this.#options.publishers.get(which)?.publish({ demand });
    } catch (error) {
      this.#options.onError(error);
      if (this.#state === 'started') this.#request(which, demand, retryMs);
    }
  }

  async #lookAround(): Promise<void> {
    const { publishers, clock, maintain, onError } = this.#options;
    let nextMs = roundMs;
    for (const [which, publisher] of publishers) {
      try {
        if ((await publisher.dueAt()) <= clock.now()) {
          this.#lastStart.set(which, performance.now());
          await publisher.publish({ demand: [] });
        }
        await publisher.syncFiles();
        await publisher.withdraw();
        nextMs = Math.min(nextMs, Math.max(1_000, (await publisher.dueAt()).getTime() - clock.now().getTime()));
      } catch (error) {
        onError(error);
        nextMs = retryMs;
      }
    }
    await maintain().catch(onError);
    if (this.#state !== 'started') return;
    this.#round = setTimeout(() => {
      void this.#lookAround();
    }, nextMs);
    // Nothing is lost when the process ends before: the next start looks again.
    this.#round.unref();
  }
}
