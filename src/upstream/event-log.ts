/**
 * One resumable stream of a session: every event gets an id and is kept in a bounded ring, and goes
 * to the consumer that is attached, if any. A consumer that comes back with the last id it saw
 * gets what it missed, then what follows.
 */
import { EventQueue } from './event-queue.ts';
import type { SseEvent } from './upstream.ts';

export interface EventLogOptions {
  /** Names the stream within its session; event ids are `<stream>-<number>`. */
  readonly stream: number;
  readonly maxEvents: number;
  readonly maxBytes: number;
  readonly pendingBytes: number;
  readonly onPressure: (paused: boolean) => void;
}

interface Kept {
  readonly number: number;
  readonly event: SseEvent;
}

export class EventLog {
  readonly stream: number;
  readonly #options: EventLogOptions;
  #kept: Kept[] = [];
  #bytes = 0;
  #lastNumber = 0;
  /** The latest event that no consumer was attached for. */
  #undelivered = 0;
  #ended = false;
  #consumer: EventQueue | undefined;

  constructor(options: EventLogOptions) {
    this.stream = options.stream;
    this.#options = options;
  }

  get attached(): boolean {
    return this.#consumer !== undefined;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Characters kept for resumption. */
  get bytes(): number {
    return this.#bytes;
  }

  append(data: string): void {
    if (this.#ended) return;
    this.#lastNumber += 1;
    const event: SseEvent = { id: `${this.stream}-${this.#lastNumber}`, event: undefined, data, retry: undefined };
    this.#kept.push({ number: this.#lastNumber, event });
    this.#bytes += data.length;
    while (this.#kept.length > 1 && (this.#kept.length > this.#options.maxEvents || this.#bytes > this.#options.maxBytes)) {
      this.#bytes -= this.#kept.shift()?.event.data.length ?? 0;
    }
    if (this.#consumer === undefined) this.#undelivered += 1;
    else this.#consumer.push(event);
  }

  /** A consumer without a last event id: it gets what no consumer was there for. */
  attach(signal: AbortSignal): AsyncIterable<SseEvent> {
    return this.#attach(this.#lastNumber - this.#undelivered, signal);
  }

  /**
   * What follows event number `after`. A consumer that is still attached is let go: its connection is
   * most likely dead, and the same peer has come back.
   */
  resume(after: number, signal: AbortSignal): AsyncIterable<SseEvent> {
    return this.#attach(after, signal);
  }

  /** Whether an event of that number was ever sent. */
  knows(number: number): boolean {
    return number >= 0 && number <= this.#lastNumber;
  }

  end(failure?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#consumer?.end(failure);
    this.#consumer = undefined;
  }

  #attach(after: number, signal: AbortSignal): AsyncIterable<SseEvent> {
    this.#consumer?.leave();
    const leave = (): void => queue.leave();
    const queue = new EventQueue({
      pendingBytes: this.#options.pendingBytes,
      onPressure: this.#options.onPressure,
      onLeft: () => {
        signal.removeEventListener('abort', leave);
        if (this.#consumer === queue) this.#consumer = undefined;
      },
    });
    this.#undelivered = 0;
    for (const { number, event } of this.#kept) if (number > after) queue.push(event);
    if (this.#ended) {
      queue.end();
      return queue;
    }
    this.#consumer = queue;
    if (signal.aborted) queue.leave();
    else signal.addEventListener('abort', leave, { once: true });
    return queue;
  }
}

/** `<stream>-<number>` as `EventLog` makes them. */
export const parseEventId = (id: string): { readonly stream: number; readonly number: number } | undefined => {
  const match = /^(?<stream>0|[1-9]\d{0,14})-(?<number>0|[1-9]\d{0,14})$/u.exec(id);
  return match === null ? undefined : { stream: Number(match.groups?.['stream']), number: Number(match.groups?.['number']) };
};
