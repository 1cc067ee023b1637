/**
 * Serial numbers as five 32-bit words, most significant first.
 * RFC 5280 §4.1.2.2: a serial is a positive integer of at most 20 octets, so its value, padded
 * with zeros on the left, names it exactly and two serials are equal when their words are.
 */
import type { SerialHex } from '../../ca/ports.ts';

export const WORDS = 5;
const MAX_OCTETS = 20;
/** Hex digits of a word. */
const DIGITS = 8;

const digits = new Int8Array(128).fill(-1);
for (const [value, character] of [...'0123456789abcdef'].entries()) digits[character.charCodeAt(0)] = value;

/** Writes the serial into `out`; false when it is no serial at all (empty, not lower-case hex, longer than 20 octets). */
export const wordsOfHex = (serial: SerialHex, out: Uint32Array): boolean => {
  const { length } = serial;
  let start = 0;
  // A leading 00 is the sign octet of DER, not part of the value.
  while (length - start > MAX_OCTETS * 2 && serial.charCodeAt(start) === 0x30) start += 1;
  if (length === 0 || length - start > MAX_OCTETS * 2) return false;
  let word = WORDS - Math.ceil((length - start) / DIGITS);
  for (let empty = 0; empty < word; empty += 1) out[empty] = 0;
  let codes = 0;
  let wrong = 0;
  // No branch in the inner loop: what is no digit shows in the two sums at the end.
  for (let at = start; word < WORDS; word += 1) {
    const end = length - (WORDS - 1 - word) * DIGITS;
    let value = 0;
    for (; at < end; at += 1) {
      const code = serial.charCodeAt(at);
      const digit = digits[code & 0x7f] as number;
      codes |= code;
      wrong |= digit;
      value = (value << 4) | digit;
    }
    out[word] = value;
  }
  return wrong >= 0 && codes < 0x80;
};

/** Writes the content octets of a DER INTEGER at `bytes[start, end)` into `out`; false when they are more than 20 octets or none. */
export const wordsOfBytes = (bytes: Uint8Array, start: number, end: number, out: Uint32Array): boolean => {
  let first = start;
  while (first < end - 1 && bytes[first] === 0) first += 1;
  if (end <= first || end - first > MAX_OCTETS) return false;
  let at = end;
  for (let word = WORDS - 1; word >= 0; word -= 1) {
    let value = 0;
    const from = Math.max(first, at - 4);
    for (let index = from; index < at; index += 1) value = (value << 8) | (bytes[index] as number);
    out[word] = value;
    at = from;
  }
  return true;
};

/** Lower-case hex without leading 00, as `SerialHex` is written everywhere. */
export const hexOfWords = (words: Uint32Array, offset: number): SerialHex => {
  let text = '';
  for (let word = 0; word < WORDS; word += 1) text += (words[offset + word] ?? 0).toString(16).padStart(8, '0');
  const stripped = text.replace(/^(?:00)+/, '');
  return stripped === '' ? '00' : stripped;
};
