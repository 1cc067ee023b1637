/**
 * Reads strict DER (ITU-T X.690). Only what X.509 needs: single-octet tags, definite and minimal
 * lengths, bounded depth. Anything else is refused with `ERR_DER_INVALID`.
 */
import { decodeOid } from './oid.ts';
import { TAG } from './tag.ts';
import { decodeTime } from './time.ts';
import { invalid } from './malformed.ts';

/** Deepest nesting a reader follows; a certificate needs 10. */
export const MAX_DEPTH = 24;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Walks the elements between two offsets of one buffer. Views, never copies, are handed out. */
export class DerReader {
  readonly bytes: Uint8Array;
  readonly end: number;
  #offset: number;
  readonly #depth: number;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length, depth = 0) {
    if (depth > MAX_DEPTH) throw invalid('nesting deeper than the limit', start);
    this.bytes = bytes;
    this.#offset = start;
    this.end = end;
    this.#depth = depth;
  }

  get offset(): number {
    return this.#offset;
  }

  get done(): boolean {
    return this.#offset === this.end;
  }

  /** Identifier octet of the next element; undefined at the end. */
  peek(): number | undefined {
    return this.#offset < this.end ? this.bytes[this.#offset] : undefined;
  }

  /** Refuses anything left over. */
  finish(): void {
    if (!this.done) throw invalid('unexpected data after the last field', this.#offset);
  }

  /** A reader over the content of the next element, which must carry `tag`. */
  enter(tag: number = TAG.sequence): DerReader {
    const start = this.#header(tag);
    const end = this.#end;
    this.#offset = end;
    return new DerReader(this.bytes, start, end, this.#depth + 1);
  }

  /** As `enter`, or undefined when the next element carries another tag. */
  enterOptional(tag: number): DerReader | undefined {
    return this.peek() === tag ? this.enter(tag) : undefined;
  }

  /** Content octets of the next element. */
  content(tag: number): Uint8Array {
    const start = this.#header(tag);
    this.#offset = this.#end;
    return this.bytes.subarray(start, this.#end);
  }

  /** Identifier, length and content of the next element, whatever its tag unless one is demanded. */
  raw(tag?: number): Uint8Array {
    const start = this.#offset;
    this.#header(tag);
    this.#offset = this.#end;
    return this.bytes.subarray(start, this.#end);
  }

  boolean(): boolean {
    const at = this.#offset;
    const value = this.content(TAG.boolean);
    // X.690 §11.1: TRUE is all ones.
    if (value.length !== 1 || (value[0] !== 0 && value[0] !== 0xff)) throw invalid('not a DER boolean', at);
    return value[0] === 0xff;
  }

  /** `BOOLEAN DEFAULT FALSE`: absent is false, and an encoded FALSE is not DER (X.690 §11.5). */
  booleanDefaultFalse(): boolean {
    if (this.peek() !== TAG.boolean) return false;
    const at = this.#offset;
    if (!this.boolean()) throw invalid('a default value is encoded', at);
    return true;
  }

  /** Content octets of a minimal INTEGER, sign octet included. */
  integer(options: { maxOctets?: number; tag?: number } = {}): Uint8Array {
    const at = this.#offset;
    const value = this.content(options.tag ?? TAG.integer);
    checkInteger(value, at, options.maxOctets ?? 20);
    return value;
  }

  /** A non-negative INTEGER of at most six octets. */
  smallInteger(tag: number = TAG.integer): number {
    const at = this.#offset;
    let result = 0;
    for (const octet of this.nonNegativeInteger({ maxOctets: 6, tag })) result = result * 256 + octet;
    if (!Number.isSafeInteger(result)) throw invalid('integer too large', at);
    return result;
  }

  /** Content octets of a non-negative INTEGER without its sign octet. */
  nonNegativeInteger(options: { maxOctets?: number; tag?: number } = {}): Uint8Array {
    const at = this.#offset;
    const value = this.integer({ ...options, maxOctets: (options.maxOctets ?? 20) + 1 });
    if ((value[0] ?? 0) & 0x80) throw invalid('negative integer', at);
    const magnitude = value[0] === 0 && value.length > 1 ? value.subarray(1) : value;
    if (magnitude.length > (options.maxOctets ?? 20)) throw invalid('integer longer than the limit', at);
    return magnitude;
  }

  oid(): string {
    const at = this.#offset;
    return decodeOid(this.content(TAG.oid), at);
  }

  octetString(): Uint8Array {
    return this.content(TAG.octetString);
  }

  /** A BIT STRING of whole octets, as keys and signatures are. */
  bitString(): Uint8Array {
    const at = this.#offset;
    const value = this.content(TAG.bitString);
    if (value.length === 0 || value[0] !== 0) throw invalid('not a bit string of whole octets', at);
    return value.subarray(1);
  }

  /** A named-bit list: bit numbers that are set. X.690 §11.2.2: trailing zero bits are removed. */
  namedBits(tag: number = TAG.bitString): number[] {
    const at = this.#offset;
    const value = this.content(tag);
    const unused = value[0];
    if (unused === undefined || unused > 7 || value.length > 5) throw invalid('not a named-bit list', at);
    if (value.length === 1) {
      if (unused !== 0) throw invalid('not a named-bit list', at);
      return [];
    }
    const last = value[value.length - 1] ?? 0;
    if ((last & ((1 << unused) - 1)) !== 0 || (last & (1 << unused)) === 0) throw invalid('not a minimal named-bit list', at);
    const bits: number[] = [];
    for (let bit = 0; bit < (value.length - 1) * 8; bit++) {
      if ((value[1 + (bit >> 3)] ?? 0) & (0x80 >> (bit & 7))) bits.push(bit);
    }
    return bits;
  }

  null(): void {
    const at = this.#offset;
    if (this.content(TAG.null).length !== 0) throw invalid('NULL with content', at);
  }

  /** UTCTime or GeneralizedTime in the profile of RFC 5280 §4.1.2.5. */
  time(): Date {
    const at = this.#offset;
    const tag = this.peek();
    if (tag !== TAG.utcTime && tag !== TAG.generalizedTime) throw invalid('expected a time', at);
    return decodeTime(tag, this.content(tag), at);
  }

  ia5String(tag: number = TAG.ia5String): string {
    const at = this.#offset;
    return decodeAscii(this.content(tag), at);
  }

  utf8String(): string {
    const at = this.#offset;
    return decodeUtf8(this.content(TAG.utf8String), at);
  }

  #end = 0;

  /** Checks identifier and length; answers where the content starts and leaves its end in `#end`. */
  #header(tag: number | undefined): number {
    const { bytes, end } = this;
    let at = this.#offset;
    if (at + 2 > end) throw invalid('truncated', at);
    const identifier = bytes[at] ?? 0;
    if (tag !== undefined && identifier !== tag) throw invalid(`expected tag ${hexOctet(tag)}, found ${hexOctet(identifier)}`, at);
    if ((identifier & 0x1f) === 0x1f) throw invalid('multi-octet tag', at);
    let length = bytes[at + 1] ?? 0;
    at += 2;
    if (length >= 0x80) {
      const octets = length & 0x7f;
      // X.690 §10.1: definite form; four octets are more than any bound here.
      if (octets === 0 || octets > 4 || at + octets > end) throw invalid('length is not definite, or truncated', at - 1);
      length = 0;
      for (let i = 0; i < octets; i++) length = length * 256 + (bytes[at + i] ?? 0);
      if (length < 0x80 || length < 2 ** (8 * (octets - 1))) throw invalid('length is not minimal', at - 1);
      at += octets;
    }
    if (length > end - at) throw invalid('element longer than its container', at);
    this.#end = at + length;
    return at;
  }
}

export function decodeAscii(value: Uint8Array, at = 0): string {
  for (const octet of value) if (octet > 0x7f) throw invalid('not ASCII', at);
  return Buffer.from(value.buffer, value.byteOffset, value.length).toString('latin1');
}

export function decodeUtf8(value: Uint8Array, at = 0): string {
  try {
    return decoder.decode(value);
  } catch (cause) {
    throw invalid('not UTF-8', at, cause);
  }
}

function checkInteger(value: Uint8Array, at: number, maxOctets: number): void {
  const [first, second] = value;
  if (first === undefined) throw invalid('empty integer', at);
  if (value.length > maxOctets) throw invalid('integer longer than the limit', at);
  // X.690 §8.3.2: the first nine bits are neither all zero nor all one.
  if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80))) throw invalid('integer is not minimal', at);
}

function hexOctet(octet: number): string {
  return `0x${octet.toString(16).padStart(2, '0')}`;
}
