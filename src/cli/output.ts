/** What a command says: results on standard output, everything else on standard error. */
import { basename, isAbsolute } from 'node:path';
import { CodedError } from '../../ca/errors.ts';
import { codeOf } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import type { CliIo, CliStream } from './io.ts';

export type Colour = 'bold' | 'dim' | 'red' | 'green' | 'yellow';

const colourCodes: Readonly<Record<Colour, readonly [number, number]>> = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39], yellow: [33, 39] };

export class Output {
  /** Machine output was asked for. */
  readonly json: boolean;
  readonly #io: CliIo;

  constructor(io: CliIo, options: { readonly json: boolean }) {
    this.#io = io;
    this.json = options.json;
  }

  /** The result: `value` as JSON with --json, else the text. */
  result(value: unknown, text: string | (() => string)): void {
    if (this.json) this.#io.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
    else this.line(typeof text === 'string' ? text : text());
  }

  /** Like `result` for a command that goes on: one line of JSON, so that a reader knows it has all of it. */
  event(value: unknown, text: string | (() => string)): void {
    this.line(this.json ? JSON.stringify(value) : typeof text === 'string' ? text : text());
  }

  /** A line of the result in text form, whatever the mode. */
  line(text: string): void {
    this.#io.stdout.write(`${text}\n`);
  }

  bytes(octets: Uint8Array): void {
    this.#io.stdout.write(octets);
  }

  /** Said beside the result. With --json it is left out. */
  note(text: string): void {
    if (!this.json) this.#io.stderr.write(`${text}\n`);
  }

  warn(text: string): void {
    this.#io.stderr.write(this.json ? `${JSON.stringify({ warning: text })}\n` : `${this.onError('yellow', 'warning')} ${text}\n`);
  }

  error(error: unknown): void {
    const { code, message, facts, hint, stack } = describeError(error, this.#io.env);
    if (this.json) {
      this.#io.stderr.write(`${JSON.stringify({ error: { code, message, ...(hint === undefined ? {} : { next: hint }), facts } })}\n`);
      return;
    }
    this.#io.stderr.write(`${this.onError('red', 'error')} ${code}: ${message}\n`);
    if (hint !== undefined) this.#io.stderr.write(`  ${hint}\n`);
    if (stack !== undefined) this.#io.stderr.write(`${stack}\n`);
  }

  /** For standard output. */
  paint(colour: Colour, text: string): string {
    return painted(this.#io, this.#io.stdout, colour, text);
  }

  /** For standard error. */
  onError(colour: Colour, text: string): string {
    return painted(this.#io, this.#io.stderr, colour, text);
  }
}

/** https://no-color.org; FORCE_COLOR as Node and most tools read it. */
function painted(io: CliIo, stream: CliStream, colour: Colour, text: string): string {
  const { NO_COLOR: never, FORCE_COLOR: always, TERM: term } = io.env;
  const wanted = always !== undefined && always !== '' && always !== '0' ? true : stream.isTTY === true && term !== 'dumb';
  if (!wanted || (never !== undefined && never !== '')) return text;
  const [open, close] = colourCodes[colour];
  return `\u001b[${open}m${text}\u001b[${close}m`;
}

/** Where the message of the error does not name the next step by itself. */
const hints: Partial<Record<ErrorCode, string>> = {
  ERR_POLICY_INVALID: 'correct the file; a running gateway keeps the last good policy',
  ERR_KEY_PASSPHRASE: 'give it with --passphrase-file FILE, in SALLYPORT_PASSPHRASE or as the systemd credential sallyport.passphrase',
  ERR_API_DENIED: 'roles are given under admins in sallyport.yaml of the gateway; its audit log says what was missing (sallyport audit tail --action api.decided)',
  ERR_INTERNAL: 'set SALLYPORT_DEBUG=1 to see where it comes from',
};

interface DescribedError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly facts: unknown;
  readonly hint: string | undefined;
  readonly stack: string | undefined;
}

export function describeError(error: unknown, env: CliIo['env']): DescribedError {
  const code = codeOf(error);
  const debug = env['SALLYPORT_DEBUG'] !== undefined && env['SALLYPORT_DEBUG'] !== '';
  return {
    code,
    message: error instanceof Error ? error.message : String(error),
    facts: error instanceof CodedError ? error.facts : {},
    hint: hints[code] ?? hintOf(error),
    stack: debug && error instanceof Error ? error.stack : undefined,
  };
}

/** What is wrong in a file we parse is said line by line; which file it is differs: the gateway's, or a bridge's. */
function hintOf(error: unknown): string | undefined {
  const { file, problems } = error instanceof CodedError ? error.facts : {};
  return Array.isArray(problems) && typeof file === 'string' ? `correct ${basename(file)} and try again` : undefined;
}

/** A path as one would type it into a command. */
export function asArgument(path: string): string {
  return asWord(isAbsolute(path) || path.startsWith('.') ? path : `./${path}`);
}

/** A name or a number as one would type it into a command. */
export const asWord = (text: string): string => (/^[\w@%+=:,./\\-]+$/.test(text) ? text : `"${text}"`);

/** Columns as wide as their widest cell; the last one is not padded. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows].map((row) => row.map(printable));
  const widths = header.map((_, column) => Math.max(...lines.map((line) => [...(line[column] ?? '')].length)));
  return lines.map((line) => line.map((cell, column) => (column === line.length - 1 ? cell : cell + ' '.repeat((widths[column] ?? 0) - [...cell].length))).join('  ').trimEnd()).join('\n');
}

/** Names come from certificates and requests; a terminal must not obey them. */
export const printable = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
