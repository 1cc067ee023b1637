import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { repeatedMember, someNumber, stringEnd } from '../../src/mcp/json-tokens.ts';

test('the end of a string is found whatever it holds', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (value, rest) => {
      const text = JSON.stringify(value);
      expect(stringEnd(text + rest, 0)).toBe(text.length);
    }),
    { numRuns: 200 },
  );
  expect(stringEnd('"open', 0)).toBe(5);
});

test('numbers are found as they are written, and none in strings', () => {
  const found: string[] = [];
  someNumber('[-1.5e+3,0,"7",{"8":"\\"9","k":10}]', (literal) => {
    found.push(literal);
    return false;
  });
  expect(found).toStrictEqual(['-1.5e+3', '0', '10']);
});

test('a name is repeated only within its own object', () => {
  expect(repeatedMember('{"a":{"a":1},"b":[{"a":1},{"a":2}]}')).toBeUndefined();
  expect(repeatedMember('{"a":"b","b":"a","c":["a","a"]}')).toBeUndefined();
  expect(repeatedMember('{"a":{"b":1,"c":{"b":1},"b":2}}')).toBe('b');
});
