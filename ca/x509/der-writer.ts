/** Writes DER (ITU-T X.690): every function answers one complete element. */
import { encodeOid } from './oid.ts';
import { TAG, contextTag } from './tag.ts';
import { encodeGeneralizedTime, encodeTime } from './time.ts';

const encoder = new TextEncoder();

/** One element: identifier, minimal length, the parts one after the other. */
export function element(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const header = elementHeader(tag, length);
  // Large ones (CRLs) are not worth zeroing first; every octet is written below.
  const out = length > 65_536 ? new Uint8Array(Buffer.allocUnsafeSlow(header.length + length).buffer) : new Uint8Array(header.length + length);
  out.set(header);
  let at = header.length;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Identifier and minimal length of an element, for content that is written elsewhere. */
export function elementHeader(tag: number, length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(tag, length);
  if (length < 0x100) return Uint8Array.of(tag, 0x81, length);
  if (length < 0x10000) return Uint8Array.of(tag, 0x82, length >> 8, length);
  if (length < 0x1000000) return Uint8Array.of(tag, 0x83, length >> 16, length >> 8, length);
  return Uint8Array.of(tag, 0x84, length >> 24, length >> 16, length >> 8, length);
}

export function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return element(TAG.sequence, ...parts);
}

/** SET OF in the order DER demands (X.690 §11.6). */
export function set(...parts: readonly Uint8Array[]): Uint8Array {
  return element(TAG.set, ...parts.toSorted(compareBytes));
}

/** Octets are an unsigned magnitude, big end first. */
export function integer(value: number | bigint | Uint8Array): Uint8Array {
  return element(TAG.integer, magnitudeOf(value));
}

export function enumerated(value: number): Uint8Array {
  return element(TAG.enumerated, magnitudeOf(value));
}

export function oid(dotted: string): Uint8Array {
  return element(TAG.oid, encodeOid(dotted));
}

export function octetString(...parts: readonly Uint8Array[]): Uint8Array {
  return element(TAG.octetString, ...parts);
}

/** A BIT STRING of whole octets. */
export function bitString(value: Uint8Array): Uint8Array {
  return element(TAG.bitString, Uint8Array.of(0), value);
}

/** A named-bit list: the numbers of the bits that are set. */
export function namedBits(bits: readonly number[]): Uint8Array {
  if (bits.length === 0) return element(TAG.bitString, Uint8Array.of(0));
  const highest = Math.max(...bits);
  const octets = new Uint8Array((highest >> 3) + 2);
  octets[0] = 7 - (highest & 7);
  for (const bit of bits) octets[1 + (bit >> 3)] = (octets[1 + (bit >> 3)] ?? 0) | (0x80 >> (bit & 7));
  return element(TAG.bitString, octets);
}

export function utf8String(value: string): Uint8Array {
  return element(TAG.utf8String, encoder.encode(value));
}

export function printableString(value: string): Uint8Array {
  if (!PRINTABLE.test(value)) throw new TypeError('value has characters outside PrintableString');
  return element(TAG.printableString, encoder.encode(value));
}

export function ia5String(value: string, tag: number = TAG.ia5String): Uint8Array {
  const octets = encoder.encode(value);
  if (octets.length !== value.length) throw new TypeError('value has characters outside IA5String');
  return element(tag, octets);
}

/** X.680 §41.4. */
export const PRINTABLE = /^[A-Za-z0-9 '()+,\-./:=?]*$/;

export function boolean(value: boolean): Uint8Array {
  return Uint8Array.of(TAG.boolean, 1, value ? 0xff : 0);
}

export function nullValue(): Uint8Array {
  return Uint8Array.of(TAG.null, 0);
}

/** RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050; whole seconds, Z. */
export function utcOrGeneralizedTime(value: Date): Uint8Array {
  return encodeTime(value);
}

/** GeneralizedTime whatever the year, as OCSP writes every time. */
export function generalizedTime(value: Date): Uint8Array {
  return encodeGeneralizedTime(value);
}

/** `[n] EXPLICIT`: wraps complete elements. */
export function explicit(number: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return element(contextTag(number), ...parts);
}

/** `[n] IMPLICIT`: replaces the identifier of one complete element, keeping primitive or constructed. */
export function implicit(number: number, encoded: Uint8Array): Uint8Array {
  const out = encoded.slice();
  out[0] = contextTag(number, (out[0] ?? 0) & 0x20 ? 'constructed' : 'primitive');
  return out;
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Octet by octet, a prefix before what it is a prefix of: the order of a DER SET OF. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

function magnitudeOf(value: number | bigint | Uint8Array): Uint8Array {
  let octets: Uint8Array;
  if (value instanceof Uint8Array) octets = value;
  else {
    if (value < 0 || (typeof value === 'number' && !Number.isSafeInteger(value))) throw new RangeError('integer must be a safe non-negative number');
    if (typeof value === 'number' && value < 0x80) return Uint8Array.of(value);
    const hex = value.toString(16);
    octets = Buffer.from(hex.length % 2 === 1 ? `0${hex}` : hex, 'hex');
  }
  let start = 0;
  while (start < octets.length - 1 && octets[start] === 0) start++;
  const trimmed = octets.subarray(start);
  if (trimmed.length === 0) return Uint8Array.of(0);
  if ((trimmed[0] ?? 0) < 0x80) return trimmed;
  const padded = new Uint8Array(trimmed.length + 1);
  padded.set(trimmed, 1);
  return padded;
}
