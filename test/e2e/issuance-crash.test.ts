import { spawn } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CertificateAuthority } from '../../ca/authority.ts';
import type { AuditEvent } from '../../ca/ports.ts';
import { parseCrl, verifyCrl } from '../../ca/x509/crl.ts';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { verifyStore } from '../../src/audit/verify.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/store/store.ts';
import { systemRandomness as randomness } from '../../src/system.ts';

const script = fileURLToPath(new URL('../support/issuance-child.ts', import.meta.url));
let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-kill-'));
  writeFileSync(join(directory, 'log.key.pem'), generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }));
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** Two minutes later, so that whatever was left behind counts as such. */
const withAuthority = async <T>(use: (authority: CertificateAuthority, store: Store) => Promise<T>, options: { readonly make?: true; readonly laterSeconds?: number } = {}): Promise<T> => {
  const clock = { now: () => new Date(Date.now() + (options.laterSeconds ?? 0) * 1_000) };
  const checkpointSigner = createCheckpointSigner({ origin: 'acme/audit', privateKey: createPrivateKey(readFileSync(join(directory, 'log.key.pem'))) });
  const store = await openStore(`sqlite:${join(directory, 'sallyport.db')}`, { clock, checkpointSigner });
  const settings = { directory, name: 'Acme', trustDomain: 'acme.internal', store: store.ca, clock, randomness };
  const authority = options.make === true ? await CertificateAuthority.create(settings) : await CertificateAuthority.load(settings);
  try {
    const result = await use(authority, store);
    expect(await verifyStore(store.audit, { verifierKey: checkpointSigner.verifierKey })).toMatchObject({ ok: true, findings: [] });
    return result;
  } finally {
    await authority.close();
    await store.close();
  }
};

/** Kills a child before and after every call of a port, until one gets through; `inspect` looks at what each left. */
const killAtEveryStep = async (operation: string, inspect: (step: number) => Promise<void>): Promise<readonly string[]> => {
  for (let step = 0; ; step++) {
    const child = spawn(process.execPath, [script, directory, operation, String(step)], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
    await inspect(step);
    if (said === 'answered') {
      expect(code).toBe(0);
      return linesOf('killed.log');
    }
    expect(signal).toBe('SIGKILL');
  }
};

const linesOf = (name: string): readonly string[] => (existsSync(join(directory, name)) ? readFileSync(join(directory, name), 'utf8').trim().split('\n') : []);

describe('after kill -9 between every two steps', { timeout: 90_000 }, () => {
  it('of issuing, no signed certificate is unknown, none is lost, and every one can be revoked', async () => {
    await withAuthority(async () => undefined, { make: true });
    const steps = await killAtEveryStep('issue', async () => {});
    expect(steps).toEqual(expect.arrayContaining(['before recordIntent', 'after recordIntent', 'before sign', 'after sign', 'before recordIssued', 'after recordIssued']));
    expect(steps.indexOf('after recordIntent')).toBeLessThan(steps.indexOf('before sign'));
    expect(steps.indexOf('after sign')).toBeLessThan(steps.indexOf('before recordIssued'));

    await withAuthority(
      async (authority, store) => {
        const records = (await store.ca.findCertificates({ issuerId: authority.issuing.id })).filter(({ agent }) => agent.startsWith('crashing-'));
        expect(records.map(({ state }) => state)).not.toContain('intent');
        const known = new Map(records.map((record) => [Buffer.from(record.tbs).toString('hex'), record]));
        const signed = linesOf('signed.log');
        expect(signed.length).toBeGreaterThanOrEqual(3);
        for (const tbs of signed) expect(known.has(tbs)).toBe(true);
        const answered = linesOf('answered.log');
        expect(answered).toHaveLength(1);
        for (const serial of answered) expect(records.find((record) => record.serial === serial)).toMatchObject({ state: 'issued' });
        for (const record of records) expect((await authority.revoke({ serial: record.serial })).revoked).toHaveLength(1);
        await authority.publishCrl('issuing');
        expect((await authority.currentCrl('issuing')).entries).toBe(records.length);
      },
      { laterSeconds: 120 },
    );
  });

  it('of revoking, the certificate is either live or revoked with its evidence, and the next start puts it on the CRL', async () => {
    await withAuthority(
      async (authority) => {
        await authority.issue({ agent: 'doomed-0' });
      },
      { make: true },
    );
    let published = false;
    const steps = await killAtEveryStep('revoke', async (step) => {
      await withAuthority(async (authority, store) => {
        const agent = `doomed-${step}`;
        const [record] = await store.ca.findCertificates({ agent });
        const events = (await store.audit.read({ from: 0, limit: 10_000 })).map(({ event }) => JSON.parse(event) as AuditEvent);
        const evidence = events.filter((event) => event.action === 'certificate.revoked' && event.agent === agent).length;
        expect([record?.state, evidence]).toEqual(linesOf('killed.log').includes('after revoke') ? ['revoked', 1] : ['issued', 0]);
        await authority.issue({ agent: `doomed-${step + 1}` });
        if (record?.state !== 'revoked' || published) return;
        published = true;
        expect(parseCrl((await authority.currentCrl('issuing')).der).find(record.serial)).toBeUndefined();
        await authority.start();
        await authority.close();
        expect(parseCrl((await authority.currentCrl('issuing')).der).find(record.serial)?.reason).toBe('keyCompromise');
      });
    });
    expect(published).toBe(true);
    expect(steps).toEqual(expect.arrayContaining(['before revoke', 'after revoke']));
  });

  it('of publishing, store and file hold a CRL that verifies, and the numbers go on', async () => {
    await withAuthority(async () => undefined, { make: true });
    let number = 1n;
    const steps = await killAtEveryStep('publish', async () => {
      await withAuthority(async (authority) => {
        const stored = await authority.currentCrl('issuing');
        const file = parseCrl(new Uint8Array(readFileSync(join(directory, 'crl', 'issuing.crl'))));
        for (const crl of [parseCrl(stored.der), file]) verifyCrl(crl, authority.issuing.certificate, { at: new Date() });
        // The file may be behind until the next start, never ahead: a number is never given twice.
        expect(file.crlNumber).toBeLessThanOrEqual(stored.crlNumber);
        expect(stored.crlNumber).toBeGreaterThanOrEqual(number);
        number = stored.crlNumber;
      });
    });
    expect(steps).toEqual(expect.arrayContaining(['before sign', 'after sign', 'before saveCrl', 'after saveCrl']));
  });
});
