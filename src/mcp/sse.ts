/**
 * Server-sent events (WHATWG HTML §9.2), strictly: octets that are not UTF-8 and events beyond the
 * bound end the stream instead of being mended.
 */
import { isUtf8 } from 'node:buffer';
import { SallyportError } from '../errors.ts';
import type { SseEvent } from '../upstream/upstream.ts';

export interface SseDecoderOptions {
  /** Octets of one event, line ends and comments included. */
  readonly maxEventBytes: number;
}

/** Takes a stream in pieces of any size and gives the same events however it was cut. */
export class SseDecoder {
  readonly #maxEventBytes: number;
  /** What came of a line that has not ended yet, at the start of a buffer that doubles as it fills. */
  #partial = Buffer.alloc(0);
  #partialLength = 0;
  #eventBytes = 0;
  #afterCarriageReturn = false;
  #firstLine = true;
  #event = emptyEvent();

  constructor(options: SseDecoderOptions) {
    this.#maxEventBytes = options.maxEventBytes;
  }

  /**
   * @returns the events that ended in this piece. Events without data are given only when they
   *   carry an id or a retry time; what is not ended at the end of the stream is dropped.
   * @throws SallyportError `ERR_UPSTREAM_TOO_LARGE`, `ERR_UPSTREAM_INVALID`
   */
  push(chunk: Uint8Array): SseEvent[] {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const events: SseEvent[] = [];
    let start = 0;
    for (let index = 0; index < bytes.length; index += 1) {
      const octet = bytes[index];
      const second = this.#afterCarriageReturn && octet === lineFeed;
      this.#afterCarriageReturn = octet === carriageReturn;
      if (second) {
        start = index + 1;
        continue;
      }
      if (octet !== lineFeed && octet !== carriageReturn) continue;
      this.#count(index + 1 - start);
      const event = this.#line(this.#take(bytes.subarray(start, index)));
      if (event !== undefined) events.push(event);
      start = index + 1;
    }
    if (start < bytes.length) {
      this.#count(bytes.length - start);
      this.#keep(bytes.subarray(start));
    }
    return events;
  }

  #count(length: number): void {
    this.#eventBytes += length;
    if (this.#eventBytes > this.#maxEventBytes) {
      throw new SallyportError('ERR_UPSTREAM_TOO_LARGE', 'an event of the stream is larger than is allowed', { facts: { maxEventBytes: this.#maxEventBytes } });
    }
  }

  /** Copied, since the caller may use its buffer again. */
  #keep(bytes: Buffer): void {
    const length = this.#partialLength + bytes.length;
    if (length > this.#partial.length) {
      const larger = Buffer.alloc(Math.max(1024, length * 2));
      larger.set(this.#partial.subarray(0, this.#partialLength));
      this.#partial = larger;
    }
    this.#partial.set(bytes, this.#partialLength);
    this.#partialLength = length;
  }

  #take(end: Buffer): string {
    if (this.#partialLength > 0) this.#keep(end);
    const line = this.#partialLength > 0 ? this.#partial.subarray(0, this.#partialLength) : end;
    this.#partialLength = 0;
    if (!isUtf8(line)) throw new SallyportError('ERR_UPSTREAM_INVALID', 'the event stream is not UTF-8');
    return line.toString('utf8');
  }

  #line(text: string): SseEvent | undefined {
    // One byte order mark may start the stream.
    const line = this.#firstLine && text.startsWith('\uFEFF') ? text.slice(1) : text;
    this.#firstLine = false;
    if (line === '') return this.#dispatch();
    if (line.startsWith(':')) {
      // Comments between events belong to none, so a stream that is only kept alive never grows too large.
      if (this.#event.untouched) this.#eventBytes = 0;
      return undefined;
    }
    this.#event.untouched = false;
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'data') this.#event.data.push(value);
    // With NUL a name could not be written again, and an id is none (WHATWG HTML §9.2.6); so is a retry time that is no number.
    else if (field === 'event' && !value.includes('\0')) this.#event.event = value;
    else if (field === 'id' && !value.includes('\0')) this.#event.id = value;
    else if (field === 'retry' && /^\d{1,9}$/.test(value)) this.#event.retry = Number(value);
    return undefined;
  }

  #dispatch(): SseEvent | undefined {
    const { id, event, data, retry } = this.#event;
    this.#event = emptyEvent();
    this.#eventBytes = 0;
    if (data.length === 0 && id === undefined && retry === undefined) return undefined;
    return { id, event: event === '' ? undefined : event, data: data.join('\n'), retry };
  }
}

/**
 * Writes one event. Line ends in the data become further data lines, so that data cannot end an
 * event or start a field.
 * @throws TypeError when the id or the name of the event holds a line end or NUL
 */
export const encodeSseEvent = (event: SseEvent): string => {
  let text = '';
  if (event.event !== undefined) text += `event: ${oneLine(event.event)}\n`;
  if (event.id !== undefined) text += `id: ${oneLine(event.id)}\n`;
  if (event.retry !== undefined && Number.isSafeInteger(event.retry) && event.retry >= 0) text += `retry: ${event.retry}\n`;
  // A bare retry time is no message; an id with empty data primes resumption.
  if (event.data !== '' || event.id !== undefined || event.retry === undefined) {
    text += /[\r\n]/.test(event.data) ? event.data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`).join('') : `data: ${event.data}\n`;
  }
  return `${text}\n`;
};

/** A comment, which keeps an idle stream from being closed by what lies between. */
export const encodeSseComment = (text: string): string => `: ${oneLine(text)}\n\n`;

const lineFeed = 0x0a;
const carriageReturn = 0x0d;

const emptyEvent = (): { untouched: boolean; id: string | undefined; event: string | undefined; data: string[]; retry: number | undefined } => ({
  untouched: true,
  id: undefined,
  event: undefined,
  data: [],
  retry: undefined,
});

const oneLine = (text: string): string => {
  if (/[\r\n\0]/.test(text)) throw new TypeError('a field of a server-sent event must be one line');
  return text;
};
