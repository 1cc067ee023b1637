/**
 * Events on their way to one consumer. The producer pushes and is told when to pause;
 * the consumer iterates once and may leave at any time.
 */
import type { SseEvent } from './upstream.ts';

export interface EventQueueOptions {
  /** Characters of data waiting before the producer is asked to pause. */
  readonly pendingBytes: number;
  /** `true`: too much is waiting. `false`: it was consumed. */
  readonly onPressure: (paused: boolean) => void;
  /** The consumer left before the end. Called at most once. */
  readonly onLeft: () => void;
}

const finished: IteratorReturnResult<undefined> = { done: true, value: undefined };

export class EventQueue implements AsyncIterableIterator<SseEvent, undefined> {
  readonly #options: EventQueueOptions;
  #events: SseEvent[] = [];
  #next = 0;
  #pending = 0;
  #paused = false;
  #state: 'open' | 'ended' | 'left' = 'open';
  #failure: Error | undefined;
  #waiting: { resolve: (result: IteratorResult<SseEvent, undefined>) => void; reject: (error: Error) => void } | undefined;

  constructor(options: EventQueueOptions) {
    this.#options = options;
  }

  get open(): boolean {
    return this.#state === 'open';
  }

  push(event: SseEvent): void {
    if (this.#state !== 'open') return;
    const waiting = this.#waiting;
    if (waiting !== undefined) {
      this.#waiting = undefined;
      waiting.resolve({ done: false, value: event });
      return;
    }
    this.#events.push(event);
    this.#pending += event.data.length;
    this.#press();
  }

  /** No further events. What waits is still delivered; then the iteration ends, or throws `failure`. */
  end(failure?: Error): void {
    if (this.#state !== 'open') return;
    this.#state = 'ended';
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) this.#failure = failure;
    else if (failure === undefined) waiting.resolve(finished);
    else waiting.reject(failure);
  }

  /** The consumer is gone: what waits is dropped. */
  leave(): void {
    if (this.#state === 'left') return;
    const wasOpen = this.#state === 'open';
    this.#state = 'left';
    this.#events = [];
    this.#next = 0;
    this.#pending = 0;
    this.#failure = undefined;
    this.#waiting?.resolve(finished);
    this.#waiting = undefined;
    this.#press();
    if (wasOpen) this.#options.onLeft();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<SseEvent, undefined>> {
    const event = this.#events[this.#next];
    if (event !== undefined) {
      this.#next += 1;
      if (this.#next === this.#events.length) {
        this.#events = [];
        this.#next = 0;
      }
      this.#pending -= event.data.length;
      this.#press();
      return Promise.resolve({ done: false, value: event });
    }
    if (this.#failure !== undefined) {
      const failure = this.#failure;
      this.#failure = undefined;
      return Promise.reject(failure);
    }
    if (this.#state !== 'open') return Promise.resolve(finished);
    if (this.#waiting !== undefined) return Promise.reject(new TypeError('events are iterated by one consumer, one at a time'));
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  return(): Promise<IteratorReturnResult<undefined>> {
    this.leave();
    return Promise.resolve(finished);
  }

  #press(): void {
    const paused = this.#pending > this.#options.pendingBytes;
    if (paused === this.#paused) return;
    // Resumed only at half, so that a slow consumer does not make the producer flutter.
    if (!paused && this.#pending * 2 > this.#options.pendingBytes) return;
    this.#paused = paused;
    this.#options.onPressure(paused);
  }
}
