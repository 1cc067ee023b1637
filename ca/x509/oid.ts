/** Object identifiers: dotted text and X.690 §8.19 content octets. */
import { invalid } from './malformed.ts';

/** Longest content and most arcs read; the longest OID in use here has 11 octets. */
const MAX_OCTETS = 64;
const MAX_ARCS = 32;

const encoded = new Map<string, Uint8Array>();

/** Content octets. The answers for the program's own OIDs are remembered, so treat them as constant. */
export function encodeOid(dotted: string): Uint8Array {
  const known = encoded.get(dotted);
  if (known !== undefined) return known;
  if (!/^[0-2](\.(0|[1-9]\d{0,38}))+$/.test(dotted)) throw new TypeError('an object identifier is dotted decimal, like 2.5.29.15');
  const arcs = dotted.split('.').map(BigInt);
  const [first = 0n, second = 0n, ...rest] = arcs;
  if (first < 2n && second > 39n) throw new TypeError('the second arc is at most 39 under 0 and 1');
  const octets: number[] = [];
  for (const arc of [first * 40n + second, ...rest]) {
    const group = [Number(arc & 0x7fn)];
    for (let left = arc >> 7n; left > 0n; left >>= 7n) group.unshift(Number(left & 0x7fn) | 0x80);
    octets.push(...group);
  }
  const result = Uint8Array.from(octets);
  if (encoded.size < 256) encoded.set(dotted, result);
  return result;
}

export function decodeOid(content: Uint8Array, offset = 0): string {
  if (content.length === 0 || content.length > MAX_OCTETS) throw invalid('object identifier empty or too long', offset);
  if ((content[content.length - 1] ?? 0) & 0x80) throw invalid('object identifier is truncated', offset);
  let text = '';
  let arcs = 0;
  let start = 0;
  for (let i = 0; i < content.length; i++) {
    if ((content[i] ?? 0) & 0x80) continue;
    // X.690 §8.19.2: an arc has the fewest possible octets.
    if (content[start] === 0x80) throw invalid('object identifier is not minimal', offset);
    const arc = readArc(content, start, i);
    if (++arcs > MAX_ARCS) throw invalid('object identifier has too many arcs', offset);
    if (text !== '') text += `.${arc}`;
    else if (arc < 40) text = `0.${arc}`;
    else if (arc < 80) text = `1.${Number(arc) - 40}`;
    else text = `2.${typeof arc === 'bigint' ? arc - 80n : arc - 80}`;
    start = i + 1;
  }
  return text;
}

function readArc(content: Uint8Array, start: number, end: number): number | bigint {
  // Seven groups of seven bits are exact in a number.
  if (end - start < 7) {
    let value = 0;
    for (let i = start; i <= end; i++) value = value * 128 + ((content[i] ?? 0) & 0x7f);
    return value;
  }
  let value = 0n;
  for (let i = start; i <= end; i++) value = (value << 7n) | BigInt((content[i] ?? 0) & 0x7f);
  return value;
}
