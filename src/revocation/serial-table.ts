/**
 * A set of serials of one issuer with reason and time, built for millions: open addressing over
 * typed arrays, in 256 shards so that growing one copies 1/256 of the entries and never stalls the
 * event loop. About 40 bytes an entry. Exact: all words of a serial are compared.
 */
import type { RevocationReason } from '../../ca/ports.ts';
import { hashWords } from './keyed-hash.ts';
import type { HashSeed } from './keyed-hash.ts';
import { WORDS } from './serial-words.ts';

export interface RevocationEntry {
  readonly reason: RevocationReason;
  readonly revokedAt: Date;
}

/** RFC 5280 §5.3.1. */
const reasons: readonly (RevocationReason | undefined)[] = [
  'unspecified', 'keyCompromise', 'cACompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation',
  'certificateHold', undefined, undefined, 'privilegeWithdrawn', 'aACompromise',
];

export const reasonNumber = (reason: RevocationReason): number => Math.max(0, reasons.indexOf(reason));
export const reasonName = (number: number): RevocationReason => reasons[number] ?? 'unspecified';

/** In place of a reason: the serial is not in the table any more. A hole in its slot would hide those behind it. */
const REMOVED = 0xff;
const HOLD = reasonNumber('certificateHold');

export type Words = Uint32Array<ArrayBuffer>;

/** What crosses from a worker: buffers are moved, not copied. */
export interface TransferableTable {
  readonly seed: HashSeed;
  readonly size: number;
  readonly counts: Words;
  readonly slots: readonly Words[];
  readonly entries: readonly Words[];
}

export const SHARDS = 256;
const INITIAL_ENTRIES = 8;
/** An entry number has 24 bits in a slot. */
const MAX_SHARD_ENTRIES = 0xfffffe;
/** Five words of serial, Unix seconds (good until 2106), reason: side by side, so that a hit costs one cache line. */
export const STRIDE = WORDS + 2;

export class SerialTable {
  readonly #seed: HashSeed;
  readonly #counts: Words;
  /** Per shard: 0 is empty; else 8 bits of the hash and 24 bits of entry number + 1. Lengths are powers of two. */
  readonly #slots: Words[];
  readonly #entries: Words[];
  #size = 0;

  constructor(seed: HashSeed, options: { readonly expected?: number } | TransferableTable = {}) {
    this.#seed = seed;
    if ('slots' in options) {
      this.#size = options.size;
      this.#counts = options.counts;
      this.#slots = [...options.slots];
      this.#entries = [...options.entries];
      return;
    }
    const capacity = entriesFor(options.expected ?? 0);
    this.#counts = new Uint32Array(SHARDS);
    this.#slots = Array.from({ length: SHARDS }, () => new Uint32Array(capacity === 0 ? 1 : slotsFor(capacity)));
    this.#entries = Array.from({ length: SHARDS }, () => new Uint32Array(capacity * STRIDE));
  }

  static fromTransferable(table: TransferableTable): SerialTable {
    return new SerialTable(table.seed, table);
  }

  /** The table as plain data; this object must not be used after the buffers were moved. */
  toTransferable(): { readonly table: TransferableTable; readonly buffers: ArrayBuffer[] } {
    const table = { seed: this.#seed, size: this.#size, counts: this.#counts, slots: this.#slots, entries: this.#entries };
    return { table, buffers: [table.counts.buffer, ...table.slots.map((words) => words.buffer), ...table.entries.map((words) => words.buffer)] };
  }

  get size(): number {
    return this.#size;
  }

  get memoryBytes(): number {
    let sum = this.#counts.byteLength;
    for (let shard = 0; shard < SHARDS; shard += 1) sum += (this.#slots[shard] as Words).byteLength + (this.#entries[shard] as Words).byteLength;
    return sum;
  }

  /** Adds or keeps: the first time and reason of a serial stay, but for a hold, which a final reason replaces. True when it was new. */
  add(words: Uint32Array, offset: number, revokedAtSeconds: number, reason: number): boolean {
    const hash = hashWords(words, offset, this.#seed);
    const shard = hash >>> 24;
    const count = this.#counts[shard] as number;
    const needed = count + 1;
    if (needed * 4 > (this.#slots[shard] as Words).length * 3 || needed * STRIDE > (this.#entries[shard] as Words).length) this.#grow(shard, count);
    const slots = this.#slots[shard] as Words;
    const entries = this.#entries[shard] as Words;
    const mask = slots.length - 1;
    const tag = tagOf(hash);
    let at = hash & mask;
    for (let slot = slots[at] as number; slot !== 0; slot = slots[at] as number) {
      const known = ((slot & 0xffffff) - 1) * STRIDE;
      if (slot >>> 24 === tag && sameSerial(entries, known, words, offset)) {
        const before = entries[known + WORDS + 1];
        if (before !== REMOVED && before !== HOLD) return false;
        entries[known + WORDS] = revokedAtSeconds;
        entries[known + WORDS + 1] = reason;
        if (before === HOLD) return false;
        this.#size += 1;
        return true;
      }
      at = (at + 1) & mask;
    }
    const base = count * STRIDE;
    for (let word = 0; word < WORDS; word += 1) entries[base + word] = words[offset + word] as number;
    entries[base + WORDS] = revokedAtSeconds;
    entries[base + WORDS + 1] = reason;
    slots[at] = (tag << 24) | needed;
    this.#counts[shard] = needed;
    this.#size += 1;
    return true;
  }

  find(words: Uint32Array, offset: number): RevocationEntry | undefined {
    const hash = hashWords(words, offset, this.#seed);
    const slots = this.#slots[hash >>> 24] as Words;
    const mask = slots.length - 1;
    const tag = tagOf(hash);
    let at = hash & mask;
    for (let slot = slots[at] as number; slot !== 0; slot = slots[at] as number) {
      if (slot >>> 24 === tag) {
        const entries = this.#entries[hash >>> 24] as Words;
        const base = ((slot & 0xffffff) - 1) * STRIDE;
        if (sameSerial(entries, base, words, offset)) {
          if (entries[base + WORDS + 1] === REMOVED) return undefined;
          return new FoundEntry(entries[base + WORDS] as number, entries[base + WORDS + 1] as number);
        }
      }
      at = (at + 1) & mask;
    }
    return undefined;
  }

  /** Takes a serial out, true when it was in. Its place stays taken until the table is built anew. */
  remove(words: Uint32Array, offset: number): boolean {
    const hash = hashWords(words, offset, this.#seed);
    const slots = this.#slots[hash >>> 24] as Words;
    const entries = this.#entries[hash >>> 24] as Words;
    const mask = slots.length - 1;
    let at = hash & mask;
    for (let slot = slots[at] as number; slot !== 0; slot = slots[at] as number) {
      const base = ((slot & 0xffffff) - 1) * STRIDE;
      if (slot >>> 24 === tagOf(hash) && sameSerial(entries, base, words, offset)) {
        if (entries[base + WORDS + 1] === REMOVED) return false;
        entries[base + WORDS + 1] = REMOVED;
        this.#size -= 1;
        return true;
      }
      at = (at + 1) & mask;
    }
    return false;
  }

  /** Visits every entry; the words are only valid during the call. */
  forEach(visit: (words: Uint32Array, offset: number, revokedAtSeconds: number, reason: number) => void): void {
    for (const [shard, entries] of this.#entries.entries()) {
      const end = (this.#counts[shard] as number) * STRIDE;
      for (let base = 0; base < end; base += STRIDE) {
        const reason = entries[base + WORDS + 1] as number;
        if (reason !== REMOVED) visit(entries, base, entries[base + WORDS] as number, reason);
      }
    }
  }

  #grow(shard: number, count: number): void {
    const capacity = moreEntriesThan(count);
    const entries = new Uint32Array(capacity * STRIDE);
    entries.set((this.#entries[shard] as Words).subarray(0, count * STRIDE));
    const slots = new Uint32Array(slotsFor(capacity));
    const mask = slots.length - 1;
    for (let entry = 0; entry < count; entry += 1) {
      const hash = hashWords(entries, entry * STRIDE, this.#seed);
      let at = hash & mask;
      while (slots[at] !== 0) at = (at + 1) & mask;
      slots[at] = (tagOf(hash) << 24) | (entry + 1);
    }
    this.#slots[shard] = slots;
    this.#entries[shard] = entries;
  }
}

/** Two numbers until someone asks: a lookup makes no date. */
class FoundEntry implements RevocationEntry {
  readonly #seconds: number;
  readonly #reason: number;

  constructor(seconds: number, reason: number) {
    this.#seconds = seconds;
    this.#reason = reason;
  }

  get reason(): RevocationReason {
    return reasonName(this.#reason);
  }

  get revokedAt(): Date {
    return new Date(this.#seconds * 1000);
  }
}

/** Bits 24–31 choose the shard and the low bits the slot, so the tag takes bits that neither uses up to 65,536 slots. */
export const tagOf = (hash: number): number => (hash >>> 16) & 0xff;

export const sameSerial = (a: Uint32Array, offsetA: number, b: Uint32Array, offsetB: number): boolean => {
  for (let word = WORDS - 1; word >= 0; word -= 1) if (a[offsetA + word] !== b[offsetB + word]) return false;
  return true;
};

/** Never more than three quarters full, so that a probe ends soon and always at an empty slot. */
export const slotsFor = (entries: number): number => 2 ** Math.ceil(Math.log2((entries * 4) / 3 + 1));

/** Entries of one shard for a table of known size. Shards differ by a few standard deviations: with that room none has to grow. */
export const entriesFor = (expected: number): number => {
  const each = expected / SHARDS;
  return each === 0 ? 0 : Math.ceil(each + 4 * Math.sqrt(each) + INITIAL_ENTRIES);
};

/** Entries of one shard that has outgrown `count`. */
export const moreEntriesThan = (count: number): number => {
  const capacity = Math.max(INITIAL_ENTRIES, Math.ceil(count * 1.5));
  if (capacity > MAX_SHARD_ENTRIES) throw new RangeError('a revocation table holds at most 4 billion serials of one issuer');
  return capacity;
};
