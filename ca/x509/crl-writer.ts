/** CRLs to be signed (RFC 5280 §5), written straight into one growing buffer so that a million entries cost a fraction of a second. */
import { TAG, elementHeader, explicit, integer, sequence, utcOrGeneralizedTime } from './der.ts';
import {
  encodeAuthorityKeyIdentifier,
  encodeCrlNumber,
  encodeDeltaCrlIndicator,
  encodeFreshestCrl,
  encodeIssuingDistributionPoint,
  encodeReasonCode,
} from './extension.ts';
import type { RevocationReason, SerialHex } from '../ports.ts';
import type { IssuingDistributionPointInput } from './extension.ts';

export interface CrlEntry {
  /** Octets of the magnitude, or the lower-case hex of `serialToHex`. */
  readonly serial: Uint8Array | SerialHex;
  readonly revokedAt: Date;
  /** `removeFromCRL` in delta CRLs only: no longer revoked, or expired. */
  readonly reason: RevocationReason | 'removeFromCRL';
}

export interface TbsCrlFields {
  /** DER Name, byte for byte the issuer's subject. */
  readonly issuerName: Uint8Array;
  /** DER AlgorithmIdentifier of the signature to come. */
  readonly signatureAlgorithm: Uint8Array;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly crlNumber: number | bigint;
  /** The issuer's key identifier. */
  readonly authorityKeyIdentifier: Uint8Array;
  /** Entries, or a buffer filled while they were paged in. */
  readonly entries: Iterable<CrlEntry> | CrlEntryBuffer;
  /** issuingDistributionPoint, written when the CRL covers only part of what the issuer issued. */
  readonly idp?: IssuingDistributionPointInput | undefined;
  /** Makes this a delta CRL: the number of the complete CRL it changes. */
  readonly baseCrlNumber?: number | bigint | undefined;
  /** freshestCRL: where the delta CRLs of this complete one are. */
  readonly freshest?: readonly string[] | undefined;
}

/** TBSCertList, version 2. */
export function encodeTbsCrl(fields: TbsCrlFields): Uint8Array {
  const seconds = (value: Date) => Math.floor(value.getTime() / 1000);
  if (!(seconds(fields.nextUpdate) > seconds(fields.thisUpdate))) throw new RangeError('nextUpdate must be later than thisUpdate');
  const entries = fields.entries instanceof CrlEntryBuffer ? fields.entries : collect(fields.entries);
  const extensions = [
    encodeAuthorityKeyIdentifier(fields.authorityKeyIdentifier),
    encodeCrlNumber(fields.crlNumber),
    ...(fields.baseCrlNumber === undefined ? [] : [encodeDeltaCrlIndicator(fields.baseCrlNumber)]),
    ...(fields.idp === undefined ? [] : [encodeIssuingDistributionPoint(fields.idp)]),
    // RFC 5280 §5.2.6: never in a delta CRL.
    ...(fields.freshest === undefined || fields.baseCrlNumber !== undefined ? [] : [encodeFreshestCrl(fields.freshest)]),
  ];
  return sequence(
    integer(1),
    fields.signatureAlgorithm,
    fields.issuerName,
    utcOrGeneralizedTime(fields.thisUpdate),
    utcOrGeneralizedTime(fields.nextUpdate),
    // RFC 5280 §5.1.2.6: the list is absent, not empty, when nothing is revoked.
    ...(entries.count === 0 ? [] : [elementHeader(TAG.sequence, entries.octets().length), entries.octets()]),
    explicit(0, sequence(...extensions)),
  );
}

/** Longest entry written: 20 serial octets, GeneralizedTime and a reason. */
const MAX_ENTRY = 2 + 2 + 21 + 17 + 14;

/** CRL entries in their encoding, about 50 octets each. Add page by page; nothing else is kept. */
export class CrlEntryBuffer {
  #bytes: Uint8Array;
  #length = 0;
  #last = 0;
  #count = 0;
  #day = Number.NaN;
  /** The encoded time of the last entry: the date is formatted once a day, the time of day in place. */
  #time: Uint8Array = new Uint8Array(0);

  constructor(options: { expectedEntries?: number } = {}) {
    this.#bytes = Buffer.allocUnsafeSlow(Math.max(1, options.expectedEntries ?? 64) * 52 + MAX_ENTRY);
  }

  get count(): number {
    return this.#count;
  }

  add({ serial, revokedAt, reason }: CrlEntry): void {
    this.addAt(serial, Math.floor(revokedAt.getTime() / 1000), reason);
  }

  /** The same, with the time in whole seconds since 1970. */
  addAt(serial: Uint8Array | SerialHex, revokedAt: number, reason: CrlEntry['reason']): void {
    if (this.#length + MAX_ENTRY > this.#bytes.length) this.#grow();
    const bytes = this.#bytes;
    const start = this.#length;
    let at = typeof serial === 'string' ? putHexSerial(bytes, start + 2, serial) : putSerial(bytes, start + 2, serial);
    at = this.#putTime(at, revokedAt);
    // RFC 5280 §5.3.1: absent rather than unspecified, and no empty list of extensions.
    const extensions = REASON_EXTENSIONS.get(reason);
    if (extensions !== undefined) at = put(bytes, at, extensions);
    else if (reason !== 'unspecified') throw new TypeError('unknown revocation reason');
    bytes[start] = TAG.sequence;
    bytes[start + 1] = at - start - 2;
    this.#last = start;
    this.#length = at;
    this.#count++;
  }

  /** View of everything added so far; adding more may move it. */
  octets(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Takes back what was added last. Only once after each. */
  takeBack(): void {
    this.#length = this.#last;
    this.#count--;
  }

  /** Order of the serial added last and one in octets, magnitudes of both, as hex text would be ordered. */
  compareLast(der: Uint8Array, offset: number, length: number): number {
    const bytes = this.#bytes;
    let at = this.#last + 4;
    let own = bytes[this.#last + 3] ?? 0;
    if (bytes[at] === 0 && own > 1) {
      at++;
      own--;
    }
    const shorter = Math.min(own, length);
    for (let i = 0; i < shorter; i++) {
      const difference = (bytes[at + i] ?? 0) - (der[offset + i] ?? 0);
      if (difference !== 0) return difference;
    }
    return own - length;
  }

  #putTime(at: number, second: number): number {
    const day = Math.floor(second / 86_400);
    if (day !== this.#day) {
      this.#time = utcOrGeneralizedTime(new Date(second * 1000));
      this.#day = day;
    }
    const time = this.#time;
    const ofDay = second - day * 86_400;
    const hour = (ofDay / 3600) | 0;
    const minute = ((ofDay - hour * 3600) / 60) | 0;
    // Both forms end in HHMMSSZ.
    putPair(time, time.length - 7, hour);
    putPair(time, time.length - 5, minute);
    putPair(time, time.length - 3, ofDay - hour * 3600 - minute * 60);
    return put(this.#bytes, at, time);
  }

  #grow(): void {
    const larger = Buffer.allocUnsafeSlow(this.#bytes.length * 2);
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }
}

const REASONS = ['keyCompromise', 'cACompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation', 'certificateHold', 'removeFromCRL', 'privilegeWithdrawn', 'aACompromise'] as const;
const REASON_EXTENSIONS: ReadonlyMap<CrlEntry['reason'], Uint8Array> = new Map(REASONS.map((reason) => [reason, sequence(encodeReasonCode(reason))]));

function collect(entries: Iterable<CrlEntry>): CrlEntryBuffer {
  const buffer = new CrlEntryBuffer(Array.isArray(entries) ? { expectedEntries: entries.length } : {});
  for (const entry of entries) buffer.add(entry);
  return buffer;
}

/** A short copy loop: `set` costs more than the copy at this size. */
function put(bytes: Uint8Array, at: number, part: Uint8Array): number {
  for (let i = 0; i < part.length; i++) bytes[at + i] = part[i] ?? 0;
  return at + part.length;
}

function putSerial(bytes: Uint8Array, at: number, serial: Uint8Array): number {
  let start = 0;
  while (start < serial.length - 1 && serial[start] === 0) start++;
  const length = serial.length - start;
  const sign = (serial[start] ?? 0) & 0x80 ? 1 : 0;
  checkLength(length + sign);
  bytes[at] = TAG.integer;
  bytes[at + 1] = length + sign;
  if (sign === 1) bytes[at + 2] = 0;
  for (let i = 0; i < length; i++) bytes[at + 2 + sign + i] = serial[start + i] ?? 0;
  return at + 2 + sign + length;
}

function putHexSerial(bytes: Uint8Array, at: number, serial: SerialHex): number {
  if (serial.length % 2 !== 0) throw new TypeError('a serial has whole octets in lower-case hex');
  let start = 0;
  while (start < serial.length - 2 && serial.charCodeAt(start) === 0x30 && serial.charCodeAt(start + 1) === 0x30) start += 2;
  const length = (serial.length - start) / 2;
  checkLength(length);
  const sign = nibble(serial.charCodeAt(start)) >= 8 ? 1 : 0;
  checkLength(length + sign);
  bytes[at] = TAG.integer;
  bytes[at + 1] = length + sign;
  if (sign === 1) bytes[at + 2] = 0;
  let to = at + 2 + sign;
  for (let i = start; i < serial.length; i += 2) bytes[to++] = (nibble(serial.charCodeAt(i)) << 4) | nibble(serial.charCodeAt(i + 1));
  return to;
}

function putPair(bytes: Uint8Array, at: number, value: number): void {
  const tens = (value / 10) | 0;
  bytes[at] = 0x30 + tens;
  bytes[at + 1] = 0x30 + value - tens * 10;
}

/** Values of the lower-case hex digits by character code; 16 marks the others. */
const NIBBLES = Uint8Array.from({ length: 128 }, (_, code) => (code >= 0x30 && code <= 0x39 ? code - 0x30 : code >= 0x61 && code <= 0x66 ? code - 0x57 : 16));

function nibble(code: number): number {
  const value = NIBBLES[code] ?? 16;
  if (value === 16) throw new TypeError('a serial has whole octets in lower-case hex');
  return value;
}

/** RFC 5280 §4.1.2.2. */
function checkLength(octets: number): void {
  if (octets < 1 || octets > 20) throw new RangeError('a serial has between 1 and 20 octets');
}
