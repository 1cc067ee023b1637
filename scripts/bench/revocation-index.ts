/** The revocation index at a million entries: build, lookup, memory, CRL load, stalls of the event loop. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { CrlEntryBuffer } from '../../ca/x509/crl.ts';
import { CrlSource } from '../../src/revocation/crl-source.ts';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createTestPki } from '../../test/support/pki.ts';
import { atMost, median } from './measure.ts';
import type { BenchRow } from './measure.ts';

const ENTRIES = 1_000_000;

export const run = async (): Promise<readonly BenchRow[]> => {
  const pki = createTestPki();
  const issuerId = pki.issuing.certificate.spkiHash;
  const serial = (): string => `01${randomBytes(18).toString('hex')}`;
  const sample: string[] = [];
  const buffer = new CrlEntryBuffer();
  const revokedAt = new Date(Math.floor(Date.now() / 1000) * 1000 - 60_000);
  for (let number = 0; number < ENTRIES; number += 1) {
    const text = serial();
    if (number % 100 === 0) sample.push(text);
    buffer.add({ serial: text, revokedAt, reason: 'superseded' });
  }
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  try {
    const file = join(directory, 'ca.crl');
    await writeFile(file, pki.issuing.crl({ entries: buffer }));
    const loads: Load[] = [];
    for (let pass = 0; pass < 5; pass += 1) loads.push(await load(file, pki.issuing.certificate));
    const [{ index } = await load(file, pki.issuing.certificate)] = loads;
    const misses = sample.map(() => serial());
    return [
      { name: 'load and signature check of a CRL of 1,000,000', value: median(loads.map(({ milliseconds }) => milliseconds)), unit: 'ms', goal: atMost(500) },
      { name: 'longest stall of the event loop meanwhile', value: median(loads.map(({ stallMs }) => stallMs)), unit: 'ms', goal: atMost(10) },
      { name: 'memory', value: index.memoryBytes / index.size, unit: 'bytes/entry', goal: atMost(100) },
      { name: 'lookup, not revoked', value: lookupNs(index, issuerId, misses), unit: 'ns', goal: atMost(300) },
      { name: 'lookup, revoked', value: lookupNs(index, issuerId, sample), unit: 'ns', goal: atMost(300) },
    ];
  } finally {
    await rm(directory, { recursive: true });
  }
};

interface Load {
  readonly index: RevocationIndex;
  readonly milliseconds: number;
  readonly stallMs: number;
}

const load = async (file: string, issuer: Certificate): Promise<Load> => {
  const index = new RevocationIndex({ randomness: systemRandomness });
  const source = new CrlSource({ from: file, issuer, index, clock: systemClock });
  const delay = monitorEventLoopDelay({ resolution: 1 });
  await new Promise((resolve) => { setTimeout(resolve, 50); });
  delay.enable();
  const started = performance.now();
  await source.start();
  const milliseconds = performance.now() - started;
  await new Promise((resolve) => { setTimeout(resolve, 5); });
  delay.disable();
  source.close();
  return { index, milliseconds, stallMs: Math.max(0, delay.max / 1e6 - 1) };
};

/** Median of passes; CPU time, since other load must not count. */
const lookupNs = (index: RevocationIndex, issuerId: string, serials: readonly string[]): number => {
  const passes: number[] = [];
  for (let pass = 0; pass < 15; pass += 1) {
    const before = process.cpuUsage();
    for (const serial of serials) index.lookup(issuerId, serial);
    const { user, system } = process.cpuUsage(before);
    passes.push(((user + system) * 1000) / serials.length);
  }
  return median(passes);
};
