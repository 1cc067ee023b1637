import { generateKeyPairSync } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CrlRecord, CrlState } from '../../ca/ports.ts';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { examineCrl, examinePublishedCrls, examineStoredCrls, publicBaseUrl } from '../../src/doctor/crls.ts';
import { examineAudit } from '../../src/doctor/evidence.ts';
import { examineKeyExchange } from '../../src/doctor/key-exchange.ts';
import { examineKeyModes, examineLife, examineWriters } from '../../src/doctor/files.ts';
import { examineConfiguration, examinePolicy } from '../../src/doctor/rules.ts';
import { examineRuntime } from '../../src/doctor/runtime.ts';
import { ThrowAwayIdentities } from '../../src/doctor/throw-away.ts';
import { parseConfig } from '../../src/config/load.ts';
import { systemRandomness } from '../../src/system.ts';
import { createAuthority } from '../support/authority.ts';
import { createTestPki } from '../support/pki.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sallyport-doctor-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const dayMs = 86_400_000;

it('fails a configuration that others may write, and heeds that a closed directory keeps them away', async () => {
  const port = join(directory, 'writers');
  await mkdir(port);
  const file = join(port, 'policy.yaml');
  await writeFile(file, '');
  const withModes = async (around: number, own: number) => {
    await chmod(port, around);
    await chmod(file, own);
    return examineWriters(file, 'linux');
  };
  for (const [around, own] of [[0o700, 0o666], [0o755, 0o644], [0o750, 0o602], [0o701, 0o660], [0o1777, 0o644]] as const) expect(await withModes(around, own)).toBeUndefined();
  const finding = (path: string, mode: string) => ({ outcome: 'fail', detail: `${path} is ${mode}: others may write to it`, next: `chmod go-w ${path}; see what was written` });
  expect(await withModes(0o755, 0o646)).toEqual(finding(file, '0646'));
  expect(await withModes(0o750, 0o620)).toEqual(finding(file, '0620'));
  expect(await withModes(0o777, 0o600)).toEqual(finding(port, '0777'));
  expect(await withModes(0o777, 0o666)).toMatchObject({ next: `chmod go-w ${port} && chmod go-w ${file}; see what was written` });
  expect(await examineWriters(file, 'win32')).toBeUndefined();
  expect(await examineWriters(join(port, 'none'), 'linux')).toBeUndefined();
});

describe('modes of private keys', () => {
  it('passes 0600 and stricter, and fails what others may read, with the commands that mend it', async () => {
    const port = join(directory, 'modes');
    const keys = join(port, 'keys');
    await mkdir(keys, { recursive: true });
    await chmod(port, 0o700);
    await chmod(keys, 0o700);
    const key = join(keys, 'root.key.pem');
    await writeFile(key, 'key', { mode: 0o600 });
    await writeFile(join(keys, 'audit.key.pem'), 'key', { mode: 0o400 });
    expect(await examineKeyModes(port, 'linux')).toEqual({ outcome: 'pass', detail: '2 keys, for their owner only' });
    for (const mode of [0o644, 0o640, 0o604, 0o610]) {
      await chmod(key, mode);
      expect(await examineKeyModes(port, 'linux')).toEqual({ outcome: 'fail', detail: `${key} is 0${mode.toString(8)}`, next: `chmod 600 ${key}; replace a key that someone else may have read` });
    }
    await chmod(key, 0o600);
    await chmod(keys, 0o750);
    await chmod(port, 0o755);
    expect(await examineKeyModes(port, 'linux')).toEqual({ outcome: 'fail', detail: `${port} is 0755, ${keys} is 0750`, next: `chmod 700 ${port} && chmod 700 ${keys}` });
    expect((await examineKeyModes(port, 'win32')).outcome).toBe('skip');
  });
});

describe('lifetimes of certificates', () => {
  const notBefore = new Date('2026-01-01T00:00:00Z');
  const life = (days: number) => ({ notBefore, notAfter: new Date(notBefore.getTime() + days * dayMs - 1_000) });
  const at = (days: number) => new Date(notBefore.getTime() + days * dayMs);
  const rule = (leastDays: number) => ({ leastDays, renew: 'renew it' });

  it('warns when less than a quarter is left', () => {
    expect(examineLife(life(100), at(75), rule(0)).outcome).toBe('pass');
    expect(examineLife(life(100), new Date(at(75).getTime() + 1), rule(0))).toEqual({ outcome: 'warn', detail: 'until 2026-04-10, 24 days left', next: 'renew it' });
  });

  it('warns when fewer days are left than it needs', () => {
    expect(examineLife(life(60), at(30), rule(30)).outcome).toBe('pass');
    expect(examineLife(life(60), new Date(at(30).getTime() + 1), rule(30)).outcome).toBe('warn');
  });

  it('fails what has expired or is not yet valid', () => {
    expect(examineLife(life(1), new Date(at(1).getTime() - 1), rule(0))).toMatchObject({ outcome: 'warn', detail: 'until 2026-01-01, 0 hours left' });
    expect(examineLife(life(1), at(1), rule(0))).toEqual({ outcome: 'fail', detail: 'expired on 2026-01-01', next: 'renew it' });
    expect(examineLife(life(1), new Date(notBefore.getTime() - 1), rule(0))).toMatchObject({ outcome: 'fail', next: 'check the clock of this machine' });
  });
});

describe('CRLs', () => {
  const pki = createTestPki();
  const now = new Date();
  const at = (ms: number) => new Date(Math.floor((now.getTime() + ms) / 1_000) * 1_000);
  const crl = (from: number, to: number, ca = pki.issuing) => ca.crl({ entries: [], crlNumber: 7, thisUpdate: at(from), nextUpdate: at(to) });
  const scope = { partitions: 1, partition: 0 };
  const store = (der: Uint8Array | undefined) => ({ crlStates: async () => (der === undefined ? [] : [{ scope } as CrlState]), crlSeries: async () => [], latestCrl: async () => (der === undefined ? undefined : ({ der } as CrlRecord)) });

  it('passes fresh ones, warns at three quarters of their life, and fails stale, forged, foreign and missing ones', async () => {
    const outcomeOf = async (der: Uint8Array | undefined) => (await examineStoredCrls(store(der), 'issuing', pki.issuing.certificate, () => now)).outcome;
    expect(await outcomeOf(crl(-60_000, dayMs))).toBe('pass');
    expect(await outcomeOf(crl(-74 * 60_000, 26 * 60_000))).toBe('pass');
    expect(await outcomeOf(crl(-76 * 60_000, 24 * 60_000))).toBe('warn');
    expect(await outcomeOf(crl(-dayMs, -1_000))).toBe('fail');
    expect(await outcomeOf(crl(-60_000, dayMs, pki.root))).toBe('fail');
    expect(await outcomeOf(Uint8Array.of(0x30, 0x00))).toBe('fail');
    const forged = crl(-60_000, dayMs);
    forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1;
    expect(await outcomeOf(forged)).toBe('fail');
    expect(await examineStoredCrls(store(undefined), 'issuing', pki.issuing.certificate, () => now)).toEqual({ outcome: 'fail', detail: 'there is none', next: 'sallyport crl --ca issuing --publish' });
    expect(await examineCrl(crl(-dayMs, -1_000), 'root', pki.issuing.certificate, now)).toEqual({
      outcome: 'fail',
      detail: 'the CRL is past its nextUpdate; publish or fetch a newer one',
      next: 'start the gateway, which rebuilds CRLs by itself, or: sallyport crl --ca root --publish',
    });
  });

  describe('as others fetch them', () => {
    let served: Readonly<Record<string, Uint8Array>> = {};
    let server: Server;
    let baseUrl: string;
    beforeAll(async () => {
      server = createServer((request, response) => {
        const body = served[request.url ?? ''];
        response.writeHead(body === undefined ? 404 : 200).end(body);
      });
      await new Promise<void>((resolve) => {
        server.listen(0, '127.0.0.1', resolve);
      });
      const address = server.address();
      baseUrl = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
    });
    afterAll(() => {
      server.close();
    });
    const examine = (base: string | undefined = baseUrl) =>
      examinePublishedCrls({ baseUrl: base, issuers: new Map([['issuing', pki.issuing.certificate], ['root', pki.root.certificate]]), now: () => now, timeoutMs: 1_000 });

    it('passes both, and fails when one is stale, absent or not reachable', async () => {
      const root = crl(-60_000, dayMs, pki.root);
      served = { '/crl/issuing.crl': crl(-60_000, dayMs), '/crl/root.crl': root };
      expect(await examine()).toEqual({ outcome: 'pass', detail: `${baseUrl}/crl/issuing.crl, ${baseUrl}/crl/root.crl` });
      served = { '/crl/issuing.crl': crl(-dayMs, -1_000), '/crl/root.crl': root };
      expect(await examine()).toMatchObject({ outcome: 'fail', detail: `${baseUrl}/crl/issuing.crl: the CRL is past its nextUpdate; publish or fetch a newer one` });
      served = { '/crl/issuing.crl': crl(-60_000, dayMs) };
      expect(await examine()).toMatchObject({ outcome: 'fail', detail: `${baseUrl}/crl/root.crl: answered HTTP 404` });
      served = { '/crl/issuing.crl': crl(-60_000, dayMs), '/crl/root.crl': crl(-76 * 60_000, 24 * 60_000, pki.root) };
      expect((await examine()).outcome).toBe('warn');
      expect(await examine('http://127.0.0.1:1')).toMatchObject({ outcome: 'fail', detail: expect.stringContaining('not reachable (') as string });
    });

    it('are looked for where certificates say, else where the listener is', () => {
      const base = (yaml: string) => publicBaseUrl(parseConfig(yaml, { directory: '/port' }));
      expect(base('publicUrl: http://pki.acme.internal/')).toBe('http://pki.acme.internal');
      expect(base('')).toBe('http://127.0.0.1:8080');
      expect(base('gateway: { public: "0.0.0.0:8081" }')).toBe('http://localhost:8081');
      expect(base('gateway: { public: "[::1]:8081" }')).toBe('http://[::1]:8081');
      expect(base('gateway: { public: false }')).toBe(undefined);
    });

    it('are passed over without a public listener', async () => {
      expect(await examinePublishedCrls({ baseUrl: undefined, issuers: new Map([['issuing', pki.issuing.certificate], ['root', pki.root.certificate]]), now: () => now, timeoutMs: 1_000 })).toEqual({ outcome: 'skip', detail: 'there is no public listener' });
    });
  });
});

describe('the audit log', () => {
  const signer = createCheckpointSigner({ origin: 'acme/audit', privateKey: generateKeyPairSync('ed25519').privateKey });
  const stranger = createCheckpointSigner({ origin: 'acme/audit', privateKey: generateKeyPairSync('ed25519').privateKey });
  const root = new Uint8Array(32);
  const examine = async (note: string | undefined, size: number, kept: string | undefined) => {
    const checkpointFile = join(directory, 'audit.checkpoint');
    await rm(checkpointFile, { force: true });
    if (kept !== undefined) await writeFile(checkpointFile, kept);
    return examineAudit({ store: { latestCheckpoint: async () => note, size: async () => size }, verifierKey: signer.verifierKey, checkpointFile });
  };

  it('passes a genuine checkpoint that is not older than the one kept outside', async () => {
    expect(await examine(signer.sign({ size: 9, root }), 9, signer.sign({ size: 7, root }))).toEqual({ outcome: 'pass', detail: 'signed checkpoint over 9 entries; sallyport audit verify looks at each' });
  });

  it('fails without one, with a forged one, and with fewer entries than were vouched for', async () => {
    const kept = signer.sign({ size: 7, root });
    expect((await examine(undefined, 9, kept)).detail).toBe('9 entries without a signed checkpoint');
    expect((await examine(stranger.sign({ size: 9, root }), 9, kept)).detail).toBe('the latest checkpoint is not valid: no signature by the log key');
    expect((await examine(signer.sign({ size: 9, root }), 8, kept)).detail).toBe('the log holds 8 entries, its checkpoint vouches for 9');
    expect((await examine(signer.sign({ size: 6, root }), 6, kept)).detail).toBe('the store holds 6 entries, the checkpoint kept outside it vouches for 7');
    expect((await examine(signer.sign({ size: 9, root }), 9, stranger.sign({ size: 7, root }))).detail).toBe('the checkpoint kept outside the store is not valid: no signature by the log key');
    for (const finding of [await examine(undefined, 9, kept), await examine(signer.sign({ size: 6, root }), 6, kept)]) expect(finding.outcome).toBe('fail');
  });

  it('warns when nothing is kept outside', async () => {
    expect((await examine(signer.sign({ size: 9, root }), 9, undefined)).outcome).toBe('warn');
  });
});

describe('policy, configuration and runtime', () => {
  const policy = async (text: string) => {
    const file = join(directory, 'policy.yaml');
    await writeFile(file, text);
    return { file, finding: await examinePolicy(file) };
  };

  it('warns of what is probably not meant, and fails what cannot be read', async () => {
    const empty = await policy('');
    expect(empty.finding).toMatchObject({ outcome: 'warn', next: `sallyport policy check ${empty.file}` });
    const broken = await policy('roles: [');
    expect(broken.finding.outcome).toBe('fail');
    expect(broken.finding.detail).toMatch(/^ERR_POLICY_INVALID: /);
    expect((await examinePolicy(join(directory, 'none.yaml'))).outcome).toBe('fail');
  });

  it('passes a policy that says what it means', async () => {
    expect((await policy('roles:\n  reader:\n    grants:\n      - upstream: docs\n        tools: [search]\nbindings:\n  - { role: reader, when: { organizationalUnit: analytics } }\n')).finding).toMatchObject({ outcome: 'pass' });
  });

  it('warns of settings that open more than one may think', () => {
    expect(examineConfiguration(parseConfig('', { directory: '/port' })).outcome).toBe('pass');
    expect(examineConfiguration(parseConfig('gateway: { public: "0.0.0.0:8080" }', { directory: '/port' }))).toMatchObject({ outcome: 'warn', next: 'edit /port/sallyport.yaml, unless it is meant' });
  });

  it('passes a hybrid key exchange, warns of any other, and skips what this Node.js does not tell', () => {
    expect(examineKeyExchange('X25519MLKEM768')).toEqual({ outcome: 'pass', detail: 'X25519MLKEM768 with a peer that offers it' });
    expect(examineKeyExchange('X25519')).toEqual({ outcome: 'warn', detail: 'X25519: what is recorded today could be read by a later quantum computer', next: 'run gateway and agents on a Node.js with OpenSSL 3.5, such as 26' });
    expect(examineKeyExchange(undefined).outcome).toBe('skip');
  });
  it('warns of the Node.js that leaks', () => {
    expect(examineRuntime('v24.21.0').outcome).toBe('warn');
    expect(examineRuntime('v24.20.1')).toEqual({ outcome: 'pass', detail: 'v24.20.1' });
    expect(examineRuntime('v26.10.0').outcome).toBe('pass');
  });
});

describe('throw-away identities', () => {
  it('that cannot be revoked are named, with how to do it', async () => {
    let broken = false;
    const fixture = await createAuthority({
      wrap: (store) => {
        const revoke: typeof store.revoke = (...parameters) => (broken ? Promise.reject(new Error('disk full')) : store.revoke(...parameters));
        return new Proxy(store, { get: (target, key) => (key === 'revoke' ? revoke : Reflect.get(target, key, target)) });
      },
    });
    try {
      const identities = new ThrowAwayIdentities({ authority: fixture.authority, randomness: systemRandomness, actor: 'cli:tester' });
      expect(await identities.clear()).toEqual({ outcome: 'pass', detail: 'none was made' });
      const { certificate } = await identities.agent('good');
      broken = true;
      expect(await identities.clear()).toEqual({ outcome: 'warn', detail: `not revoked: serial ${certificate.serial} (disk full); they expire within 60 s`, next: 'sallyport revoke --serial HEX, for each of them' });
      broken = false;
      expect((await identities.clear()).outcome).toBe('pass');
      expect((await fixture.authority.certificates({ serial: certificate.serial }))[0]).toMatchObject({ state: 'revoked', revocationReason: 'cessationOfOperation' });
    } finally {
      await fixture.close();
    }
  });
});
