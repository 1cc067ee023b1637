import fc from 'fast-check';
import { expect, it } from 'vitest';
import { decodeHeaderValue, encodeHeaderValue } from '../../src/mcp/header-value.ts';

it.each([
  ['plain', 'plain'], ['two words', 'two words'], ['  spaces around  ', 'spaces around'], ['=?base64?SGVsbG8=?=', 'Hello'], ['=?base64??=', ''], ['', ''],
  // Not the sentinel, so what it says.
  ['SGVsbG8=', 'SGVsbG8='], ['=?base64?SGVsbG8=', '=?base64?SGVsbG8='], ['=?BASE64?SGVsbG8=?=', '=?BASE64?SGVsbG8=?='],
])('%j stands for %j', (header, text) => {
  expect(decodeHeaderValue(header)).toBe(text);
});

it.each([
  ['padding is missing', '=?base64?SGVsbG8?='], ['it holds another letter', '=?base64?SGV%bG8=?='], ['its last letter holds stray bits', '=?base64?SGVsbG9=?='], ['its octets are no UTF-8', '=?base64?/w==?='], ['it is not ASCII', 'ü'], ['it holds a control character', 'a\u0001'],
])('is refused when %s', (_why, header) => {
  expect(decodeHeaderValue(header)).toBeUndefined();
});

it('gives back every text', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed()), (text) => {
    const header = encodeHeaderValue(text);
    expect(header).toMatch(/^[\t\x20-\x7e]+$/);
    expect(decodeHeaderValue(header)).toBe(text);
  }), { numRuns: 200 });
});
