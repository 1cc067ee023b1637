import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hasExactNumbers, numberOf, parseLossless, stringifyLossless } from '../../src/mcp/lossless-json.ts';

const roundTrip = (text: string): string => stringifyLossless(parseLossless(text));

describe('numbers that a double would change (mcp.md row 3)', () => {
  test.each([
    '12345678901234567890', '-9223372036854775808', '9007199254740993', '1.0', '0.10', '-0', '-0.0', '1e2', '1E+2', '1e400', '-1e400', '1e-400', '0.1234567890123456789', '100000000000000000000000',
  ])('%s is written back as it was given', (number) => {
    for (const text of [number, `[${number}]`, `{"a":{"b":[1,${number},"x"]}}`, `[1,"\\"${number}",${number}]`]) expect(roundTrip(text)).toBe(text);
  });

  test('numbers a double keeps come as numbers', () => {
    expect(parseLossless('{"a":[1,-5,0.5,9007199254740991,1.5e300]}')).toStrictEqual({ a: [1, -5, 0.5, 9007199254740991, expect.anything()] });
    expect(parseLossless('[1,0.5]')).toStrictEqual([1, 0.5]);
  });

  test('digits in strings are left alone', () => {
    const text = '{"id":"12345678901234567890","v":" 1.0","w":"[1e5"}';
    expect(parseLossless(text)).toStrictEqual(JSON.parse(text));
  });

  test('a kept number can be read', () => {
    const { total } = parseLossless('{"total":1.0}') as { total: unknown };
    expect(numberOf(total)).toBe(1);
    expect(numberOf(3)).toBe(3);
    expect(numberOf('3')).toBeUndefined();
    expect(numberOf({ rawJSON: '3' })).toBeUndefined();
  });

  test('any JSON without white space survives letter by letter', () => {
    const number = fc.oneof(fc.bigInt().map(String), fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value.toExponential()), fc.integer().map((value) => `${value}.0`));
    const { value } = fc.letrec<{ value: string }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        number,
        fc.string().map((text) => JSON.stringify(text)),
        fc.constantFrom('true', 'false', 'null'),
        fc.array(tie('value'), { maxLength: 4 }).map((values) => `[${values.join(',')}]`),
        fc.array(tie('value'), { maxLength: 4 }).map((values) => `{${values.map((one, index) => `"k${index}":${one}`).join(',')}}`),
      ),
    }));
    fc.assert(fc.property(value, (text) => void expect(roundTrip(text)).toBe(text)), { numRuns: 300 });
  });

  test('what is not JSON throws as JSON.parse does', () => {
    expect(() => parseLossless('{"a":01}')).toThrow(SyntaxError);
  });
});

describe('whether doubles tell the numbers apart', () => {
  test.each(['1', '-0', '9007199254740991', '-9007199254740991', '1e20', '1.50', '0.30000000000000004', '123456789012345e-3', '[0.1,2.5e3]', '"12345678901234567890"', '{"a":"x, 1e400"}', '0e999', '3e-310'])('%s: yes', (text) => {
    expect(hasExactNumbers(text)).toBe(true);
  });

  test.each(['9007199254740993', '9007199254740992', '-12345678901234567890', '1e400', '1e-400', '[{"a":9007199254740993.0}]', '0.1234567890123456789', '1.00000000000000001', '3.00e-310'])('%s: no', (text) => {
    expect(hasExactNumbers(text)).toBe(false);
  });

  test('a number of a million digits is judged at once', () => {
    const startedAt = performance.now();
    expect(hasExactNumbers(`[1${'0'.repeat(1_000_000)}1]`)).toBe(false);
    expect(hasExactNumbers(`[0.${'0'.repeat(1_000_000)}1]`)).toBe(false);
    expect(roundTrip(`[1${'0'.repeat(1_000_000)}1]`)).toHaveLength(1_000_004);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });
});
