/**
 * BER as NSS and old Java write PKCS#12 (indefinite lengths, strings in pieces) put into DER, so that
 * one strict reader reads it all. Linear in its input and bounded in depth.
 */
import { MAX_DEPTH, element, invalid } from '../x509/der.ts';

/** The first element of `input` with definite, minimal lengths and every OCTET STRING in one piece. */
export function derOfBer(input: Uint8Array): Uint8Array {
  const { der, next } = convert(input, 0, input.length, 0);
  if (next !== input.length) throw invalid('unexpected data after the last field', next);
  return der;
}

const CONSTRUCTED = 0x20;
const OCTET_STRING = 0x04;

function convert(bytes: Uint8Array, at: number, limit: number, depth: number): { readonly der: Uint8Array; readonly next: number } {
  if (depth > MAX_DEPTH) throw invalid('nesting deeper than the limit', at);
  const tag = bytes[at];
  if (tag === undefined || at + 2 > limit || (tag & 0x1f) === 0x1f) throw invalid('truncated, or with a multi-octet tag', at);
  const { start, end } = lengthAt(bytes, at + 1, limit);
  if ((tag & CONSTRUCTED) === 0) {
    if (end === undefined) throw invalid('indefinite length of a primitive element', at);
    return { der: element(tag, bytes.subarray(start, end)), next: end };
  }
  const parts: Uint8Array[] = [];
  let next = start;
  for (;;) {
    if (end === undefined ? isEndOfContents(bytes, next, limit) : next === end) break;
    const part = convert(bytes, next, end ?? limit, depth + 1);
    parts.push(part.der);
    next = part.next;
  }
  const after = end ?? next + 2;
  // X.690 §8.7.3: the pieces of a string are strings of the same kind.
  if (tag === (OCTET_STRING | CONSTRUCTED)) return { der: element(OCTET_STRING, ...parts.map((part) => pieceOf(part, at))), next: after };
  return { der: element(tag, ...parts), next: after };
}

function lengthAt(bytes: Uint8Array, at: number, limit: number): { readonly start: number; readonly end: number | undefined } {
  const first = bytes[at] ?? 0;
  if (first === 0x80) return { start: at + 1, end: undefined };
  const octets = first > 0x80 ? first & 0x7f : 0;
  if (octets > 4 || at + 1 + octets > limit) throw invalid('length longer than its container', at);
  let length = octets === 0 ? first : 0;
  for (let i = 1; i <= octets; i++) length = length * 256 + (bytes[at + i] ?? 0);
  const start = at + 1 + octets;
  if (length > limit - start) throw invalid('element longer than its container', at);
  return { start, end: start + length };
}

function isEndOfContents(bytes: Uint8Array, at: number, limit: number): boolean {
  if (at + 2 > limit) throw invalid('an element of indefinite length has no end', at);
  return bytes[at] === 0 && bytes[at + 1] === 0;
}

function pieceOf(der: Uint8Array, at: number): Uint8Array {
  if (der[0] !== OCTET_STRING) throw invalid('a string in pieces holds something else', at);
  const header = (der[1] ?? 0) < 0x80 ? 2 : 2 + ((der[1] ?? 0) & 0x7f);
  return der.subarray(header);
}
