import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { generateSerial, serialFromHex, serialToHex } from '../../../ca/x509/serial.ts';
import { refusal } from './refusal.ts';

test('a serial has 19 octets, the first from 01 to 7f', () => {
  for (let i = 0; i < 1000; i++) {
    const serial = generateSerial({ bytes: (length) => randomBytes(length) });
    expect(serial).toHaveLength(19);
    expect(serial[0]).toBeGreaterThanOrEqual(1);
    expect(serial[0]).toBeLessThanOrEqual(0x7f);
  }
});

test.each([
  [0x00, 0x01],
  [0x80, 0x01],
  [0xff, 0x7f],
  [0x42, 0x42],
])('a first random octet of %i becomes %i', (octet, first) => {
  expect(generateSerial({ bytes: (length) => new Uint8Array(length).fill(octet) })[0]).toBe(first);
});

test('the source of randomness keeps its octets', () => {
  const source = new Uint8Array(19).fill(0xff);
  generateSerial({ bytes: () => source });
  expect(source[0]).toBe(0xff);
});

test('hex is lower case without leading zero octets', () => {
  expect(serialToHex(Uint8Array.of(0, 0, 0xab, 0xc0))).toBe('abc0');
  expect(serialToHex(Uint8Array.of(0))).toBe('00');
  expect(serialToHex(Uint8Array.of(0x0a))).toBe('0a');
});

test.each(['ABC0', '0xabc0', 'ab:c0', '00abc0', ' abc0 '])('%s is read as people paste it', (text) => {
  expect(serialToHex(serialFromHex(text))).toBe('abc0');
});

test.each(['', 'xyz', '1'.repeat(41), '-1', '0'.repeat(200)])('%s is refused', (text) => {
  expect(refusal(() => serialFromHex(text)).code).toBe('ERR_DER_INVALID');
});
