/** Certificates issued per second from CSRs: durable on SQLite, without a store, and by `cfssl serve` where it is installed. */
import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
import type { BenchRow } from './measure.ts';
import { createMemoryCaStore } from './memory-ca-store.ts';
import { findProgram } from './programs.ts';

interface Issuer {
  issue(agent: string, csr: Uint8Array): Promise<unknown>;
  close(): Promise<void>;
}

const loads = [{ concurrency: 1, certificates: 400 }, { concurrency: 64, certificates: 2_000 }] as const;
const WARM_UP = 300;

export const run = async (): Promise<readonly BenchRow[]> => {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  const requests = Array.from({ length: WARM_UP + 2_400 }, () => Buffer.from(createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)));
  try {
    const withoutStore = await measure(await authority(createMemoryCaStore(), async () => {}), requests);
    const store = await openStore(`sqlite:${join(directory, 'bench.db')}`, {
      clock: systemClock,
      checkpointSigner: createCheckpointSigner({ origin: 'bench/audit', privateKey: generateKeyPairSync('ed25519').privateKey }),
    });
    const durable = await measure(await authority(store.ca, () => store.close()), requests);
    const cfssl = await startCfssl(directory);
    const notDurable = cfssl === undefined ? undefined : await measure(cfssl, requests);
    return loads.flatMap(({ concurrency }, index): BenchRow[] => {
      const row = { name: `durable on SQLite with audit entry, ${concurrency} at once`, value: durable[index] ?? Number.NaN, unit: 'certificates/s' };
      return [
        { ...row, reference: { name: 'the same without the store', value: withoutStore[index] ?? Number.NaN } },
        ...(notDurable === undefined ? [] : [{ ...row, reference: { name: 'cfssl serve, over HTTP, nothing stored', value: notDurable[index] ?? Number.NaN } }]),
      ];
    });
  } finally {
    await rm(directory, { recursive: true });
  }
};

const authority = async (store: CaStore, close: () => Promise<void>): Promise<Issuer> => {
  const ca = await CertificateAuthority.create({ name: 'Bench', trustDomain: 'bench.internal', store, clock: systemClock, randomness: systemRandomness });
  return {
    issue: (agent, csr) => ca.issue({ agent, organizationalUnits: ['analytics'], csr }),
    close: async () => {
      await ca.close();
      await close();
    },
  };
};

/** Certificates per second at each load. */
const measure = async (issuer: Issuer, requests: readonly Uint8Array[]): Promise<readonly number[]> => {
  let next = 0;
  const issue = async (concurrency: number, count: number): Promise<number> => {
    const until = next + count;
    const one = async (): Promise<void> => {
      while (next < until) {
        const number = next++;
        await issuer.issue(`agent-${number}`, requests[number] ?? new Uint8Array());
      }
    };
    const started = performance.now();
    await Promise.all(Array.from({ length: concurrency }, one));
    return (count / (performance.now() - started)) * 1_000;
  };
  try {
    await issue(8, WARM_UP);
    const rates: number[] = [];
    for (const { concurrency, certificates } of loads) rates.push(await issue(concurrency, certificates));
    return rates;
  } finally {
    await issuer.close();
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
      return { issue, close };
    } catch (error) {
      if (attempt < 50 && child.exitCode === null) await sleep(100);
      else {
        await close();
        throw error;
      }
    }
  }
};
