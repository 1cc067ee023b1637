import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { SerialTable } from '../../src/revocation/serial-table.ts';
import { SerialTableBuilder } from '../../src/revocation/serial-table-builder.ts';
import { WORDS, hexOfWords, wordsOfHex } from '../../src/revocation/serial-words.ts';

const seed = [0x01234567, 0x89abcdef] as const;
/** Few distinct values, so that the same serial comes twice. */
const serial = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.bigInt({ min: 1n, max: 2n ** 159n - 1n })).map((value) => value.toString(16));
const entry = fc.record({ serial, revokedAt: fc.nat(), reason: fc.constantFrom(0, 1, 4, 10) });

const contentOf = (table: SerialTable): string[] => {
  const content: string[] = [];
  table.forEach((words, offset, revokedAt, reason) => content.push(`${hexOfWords(words, offset)} ${revokedAt} ${reason}`));
  return content;
};

test('a table built at once holds and finds what one filled serial by serial does, of a repeated serial the first', () => {
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 400 }), fc.nat({ max: 500 }), (entries, expected) => {
      const builder = new SerialTableBuilder(seed, { expected });
      const single = new SerialTable(seed);
      const words = new Uint32Array(WORDS);
      for (const { serial: text, revokedAt, reason } of entries) {
        wordsOfHex(text, words);
        builder.add(words, 0, revokedAt, reason);
        single.add(words, 0, revokedAt, reason);
      }
      const table = builder.build();
      expect(contentOf(table)).toEqual(contentOf(single));
      expect(table.size).toBe(single.size);
      for (const { serial: text } of entries) {
        wordsOfHex(text, words);
        expect(table.find(words, 0)?.revokedAt).toEqual(single.find(words, 0)?.revokedAt);
      }
      wordsOfHex('f'.repeat(40), words);
      expect(table.find(words, 0)).toBeUndefined();
    }),
    { numRuns: 100 },
  );
});

test('a table built at once can be added to', () => {
  const builder = new SerialTableBuilder(seed, { expected: 0 });
  const words = new Uint32Array(WORDS);
  for (let value = 1; value <= 2_000; value += 1) {
    wordsOfHex(value.toString(16), words);
    builder.add(words, 0, value, 1);
  }
  const table = builder.build();
  for (let value = 2_000; value <= 6_000; value += 1) {
    wordsOfHex(value.toString(16), words);
    expect(table.add(words, 0, value, 1)).toBe(value > 2_000);
  }
  for (let value = 1; value <= 6_000; value += 1) {
    wordsOfHex(value.toString(16), words);
    expect(table.find(words, 0)?.revokedAt).toEqual(new Date(value * 1000));
  }
});
