import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { Change } from '../../src/store/changes.ts';
import { CrlSource } from '../../src/revocation/crl-source.ts';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { StoreSource } from '../../src/revocation/store-source.ts';
import { systemRandomness } from '../../src/system.ts';
import { createTestPki, revokedEntry, serialBytes } from '../support/pki.ts';

const pki = createTestPki();
const issuerId = pki.issuing.certificate.spkiHash;
const clock = { offsetMs: 0, now: () => new Date(Date.now() + clock.offsetMs) };
const closing: (() => unknown)[] = [];
afterEach(async () => {
  clock.offsetMs = 0;
  for (const close of closing.splice(0)) await close();
});

const newIndex = (): RevocationIndex => new RevocationIndex({ randomness: systemRandomness });

const crlSource = (from: () => Uint8Array, options: { graceMs?: number } = {}) => {
  const index = newIndex();
  const source = new CrlSource({ from: async () => from(), issuer: pki.issuing.certificate, index, clock, ...options });
  closing.push(() => { source.close(); });
  return { index, source };
};

describe('a CRL source', () => {
  test('revokes what the CRL lists, from a file, and lets the rest be good', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'sallyport-crl-'));
    closing.push(() => rm(directory, { recursive: true }));
    const file = join(directory, 'ca.crl');
    const revoked = pki.issuing.leaf();
    await writeFile(file, pki.issuing.crl({ entries: [revokedEntry(revoked)] }));
    const index = newIndex();
    const source = new CrlSource({ from: file, issuer: pki.issuing.certificate, index, clock });
    closing.push(() => { source.close(); });
    await source.start();
    expect(index.status(issuerId, revoked.certificate.serial, Date.now(), revoked.certificate)).toMatchObject({ status: 'revoked', entry: { reason: 'keyCompromise' } });
    const other = pki.issuing.leaf();
    expect(index.status(issuerId, other.certificate.serial, Date.now(), other.certificate)).toEqual({ status: 'good' });
    expect(source.state()).toMatchObject({ crlNumber: 1n, entries: 1 });
  });

  test('reads a large one in a worker thread, with the same result', async () => {
    const listed = pki.issuing.leaf();
    const entries = [...Array.from({ length: 20_000 }, () => ({ serial: serialBytes(), revokedAt: new Date(), reason: 'superseded' as const })), revokedEntry(listed)];
    const crl = pki.issuing.crl({ entries });
    const { index, source } = crlSource(() => crl);
    await source.start();
    expect(index.size).toBe(20_001);
    expect(index.lookup(issuerId, listed.certificate.serial)?.reason).toBe('keyCompromise');
    expect(crl.length).toBeGreaterThan(0);
    const forged = Uint8Array.from(crl);
    forged[forged.length >> 1] = (forged[forged.length >> 1] ?? 0) ^ 1;
    await expect(crlSource(() => forged).source.start()).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_CRL_(SIGNATURE|INVALID)$/) });
  });

  test('goes stale at nextUpdate by the clock, with or without grace', async () => {
    const crl = pki.issuing.crl({ entries: [], nextUpdate: new Date(Math.floor(Date.now() / 1000) * 1000 + 60_000) });
    const { index, source } = crlSource(() => crl, { graceMs: 5_000 });
    await source.start();
    clock.offsetMs = 61_000;
    expect(index.status(issuerId, '0a', clock.now().getTime()).status).toBe('good');
    clock.offsetMs = 66_000;
    expect(index.status(issuerId, '0a', clock.now().getTime())).toEqual({ status: 'unknown', because: 'stale' });
  });

  test('keeps the good one when an older, a foreign, a stale or no CRL comes', async () => {
    const leaf = pki.issuing.leaf();
    let answer = (): Uint8Array => pki.issuing.crl({ entries: [revokedEntry(leaf)], crlNumber: 7 });
    const { index, source } = crlSource(() => answer());
    await source.start();
    answer = () => pki.issuing.crl({ entries: [], crlNumber: 6 });
    await expect(source.refresh()).rejects.toMatchObject({ code: 'ERR_CRL_STALE' });
    answer = () => createTestPki('Test').issuing.crl({ entries: [], crlNumber: 8 });
    await expect(source.refresh()).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_CRL_(ISSUER|SIGNATURE)$/) });
    answer = () => pki.issuing.crl({ entries: [], crlNumber: 9, thisUpdate: new Date(Date.now() - 90_000), nextUpdate: new Date(Date.now() - 60_000) });
    await expect(source.refresh()).rejects.toMatchObject({ code: 'ERR_CRL_STALE' });
    answer = () => { throw new Error('fetch failed'); };
    await expect(source.refresh()).rejects.toThrow('fetch failed');
    expect(index.status(issuerId, leaf.certificate.serial, Date.now()).status).toBe('revoked');
    expect(index.status(issuerId, '0a', Date.now()).status).toBe('good');
    answer = () => pki.issuing.crl({ entries: [], crlNumber: 10, thisUpdate: new Date(Date.now() - 30_000) });
    await expect(source.refresh()).resolves.toBe('changed');
    expect(index.status(issuerId, leaf.certificate.serial, Date.now()).status).toBe('good');
  });

  test('says nothing about certificates outside its scope', async () => {
    const crl = pki.issuing.crl({ entries: [], idp: { uris: ['http://crl.test/1.crl'] } });
    const { index, source } = crlSource(() => crl);
    await source.start();
    const inside = pki.issuing.leaf({ distributionPoints: ['http://crl.test/1.crl'] }).certificate;
    const outside = pki.issuing.leaf({ distributionPoints: ['http://crl.test/2.crl'] }).certificate;
    expect(index.status(issuerId, inside.serial, Date.now(), inside)).toEqual({ status: 'good' });
    expect(index.status(issuerId, outside.serial, Date.now(), outside)).toEqual({ status: 'unknown', because: 'notCovered' });
  });
});

describe('the store source', () => {
  const stage = () => {
    let listener: ((change: Change) => void) | undefined;
    let asOf: Date | undefined = new Date();
    const index = newIndex();
    const applied: number[] = [];
    const source = new StoreSource({
      index, clock, issuers: [issuerId], maxSilenceMs: 1_000, checkMs: 5,
      store: {
        revokedSerials: async function* revokedSerials() {
          yield [{ issuerId, serial: '01', revokedAt: new Date(), reason: 'superseded' as const, notAfter: new Date() }];
          // Committed after the page was read.
          listener?.({ seq: 2, kind: 'revoked', issuerId, serial: '02', reason: 'keyCompromise', at: new Date() });
        },
      },
      changes: {
        latest: async () => 1,
        subscribe: async (given) => {
          listener = given;
          return async () => { listener = undefined; };
        },
        currentAsOf: () => asOf,
      },
      onApplied: ({ seq }) => { applied.push(seq); },
    });
    closing.push(() => source.close());
    return { index, source, applied, change: (change: Change) => listener?.(change), silence: () => { asOf = undefined; } };
  };

  test('misses nothing that is committed while it reads', async () => {
    const { index, source, applied } = stage();
    await source.start();
    expect(['01', '02', '03'].map((serial) => index.status(issuerId, serial, Date.now()).status)).toEqual(['revoked', 'revoked', 'good']);
    expect(applied).toEqual([2]);
  });

  test('applies a change at once', async () => {
    const { index, source, change, applied } = stage();
    await source.start();
    change({ seq: 3, kind: 'revoked', issuerId, serial: '03', reason: 'keyCompromise', at: new Date() });
    expect(index.status(issuerId, '03', Date.now()).status).toBe('revoked');
    expect(applied).toEqual([2, 3]);
  });

  test('takes a lifted hold out, and says so', async () => {
    const { index, source, change, applied } = stage();
    await source.start();
    change({ seq: 3, kind: 'released', issuerId, serial: '01', at: new Date() });
    expect(index.status(issuerId, '01', Date.now()).status).toBe('good');
    expect(applied).toEqual([2, 3]);
  });

  test('fails closed when the feed cannot say that it is current', async () => {
    const { index, source, silence } = stage();
    await source.start();
    silence();
    await new Promise((resolve) => { setTimeout(resolve, 40); });
    expect(index.status(issuerId, '03', Date.now())).toEqual({ status: 'unknown', because: 'stale' });
  });
});
