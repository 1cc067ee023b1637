/** Where the statements of a TOML text stand. For texts that a parser has accepted before; values are skipped, not read. */
import { parse } from 'smol-toml';

export interface TomlStatement {
  readonly kind: 'table' | 'tables' | 'pair';
  /** Names from the outside in; for a pair those of its key alone. */
  readonly path: readonly string[];
  readonly start: number;
  /** Behind the line end. */
  readonly end: number;
}

/** In the order of the text. What stands on the line behind a statement, a comment above all, belongs to it. */
export function tomlStatements(text: string): readonly TomlStatement[] {
  const statements: TomlStatement[] = [];
  let at = 0;
  while (at < text.length) {
    const character = text[at] ?? '';
    if (' \t\r\n'.includes(character)) at += 1;
    else if (character === '#') at = endOfLine(text, at);
    else {
      const start = at;
      const [head, behind] = headAt(text, at);
      at = endOfLine(text, character === '[' ? behind : endOfValue(text, behind));
      const kind = head.startsWith('[[') ? 'tables' : character === '[' ? 'table' : 'pair';
      statements.push({ kind, path: namesIn(kind === 'pair' ? `${head} = 0` : head), start, end: at });
    }
  }
  return statements;
}

/** A header with its brackets, or a key; and the place behind it, for a key behind the equals sign. */
function headAt(text: string, start: number): readonly [head: string, behind: number] {
  const closing = text.startsWith('[[', start) ? ']]' : text[start] === '[' ? ']' : '=';
  let at = start;
  while (at < text.length && !text.startsWith(closing, at)) at = text[at] === '"' || text[at] === "'" ? endOfString(text, at) : at + 1;
  return closing === '=' ? [text.slice(start, at), at + 1] : [text.slice(start, at + closing.length), at + closing.length];
}

/** The line end or comment behind a value; inside brackets neither ends it. */
function endOfValue(text: string, start: number): number {
  let depth = 0;
  let at = start;
  while (at < text.length) {
    const character = text[at] ?? '';
    if (depth === 0 && (character === '\n' || character === '#')) return at;
    if (character === '#') at = endOfLine(text, at);
    else if (character === '"' || character === "'") at = endOfString(text, at);
    else {
      if (character === '[' || character === '{') depth += 1;
      if (character === ']' || character === '}') depth -= 1;
      at += 1;
    }
  }
  return at;
}

/** Behind the closing quote of any of the four kinds of strings. */
function endOfString(text: string, start: number): number {
  const quote = text[start] ?? '';
  const long = text.startsWith(quote.repeat(3), start);
  const closing = long ? quote.repeat(3) : quote;
  let at = start + closing.length;
  while (at < text.length && !text.startsWith(closing, at)) at += quote === '"' && text[at] === '\\' ? 2 : 1;
  at += closing.length;
  // Up to two quotes more may belong to a long string that ends with quotes.
  if (long) for (let more = 0; more < 2 && text[at] === quote; more += 1) at += 1;
  return Math.min(at, text.length);
}

function endOfLine(text: string, start: number): number {
  const end = text.indexOf('\n', start);
  return end === -1 ? text.length : end + 1;
}

/** The names of a header or key, which alone are TOML too. */
function namesIn(statement: string): readonly string[] {
  const names: string[] = [];
  let value: unknown = parse(statement);
  for (;;) {
    if (Array.isArray(value)) value = (value as readonly unknown[])[0];
    const [entry] = typeof value === 'object' && value !== null ? Object.entries(value) : [];
    if (entry === undefined) return names;
    names.push(entry[0]);
    value = entry[1];
  }
}
