/**
 * Finds the rules for a name in a time that does not grow with the number of rules: exact names in
 * a map, patterns in buckets by the literal text they begin with.
 */
import type { Rule } from './policy.ts';

interface Numbered {
  readonly order: number;
  readonly rule: Rule;
}

export class RuleTable {
  readonly #exact = new Map<string, Numbered[]>();
  readonly #byPrefix = new Map<string, Numbered[]>();
  /** Distinct lengths of the keys of `#byPrefix`, ascending: one look-up each. */
  readonly #prefixLengths: readonly number[];
  readonly rules: readonly Rule[];

  constructor(rules: readonly Rule[]) {
    this.rules = rules;
    for (const [order, rule] of rules.entries()) {
      const index = rule.glob.exact ? this.#exact : this.#byPrefix;
      const key = rule.glob.prefix;
      const bucket = index.get(key);
      if (bucket === undefined) index.set(key, [{ order, rule }]);
      else bucket.push({ order, rule });
    }
    this.#prefixLengths = [...new Set([...this.#byPrefix.keys()].map((prefix) => prefix.length))].sort((a, b) => a - b);
  }

  get empty(): boolean {
    return this.rules.length === 0;
  }

  /** Every rule that matches, exact ones and patterns, in the order of the policy. */
  find(name: string): readonly Rule[] {
    const found: Numbered[] = [...(this.#exact.get(name) ?? [])];
    for (const length of this.#prefixLengths) {
      if (length > name.length) break;
      for (const candidate of this.#byPrefix.get(name.slice(0, length)) ?? []) {
        if (candidate.rule.glob.matches(name)) found.push(candidate);
      }
    }
    if (found.length > 1) found.sort((a, b) => a.order - b.order);
    return found.map(({ rule }) => rule);
  }
}

/** A bounded memory of answers. When full it starts afresh: cheaper than keeping order, and hostile names cannot grow it. */
export class Memo<Value> {
  readonly #values = new Map<string, Value>();
  readonly #capacity: number;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get(key: string, compute: () => Value): Value {
    const known = this.#values.get(key);
    if (known !== undefined) return known;
    const value = compute();
    // Very long names are not worth their memory.
    if (key.length > 1_024) return value;
    if (this.#values.size >= this.#capacity) this.#values.clear();
    this.#values.set(key, value);
    return value;
  }

  get size(): number {
    return this.#values.size;
  }
}
