/**
 * CRLs of three lengths: from the store to one that is signed, checked, on record and in its file, with the event loop
 * watched, and read back; against `openssl ca -gencrl` and `cfssl gencrl` where they are installed. Then the time from a
 * revocation to its CRL over HTTP.
 */
import { execFile } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { CertificateAuthority, createCrlHandler, createHierarchy } from '../../ca/index.ts';
import type { AuthorityOptions, Hierarchy } from '../../ca/index.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { parseCrl, verifyCrl } from '../../ca/x509/crl.ts';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { webListener } from '../../src/gateway/web-listener.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/store/store.ts';
import { systemRandomness } from '../../src/system.ts';
import { createTestPki } from '../../test/support/pki.ts';
import { findProgram } from './programs.ts';
import { atMost, median } from './measure.ts';
import type { BenchRow } from './measure.ts';

const execute = promisify(execFile);
const ROUNDS = 5;
const REVOCATIONS = 8;

export const run = async (): Promise<readonly BenchRow[]> => {
  const rows: BenchRow[] = [];
  for (const count of [10_000, 100_000, 1_000_000]) rows.push(...(await measure(count)));
  return [...rows, ...(await untilPublished())];
};

const measure = async (count: number): Promise<readonly BenchRow[]> => {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  const deployment = await open(directory);
  try {
    const { authority, hierarchy } = deployment;
    const serials = fill(join(directory, 'bench.db'), hierarchy.issuing.id, count);
    const samples: Publication[] = [];
    let der = new Uint8Array(0);
    // The first one warms up, and has no list before it to be held against.
    for (let round = 0; round <= ROUNDS; round += 1) {
      deployment.turn();
      const sample = await watched(async () => { ({ der } = await authority.publishCrl('issuing') as { der: Uint8Array<ArrayBuffer> }); });
      if (round > 0) samples.push(sample);
    }
    if (parseCrl(der).entryCount !== count) throw new Error('the CRL does not list every revoked certificate');
    const idle = await watched(() => new Promise((resolve) => { setTimeout(resolve, 1_000); }));
    const milliseconds = median(samples.map((sample) => sample.milliseconds));
    const of = `${count.toLocaleString('en')} entries`;
    const large = count === 1_000_000;
    const references = await referencesOf(serials);
    const reading = Array.from({ length: ROUNDS }, () => timed(() => { verifyCrl(parseCrl(der), authority.issuing.certificate, { at: deployment.now() }); }));
    const readByOpenssl = await readWithOpenssl(directory, der, hierarchy);
    const [first, ...others] = references;
    return [
      { name: `${of}, from the store to store and file`, value: milliseconds, unit: 'ms', ...(first === undefined ? {} : { reference: first }), ...(large ? { goal: atMost(1_000) } : {}) },
      ...others.map((reference) => ({ name: `${of}, the same`, value: milliseconds, unit: 'ms', reference })),
      { name: `${of}: longest stall of the event loop meanwhile, median`, value: median(samples.map((sample) => sample.stallMs)), unit: 'ms', reference: { name: 'the same process idle for a second', value: Math.max(0.01, idle.stallMs) }, ...(large ? { goal: atMost(10) } : {}) },
      { name: `${of}, read and verified`, value: median(reading), unit: 'ms', ...(readByOpenssl === undefined ? {} : { reference: readByOpenssl }) },
    ];
  } finally {
    await deployment.close();
    await rm(directory, { recursive: true });
  }
};

interface Deployment {
  readonly authority: CertificateAuthority;
  readonly hierarchy: Hierarchy;
  readonly store: Store;
  now(): Date;
  /** On to another second, since two CRLs of one are not to be. */
  turn(): void;
  close(): Promise<void>;
}

const open = async (directory: string, options: Partial<AuthorityOptions> = {}): Promise<Deployment> => {
  let ahead = 0;
  const clock = { now: () => new Date(Date.now() + ahead) };
  const store = await openStore(`sqlite:${join(directory, 'bench.db')}`, { clock, checkpointSigner: createCheckpointSigner({ origin: 'bench/audit', privateKey: generateKeyPairSync('ed25519').privateKey }) });
  const hierarchy = await createHierarchy({ directory: join(directory, 'ca'), name: 'Bench', trustDomain: 'bench.internal', clock, randomness: systemRandomness });
  const authority = await CertificateAuthority.open(hierarchy, { store: store.ca, clock, randomness: systemRandomness, trustDomain: 'bench.internal', crlCoalesceMs: 3_600_000, ...options });
  return {
    authority, hierarchy, store,
    now: () => clock.now(),
    turn: () => { ahead += 2_000; },
    close: async () => {
      ahead += 2_000;
      await authority.close();
      await store.close();
    },
  };
};

/** Revoked certificates, as many as that, without having issued them. */
const fill = (file: string, issuerId: string, count: number): readonly string[] => {
  const database = new DatabaseSync(file);
  const now = Date.now();
  database.exec('PRAGMA synchronous = OFF; BEGIN');
  const insert = database.prepare(`INSERT INTO certificate (issuer_id, serial, state, tbs, agent, profile, subject, common_name, organizational_units, dns_names, spki_hash, not_before, not_after, created_at, revoked_at, revocation_reason)
    VALUES (?, ?, 'revoked', x'30', 'agent', 'agent', 'CN=agent', 'agent', '[]', '[]', ?, ?, ?, ?, ?, 'superseded')`);
  const serials = Array.from({ length: count }, (_, number) => {
    const serial = `01${number.toString(16).padStart(8, '0')}${randomBytes(14).toString('hex')}`;
    insert.run(issuerId, serial, serial, now - 3_600_000, now + 86_400_000, now - 3_600_000, now - 60_000 - (number % 3_000_000));
    return serial;
  });
  database.exec('COMMIT; PRAGMA wal_checkpoint(TRUNCATE)');
  database.close();
  return serials;
};

interface Publication {
  readonly milliseconds: number;
  readonly stallMs: number;
}

const watched = async (work: () => Promise<unknown>): Promise<Publication> => {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  await new Promise((resolve) => { setTimeout(resolve, 50); });
  delay.enable();
  const started = performance.now();
  await work();
  const milliseconds = performance.now() - started;
  await new Promise((resolve) => { setTimeout(resolve, 5); });
  delay.disable();
  return { milliseconds, stallMs: Math.max(0, delay.max / 1e6 - 1) };
};

const timed = (work: () => void): number => {
  const started = performance.now();
  work();
  return performance.now() - started;
};

interface Reference {
  readonly name: string;
  readonly value: number;
}

/** Others writing the same list, which they have as a file. */
const referencesOf = async (serials: readonly string[]): Promise<readonly Reference[]> => {
  const pki = createTestPki();
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  try {
    await writeFile(join(directory, 'ca.pem'), pki.issuing.certPem);
    await writeFile(join(directory, 'key.pem'), pki.issuing.keyPem, { mode: 0o600 });
    return [await writeWithOpenssl(directory, serials), await writeWithCfssl(directory, serials)].filter((reference) => reference !== undefined);
  } finally {
    await rm(directory, { recursive: true });
  }
};

const writeWithOpenssl = async (directory: string, serials: readonly string[]): Promise<Reference | undefined> => {
  const openssl = findProgram('openssl');
  if (openssl === undefined) return undefined;
  const time = (ms: number): string => `${new Date(ms).toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`;
  const [until, at] = [time(Date.now() + 86_400_000), time(Date.now() - 60_000)];
  await writeFile(join(directory, 'index.txt'), `${serials.map((serial) => `R\t${until}\t${at},superseded\t${serial.toUpperCase()}\tunknown\t/CN=agent`).join('\n')}\n`);
  await writeFile(join(directory, 'index.txt.attr'), 'unique_subject = no\n');
  await writeFile(join(directory, 'crlnumber'), '01\n');
  await writeFile(join(directory, 'ca.cnf'), `[ca]
default_ca = bench
[bench]
database = ${directory}/index.txt
crlnumber = ${directory}/crlnumber
certificate = ${directory}/ca.pem
private_key = ${directory}/key.pem
default_md = sha256
default_crl_days = 1
crl_extensions = ext
[ext]
authorityKeyIdentifier = keyid:always
`);
  const started = performance.now();
  await execute(openssl, ['ca', '-config', join(directory, 'ca.cnf'), '-gencrl', '-out', join(directory, 'out.crl')], { timeout: 120_000 });
  return { name: 'openssl ca -gencrl', value: performance.now() - started };
};

const writeWithCfssl = async (directory: string, serials: readonly string[]): Promise<Reference | undefined> => {
  const cfssl = findProgram('cfssl');
  if (cfssl === undefined) return undefined;
  await writeFile(join(directory, 'serials.txt'), `${serials.map((serial) => BigInt(`0x${serial}`).toString()).join('\n')}\n`);
  const started = performance.now();
  await execute(cfssl, ['gencrl', join(directory, 'serials.txt'), join(directory, 'ca.pem'), join(directory, 'key.pem')], { timeout: 120_000, maxBuffer: 512 * 1024 * 1024 });
  return { name: 'cfssl gencrl, from a file of serials', value: performance.now() - started };
};

const readWithOpenssl = async (directory: string, der: Uint8Array, hierarchy: Hierarchy): Promise<Reference | undefined> => {
  const openssl = findProgram('openssl');
  if (openssl === undefined) return undefined;
  await writeFile(join(directory, 'read.crl'), encodePem('X509 CRL', der));
  await writeFile(join(directory, 'issuing.pem'), hierarchy.issuing.pem);
  const started = performance.now();
  await execute(openssl, ['crl', '-in', join(directory, 'read.crl'), '-CAfile', join(directory, 'issuing.pem'), '-noout'], { timeout: 60_000 });
  return { name: 'openssl crl -CAfile, its start included', value: performance.now() - started };
};

/** With the bound of one CRL a second, as a gateway has it. */
const untilPublished = async (): Promise<readonly BenchRow[]> => {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  const deployment = await open(directory, { crlCoalesceMs: 1_000 });
  const { authority } = deployment;
  const server = createServer(webListener({
    handler: createCrlHandler({ authority, clock: { now: () => deployment.now() }, present: () => ({ status: 503, code: '', message: '' }) }),
    limits: { bodyBytes: 4_096, bodyTimeoutMs: 5_000 }, onFailure: (error) => { throw error; },
  }));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/crl/issuing.crl`;
  try {
    await authority.start();
    const samples: number[] = [];
    for (let round = 0; round < REVOCATIONS; round += 1) {
      const { serial } = await authority.issue({ agent: `gone-${round}` });
      // Away from the last CRL by another part of a second each time.
      await new Promise((resolve) => { setTimeout(resolve, 1_200 + round * 125); });
      const started = performance.now();
      await authority.revoke({ serial });
      while (parseCrl(new Uint8Array(await (await fetch(url)).arrayBuffer())).find(serial) === undefined) await new Promise((resolve) => { setTimeout(resolve, 2); });
      samples.push(performance.now() - started);
    }
    return [
      { name: 'revoke to a new CRL over HTTP: p50', value: median(samples), unit: 'ms' },
      { name: `the same: longest of ${REVOCATIONS}`, value: Math.max(...samples), unit: 'ms', goal: atMost(2_200) },
    ];
  } finally {
    server.closeAllConnections();
    server.close();
    await deployment.close();
    await rm(directory, { recursive: true });
  }
};
