/** A great many texts remembered in eight octets each: enough to say which may occur twice, or not at all. */
import { hash } from 'node:crypto';

/** The first 64 bits of a SHA-256. Two texts share one by chance once in millions of millions of pairs of a million. */
export const fingerprintOf = (text: string): bigint => hash('sha256', text, 'buffer').readBigUInt64BE(0);

/** Filled first, asked afterwards: asking sorts. */
export class Fingerprints {
  #values = new BigUint64Array(1_024);
  #size = 0;
  #sorted = true;

  add(text: string): void {
    if (this.#size === this.#values.length) {
      const larger = new BigUint64Array(this.#size * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#size++] = fingerprintOf(text);
    this.#sorted = false;
  }

  has(text: string): boolean {
    const values = this.#ordered();
    const wanted = fingerprintOf(text);
    let low = 0;
    for (let high = values.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if ((values[middle] ?? 0n) < wanted) low = middle + 1;
      else high = middle;
    }
    return values[low] === wanted;
  }

  /** Those that were added more than once. */
  repeated(): ReadonlySet<bigint> {
    const found = new Set<bigint>();
    let before: bigint | undefined;
    for (const value of this.#ordered()) {
      if (value === before) found.add(value);
      before = value;
    }
    return found;
  }

  #ordered(): BigUint64Array {
    const values = this.#values.subarray(0, this.#size);
    if (!this.#sorted) values.sort();
    this.#sorted = true;
    return values;
  }
}
