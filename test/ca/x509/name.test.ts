import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TAG, element, ia5String, oid, printableString, sequence, set, utf8String } from '../../../ca/x509/der.ts';
import { encodeName, formatName, nameAttributes, namesEqual, parseName } from '../../../ca/x509/name.ts';
import { AGENT_NAME } from './authority-fixture.ts';
import { refusal } from './refusal.ts';

const attribute = (type: string, value: Uint8Array) => sequence(oid(type), value);
const commonName = (value: Uint8Array) => sequence(set(attribute('2.5.4.3', value)));
const cn = (value: string) => encodeName([[{ type: 'CN', value }]]);

test('all organizational units are found, inside one RDN and across several', () => {
  const name = parseName(encodeName([[{ type: 'OU', value: 'a' }], ...AGENT_NAME, [{ type: 'OU', value: 'z' }]]));
  expect(nameAttributes(name, 'OU')).toEqual(['a', 'platform', 'analytics', 'z']);
  expect(nameAttributes(name, 'CN')).toEqual(['agent-7']);
  expect(nameAttributes(name, 'L')).toEqual([]);
});

test('text is RFC 4514: last RDN first, plus signs within one, specials escaped', () => {
  expect(formatName(parseName(encodeName(AGENT_NAME)))).toBe('CN=agent-7,OU=platform+OU=analytics,O=Acmé');
  expect(formatName([[{ type: 'CN', value: ' #a,b+c"d\\e<f>g;h ' }]])).toBe('CN=\\ #a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h\\ ');
  expect(formatName([[{ type: 'CN', value: 'a\nb' }]])).toBe('CN=a\\0ab');
});

describe('encoding refuses with ERR_CA_NAME', () => {
  test.each([
    ['an empty value', 'CN', ''],
    ['65 characters in a CN', 'CN', 'x'.repeat(65)],
    ['65 characters in an OU', 'OU', 'x'.repeat(65)],
    ['a NUL', 'CN', 'admin\0.evil'],
    ['a line end', 'CN', 'a\nb'],
    ['a lone surrogate', 'CN', '\ud800'],
    ['a country of three letters', 'C', 'DEU'],
    ['an unknown attribute', 'nickname', 'x'],
    ['a domain component outside ASCII', 'DC', 'é'],
  ])('%s', (_, type, value) => {
    expect(refusal(() => encodeName([[{ type, value }]])).code).toBe('ERR_CA_NAME');
  });

  test('an empty RDN, while 64 characters are fine', () => {
    expect(refusal(() => encodeName([[]])).code).toBe('ERR_CA_NAME');
    expect(refusal(() => cn('é'.repeat(64))).code).toBe('accepted');
  });
});

describe('reading', () => {
  test('understands every string type in use', () => {
    for (const value of [utf8String('Ab'), printableString('Ab'), ia5String('Ab'), element(TAG.teletexString, Buffer.from('Ab')), element(TAG.bmpString, Buffer.from('00410062', 'hex'))]) {
      expect(nameAttributes(parseName(commonName(value)), 'CN')).toEqual(['Ab']);
    }
  });

  test.each([
    ['an empty RDN', sequence(set())],
    ['an empty value', commonName(utf8String(''))],
    ['a NUL', commonName(utf8String('a\0b'))],
    ['a PrintableString with an at sign', commonName(element(TAG.printableString, Buffer.from('a@b')))],
    ['an IA5String beyond ASCII', commonName(element(TAG.ia5String, Buffer.from([0xe9])))],
    ['a BMPString of odd length', commonName(element(TAG.bmpString, Buffer.from([0, 65, 0])))],
    ['an octet string', commonName(element(TAG.octetString, Buffer.from('a')))],
    ['a set out of order', sequence(element(TAG.set, attribute('2.5.4.11', utf8String('b')), attribute('2.5.4.11', utf8String('a'))))],
    ['an attribute with two values', sequence(set(sequence(oid('2.5.4.3'), utf8String('a'), utf8String('b'))))],
    ['65 RDNs', sequence(...Array.from({ length: 65 }, () => set(attribute('2.5.4.3', utf8String('a')))))],
    ['garbage after the name', new Uint8Array([...cn('a'), 0])],
  ])('refuses %s', (_, der) => {
    expect(refusal(() => parseName(der)).code).toBe('ERR_DER_INVALID');
  });
});

describe('comparison (RFC 5280 §7.1)', () => {
  test.each([
    ['case', 'Test CA', 'TEST ca', true],
    ['runs of blanks', 'Test  CA', ' Test CA ', true],
    ['compatibility forms', 'Test ＣＡ', 'test ca', true],
    ['other letters', 'Test CA', 'Test CB', false],
    ['blanks that separate', 'Test CA', 'TestCA', false],
  ])('of names that differ in %s', (_, a, b, equal) => {
    expect(namesEqual(cn(a), cn(b))).toBe(equal);
  });

  test('looks through the string type but not the attribute type or the grouping', () => {
    expect(namesEqual(commonName(printableString('Test CA')), cn('test ca'))).toBe(true);
    expect(namesEqual(encodeName([[{ type: 'O', value: 'Test CA' }]]), cn('Test CA'))).toBe(false);
    const [a, b] = [{ type: 'OU', value: 'a' }, { type: 'OU', value: 'b' }] as const;
    expect(namesEqual(encodeName([[a, b]]), encodeName([[a], [b]]))).toBe(false);
    expect(namesEqual(encodeName([[a], [b]]), encodeName([[b], [a]]))).toBe(false);
  });
});

test('names survive the round trip', () => {
  const value = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter((text) => !/\p{Cc}/u.test(text));
  const name = fc.array(fc.record({ type: fc.constantFrom('CN', 'OU', 'O', 'L', '1.2.3.4'), value }), { maxLength: 5 });
  fc.assert(
    fc.property(name, (attributes) => {
      const rdns = attributes.map((attribute) => [attribute]);
      const der = encodeName(rdns);
      expect(parseName(der)).toEqual(rdns);
      expect(namesEqual(der, encodeName(parseName(der)))).toBe(true);
    }),
    { numRuns: 200 },
  );
});
