/**
 * One POST on its way through a stdio session: from the requests it carried to their last response.
 * It is answered as JSON when the response comes first, and as a stream otherwise.
 */
import type { SallyportError } from '../errors.ts';
import type { RequestId } from '../mcp/message.ts';
import { abandonedError } from './abandoned.ts';
import type { EventLog } from './event-log.ts';
import type { UpstreamAnswer } from './upstream.ts';

export interface PostExchangeOptions {
  readonly requests: readonly RequestId[];
  /** Batches are answered as a stream, one event a response. */
  readonly batch: boolean;
  /** Revision 2025-11-25: a stream starts with an event that has an id and no data, so that it can be resumed from its start. */
  readonly primed: boolean;
  /** Takes nothing but responses. */
  readonly own: boolean;
  readonly signal: AbortSignal;
  readonly openStreamAfterMs: number;
  readonly openLog: () => EventLog;
}

export class PostExchange {
  readonly answer: Promise<UpstreamAnswer>;
  readonly #options: PostExchangeOptions;
  readonly #awaited: Set<RequestId>;
  readonly #settle: { resolve: (answer: UpstreamAnswer) => void; reject: (error: Error) => void };
  readonly #abandon = (): void => this.#onAbandoned();
  #slow: NodeJS.Timeout | undefined;
  #state: 'pending' | 'answered' | 'abandoned' = 'pending';
  #log: EventLog | undefined;

  constructor(options: PostExchangeOptions) {
    this.#options = options;
    this.#awaited = new Set(options.requests);
    const { promise, resolve, reject } = Promise.withResolvers<UpstreamAnswer>();
    this.answer = promise;
    this.#settle = { resolve, reject };
    // Whoever sent the POST may have stopped waiting for it.
    promise.catch(() => undefined);
    options.signal.addEventListener('abort', this.#abandon, { once: true });
    if (!options.own) this.#slow = setTimeout(() => this.#openStream(), options.openStreamAfterMs).unref();
  }

  get requests(): readonly RequestId[] {
    return this.#options.requests;
  }

  get done(): boolean {
    return this.#awaited.size === 0;
  }

  /** Somebody is there to receive a message now. */
  get reachable(): boolean {
    return !this.#options.own && (this.#state === 'pending' || this.#log?.attached === true);
  }

  /** Nobody is there now, but the stream may be resumed. */
  get resumable(): boolean {
    return this.#log !== undefined;
  }

  /** A request or notification of the child that belongs here. */
  emit(text: string): void {
    this.#openStream();
    this.#log?.append(text);
  }

  respond(id: RequestId, text: string): void {
    this.#awaited.delete(id);
    if (this.#state === 'pending' && !this.#options.batch) {
      this.#answer({ kind: 'json', status: 200, text });
      return;
    }
    this.emit(text);
    if (this.done) this.#log?.end();
  }

  /** No response will come for this request any more. */
  forget(id: RequestId): void {
    this.#awaited.delete(id);
    if (!this.done) return;
    this.#openStream();
    this.#log?.end();
  }

  fail(error: SallyportError): void {
    this.#awaited.clear();
    if (this.#state === 'pending') {
      this.#leavePending('answered');
      this.#settle.reject(error);
    }
    this.#log?.end(error);
  }

  #openStream(): void {
    if (this.#state !== 'pending') return;
    this.#log = this.#options.openLog();
    if (this.#options.primed) this.#log.append('');
    this.#answer({ kind: 'stream', status: 200, events: this.#log.attach(this.#options.signal) });
  }

  #answer(answer: UpstreamAnswer): void {
    this.#leavePending('answered');
    this.#settle.resolve(answer);
  }

  /** A disconnect is no cancellation: the child goes on, but its answer has nobody to go to and no event id to be asked for by. */
  #onAbandoned(): void {
    this.#leavePending('abandoned');
    this.#settle.reject(abandonedError(this.#options.signal));
  }

  #leavePending(state: 'answered' | 'abandoned'): void {
    this.#state = state;
    clearTimeout(this.#slow);
    this.#options.signal.removeEventListener('abort', this.#abandon);
  }
}
