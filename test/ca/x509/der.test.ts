import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CaError } from '../../../ca/errors.ts';
import { DerReader, TAG, integer, namedBits, oid, sequence, set, utcOrGeneralizedTime } from '../../../ca/x509/der.ts';
import { refusal } from './refusal.ts';

const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

describe('writing', () => {
  test.each([
    [0, '020100'],
    [127, '02017f'],
    [128, '02020080'],
    [256, '02020100'],
    [2n ** 64n, '0209010000000000000000'],
  ])('integer %s is minimal and positive', (value, expected) => {
    expect(toHex(integer(value))).toBe(expected);
  });

  test.each([
    ['2.5.29.15', '0603551d0f'],
    ['1.2.840.113549.1.1.11', '06092a864886f70d01010b'],
    ['2.999.1', '0603883701'],
    ['2.25.340282366920938463463374607431768211455', '06146983ffffffffffffffffffffffffffffffffff7f'],
  ])('object identifier %s', (dotted, expected) => {
    expect(toHex(oid(dotted))).toBe(expected);
    expect(new DerReader(oid(dotted)).oid()).toBe(dotted);
  });

  test.each([
    [127, '307f'],
    [128, '308180'],
    [255, '3081ff'],
    [256, '30820100'],
    [65_535, '3082ffff'],
    [65_536, '3083010000'],
  ])('a length of %i is minimal', (length, header) => {
    const encoded = sequence(new Uint8Array(length));
    expect(toHex(encoded.subarray(0, header.length / 2))).toBe(header);
    expect(encoded).toHaveLength(header.length / 2 + length);
  });

  test.each([
    ['1950-01-01T00:00:00Z', TAG.utcTime, '500101000000Z'],
    ['2049-12-31T23:59:59Z', TAG.utcTime, '491231235959Z'],
    ['2050-01-01T00:00:00Z', TAG.generalizedTime, '20500101000000Z'],
    ['1949-12-31T23:59:59Z', TAG.generalizedTime, '19491231235959Z'],
  ])('%s is written in the form of RFC 5280 §4.1.2.5', (moment, tag, text) => {
    const encoded = utcOrGeneralizedTime(new Date(moment));
    expect(encoded[0]).toBe(tag);
    expect(Buffer.from(encoded.subarray(2)).toString('latin1')).toBe(text);
    expect(new DerReader(encoded).time()).toEqual(new Date(moment));
  });

  test('a set is sorted by its encodings', () => {
    expect(set(integer(300), integer(2), integer(1))).toEqual(set(integer(1), integer(2), integer(300)));
  });

  test('a named-bit list drops trailing zero bits', () => {
    expect(toHex(namedBits([0]))).toBe('03020780');
    expect(toHex(namedBits([5, 6]))).toBe('03020106');
    expect(toHex(namedBits([8]))).toBe('0303070080');
  });
});

describe('reading refuses', () => {
  test.each<[string, string, (reader: DerReader) => unknown]>([
    ['an indefinite length', '3080 0000', (reader) => reader.enter()],
    ['a long form for a short length', '308101 00', (reader) => reader.enter()],
    ['a length with leading zeros', '30820001 00', (reader) => reader.enter()],
    ['a length of five octets', '30850000000001 00', (reader) => reader.enter()],
    ['an element longer than its container', '3003 0201', (reader) => reader.enter()],
    ['a lone identifier', '30', (reader) => reader.enter()],
    ['a multi-octet tag', '1f8101 00', (reader) => reader.raw()],
    ['another tag', '3100', (reader) => reader.enter()],
    ['a BER boolean', '010101', (reader) => reader.boolean()],
    ['an encoded default', '010100', (reader) => reader.booleanDefaultFalse()],
    ['an empty integer', '0200', (reader) => reader.integer()],
    ['a padded integer', '02020001', (reader) => reader.integer()],
    ['a padded negative integer', '0202ff80', (reader) => reader.integer()],
    ['a negative integer where none is allowed', '0201ff', (reader) => reader.nonNegativeInteger()],
    ['an integer over the limit', `0215 01${'00'.repeat(20)}`, (reader) => reader.integer()],
    ['a bit string with unused bits', '03020100', (reader) => reader.bitString()],
    ['a named-bit list with a trailing zero bit', '03020780'.replace('80', '00'), (reader) => reader.namedBits()],
    ['NULL with content', '050100', (reader) => reader.null()],
    ['an empty object identifier', '0600', (reader) => reader.oid()],
    ['an object identifier with a padded arc', '06038001 01'.replace(' ', ''), (reader) => reader.oid()],
    ['a truncated object identifier', '06022a86', (reader) => reader.oid()],
    ['an object identifier over the limit', `0641${'01'.repeat(65)}`, (reader) => reader.oid()],
    ['an object identifier with too many arcs', `0628${'01'.repeat(40)}`, (reader) => reader.oid()],
    ['a UTCTime without seconds', `170b${Buffer.from('2601010000Z').toString('hex')}`, (reader) => reader.time()],
    ['a time with an offset', `1711${Buffer.from('260101000000+0100').toString('hex')}`, (reader) => reader.time()],
    ['a fraction of a second', `1811${Buffer.from('20260101000000.5Z').toString('hex')}`, (reader) => reader.time()],
    ['the 30th of February', `170d${Buffer.from('260230000000Z').toString('hex')}`, (reader) => reader.time()],
    ['a leap second', `170d${Buffer.from('261231235960Z').toString('hex')}`, (reader) => reader.time()],
    ['UTF-8 that is not', '0c02c328', (reader) => reader.utf8String()],
  ])('%s', (_, octets, read) => {
    expect(refusal(() => read(new DerReader(hex(octets)))).code).toBe('ERR_DER_INVALID');
  });

  test('nesting deeper than the limit', () => {
    let nested: Uint8Array = integer(1);
    for (let depth = 0; depth < 30; depth++) nested = sequence(nested);
    const descend = (reader: DerReader): void => (reader.peek() === TAG.sequence ? descend(reader.enter()) : undefined);
    expect(refusal(() => descend(new DerReader(nested))).message).toContain('nesting deeper than the limit');
  });

  test('data after the last field', () => {
    expect(refusal(() => new DerReader(hex('050000')).finish()).message).toBe('unexpected data after the last field at octet 0');
  });
});

test('the octet at fault is in the message and in the facts', () => {
  try {
    const reader = new DerReader(hex('3003 010101'));
    reader.enter().boolean();
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(CaError);
    expect(error).toMatchObject({ message: 'not a DER boolean at octet 2', facts: { offset: 2 } });
  }
});

test('integers, times and object identifiers survive the round trip', () => {
  fc.assert(
    fc.property(fc.bigInt(0n, 2n ** 150n), fc.integer({ min: -631_152_000, max: 253_402_300_799 }), fc.array(fc.bigInt(0n, 2n ** 100n), { maxLength: 4 }), (number, second, arcs) => {
      const magnitude = new DerReader(integer(number)).nonNegativeInteger();
      expect(BigInt(`0x${toHex(magnitude)}`)).toBe(number);
      const moment = new Date(second * 1000);
      expect(new DerReader(utcOrGeneralizedTime(moment)).time()).toEqual(moment);
      const dotted = ['2.5', ...arcs].join('.');
      expect(new DerReader(oid(dotted)).oid()).toBe(dotted);
    }),
    { numRuns: 200 },
  );
});
