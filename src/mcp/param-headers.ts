/**
 * Arguments of a tool that its schema wants in `Mcp-Param-*` headers too (revision 2026-07-28: Streamable
 * HTTP, "Custom Headers from Tool Parameters"; tools, `x-mcp-header`), so that what stands between can
 * route without reading the body. Whoever has the body checks that both say the same.
 */
import { SallyportError } from '../errors.ts';
import { decodeHeaderValue, encodeHeaderValue } from './header-value.ts';
import { numberOf } from './lossless-json.ts';

export interface ParamHeader {
  /** Names of the properties that lead from the arguments to the value. */
  readonly path: readonly string[];
  /** In lower case, such as `mcp-param-region`. */
  readonly header: string;
  /**
   * `number` may not be annotated: MCP clients leave out such a tool or its headers. It is kept because
   * the official MCP server checks the headers of such a tool all the same.
   */
  readonly type: 'string' | 'integer' | 'boolean' | 'number';
}

const annotation = 'x-mcp-header';
const prefix = 'mcp-param-';

/** RFC 9110 §5.6.2 */
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** More would be no schema but an attempt on the stack and the headers. */
const maxDepth = 64;
const maxHeaders = 64;

/**
 * The headers that an `inputSchema` asks for, in its order; undefined when an annotation breaks the
 * rules: then the tool is none that can be called with headers.
 */
export const scanParamHeaders = (inputSchema: unknown): readonly ParamHeader[] | undefined => {
  const found = new Map<string, ParamHeader>();
  return visit(inputSchema, { path: [], reachable: true, depth: 0 }, found) ? [...found.values()] : undefined;
};

/** The headers to send with a call, by lower-case name. What is absent, null or not writable has none. */
export const paramHeadersOf = (declared: readonly ParamHeader[], args: unknown): Readonly<Record<string, string>> => {
  const headers: Record<string, string> = {};
  for (const { path, header } of declared) {
    const text = textOf(valueAt(args, path));
    if (text !== undefined) headers[header] = encodeHeaderValue(text);
  }
  return headers;
};

/**
 * Compares the headers of a call, by lower-case name, with its arguments. A header without a
 * counterpart in the arguments is ignored, as the specification wants it.
 * @throws SallyportError `ERR_MCP_HEADER_MISMATCH` with the fact `header`
 */
export const checkParamHeaders = (declared: readonly ParamHeader[], args: unknown, headers: Readonly<Record<string, string>>): void => {
  for (const { path, header, type } of declared) {
    const value = valueAt(args, path);
    const text = textOf(value);
    const given = Object.hasOwn(headers, header) ? headers[header] : undefined;
    if (value === undefined || value === null) continue;
    if (given === undefined) {
      // Of a value that has no header form none can be asked for; what is wrong with it, the MCP server says.
      if (text === undefined || type === 'number') continue;
      throw mismatch(header, 'is missing: send it with the value of the argument');
    }
    const decoded = decodeHeaderValue(given);
    if (decoded === undefined) throw mismatch(header, 'is not well encoded: send visible ASCII, or =?base64?…?= of UTF-8');
    // Stricter than the official MCP server: what cannot be compared is not believed.
    if (!agrees(decoded, { text, number: numberOf(value), type })) throw mismatch(header, 'differs from the argument of the call: send the same value in both');
  }
};

/** Strict, so that 0x1a, 1e3 or blanks are no spelling of a number. */
const decimal = /^-?\d+(\.\d+)?$/;

/** 42.0 is 42 where the schema says that it is a number. */
const agrees = (decoded: string, { text, number, type }: { text: string | undefined; number: number | undefined; type: ParamHeader['type'] }): boolean => {
  if (text === undefined) return false;
  if ((type === 'integer' || type === 'number') && number !== undefined && decimal.test(decoded)) return Number(decoded) === number;
  return decoded === text;
};

/** An integer beyond what a double holds has no text that every reader agrees on. */
const textOf = (value: unknown): string | undefined => {
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return String(value);
  const number = numberOf(value);
  if (number === undefined || !Number.isFinite(number)) return undefined;
  return Number.isInteger(number) && !Number.isSafeInteger(number) ? undefined : String(number);
};

const valueAt = (args: unknown, path: readonly string[]): unknown => {
  let at = args;
  for (const name of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) return undefined;
    at = (at as Readonly<Record<string, unknown>>)[name];
  }
  return at;
};

/** Where an annotation must not stand: behind these nobody can tell from the schema alone where the value is. */
const branching: readonly string[] = ['items', 'prefixItems', 'contains', 'additionalProperties', 'unevaluatedProperties', 'unevaluatedItems', 'propertyNames', 'oneOf', 'anyOf', 'allOf', 'not', 'if', 'then', 'else'];
const branchingByName: readonly string[] = ['patternProperties', 'dependentSchemas', '$defs', 'definitions'];

interface Place {
  readonly path: readonly string[];
  /** Through `properties` alone. */
  readonly reachable: boolean;
  readonly depth: number;
}

/** False at the first annotation that breaks a rule. */
const visit = (node: unknown, place: Place, found: Map<string, ParamHeader>): boolean => {
  if (typeof node !== 'object' || node === null) return true;
  if (place.depth > maxDepth) return false;
  const schema = node as Readonly<Record<string, unknown>>;
  if (Object.hasOwn(schema, annotation) && !declare(schema, place, found)) return false;
  for (const [name, child] of Object.entries(objectOf(schema.properties))) {
    if (!visit(child, { ...place, path: [...place.path, name], depth: place.depth + 1 }, found)) return false;
  }
  const beyond = { ...place, reachable: false, depth: place.depth + 1 };
  for (const keyword of branching) {
    const branch = Object.hasOwn(schema, keyword) ? schema[keyword] : undefined;
    for (const child of Array.isArray(branch) ? (branch as readonly unknown[]) : [branch]) if (!visit(child, beyond, found)) return false;
  }
  for (const keyword of branchingByName) {
    for (const child of Object.values(objectOf(schema[keyword]))) if (!visit(child, beyond, found)) return false;
  }
  return true;
};

const declare = (schema: Readonly<Record<string, unknown>>, { path, reachable }: Place, found: Map<string, ParamHeader>): boolean => {
  const { [annotation]: name, type } = schema;
  if (!reachable || path.length === 0 || typeof name !== 'string' || !token.test(name)) return false;
  if (type !== 'string' && type !== 'integer' && type !== 'boolean' && type !== 'number') return false;
  // Header names have no case, so two that differ in it alone would be one header with two values.
  const header = `${prefix}${name.toLowerCase()}`;
  if (found.has(header) || found.size === maxHeaders) return false;
  found.set(header, { path, header, type });
  return true;
};

const objectOf = (value: unknown): Readonly<Record<string, unknown>> => (typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {});

const mismatch = (header: string, what: string): SallyportError => new SallyportError('ERR_MCP_HEADER_MISMATCH', `the header ${header} ${what}`, { facts: { header } });
