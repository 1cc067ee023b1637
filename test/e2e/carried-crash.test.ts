/** What comes and goes as files, interrupted by kill -9: certificates and CRLs of a root elsewhere, CRLs, backups, data directories. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, readFile, readdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCrl, verifyCrl } from '../../ca/x509/crl.ts';
import { openDeployment } from '../../src/app/deployment.ts';
import type { Deployment } from '../../src/app/deployment.ts';
import { systemRandomness as randomness } from '../../src/system.ts';
import { Workplace } from '../cli/run.ts';
import type { Ran } from '../cli/run.ts';

const script = fileURLToPath(new URL('../support/command-child.ts', import.meta.url));
const env = { SALLYPORT_BACKUP_PASSPHRASE: 'correct horse battery staple' };
/** When whatever was left behind counts as such. */
const clock = { now: () => new Date(Date.now() + 120_000) };

const places: Workplace[] = [];
const workplace = async (from?: Workplace): Promise<Workplace> => {
  const place = await Workplace.make();
  places.push(place);
  Object.assign(place.env, env);
  if (from !== undefined) await cp(from.directory, place.directory, { recursive: true });
  return place;
};
const did = async (place: Workplace, ...commands: readonly string[]): Promise<void> => {
  for (const command of commands) await place.json(...command.split(' '));
};

/** One deployment with a root of its own, and one whose root is in a vault. */
let whole: Workplace;
let below: Workplace;
beforeAll(async () => {
  whole = await workplace();
  await did(whole, 'init --dir port --name Acme');
  const file = whole.path('port', 'sallyport.yaml');
  await writeFile(file, `publicUrl: http://127.0.0.1:8080\n${(await readFile(file, 'utf8')).replace(/^ca:$/mu, 'ca:\n  crl: { partitions: 2, delta: true }')}`);
  await did(whole, 'issue agent-7 --out agent-7 --dir port', 'crl --publish --dir port', 'backup first.backup --dir port');
  below = await workplace();
  await did(below, 'init --root-only --dir vault --name Acme', 'init --dir port --name Acme --root vault/certs/root.cert.pem', 'ca sign port/requests/issuing.csr.pem --dir vault --out issuing.pem --yes', 'ca accept issuing.pem --dir port');
  await did(below, 'ca rotate prepare issuing --dir port', 'ca sign port/requests/issuing-2.csr.pem --dir vault --out issuing-2.pem --yes');
}, 30_000);
afterAll(async () => {
  for (const place of places) await place.remove();
});

interface Killed {
  readonly place: Workplace;
  /** The same command once more. */
  again(): Promise<Ran>;
}

/** A copy in which a command was killed at a step. */
const kill = async (from: Workplace, step: string, command: string): Promise<Killed> => {
  const place = await workplace(from);
  const words = command.split(' ');
  const child = spawn(process.execPath, [script, place.path('steps.log'), step, 'bob', ...words], { cwd: place.directory, env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'inherit'] });
  const [, signal] = (await once(child, 'close')) as [number | null, string | null];
  expect([step, signal, (await readFile(place.path('steps.log'), 'utf8')).trim().split('\n')]).toEqual([step, 'SIGKILL', expect.arrayContaining([step])]);
  return { place, again: () => place.run(...words) };
};

/** After a start such as that of `serve`. */
const started = async <T>(place: Workplace, use: (deployment: Deployment) => Promise<T>, directory = 'port'): Promise<T> => {
  const failures: unknown[] = [];
  const deployment = await openDeployment(place.path(directory), { clock, randomness, onBackgroundError: (error) => failures.push(error) });
  try {
    await deployment.authority.start();
    await deployment.authority.close();
    expect(failures).toEqual([]);
    return await use(deployment);
  } finally {
    await deployment.close();
    expect(await place.run('audit', 'verify', '--dir', directory)).toMatchObject({ code: 0 });
  }
};

describe('after kill -9 in the middle of', { timeout: 90_000, concurrent: true }, () => {
  it('preparing a root, the next attempt revokes what may have been signed, and nothing is left to be found', async () => {
    const { place, again } = await kill(whole, 'after rename root-by-root-2.cert.pem', 'ca rotate prepare root --dir port');
    expect(await again()).toMatchObject({ code: 0 });
    expect(await place.run('ca', 'audit', '--dir', 'port')).toMatchObject({ code: 0 });
    await started(place, async ({ authority, store }) => {
      expect(authority.issuers.map(({ name, status }) => [name, status])).toEqual([['root', 'active'], ['issuing', 'active'], ['root-2', 'prepared'], ['issuing-2', 'prepared']]);
      expect(await store.ca.findCertificates({ states: ['intent', 'unknownIssued'] })).toEqual([]);
      const left = (await store.ca.findCertificates({ states: ['revoked'] })).map(({ agent, revocationReason }) => [agent, revocationReason]);
      expect(left.toSorted()).toEqual([['ca:issuing-2', 'superseded'], ['ca:root-2', 'superseded'], ['ca:root-2-by-root', 'superseded'], ['ca:root-by-root-2', 'superseded']]);
      expect((await authority.currentCrl('root')).entries).toBe(1);
    });
  });

  it('accepting a certificate, the next attempt has it accepted and its request ended', async () => {
    const { place, again } = await kill(below, 'after rename hierarchy.json', 'ca accept issuing-2.pem --dir port');
    expect(await again()).toMatchObject({ code: 0, stdout: expect.stringMatching(/^accepted issuing-2 /u) });
    await started(place, async ({ authority }) => {
      expect(authority.issuers.map(({ name, status }) => [name, status])).toEqual([['root', 'active'], ['issuing', 'active'], ['issuing-2', 'prepared']]);
      expect((await readdir(place.path('port', 'requests'))).filter((name) => name.startsWith('issuing-2'))).toEqual([]);
    });
  });

  it('importing a CRL, what it lists is revoked at the latest with the next attempt', async () => {
    const from = await workplace(below);
    await did(from, 'ca accept issuing-2.pem --dir port', 'ca rotate activate issuing-2 --dir port');
    const { issuers } = (await from.json('ca', 'show', '--dir', 'port')) as { readonly issuers: readonly { readonly name: string; readonly serial: string }[] };
    const serial = issuers.find(({ name }) => name === 'issuing')?.serial ?? '';
    await did(from, `revoke --serial ${serial} --reason cACompromise --dir vault`, 'crl --ca root --dir vault --out root.crl');
    const { place, again } = await kill(from, 'after commit certificate.revoked', 'ca import-crl root.crl --dir port');
    expect(await again()).toMatchObject({ code: 0 });
    expect(await again()).toMatchObject({ code: 3, stderr: expect.stringContaining('error ERR_CRL_STALE: root.crl: this CRL, or a newer one of the same CA, is here already') });
    expect(await place.run('ca', 'audit', '--dir', 'port')).toMatchObject({ code: 0 });
    await started(place, async ({ authority, store }) => {
      const listed = parseCrl((await authority.currentCrl('root')).der).find(serial);
      expect(await store.ca.findCertificates({ agent: 'ca:issuing' })).toMatchObject([{ state: 'revoked', revocationReason: 'cACompromise', revokedAt: listed?.revokedAt }]);
    });
  });

  it('publishing what was revoked, the next start has it on every CRL, in files and in the store', async () => {
    const { place, again } = await kill(whole, 'after commit crl.published', 'revoke agent-7 --dir port');
    expect(await again()).toMatchObject({ code: 1, stderr: expect.stringContaining('error ERR_CA_ALREADY_REVOKED: agent "agent-7" is revoked already') });
    await started(place, async ({ authority }) => {
      const [record] = await authority.certificates({ agent: 'agent-7' });
      const states = await authority.crlStates('issuing');
      expect(states.map(({ scope }) => scope.partitions)).toEqual([1, 2, 2]);
      let lists = 0;
      for (const { scope, crlNumber } of states) {
        for (const kind of ['complete', 'delta'] as const) {
          const file = `${scope.partitions === 1 ? 'issuing' : `issuing/2/${scope.partition}`}${kind === 'delta' ? '.delta' : ''}.crl`;
          const crl = parseCrl(new Uint8Array(await readFile(place.path('port', 'crl', file))));
          verifyCrl(crl, authority.issuing.certificate, { at: clock.now(), kind });
          expect([file, crl.crlNumber]).toEqual([file, crlNumber]);
          if (kind === 'complete' && crl.find(record?.serial ?? '') !== undefined) lists += 1;
        }
      }
      // The one of everything, and its own partition.
      expect(lists).toBe(2);
    });
  });

  it.each([
    ['init --dir made', 'before rename made', 'made'],
    ['restore first.backup --dir made', 'before rename made', 'made'],
    ['backup second.backup --dir port', 'before link second.backup', 'second.backup'],
  ])('%s, %s, nothing is there, and the next attempt makes it', async (command, step, name) => {
    const { place, again } = await kill(whole, step, command);
    expect(await readdir(place.directory)).not.toContain(name);
    expect(await again()).toMatchObject({ code: 0 });
    expect(await again()).toMatchObject({ code: 1, stderr: expect.stringContaining('error ERR_CONFIG_EXISTS: ') });
    if (name === 'made') await started(place, async ({ authority }) => expect(await authority.certificates({ states: ['intent', 'unknownIssued'] })).toEqual([]), name);
    else expect(await place.run('backup', 'verify', name)).toMatchObject({ code: 0 });
  });
});
