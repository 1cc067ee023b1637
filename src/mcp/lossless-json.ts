/**
 * JSON that survives being parsed and written again: numbers that a double cannot hold, or would
 * spell in another way, are kept as their own text (mcp.md row 3).
 */
import { buildExact, nested, parseExact } from './exact-json.ts';
import { hasEscapedName, someNumber } from './json-tokens.ts';

/** What ES2025 calls raw JSON; TypeScript's library does not know these members yet. */
interface RawJson {
  readonly rawJSON: string;
}

const json = JSON as unknown as {
  rawJSON(text: string): RawJson;
  isRawJSON(value: unknown): value is RawJson;
  parse(text: string, reviver: (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown): unknown;
};

/** The start of a number that a round trip through a double may spell in another way. Strings may hold one too. */
const fragileNumber = /(?:^|[[:,\s])(?:-0|-?\d+[.eE]|-?\d{16})/;

/**
 * Parses as `JSON.parse` does, but numbers that would not be written back exactly as they were
 * come as raw JSON objects, which only `stringifyLossless` and `numberOf` understand.
 * @throws SyntaxError as `JSON.parse` does
 */
export const parseLossless = (text: string): unknown => {
  const value = parseExact(text);
  // A reviver costs ten times the parse, and most messages have no such number.
  if (!fragileNumber.test(text) || !someNumber(text, isFragile)) return value;
  if (hasEscapedName(text)) return nested(() => buildExact(text, (literal) => (isFragile(literal) ? json.rawJSON(literal) : Number(literal))));
  return nested(() => json.parse(text, (_key, member, { source }) => (typeof member === 'number' && source !== undefined && isFragile(source) ? json.rawJSON(source) : member)));
};

/** Writes what `parseLossless` read, each number as it was given. */
export const stringifyLossless = (value: unknown): string => JSON.stringify(value);

/** The number a value of `parseLossless` stands for, to the precision of a double; undefined when it is none. */
export const numberOf = (value: unknown): number | undefined => {
  if (typeof value === 'number') return value;
  return json.isRawJSON(value) ? Number(value.rawJSON) : undefined;
};

const isFragile = (literal: string): boolean => String(Number(literal)) !== literal;

/** The start of a number with 16 characters or more, or with an exponent. */
const possiblyInexact = /(?:^|[[:,\s])-?(?:[\d.]{16}|\d[\d.]*[eE])/;

/**
 * Whether every number of a JSON text is told apart from its neighbours once it is a double. If not,
 * a rule about numbers would judge another number than the one the MCP server gets to see.
 */
export const hasExactNumbers = (text: string): boolean => !possiblyInexact.test(text) || !someNumber(text, isInexact);

const isInexact = (literal: string): boolean => {
  // Nobody writes so many digits but to probe; the patterns below are for short texts.
  if (literal.length > maxLiteral) return true;
  const value = Number(literal);
  if (Number.isSafeInteger(value) && String(value) === literal) return false;
  // The shortest spelling of a double is read as that double by everyone.
  if (!Number.isInteger(value) && String(value) === literal) return false;
  const digits = literal.replace(/[eE].*$/, '').replace(/\D/g, '').replace(/^0+|0+$/g, '');
  if (digits.length === 0) return false;
  // IEEE 754 doubles keep decimals of up to 15 significant digits apart, as long as they are neither subnormal nor infinite.
  return digits.length > 15 || Math.abs(value) < smallestNormal || !Number.isFinite(value);
};

const maxLiteral = 64;
const smallestNormal = 2 ** -1022;
