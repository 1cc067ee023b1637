/**
 * Newline framing of the stdio transport, bounded: a line longer than allowed is skipped to its
 * end and reported, never buffered whole.
 */
import { Buffer, isUtf8 } from 'node:buffer';

export interface LineReaderOptions {
  readonly maxBytes: number;
  readonly onLine: (line: string) => void;
  readonly onDropped: (reason: 'tooLong' | 'encoding', bytes: number) => void;
}

const newline = 0x0a;
const carriageReturn = 0x0d;

export class LineReader {
  readonly #options: LineReaderOptions;
  #parts: Buffer[] = [];
  #length = 0;
  #skipping = false;

  constructor(options: LineReaderOptions) {
    this.#options = options;
  }

  push(chunk: Buffer): void {
    let start = 0;
    while (start < chunk.length) {
      const end = chunk.indexOf(newline, start);
      this.#take(chunk.subarray(start, end === -1 ? chunk.length : end));
      if (end === -1) return;
      this.#finish();
      start = end + 1;
    }
  }

  /** The end of the input; an unterminated line counts as one. */
  end(): void {
    if (this.#length > 0) this.#finish();
  }

  #take(part: Buffer): void {
    this.#length += part.length;
    if (this.#skipping || part.length === 0) return;
    if (this.#length > this.#options.maxBytes) {
      this.#skipping = true;
      this.#parts = [];
      return;
    }
    this.#parts.push(part);
  }

  #finish(): void {
    const length = this.#length;
    const parts = this.#parts;
    const tooLong = this.#skipping;
    this.#parts = [];
    this.#length = 0;
    this.#skipping = false;
    if (tooLong) {
      this.#options.onDropped('tooLong', length);
      return;
    }
    const first = parts[0];
    if (first === undefined) return;
    let line = parts.length === 1 ? first : Buffer.concat(parts, length);
    if (line[line.length - 1] === carriageReturn) line = line.subarray(0, -1);
    if (line.length === 0) return;
    if (isUtf8(line)) this.#options.onLine(line.toString('utf8'));
    else this.#options.onDropped('encoding', length);
  }
}
