/**
 * One request of the modern era on its way through a child that many requests share. It is answered as
 * JSON when its response comes first, and as a stream when something else does. Nothing can be resumed.
 */
import type { SallyportError } from '../errors.ts';
import { abandonedError } from './abandoned.ts';
import { errorStatus } from './error-status.ts';
import { EventQueue } from './event-queue.ts';
import type { UpstreamAnswer } from './upstream.ts';

export interface ModernExchangeOptions {
  /** The client's own id and progress token as it wrote them: JSON text. */
  readonly id: string;
  readonly progressToken: string | undefined;
  /** `subscriptions/listen`. */
  readonly listens: boolean;
  /** It asked for `notifications/message`. */
  readonly logs: boolean;
  readonly signal: AbortSignal;
  readonly pendingBytes: number;
  readonly onPressure: (paused: boolean) => void;
  /** Nobody waits for it any more. Called at most once, and not after its end. */
  readonly onAbandoned: () => void;
}

export class ModernExchange {
  readonly answer: Promise<UpstreamAnswer>;
  readonly options: ModernExchangeOptions;
  readonly #settle: { readonly resolve: (answer: UpstreamAnswer) => void; readonly reject: (error: Error) => void };
  readonly #aborted = (): void => this.#onAborted();
  #state: 'pending' | 'streaming' | 'over' = 'pending';
  #queue: EventQueue | undefined;

  constructor(options: ModernExchangeOptions) {
    this.options = options;
    const { promise, resolve, reject } = Promise.withResolvers<UpstreamAnswer>();
    this.answer = promise;
    this.#settle = { resolve, reject };
    // Whoever sent the request may have stopped waiting for it.
    promise.catch(() => undefined);
    options.signal.addEventListener('abort', this.#aborted, { once: true });
  }

  /** Somebody waits for what belongs to it. */
  get open(): boolean {
    return this.#state !== 'over';
  }

  /** A notification that belongs to it. */
  emit(text: string): void {
    this.#stream()?.push({ id: undefined, event: undefined, data: text, retry: undefined });
  }

  respond(text: string, errorCode: number | undefined): void {
    if (this.#state === 'pending' && (!this.options.listens || errorCode !== undefined)) {
      this.#state = 'over';
      this.#settle.resolve({ kind: 'json', status: errorStatus(errorCode), text });
      return;
    }
    this.emit(text);
    this.close();
  }

  /** No response will come, and that is no failure. */
  close(): void {
    const queue = this.#stream();
    this.#state = 'over';
    queue?.end();
  }

  fail(error: SallyportError): void {
    if (this.#state === 'pending') this.#settle.reject(error);
    this.#state = 'over';
    this.#queue?.end(error);
  }

  #stream(): EventQueue | undefined {
    if (this.#state === 'over') return undefined;
    if (this.#queue === undefined) {
      const { pendingBytes, onPressure } = this.options;
      this.#queue = new EventQueue({ pendingBytes, onPressure, onLeft: () => this.#abandon() });
      this.#state = 'streaming';
      this.#settle.resolve({ kind: 'stream', status: 200, events: this.#queue });
    }
    return this.#queue;
  }

  #onAborted(): void {
    if (this.#state === 'pending') this.#settle.reject(abandonedError(this.options.signal));
    // What still waits in the queue would hold up the child.
    if (this.#queue === undefined) this.#abandon();
    else this.#queue.leave();
  }

  #abandon(): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.options.onAbandoned();
  }
}
