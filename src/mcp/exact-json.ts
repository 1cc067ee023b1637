/**
 * JSON with the member names that stand in it. V8 may take a name with an escape for one it met before in an object
 * of the same shape: the first characters of `n\u0061me` are those of the name `n\u0` (nodejs/node#63785). Who sends
 * both would have the gateway judge another message than the MCP server reads (mcp.md row 2), so whatever has such a
 * name is built by another parser.
 */
import { visit } from 'jsonc-parser';
import { hasEscapedName } from './json-tokens.ts';

/**
 * What `JSON.parse` promises to return.
 * @throws SyntaxError as `JSON.parse` does
 */
export const parseExact = (text: string): unknown => {
  const value: unknown = JSON.parse(text);
  return hasEscapedName(text) ? nested(() => buildExact(text, Number)) : value;
};

/** What `JSON.parse` takes without end others take as deep as the stack reaches. @throws SyntaxError beyond that */
export const nested = <T>(parse: () => T): T => {
  try {
    return parse();
  } catch (cause) {
    throw cause instanceof RangeError ? new SyntaxError('the text is nested too deeply', { cause }) : cause;
  }
};

/** The value of a text that `JSON.parse` has accepted; numbers are what `toNumber` makes of them as they are written. */
export const buildExact = (text: string, toNumber: (literal: string) => unknown): unknown => {
  const outermost: unknown[] = [];
  const open: (unknown[] | Record<string, unknown>)[] = [outermost];
  const names: string[] = [];
  const add = (value: unknown): void => {
    const parent = open.at(-1);
    if (Array.isArray(parent)) parent.push(value);
    // Assigned to, `__proto__` would be no member.
    else if (parent !== undefined) Object.defineProperty(parent, names.pop() ?? '', { value, writable: true, enumerable: true, configurable: true });
  };
  const begin = (value: unknown[] | Record<string, unknown>): void => {
    add(value);
    open.push(value);
  };
  visit(text, {
    onObjectBegin: () => begin({}),
    onObjectProperty: (name) => void names.push(name),
    onObjectEnd: () => void open.pop(),
    onArrayBegin: () => begin([]),
    onArrayEnd: () => void open.pop(),
    onLiteralValue: (value: unknown, offset, length) => add(typeof value === 'number' ? toNumber(text.slice(offset, offset + length)) : value),
  });
  return outermost[0];
};
