/**
 * The answer to one request while it comes about: JSON when the response comes first, a stream
 * when something has to be said before it or when it takes long.
 */
import type { SallyportError } from '../errors.ts';
import { abandonedError } from '../upstream/abandoned.ts';
import { EventQueue } from '../upstream/event-queue.ts';
import type { UpstreamAnswer } from '../upstream/upstream.ts';

export interface OutletOptions {
  readonly signal: AbortSignal;
  readonly openStreamAfterMs: number;
  readonly pendingBytes: number;
  /** Nobody waits for the answer any more. Called at most once, and not after the end. */
  readonly onAbandoned: () => void;
}

export class Outlet {
  readonly answer: Promise<UpstreamAnswer>;
  readonly #options: OutletOptions;
  readonly #settle: { readonly resolve: (answer: UpstreamAnswer) => void; readonly reject: (error: Error) => void };
  readonly #onAbort = (): void => this.#abandon();
  readonly #slow: NodeJS.Timeout;
  #queue: EventQueue | undefined;
  #ended = false;
  #room: PromiseWithResolvers<void> | undefined;

  constructor(options: OutletOptions) {
    this.#options = options;
    const { promise, resolve, reject } = Promise.withResolvers<UpstreamAnswer>();
    this.answer = promise;
    // Whoever asked may have stopped waiting.
    promise.catch(() => undefined);
    this.#settle = { resolve, reject };
    this.#slow = setTimeout(() => this.openStream(), options.openStreamAfterMs);
    this.#slow.unref();
    options.signal.addEventListener('abort', this.#onAbort, { once: true });
    if (options.signal.aborted) queueMicrotask(this.#onAbort);
  }

  get ended(): boolean {
    return this.#ended;
  }

  openStream(): void {
    if (this.#ended || this.#queue !== undefined) return;
    clearTimeout(this.#slow);
    this.#queue = new EventQueue({
      pendingBytes: this.#options.pendingBytes,
      onPressure: (paused) => {
        if (paused) this.#room = Promise.withResolvers<void>();
        else this.#room?.resolve();
      },
      onLeft: () => this.#abandon(),
    });
    this.#settle.resolve({ kind: 'stream', status: 200, events: this.#queue });
  }

  /** A message before the last one. */
  send(text: string): void {
    if (this.#ended) return;
    this.openStream();
    this.#queue?.push({ id: undefined, event: undefined, data: text, retry: undefined });
  }

  /** The last message. The status is that of a JSON answer; a stream has its own already. */
  finish(text: string, status = 200): void {
    if (this.#ended) return;
    if (this.#queue === undefined) {
      this.#end();
      this.#settle.resolve({ kind: 'json', status, text });
      return;
    }
    this.send(text);
    this.#end();
    this.#queue.end();
  }

  /** No response will come, and none is owed. */
  close(): void {
    if (this.#ended) return;
    this.openStream();
    this.#end();
    this.#queue?.end();
  }

  fail(error: SallyportError): void {
    if (this.#ended) return;
    this.#end();
    if (this.#queue === undefined) this.#settle.reject(error);
    else this.#queue.end(error);
  }

  /** Resolves when the reader keeps up. */
  room(): Promise<void> {
    return this.#room?.promise ?? Promise.resolve();
  }

  #abandon(): void {
    if (this.#ended) return;
    this.#end();
    this.#queue?.leave();
    this.#settle.reject(abandonedError(this.#options.signal));
    this.#options.onAbandoned();
  }

  #end(): void {
    this.#ended = true;
    clearTimeout(this.#slow);
    this.#options.signal.removeEventListener('abort', this.#onAbort);
    this.#room?.resolve();
  }
}
