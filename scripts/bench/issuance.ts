/** Certificates issued per second from CSRs: durable on SQLite, without a store, and by `cfssl serve` where it is installed. */
import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';
import { CertificateAuthority } from '../../ca/authority.ts';
import type { CaStore } from '../../ca/ports.ts';
import { createCsr } from '../../ca/x509/csr.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { openStore } from '../../src/store/open-store.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createTestPki } from '../../test/support/pki.ts';
import { freePort } from './child.ts';
import { ratioAtLeast, ratioAtMost } from './measure.ts';
import type { BenchRow } from './measure.ts';
import { createMemoryCaStore } from './memory-ca-store.ts';
import { findProgram } from './programs.ts';

interface Issuer {
  issue(agent: string, csr: Uint8Array): Promise<unknown>;
  /** Of its process, so far. */
  cpuMicros(): number;
  close(): Promise<void>;
}

const loads = [{ concurrency: 1, certificates: 400 }, { concurrency: 64, certificates: 2_000 }] as const;
const WARM_UP = 300;
const MANY = 1_000_000;

export const run = async (): Promise<readonly BenchRow[]> => {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  const requests = Array.from({ length: WARM_UP + 2_400 }, () => Buffer.from(createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)));
  const privateKey = generateKeyPairSync('ed25519').privateKey;
  const onSqlite = async (file: string): Promise<Issuer> => {
    const store = await openStore(`sqlite:${file}`, { clock: systemClock, checkpointSigner: createCheckpointSigner({ origin: 'bench/audit', privateKey }) });
    return authority(store.ca, () => store.close());
  };
  try {
    const withoutStore = await measure(await authority(createMemoryCaStore(), async () => {}), requests);
    const file = join(directory, 'bench.db');
    const durable = await measure(await onSqlite(file), requests);
    const full = join(directory, 'full.db');
    await (await onSqlite(full)).close();
    fill(full);
    const amongMany = await measure(await onSqlite(full), requests);
    const cfssl = await startCfssl(directory);
    const notDurable = cfssl === undefined ? undefined : await measure(cfssl, requests);
    return [
      ...loads.flatMap(({ concurrency }, index): BenchRow[] => {
        const row = { name: `durable on SQLite with audit entry, ${concurrency} at once`, value: durable[index]?.rate ?? Number.NaN, unit: 'certificates/s' };
        return [
          { ...row, reference: { name: 'the same without the store', value: withoutStore[index]?.rate ?? Number.NaN } },
          ...(notDurable === undefined ? [] : [{ ...row, reference: { name: 'cfssl serve, over HTTP, nothing stored', value: notDurable[index]?.rate ?? Number.NaN } }]),
        ];
      }),
      ...loads.map(({ concurrency }, index): BenchRow => ({
        name: `the same among ${MANY.toLocaleString('en')} issued before, ${concurrency} at once`, value: amongMany[index]?.rate ?? Number.NaN, unit: 'certificates/s',
        reference: { name: 'with none issued before', value: durable[index]?.rate ?? Number.NaN }, goal: ratioAtLeast(0.8),
      })),
      {
        name: 'durable, CPU of the process, all threads, 64 at once', value: durable[1]?.cpuMicros ?? Number.NaN, unit: 'µs CPU',
        ...(notDurable === undefined ? {} : { reference: { name: 'cfssl serve, HTTP included', value: notDurable[1]?.cpuMicros ?? Number.NaN }, goal: ratioAtMost(1) }),
      },
    ];
  } finally {
    await rm(directory, { recursive: true });
  }
};

/** Rows as an authority that has worked for long has them, but for the two encodings, which are short here: nothing reads them. */
const fill = (file: string): void => {
  const database = new DatabaseSync(file);
  database.exec(`
    PRAGMA synchronous = OFF;
    WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ${MANY})
    INSERT INTO certificate (issuer_id, serial, state, tbs, der, thumbprint, agent, profile, subject, common_name, organizational_units, uri, dns_names, spki_hash, not_before, not_after, created_at)
    SELECT (SELECT issuer_id FROM certificate LIMIT 1), lower(hex(randomblob(19))), 'issued', zeroblob(8), zeroblob(8), lower(hex(randomblob(32))), 'old-' || n, 'agent', 'CN=old-' || n, 'old-' || n,
      '["analytics"]', 'spiffe://bench.internal/agent/old-' || n, '[]', lower(hex(randomblob(32))), n, n + 86400000, n FROM number;
    PRAGMA wal_checkpoint(TRUNCATE);`);
  database.close();
};

const authority = async (store: CaStore, close: () => Promise<void>): Promise<Issuer> => {
  const ca = await CertificateAuthority.create({ name: 'Bench', trustDomain: 'bench.internal', store, clock: systemClock, randomness: systemRandomness });
  return {
    issue: (agent, csr) => ca.issue({ agent, organizationalUnits: ['analytics'], csr }),
    cpuMicros: () => process.cpuUsage().user + process.cpuUsage().system,
    close: async () => {
      await ca.close();
      await close();
    },
  };
};

interface Measured {
  /** Certificates a second. */
  readonly rate: number;
  /** CPU for each, of the process that issues. */
  readonly cpuMicros: number;
}

/** At each load. */
const measure = async (issuer: Issuer, requests: readonly Uint8Array[]): Promise<readonly Measured[]> => {
  let next = 0;
  const issue = async (concurrency: number, count: number): Promise<Measured> => {
    const until = next + count;
    const one = async (): Promise<void> => {
      while (next < until) {
        const number = next++;
        await issuer.issue(`agent-${number}`, requests[number] ?? new Uint8Array());
      }
    };
    const started = performance.now();
    const cpuBefore = issuer.cpuMicros();
    await Promise.all(Array.from({ length: concurrency }, one));
    return { rate: (count / (performance.now() - started)) * 1_000, cpuMicros: (issuer.cpuMicros() - cpuBefore) / count };
  };
  try {
    await issue(8, WARM_UP);
    const measured: Measured[] = [];
    for (const { concurrency, certificates } of loads) measured.push(await issue(concurrency, certificates));
    return measured;
  } finally {
    await issuer.close();
  }
};

/** Of a process with all its threads, from its ticks of 10 ms; where the system has no such file, nothing to compare with. */
const cpuMicrosOf = (pid = 0): number => {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10_000;
  } catch {
    return Number.NaN;
  }
};

const startCfssl = async (directory: string): Promise<Issuer | undefined> => {
  const program = findProgram('cfssl');
  if (program === undefined) return undefined;
  const { issuing } = createTestPki();
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(directory, name), text, { mode: 0o600 });
    return join(directory, name);
  };
  const port = await freePort();
  const child = spawn(program, [
    'serve', '-address=127.0.0.1', `-port=${port}`, '-loglevel=5',
    `-ca=${await file('ca.pem', issuing.certPem)}`, `-ca-key=${await file('ca-key.pem', issuing.key.export({ type: 'sec1', format: 'pem' }).toString())}`,
    `-config=${await file('cfssl.json', JSON.stringify({ signing: { default: { expiry: '24h', usages: ['digital signature', 'client auth'] } } }))}`,
  ], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 64 });
  const issue = async (agent: string, csr: Uint8Array): Promise<void> => {
    const { statusCode, body } = await pool.request({
      path: '/api/v1/cfssl/sign', method: 'POST', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ certificate_request: encodePem('CERTIFICATE REQUEST', csr), subject: { CN: agent, names: [{ OU: 'analytics' }] }, hosts: [agent] }),
    });
    const text = await body.text();
    if (statusCode !== 200) throw new Error(`cfssl answered ${statusCode}: ${text.slice(0, 200)}`);
  };
  const close = async (): Promise<void> => {
    await pool.destroy();
    child.kill('SIGKILL');
    await ended;
  };
  const trial = createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  for (let attempt = 0; ; attempt += 1) {
    try {
      await issue('trial', trial);
      return { issue, close, cpuMicros: () => cpuMicrosOf(child.pid) };
    } catch (error) {
      if (attempt < 50 && child.exitCode === null) await sleep(100);
      else {
        await close();
        throw error;
      }
    }
  }
};
