/** A renewal that is killed between any two of its changes to the disk, the plain way and where there are no links. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { loadIdentity } from '../../src/bridge/identity.ts';
import { waitingSuccessor } from '../../src/bridge/renew.ts';
import { RenewalStore } from '../../src/bridge/renewal-store.ts';
import { createTestPki, writeIdentity } from './test-pki.ts';
import type { Issued, TestPki } from './test-pki.ts';

const disk = vi.hoisted(() => ({ changesLeft: Number.POSITIVE_INFINITY, links: true }));

vi.mock('node:fs/promises', async (original) => {
  const real: Record<string, (...args: readonly unknown[]) => unknown> = await original();
  const mortal = (name: string) => (...args: readonly unknown[]): unknown => {
    const reads = name === 'open' && args[1] !== 'wx';
    if (!reads && (disk.changesLeft -= 1) < 0) return Promise.reject(Object.assign(new Error('killed'), { code: 'EKILLED' }));
    if (name === 'symlink' && !disk.links) return Promise.reject(Object.assign(new Error('no links'), { code: 'EPERM' }));
    return real[name]?.(...args);
  };
  return { ...real, ...Object.fromEntries(['rename', 'rm', 'mkdir', 'open', 'symlink', 'link', 'chmod', 'copyFile'].map((name) => [name, mortal(name)])) };
});

let pki: TestPki;
let first: Issued;
let second: Issued;
beforeAll(async () => {
  pki = await createTestPki();
  [first, second] = await Promise.all([pki.issue({ name: 'agent-7' }), pki.issue({ name: 'agent-7', notAfter: new Date(Date.now() + 7_200_000) })]);
});

const serialOf = ({ serial }: Issued): string => serial.replace(/^(?:00)+(?=.)/u, '');

/** What a program sees that reads cert.pem and key.pem. */
const plainSerial = async (directory: string): Promise<string> => {
  const certificate = new X509Certificate(await readFile(join(directory, 'cert.pem')));
  expect(certificate.checkPrivateKey(createPrivateKey(await readFile(join(directory, 'key.pem'))))).toBe(true);
  return certificate.serialNumber.toLowerCase().replace(/^(?:00)+(?=.)/u, '');
};

const exchange = async (directory: string): Promise<void> => {
  const store = new RenewalStore(directory);
  const clock = { now: () => new Date() };
  const identity = await loadIdentity(directory);
  await store.repair(clock.now());
  if (identity.serial === serialOf(second)) return;
  await store.alone(async () => {
    const waiting = await waitingSuccessor({ identity, store, clock, passphrase: undefined });
    await store.takeIntoUse(waiting?.id ?? (await store.keepWaiting({ key: second.keyPem, certificate: second.certificatePem, ca: pki.rootPem })));
  }, clock.now());
};

describe.each([true, false])('a renewal that is killed, links to be had: %s', (links) => {
  it('leaves a pair that works behind each change to the disk, and the next run ends it', async () => {
    disk.links = links;
    const seen = new Set<string>();
    for (let changes = 0; ; changes += 1) {
      disk.changesLeft = Number.POSITIVE_INFINITY;
      const directory = await mkdtemp(join(tmpdir(), 'renewal-crash-'));
      await writeIdentity(directory, pki, first);
      disk.changesLeft = changes;
      const killed = await exchange(directory).then(() => false, () => true);
      const { serial } = await loadIdentity(directory);
      // Where there are no links the plain names are exchanged one after the other: the only moment that has two halves.
      const plain = links || !killed ? await plainSerial(directory) : serial;
      if (killed) seen.add(`${serial === serialOf(second) ? 'new' : 'old'} ${plain === serialOf(second) ? 'new' : 'old'}`);
      disk.changesLeft = Number.POSITIVE_INFINITY;
      // As if its process were gone: who is killed cannot end his lock.
      await rm(join(directory, 'renewal.lock'), { force: true });
      await exchange(directory);
      expect([(await loadIdentity(directory)).serial, await plainSerial(directory)]).toEqual([serialOf(second), serialOf(second)]);
      const left = (await readdir(directory)).filter((name) => name.startsWith('.') || name.startsWith('renewal.lock'));
      await rm(directory, { recursive: true });
      if (!killed) {
        expect(changes).toBeGreaterThan(15);
        expect(left).toEqual([]);
        break;
      }
    }
    expect([...seen]).toContain('old old');
    expect([...seen].some((state) => state.startsWith('new'))).toBe(true);
  });
});

describe('an identity that is exchanged while it is read', () => {
  it('is never seen as two halves', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'renewal-crash-'));
    await writeIdentity(directory, pki, first);
    disk.links = true;
    const state = { reading: true };
    const readers = Array.from({ length: 4 }, async () => {
      const serials = new Set<string>();
      while (state.reading) serials.add((await loadIdentity(directory)).serial);
      return serials;
    });
    await exchange(directory);
    state.reading = false;
    for (const serials of await Promise.all(readers)) expect([...serials].every((serial) => [serialOf(first), serialOf(second)].includes(serial))).toBe(true);
    await rm(directory, { recursive: true });
  });
});
