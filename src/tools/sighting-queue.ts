/** Brings what was seen of one upstream's tools into the store, in order, whatever the answers wait for. */
import type { Sighting, ToolStanding } from '../store/tool-definitions.ts';

export interface SightingQueueOptions {
  keep(sighting: Sighting): Promise<readonly ToolStanding[]>;
  onKept(standings: readonly ToolStanding[]): void;
  onFailure(error: unknown): void;
}

/** Sightings that may wait while the store is away; what is seen then is noticed again later. */
const maxWaiting = 256;
const firstRetryMs = 200;
const lastRetryMs = 10_000;

export class SightingQueue {
  readonly #options: SightingQueueOptions;
  readonly #waiting: Sighting[] = [];
  #writing: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = firstRetryMs;
  #closed = false;

  constructor(options: SightingQueueOptions) {
    this.#options = options;
  }

  get full(): boolean {
    return this.#waiting.length >= maxWaiting;
  }

  push(sighting: Sighting): void {
    if (this.#closed) return;
    this.#waiting.push(sighting);
    if (this.#retry === undefined) this.#start();
  }

  /** Resolves once everything pushed so far is kept. @throws CaError `ERR_STORE_UNAVAILABLE` */
  async flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      this.#start();
      await this.#writing;
    }
  }

  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      this.#closed = true;
      clearTimeout(this.#retry);
    }
  }

  #start(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    if (this.#writing !== undefined) return;
    this.#writing = this.#write().finally(() => {
      this.#writing = undefined;
    });
    this.#writing.catch((error: unknown) => {
      this.#options.onFailure(error);
      if (this.#closed) return;
      this.#retry = setTimeout(() => this.#start(), this.#retryMs).unref();
      this.#retryMs = Math.min(this.#retryMs * 2, lastRetryMs);
    });
  }

  async #write(): Promise<void> {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const standings = await this.#options.keep(next);
      this.#waiting.shift();
      this.#retryMs = firstRetryMs;
      this.#options.onKept(standings);
    }
  }
}
