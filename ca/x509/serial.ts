/** Certificate serial numbers (RFC 5280 §4.1.2.2). */
import { CaError } from '../errors.ts';
import type { Randomness, SerialHex } from '../ports.ts';

/**
 * 19 octets: one from 0x01 to 0x7f, then 18 random ones. Positive without a sign octet, never zero,
 * and at most the 20 octets of RFC 5280 §4.1.2.2.
 */
export function generateSerial(randomness: Randomness): Uint8Array {
  const serial = Uint8Array.from(randomness.bytes(19));
  if (serial.length !== 19) throw new RangeError('the random source answered with the wrong number of octets');
  // 127 values out of 128: zero becomes one, which costs less than a hundredth of a bit.
  serial[0] = Math.max(1, (serial[0] ?? 0) & 0x7f);
  return serial;
}

/** Lower-case hex of the magnitude, without leading zero octets. */
export function serialToHex(serial: Uint8Array): SerialHex {
  let start = 0;
  while (start < serial.length - 1 && serial[start] === 0) start++;
  return Buffer.from(serial.buffer, serial.byteOffset + start, serial.length - start).toString('hex');
}

/** Reads what people paste: either case, leading zeros, `0x` or colons between octets. */
export function serialFromHex(text: string): Uint8Array {
  const digits = text.length > 128 ? '' : text.trim().replace(/^0x/i, '').replaceAll(':', '').replace(/^0+(?=.)/, '');
  if (!/^[0-9a-f]{1,40}$/i.test(digits)) {
    throw new CaError('ERR_DER_INVALID', 'a serial is up to 40 hexadecimal digits; copy it from the inventory or from openssl x509 -serial');
  }
  return Uint8Array.from(Buffer.from(digits.length % 2 === 1 ? `0${digits}` : digits, 'hex'));
}
