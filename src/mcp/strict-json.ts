/**
 * Strict reading of JSON that a peer wrote. Two parsers that disagree about one text are how a
 * gateway is bypassed, so texts on which parsers are known to disagree are refused before anything
 * looks at them (mcp.md row 2). What is accepted is exactly what `JSON.parse` is to return.
 */
import { isUtf8 } from 'node:buffer';
import { SallyportError } from '../errors.ts';
import { parseExact } from './exact-json.ts';
import { hasEscapedName, repeatedMember, withPlainNames } from './json-tokens.ts';

export interface StrictJson {
  readonly value: unknown;
  /**
   * The decoded text `value` was parsed from. Member names are in their shortest spelling: an MCP server on Node would
   * take `"n\u0061me"` for another name (exact-json.ts), and so read another message than the one decided on.
   */
  readonly text: string;
}

export interface StrictJsonOptions {
  /** Objects and arrays inside each other; the outermost counts as one. Default 64. */
  readonly maxDepth?: number;
}

/**
 * Parses UTF-8 JSON. Refused although `JSON.parse` would take them: member names given twice in one
 * object, NUL in member names, the names `__proto__`, `constructor` and `prototype`, escaped lone
 * surrogates, and nesting beyond `maxDepth`. Names that differ in case only are user data here;
 * where the gateway itself reads names, `look-alike.ts` refuses them.
 *
 * @throws SallyportError `ERR_MCP_PARSE` for what is not JSON in UTF-8, `ERR_MCP_INVALID_REQUEST` for JSON that is refused
 */
export const parseStrictJson = (bytes: Uint8Array, options: StrictJsonOptions = {}): unknown => readStrictJson(bytes, options).value;

/** As `parseStrictJson`, with the text kept for those who pass it on. */
export const readStrictJson = (bytes: Uint8Array, options: StrictJsonOptions = {}): StrictJson => {
  // RFC 8259 §8.1: a byte order mark must not be sent; some parsers skip it and some do not.
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) throw notJson('the body starts with a byte order mark: send plain UTF-8');
  if (!isUtf8(bytes)) throw notJson('the body is not UTF-8');
  const shape = scan(bytes, options.maxDepth ?? defaultMaxDepth);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  let value: unknown;
  try {
    value = parseExact(text);
  } catch {
    // The engine's own message quotes the body, which must not reach a log.
    throw notJson(bytes.length === 0 ? 'the body is empty: send one JSON-RPC message' : 'the body is not JSON');
  }
  // JSON.parse keeps the last of two members with one name, so fewer names than colons means some came twice.
  if (checkedMembers(value, shape.escapes) !== shape.members) {
    throw refused('an object has two members of one name: parsers disagree on which one counts', { member: repeatedMember(text)?.slice(0, 64) });
  }
  return { value, text: hasEscapedName(text) ? withPlainNames(text) : text };
};

const defaultMaxDepth = 64;

interface Shape {
  /** Colons outside strings: in JSON, one for each member of an object. */
  readonly members: number;
  /** Whether any string holds a `\u` escape; without one there are neither NULs nor lone surrogates. */
  readonly escapes: boolean;
}

const quote = 0x22;
const backslash = 0x5c;

/**
 * One pass over the octets before anything is built from them. Up to the first error of grammar it
 * sees what `JSON.parse` sees, and beyond that nothing is parsed. All octets it looks for are ASCII,
 * which never occur inside a multi-octet UTF-8 sequence.
 */
const scan = (bytes: Uint8Array, maxDepth: number): Shape => {
  let members = 0;
  let depth = 0;
  let escapes = false;
  const { length } = bytes;
  for (let index = 0; index < length; index += 1) {
    switch (bytes[index]) {
      case quote:
        for (index += 1; index < length; index += 1) {
          const octet = bytes[index];
          if (octet === quote) break;
          if (octet === backslash) {
            index += 1;
            if (bytes[index] === 0x75) escapes = true;
          }
        }
        break;
      case 0x3a:
        members += 1;
        break;
      case 0x7b:
      case 0x5b:
        depth += 1;
        if (depth > maxDepth) throw refused('the body is nested too deeply', { maxDepth });
        break;
      case 0x7d:
      case 0x5d:
        depth -= 1;
        break;
      default:
    }
  }
  return { members, escapes };
};

/** Counts the members of all objects inside `value`, refusing forbidden names. Depth is bounded already. */
const checkedMembers = (value: unknown, escapes: boolean): number => {
  if (typeof value === 'string') {
    if (escapes && !value.isWellFormed()) throw loneSurrogate();
    return 0;
  }
  if (typeof value !== 'object' || value === null) return 0;
  let members = 0;
  if (Array.isArray(value)) {
    for (const element of value as readonly unknown[]) {
      if (escapes || (typeof element === 'object' && element !== null)) members += checkedMembers(element, escapes);
    }
    return members;
  }
  for (const name of Object.keys(value)) {
    members += 1;
    if (name === '__proto__' || name === 'constructor' || name === 'prototype') throw refused('a member name is reserved', { member: name });
    if (escapes) {
      if (name.includes('\0')) throw refused('a member name contains NUL');
      if (!name.isWellFormed()) throw loneSurrogate();
    }
    const member = (value as Readonly<Record<string, unknown>>)[name];
    if (escapes || (typeof member === 'object' && member !== null)) members += checkedMembers(member, escapes);
  }
  return members;
};

const notJson = (message: string): SallyportError => new SallyportError('ERR_MCP_PARSE', message);

const refused = (message: string, facts: Readonly<Record<string, string | number | undefined>> = {}): SallyportError =>
  new SallyportError('ERR_MCP_INVALID_REQUEST', message, { facts });

const loneSurrogate = (): SallyportError => refused('a string holds half of a surrogate pair, which is not Unicode text');
