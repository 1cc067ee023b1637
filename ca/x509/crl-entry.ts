/** Entries of a CRL (RFC 5280 §5.3), walked over the octets they came in. */
import { DerReader, TAG, invalid } from './der.ts';
import { EXTENSION, REMOVE_FROM_CRL, parseReasonCode, readExtensions, reasonOf } from './extension.ts';
import { timeSeconds } from './time.ts';
import type { RevocationReason } from '../ports.ts';

/**
 * Called for each entry. `der.subarray(serialOffset, serialOffset + serialLength)` is the serial's
 * magnitude without a sign octet: nothing is allocated unless the visitor does. `revokedAt` is in
 * seconds since 1970. `reason` is undefined only for `removeFromCRL` in a delta CRL.
 */
export type EntryVisitor = (der: Uint8Array, serialOffset: number, serialLength: number, revokedAt: number, reason: RevocationReason | undefined) => void;

/**
 * Steps through the entries, each checked as it is read, so that a long list can be taken in
 * slices. After `next()` answered true the fields describe the current entry.
 */
export class CrlEntryCursor {
  readonly der: Uint8Array;
  serialOffset = 0;
  /** Octets of the magnitude, without a sign octet. */
  serialLength = 0;
  /** Seconds since 1970. */
  revokedAt = 0;
  /** CRLReason; 0 when absent. */
  reasonCode = 0;
  #at: number;
  readonly #end: number;
  readonly #version: 1 | 2;

  constructor(der: Uint8Array, range: { readonly start: number; readonly end: number; readonly version: 1 | 2 }) {
    this.der = der;
    this.#at = range.start;
    this.#end = range.end;
    this.#version = range.version;
  }

  get reason(): RevocationReason | undefined {
    return reasonOf(this.reasonCode);
  }

  /** False at the end of the list. Refuses a malformed entry with `ERR_DER_INVALID`. */
  next(): boolean {
    const bytes = this.der;
    const start = this.#at;
    if (start === this.#end) return false;
    const first = bytes[start + 1] ?? 0;
    // Nearly every entry is shorter than 128 octets and needs no general reader.
    let at = start + 2;
    let end = at + first;
    if (first >= 0x80 || bytes[start] !== TAG.sequence || end > this.#end) {
      const list = new DerReader(bytes, start, this.#end);
      at = list.enter(TAG.sequence).offset;
      end = list.offset;
    }
    at = this.#serial(at, end);
    at = this.#time(at, end);
    this.reasonCode = at === end ? 0 : this.#extensions(at, end);
    this.#at = end;
    return true;
  }

  #serial(at: number, end: number): number {
    const bytes = this.der;
    const length = bytes[at + 1] ?? 0;
    if (at + 2 > end || bytes[at] !== TAG.integer || length === 0 || length > 20 || at + 2 + length > end) throw invalid('entry without a serial of 1 to 20 octets', at);
    const first = bytes[at + 2] ?? 0;
    const second = bytes[at + 3] ?? 0;
    // A negative serial could be taken for a positive one with the same octets.
    if (first >= 0x80) throw invalid('entry with a negative serial', at);
    const sign = first === 0 && length > 1;
    if (sign && second < 0x80) throw invalid('entry with a serial that is not minimal', at);
    this.serialOffset = sign ? at + 3 : at + 2;
    this.serialLength = sign ? length - 1 : length;
    return at + 2 + length;
  }

  #time(at: number, end: number): number {
    const tag = this.der[at] ?? 0;
    const length = this.der[at + 1] ?? 0;
    const timeEnd = at + 2 + length;
    if (at + 2 > end || (tag !== TAG.utcTime && tag !== TAG.generalizedTime) || timeEnd > end) throw invalid('entry without a revocation date', at);
    this.revokedAt = timeSeconds(this.der, at + 2, timeEnd, tag);
    return timeEnd;
  }

  #extensions(at: number, end: number): number {
    // RFC 5280 §5.1.2.1: entry extensions make it version 2.
    if (this.#version === 1) throw invalid('entry extensions in a version 1 CRL', at);
    if (end - at === REASON_ALONE.length + 1 && startsWith(this.der, at, REASON_ALONE)) {
      const code = this.der[end - 1] ?? 0;
      if (code <= 10 && code !== 7) return code;
    }
    const fields = new DerReader(this.der, at, end);
    const extensions = readExtensions(fields);
    fields.finish();
    let reason = 0;
    for (const { oid, critical, value } of extensions.values()) {
      if (oid === EXTENSION.reasonCode) reason = parseReasonCode(value);
      // RFC 5280 §5.3: an unknown critical entry extension makes the whole CRL unusable. certificateIssuer is one: indirect CRLs are not supported.
      else if (critical || oid === EXTENSION.certificateIssuer) throw invalid(`entry extension ${oid} is not supported`, at);
    }
    return reason;
  }
}

/** What the list as a whole contains; walks it once. */
export function summarizeEntries(cursor: CrlEntryCursor, onEntry?: (entry: CrlEntryCursor) => void): { count: number; removals: boolean } {
  let count = 0;
  let removals = false;
  while (cursor.next()) {
    count++;
    if (cursor.reasonCode === REMOVE_FROM_CRL) removals = true;
    onEntry?.(cursor);
  }
  return { count, removals };
}

/** Extensions with a reasonCode and nothing else, up to the code itself. */
const REASON_ALONE = Uint8Array.of(0x30, 0x0c, 0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01);

function startsWith(bytes: Uint8Array, at: number, prefix: Uint8Array): boolean {
  for (let i = 0; i < prefix.length; i++) if (bytes[at + i] !== prefix[i]) return false;
  return true;
}
