import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { hexOfWords, wordsOfBytes, wordsOfHex } from '../../src/revocation/serial-words.ts';
import { systemRandomness } from '../../src/system.ts';

const A = 'a'.repeat(64);
const B = 'b'.repeat(64);
const revokedAt = new Date('2026-11-01T12:00:00Z');
const newIndex = (): RevocationIndex => new RevocationIndex({ randomness: systemRandomness });
const entry = (issuerId: string, serial: string) => ({ issuerId, serial, revokedAt, reason: 'superseded' as const });
const always = { freshUntil: Number.POSITIVE_INFINITY };

async function* pagesOf(...pages: readonly string[][]) {
  for (const page of pages) yield page.map((serial) => ({ serial, revokedAt, reason: 'keyCompromise' as const }));
}

const serials = fc.uint8Array({ minLength: 1, maxLength: 20 }).filter((bytes) => bytes[0] !== 0).map((bytes) => Buffer.from(bytes).toString('hex'));

describe('serials', () => {
  test('words and hex are the same number', () => {
    fc.assert(fc.property(serials, (serial) => {
      const words = new Uint32Array(5);
      const fromBytes = new Uint32Array(5);
      return wordsOfHex(serial, words) && wordsOfBytes(Buffer.from(`00${serial}`, 'hex'), 0, serial.length / 2 + 1, fromBytes)
        && words.join() === fromBytes.join() && hexOfWords(words, 0) === serial;
    }), { numRuns: 300 });
  });

  test.each(['', 'xyz', '0g', 'AB', 'é1', '1'.repeat(41), 'f'.repeat(42)])('%j is none', (text) => {
    expect(wordsOfHex(text, new Uint32Array(5))).toBe(false);
    expect(() => newIndex().add([entry(A, text)])).toThrow(RangeError);
    expect(newIndex().lookup(A, text)).toBeUndefined();
  });
});

describe('lookup', () => {
  test('finds exactly what was added, with reason and time', () => {
    fc.assert(fc.property(fc.uniqueArray(serials, { maxLength: 200 }), fc.array(serials, { maxLength: 50 }), (revoked, others) => {
      const index = newIndex();
      index.add(revoked.map((serial) => entry(A, serial)));
      const set = new Set(revoked);
      return revoked.every((serial) => index.lookup(A, serial)?.reason === 'superseded' && index.lookup(A, Buffer.from(serial, 'hex'))?.revokedAt.getTime() === revokedAt.getTime())
        && [...others, ...revoked.map((serial) => `01${serial}`.slice(0, 40))].every((serial) => (index.lookup(A, serial) !== undefined) === set.has(serial))
        && index.size === revoked.length;
    }), { numRuns: 100 });
  });

  test('keeps issuers apart', () => {
    const index = newIndex();
    index.add([entry(A, '0a')]);
    expect(index.lookup(A, '0a')).toMatchObject({ reason: 'superseded', revokedAt });
    expect(index.lookup(B, '0a')).toBeUndefined();
  });

  test('keeps the first reason and time of a serial', () => {
    const index = newIndex();
    expect(index.add([entry(A, '0a'), { ...entry(A, '0a'), reason: 'keyCompromise' }])).toBe(1);
    expect(index.lookup(A, '0a')?.reason).toBe('superseded');
  });

  test('is exact among serials that differ in one bit, through many growths', () => {
    const index = newIndex();
    const all = Array.from({ length: 40_000 }, (_, number) => `7f${(number * 2).toString(16).padStart(36, '0')}`);
    index.add(all.map((serial) => entry(A, serial)));
    expect(all.every((serial) => index.lookup(A, serial) !== undefined)).toBe(true);
    expect(all.some((serial) => index.lookup(A, `${serial.slice(0, -1)}${(Number.parseInt(serial.slice(-1), 16) | 1).toString(16)}`) !== undefined)).toBe(false);
    expect(index.memoryBytes / index.size).toBeLessThan(100);
  });
});

describe('status', () => {
  test('is unknown without a source, good with a fresh one, unknown at the instant it goes stale', () => {
    const index = newIndex();
    expect(index.status(A, '0a', 1000)).toEqual({ status: 'unknown', because: 'noSource' });
    index.replaceIssuer(A, index.newTable(), { freshUntil: 1001 });
    expect(index.status(A, '0a', 1000)).toEqual({ status: 'good' });
    expect(index.status(A, '0a', 1001)).toEqual({ status: 'unknown', because: 'stale' });
  });

  test('of a revoked serial is revoked even when stale', () => {
    const index = newIndex();
    index.add([entry(A, '0a')]);
    expect(index.status(A, '0a', Date.now())).toMatchObject({ status: 'revoked' });
  });
});

describe('exchange', () => {
  test('replaces the old list whole, in one step, and moves the epoch', async () => {
    const index = newIndex();
    await index.loadInBackground(A, pagesOf(['01', '02']), () => always);
    const { epoch } = index;
    await index.loadInBackground(A, pagesOf(['02'], ['03']), () => always);
    expect(['01', '02', '03'].map((serial) => index.lookup(A, serial) !== undefined)).toEqual([false, true, true]);
    expect(index.epoch).toBe(epoch + 1);
  });

  test('never loses a revocation added while a load runs', async () => {
    const index = newIndex();
    const pages = async function* slow() {
      yield [{ serial: '01', revokedAt, reason: 'superseded' as const }];
      index.add([entry(A, '0b')]);
      expect(index.lookup(A, '0b')).toBeDefined();
      yield [{ serial: '02', revokedAt, reason: 'superseded' as const }];
    };
    await index.loadInBackground(A, pages(), () => always);
    await index.loadInBackground(A, pagesOf(['01']), () => always);
    expect(index.lookup(A, '0b')).toBeDefined();
  });

  test('a source that fails half way leaves the old list in place', async () => {
    const index = newIndex();
    await index.loadInBackground(A, pagesOf(['01']), () => always);
    const broken = async function* broken() {
      yield [{ serial: '02', revokedAt, reason: 'superseded' as const }];
      throw new Error('connection lost');
    };
    await expect(index.loadInBackground(A, broken(), () => always)).rejects.toThrow('connection lost');
    expect(index.lookup(A, '01')).toBeDefined();
    expect(index.lookup(A, '02')).toBeUndefined();
  });

  test('tells listeners which serials, before add returns', async () => {
    const index = newIndex();
    const heard: unknown[] = [];
    const stop = index.onChange(({ issuerId, serials: changed }) => { heard.push([issuerId, changed]); });
    index.add([entry(A, '0a'), entry(B, '0c'), entry(A, '0a')]);
    expect(heard).toEqual([[A, ['0a']], [B, ['0c']]]);
    await index.loadInBackground(A, pagesOf(['01']), () => always);
    expect(heard[2]).toEqual([A, 'all']);
    stop();
    index.add([entry(A, '0d')]);
    expect(heard).toHaveLength(3);
  });

  test('a large load gives way to others', async () => {
    const index = newIndex();
    const page = Array.from({ length: 100_000 }, () => randomBytes(19).toString('hex'));
    let turns = 0;
    const timer = setInterval(() => { turns += 1; }, 1);
    await index.loadInBackground(A, pagesOf(page), () => always);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(1);
    expect(index.size).toBe(100_000);
  });
});

describe('a lifted hold', () => {
  const held = (serial: string) => ({ ...entry(A, serial), reason: 'certificateHold' as const });

  test('is good again whoever named it, and can be revoked again', async () => {
    const index = newIndex();
    await index.loadInBackground(A, pagesOf(['01', '02']), () => always);
    index.add([held('03')]);
    const { epoch } = index;
    expect([index.remove(A, '01'), index.remove(A, '03'), index.remove(A, '03'), index.remove(A, '04'), index.remove(B, '01')]).toEqual([true, true, false, false, false]);
    expect(['01', '02', '03'].map((serial) => index.status(A, serial, 0).status)).toEqual(['good', 'revoked', 'good']);
    expect([index.size, index.epoch]).toEqual([1, epoch]);
    const told: unknown[] = [];
    index.onChange(({ serials: changed }) => told.push(changed));
    expect(index.add([entry(A, '01'), entry(A, '03')])).toBe(2);
    expect(['01', '03'].map((serial) => index.lookup(A, serial)?.reason)).toEqual(['superseded', 'superseded']);
    expect(told).toEqual([['01', '03']]);
    expect(() => index.remove(A, 'no')).toThrow(RangeError);
  });

  test('that becomes final says why from then on, in both lists', () => {
    const index = newIndex();
    const table = index.newTable();
    const words = new Uint32Array(5);
    wordsOfHex('01', words);
    table.add(words, 0, 1, 6);
    index.replaceIssuer(A, table, always);
    index.add([held('02')]);
    expect(index.add([entry(A, '01'), entry(A, '02')])).toBe(0);
    expect(['01', '02'].map((serial) => index.lookup(A, serial)?.reason)).toEqual(['superseded', 'superseded']);
    index.add([held('01'), held('02')]);
    expect(['01', '02'].map((serial) => index.lookup(A, serial)?.reason)).toEqual(['superseded', 'superseded']);
  });

  test('during a load stays lifted, unless it is held again', async () => {
    const index = newIndex();
    async function* pages() {
      yield ['01', '02'].map((serial) => ({ serial, revokedAt, reason: 'certificateHold' as const }));
      for (const serial of ['01', '02']) index.remove(A, serial);
      index.add([held('02')]);
    }
    await index.loadInBackground(A, pages(), () => always);
    expect(['01', '02'].map((serial) => index.status(A, serial, 0).status)).toEqual(['good', 'revoked']);
  });

  test('agrees with a plain map through any sequence', () => {
    const step = fc.record({ do: fc.constantFrom('add', 'hold', 'remove', 'exchange'), serial: fc.integer({ min: 1, max: 12 }).map((value) => value.toString(16).padStart(2, '0')) });
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const index = newIndex();
      const model = new Map<string, string>();
      const words = new Uint32Array(5);
      for (const { do: what, serial } of steps) {
        if (what === 'remove') {
          index.remove(A, serial);
          model.delete(serial);
        } else if (what === 'exchange') {
          const table = index.newTable();
          for (const [each, reason] of model) if (wordsOfHex(each, words)) table.add(words, 0, 1, reason === 'superseded' ? 4 : 6);
          index.replaceIssuer(A, table, always);
        } else {
          index.add([what === 'hold' ? held(serial) : entry(A, serial)]);
          if (model.get(serial) !== 'superseded') model.set(serial, what === 'hold' ? 'certificateHold' : 'superseded');
        }
      }
      for (let value = 1; value <= 12; value += 1) {
        const serial = value.toString(16).padStart(2, '0');
        if (index.lookup(A, serial)?.reason !== model.get(serial)) return false;
      }
      return true;
    }), { numRuns: 200 });
  });
});
