/** Reads `CaStore.revokedText`, a million entries in a fraction of a second: each in place, without a text or an object of its own. */
import type { RevocationReason } from './ports.ts';
import { revocationReasons } from './revocation.ts';

const COMMA = 0x2c;
const SEMICOLON = 0x3b;
const mostOctets = 20;

/** After `next()` answered true the fields describe the current entry, until the next call. */
export class RevokedText {
  /** A view that is filled again for each entry. */
  serial: Uint8Array = views[1] ?? new Uint8Array(1);
  /** Seconds since 1970, as is `notAfter`. */
  revokedAt = 0;
  reason: RevocationReason = 'unspecified';
  notAfter = 0;
  readonly #text: Uint8Array;
  #at = 0;

  constructor(page: Uint8Array) {
    this.#text = page;
  }

  get lowestOctet(): number {
    return this.serial[this.serial.length - 1] ?? 0;
  }

  /** False at the end. @throws TypeError for what is no such text */
  next(): boolean {
    if (this.#at === this.#text.length) return false;
    this.#readSerial();
    this.revokedAt = this.#readNumber(COMMA);
    this.#readReason();
    this.notAfter = this.#readNumber(SEMICOLON);
    return true;
  }

  #readSerial(): void {
    const text = this.#text;
    let at = this.#at;
    let octets = 0;
    while (text[at] !== COMMA && octets < mostOctets) {
      const high = DIGITS[text[at] ?? 0] ?? 16;
      const low = DIGITS[text[at + 1] ?? 0] ?? 16;
      if (high + low >= 16 && (high === 16 || low === 16)) throw malformed();
      scratch[octets++] = high * 16 + low;
      at += 2;
    }
    const view = views[octets];
    if (text[at] !== COMMA || octets === 0 || view === undefined) throw malformed();
    this.serial = view;
    this.#at = at + 1;
  }

  #readNumber(end: number): number {
    const text = this.#text;
    let at = this.#at;
    let value = 0;
    for (; text[at] !== end; at++) {
      const digit = (text[at] ?? 0) - 0x30;
      if (digit < 0 || digit > 9) throw malformed();
      value = value * 10 + digit;
    }
    if (at === this.#at) throw malformed();
    this.#at = at + 1;
    return value;
  }

  #readReason(): void {
    const text = this.#text;
    const start = this.#at;
    for (const { reason, octets } of REASONS) {
      if (text[start + octets.length] !== COMMA || text[start] !== octets[0]) continue;
      let same = 1;
      while (same < octets.length && text[start + same] === octets[same]) same++;
      if (same < octets.length) continue;
      this.reason = reason;
      this.#at = start + octets.length + 1;
      return;
    }
    throw malformed();
  }
}

const malformed = (): TypeError => new TypeError('the store did not give the revoked certificates as it should');

const scratch = new Uint8Array(mostOctets);
const views = Array.from({ length: mostOctets + 1 }, (_, length) => scratch.subarray(0, length));
const REASONS = revocationReasons.map((reason) => ({ reason, octets: Buffer.from(reason, 'latin1') }));
/** Values of the lower-case hex digits by character code; 16 marks the others. */
const DIGITS = Uint8Array.from({ length: 256 }, (_, code) => (code >= 0x30 && code <= 0x39 ? code - 0x30 : code >= 0x61 && code <= 0x66 ? code - 0x57 : 16));
