import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { buildExact, parseExact } from '../../src/mcp/exact-json.ts';
import { hasEscapedName } from '../../src/mcp/json-tokens.ts';
import { parseLossless, stringifyLossless } from '../../src/mcp/lossless-json.ts';
import { parseStrictJson, readStrictJson } from '../../src/mcp/strict-json.ts';

/** Each text after one that teaches V8 a name for the same place (nodejs/node#63785). */
const confusable: readonly (readonly [string, string, readonly string[]])[] = [
  ['{"q1":1,"n\\\\u0":2}', '{"q1":1,"n\\u0061me":2}', ['q1', 'name']],
  ['{"q2":1,"\\\\":2}', '{"q2":1,"\\"":2}', ['q2', '"']],
  ['{"q3":1,"a\\\\":2}', '{"q3":1,"a\\n":2}', ['q3', 'a\n']],
  ['{"q4":1,"me\\\\u00":2}', '{"q4":1,"me\\u0074hod":2}', ['q4', 'method']],
];
describe.each([
  ['parseExact', parseExact],
  ['parseLossless', parseLossless],
  ['parseLossless of numbers it keeps', (text: string) => parseLossless(text.replaceAll('1,', '1.0,'))],
  ['parseStrictJson', (text: string) => parseStrictJson(Buffer.from(text))],
])('%s', (_name, parse) => {
  test.each(confusable)('after %s it reads %s as it is written', (before, text, names) => {
    for (let round = 0; round < 3; round += 1) parse(before);
    expect(Object.keys(parse(text) as object)).toEqual(names);
  });
});

test.each(confusable.filter(([, , names]) => /^\w+$/.test(names[1] ?? '')))('after %s what is passed on of %s is read as it is written by JSON.parse, too', (before, text, names) => {
  for (let round = 0; round < 3; round += 1) JSON.parse(before);
  expect(Object.keys(JSON.parse(readStrictJson(Buffer.from(text)).text) as object)).toEqual(names);
});

test('nothing but the spelling of names is changed in what is passed on', () => {
  expect(readStrictJson(Buffer.from('{ "\\u0061" : "\\u0061", "\\u00e9\\/\\n\\"\\\\":[1.50 ,{"b":"\\":"}]}\n')).text).toBe('{ "a" : "\\u0061", "é/\\n\\"\\\\":[1.50 ,{"b":"\\":"}]}\n');
});

test('a text with an escaped name and numbers that a double would change survives both', () => {
  expect(stringifyLossless(parseLossless('{"\\u0061":[12345678901234567890,1.50,7],"b\\"":{"c":-0}}'))).toBe('{"a":[12345678901234567890,1.50,7],"b\\"":{"c":-0}}');
});

test('what is not JSON throws as JSON.parse does, with escaped names too', () => {
  for (const text of ['{"\\u0061":1,}', '{"\\u0061":1}//x', "{'\\u0061':1}", '{"\\x":1}']) expect(() => parseExact(text)).toThrow(SyntaxError);
});

test('__proto__ is a member like any other', () => {
  const value = parseExact('{"__proto__":{"x":1},"\\u005f":2}') as object;
  expect([Object.keys(value), Object.getPrototypeOf(value)]).toEqual([['__proto__', '_'], Object.prototype]);
});

test('an escape counts in names only', () => {
  expect(['{"a":"\\n"}', '["\\"",{"b":1}]', '"\\u0061"', '{"a":"\\":"}'].filter(hasEscapedName)).toEqual([]);
  expect(['{"\\n":1}', '[{"a":{"b\\\\" \n:1}}]'].map(hasEscapedName)).toEqual([true, true]);
});

test('whatever JSON holds is built as it was written, and an escape in a name is found where there is one', () => {
  const name = fc.array(fc.constantFrom(...'abc"\\\n\u0001é-'), { maxLength: 3 }).map((parts) => parts.join(''));
  const json = fc.letrec((tie) => ({
    value: fc.oneof({ maxDepth: 4 }, fc.constantFrom(null, true, false, '', 'x"\\\n', 0, 12, -1.5, 1e21), fc.array(tie('value'), { maxLength: 4 }), fc.dictionary(name, tie('value'), { maxKeys: 4, noNullPrototype: true })),
  })).value;
  const hasEscape = (value: unknown): boolean =>
    typeof value === 'object' && value !== null && (Object.values(value).some(hasEscape) || (!Array.isArray(value) && Object.keys(value).some((key) => JSON.stringify(key).includes('\\'))));
  fc.assert(
    fc.property(json, fc.constantFrom(undefined, 2), (value, indent) => {
      const text = JSON.stringify(value, undefined, indent);
      expect(buildExact(text, Number)).toStrictEqual(value);
      expect(parseExact(text)).toStrictEqual(value);
      expect(hasEscapedName(text)).toBe(hasEscape(value));
    }),
    { numRuns: 1_000 },
  );
});
