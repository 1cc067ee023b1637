/**
 * Builds the table of a whole CRL, twice as fast as adding its serials one by one: entries are
 * first only written down, one stream per shard, and made findable afterwards, shard by shard, so
 * that each step stays within the processor's cache.
 */
import { hashWords } from './keyed-hash.ts';
import type { HashSeed } from './keyed-hash.ts';
import { SHARDS, STRIDE, SerialTable, entriesFor, moreEntriesThan, sameSerial, slotsFor, tagOf } from './serial-table.ts';
import type { Words } from './serial-table.ts';
import { WORDS } from './serial-words.ts';

export class SerialTableBuilder {
  readonly #seed: HashSeed;
  readonly #counts: Words = new Uint32Array(SHARDS);
  readonly #entries: Words[];

  constructor(seed: HashSeed, options: { readonly expected: number }) {
    this.#seed = seed;
    const capacity = entriesFor(options.expected);
    this.#entries = Array.from({ length: SHARDS }, () => new Uint32Array(capacity * STRIDE));
  }

  add(words: Uint32Array, offset: number, revokedAtSeconds: number, reason: number): void {
    const shard = hashWords(words, offset, this.#seed) >>> 24;
    const base = (this.#counts[shard] as number) * STRIDE;
    let entries = this.#entries[shard] as Words;
    if (base + STRIDE > entries.length) entries = this.#grow(shard, base);
    for (let word = 0; word < WORDS; word += 1) entries[base + word] = words[offset + word] as number;
    entries[base + WORDS] = revokedAtSeconds;
    entries[base + WORDS + 1] = reason;
    (this.#counts[shard] as number) += 1;
  }

  /** The table; the builder is spent. Of a serial added twice the first time and reason stay, as in `SerialTable.add`. */
  build(): SerialTable {
    const slots = this.#entries.map((entries, shard) => this.#settle(entries, shard));
    const size = this.#counts.reduce((sum, count) => sum + count, 0);
    return SerialTable.fromTransferable({ seed: this.#seed, size, counts: this.#counts, slots, entries: this.#entries });
  }

  #settle(entries: Words, shard: number): Words {
    const count = this.#counts[shard] as number;
    const slots = new Uint32Array(slotsFor(count));
    const mask = slots.length - 1;
    let kept = 0;
    for (let read = 0; read < count; read += 1) {
      const hash = hashWords(entries, read * STRIDE, this.#seed);
      const tag = tagOf(hash);
      let at = hash & mask;
      let known = false;
      for (let slot = slots[at] as number; slot !== 0; slot = slots[at] as number) {
        known = slot >>> 24 === tag && sameSerial(entries, ((slot & 0xffffff) - 1) * STRIDE, entries, read * STRIDE);
        if (known) break;
        at = (at + 1) & mask;
      }
      if (known) continue;
      if (kept !== read) entries.copyWithin(kept * STRIDE, read * STRIDE, (read + 1) * STRIDE);
      kept += 1;
      slots[at] = (tag << 24) | kept;
    }
    this.#counts[shard] = kept;
    return slots;
  }

  #grow(shard: number, used: number): Words {
    const larger = new Uint32Array(moreEntriesThan(used / STRIDE) * STRIDE);
    larger.set((this.#entries[shard] as Words).subarray(0, used));
    this.#entries[shard] = larger;
    return larger;
  }
}
