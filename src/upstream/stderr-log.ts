/** What a child writes to stderr, on its way into the log: without secrets, cut, and limited in number, because a child may never stop. */
import type { Clock } from '../../ca/ports.ts';
import { SecretRedactor } from './secret-redaction.ts';
import type { UpstreamLog } from './upstream-log.ts';

export interface StderrLogOptions {
  readonly log: UpstreamLog;
  readonly clock: Clock;
  /** Carried on every line. */
  readonly facts: Readonly<Record<string, string | number | undefined>>;
  readonly lineBytes: number;
  readonly linesPerMinute: number;
  /** Never logged, whatever stands around them. */
  readonly secrets?: readonly string[] | undefined;
}

/** Read beyond what is logged, so that a secret at the cut is still known for one. */
const overlap = 512;

export class StderrLog {
  readonly #options: StderrLogOptions;
  readonly #decoder = new TextDecoder();
  readonly #redactor: SecretRedactor;
  #line = '';
  #cut = false;
  #minute = 0;
  #lines = 0;
  #suppressed = 0;

  constructor(options: StderrLogOptions) {
    this.#options = options;
    this.#redactor = new SecretRedactor(options.secrets);
  }

  push(chunk: Uint8Array): void {
    const lines = this.#decoder.decode(chunk, { stream: true }).split('\n');
    for (const [index, part] of lines.entries()) {
      if (index > 0) this.#finish();
      const room = this.#options.lineBytes + overlap - this.#line.length;
      this.#cut ||= part.length > room;
      this.#line += part.slice(0, Math.max(0, room));
    }
  }

  end(): void {
    this.#finish();
    this.#reportSuppressed();
  }

  #finish(): void {
    // Lines that are not logged count too: they may begin or end a private key.
    const line = this.#redactor.redact(this.#line.trimEnd());
    const text = line.slice(0, this.#options.lineBytes).trimEnd();
    const cut = this.#cut || line.length > this.#options.lineBytes;
    this.#line = '';
    this.#cut = false;
    if (text === '' || !this.#allowed()) return;
    this.#options.log.info({ ...this.#options.facts, text, ...(cut ? { cut } : {}) }, 'upstream wrote to stderr');
  }

  #allowed(): boolean {
    const minute = Math.floor(this.#options.clock.now().getTime() / 60_000);
    if (minute !== this.#minute) {
      this.#reportSuppressed();
      this.#minute = minute;
      this.#lines = 0;
    }
    this.#lines += 1;
    if (this.#lines <= this.#options.linesPerMinute) return true;
    this.#suppressed += 1;
    return false;
  }

  #reportSuppressed(): void {
    if (this.#suppressed === 0) return;
    this.#options.log.warn({ ...this.#options.facts, lines: this.#suppressed }, 'upstream wrote more to stderr than is logged');
    this.#suppressed = 0;
  }
}
