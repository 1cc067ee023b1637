/** What a person began with one command and kill -9 interrupted: the same command again finishes it, or says what is left to do. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCrl } from '../../ca/x509/crl.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { openDeployment } from '../../src/app/deployment.ts';
import type { Deployment } from '../../src/app/deployment.ts';
import { systemRandomness as randomness } from '../../src/system.ts';
import { Workplace } from '../cli/run.ts';
import type { Ran } from '../cli/run.ts';
import { newCsr } from '../support/authority.ts';

const script = fileURLToPath(new URL('../support/command-child.ts', import.meta.url));
let place: Workplace;
const csr = encodePem('CERTIFICATE REQUEST', newCsr());
let request = '';
/** Data directories to begin from; each case works on a copy. */
beforeAll(async () => {
  place = await Workplace.make();
  place.user = 'alice';
  await done('init', '--dir', 'new', '--name', 'Acme', '--trust-domain', 'acme.internal');
  await done('issue', 'steady', '--out', 'steady', '--dir', 'new');
  const file = place.path('new', 'sallyport.yaml');
  await writeFile(file, (await readFile(file, 'utf8')).replace(/^ca:\n/mu, 'ca:\n  profiles: { careful: { kind: agent, approval: required } }\n'));
  await writeFile(place.path('careful.csr'), csr);
  expect(await place.run('issue', 'careful', '--profile', 'careful', '--csr', 'careful.csr', '--dir', 'new')).toMatchObject({ code: 4 });
  request = (JSON.parse((await done('requests', 'list', '--json', '--dir', 'new')).stdout) as readonly { readonly id: string }[])[0]?.id ?? '';
  await cp(place.path('new'), place.path('prepared'), { recursive: true });
  await done('ca', 'rotate', 'prepare', 'issuing', '--dir', 'prepared');
  await cp(place.path('prepared'), place.path('activated'), { recursive: true });
  await done('ca', 'rotate', 'activate', 'issuing-2', '--dir', 'activated');
  place.user = 'bob';
});
afterAll(async () => {
  await place.remove();
});

const done = async (...argv: readonly string[]): Promise<Ran> => {
  const ran = await place.run(...argv);
  expect(ran).toMatchObject({ code: 0 });
  return ran;
};

interface Killed {
  readonly directory: string;
  /** The same command once more. */
  again(): Promise<Ran>;
}

let copies = 0;
/** A copy of a data directory on which a command was killed at a step. */
const kill = async (from: string, step: string, argv: readonly string[]): Promise<Killed> => {
  const directory = `copy-${(copies += 1)}`;
  await cp(place.path(from), place.path(directory), { recursive: true });
  const words = [...argv, '--dir', directory];
  const child = spawn(process.execPath, [script, place.path(`${directory}.log`), step, 'bob', ...words], { cwd: place.directory, stdio: ['ignore', 'ignore', 'inherit'] });
  const [, signal] = (await once(child, 'close')) as [number | null, string | null];
  expect([step, signal]).toEqual([step, 'SIGKILL']);
  return { directory, again: () => place.run(...words) };
};

/** A minute later an intent counts as left behind. */
const opened = async <T>(directory: string, use: (deployment: Deployment) => Promise<T>, { laterSeconds = 0 } = {}): Promise<T> => {
  const deployment = await openDeployment(place.path(directory), { clock: { now: () => new Date(Date.now() + laterSeconds * 1_000) }, randomness });
  try {
    return await use(deployment);
  } finally {
    await deployment.close();
  }
};

const keysIn = async (directory: string): Promise<ReadonlyMap<string, string>> => {
  const names = (await readdir(place.path(directory, 'keys'))).filter((name) => name.endsWith('.pem'));
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(place.path(directory, 'keys'), name), 'utf8')] as const)));
};

/** Nothing that was answered before is gone, and everything goes on. */
const expectWhole = async (from: string, directory: string, expected: { readonly issuers: Readonly<Record<string, string>>; readonly issuing: string }): Promise<void> => {
  const keys = await keysIn(directory);
  for (const [name, text] of await keysIn(from)) expect([name, keys.get(name)]).toEqual([name, text]);
  await opened(directory, async ({ authority }) => {
    expect(Object.fromEntries(authority.issuers.map(({ name, status }) => [name, status]))).toEqual(expected.issuers);
    expect(authority.issuers.every(({ signer }) => signer !== undefined)).toBe(true);
    expect(await authority.certificates({ agent: 'steady' })).toMatchObject([{ state: 'issued' }]);
    expect((await authority.issue({ agent: 'next' })).issuerId).toBe(authority.issuerNamed(expected.issuing)?.id);
  });
  expect([await place.run('audit', 'verify', '--dir', directory), await place.run('ca', 'audit', '--dir', directory)]).toMatchObject([{ code: 0 }, { code: 0 }]);
};

const refused = (text: string) => ({ code: 1, stderr: expect.stringContaining(`error ERR_CA_STATUS: ${text}`) });

describe('after kill -9 in the middle of', { timeout: 90_000, concurrent: true }, () => {
  // That its CRL is there is what `ca audit` looks at.
  it.each([
    ['after rename issuing-2.key.pem', { code: 0 }],
    ['after rename issuing-2.cert.pem', { code: 0 }],
    ['after rename hierarchy.json', refused('issuing-2 is prepared already; activate it or retire it first')],
  ])('preparing an issuing CA, %s, the next attempt leaves one that is prepared, with its CRL', async (step, answer) => {
    const { directory, again } = await kill('new', step, ['ca', 'rotate', 'prepare', 'issuing']);
    expect(await again()).toMatchObject(answer);
    await expectWhole('new', directory, { issuers: { root: 'active', issuing: 'active', 'issuing-2': 'prepared' }, issuing: 'issuing' });
  });

  it.each([
    ['after commit ca.activated', { code: 0 }],
    ['after rename hierarchy.json', refused('issuing-2 is active already')],
  ])('activating it, %s, the next attempt leaves it issuing', async (step, answer) => {
    const { directory, again } = await kill('prepared', step, ['ca', 'rotate', 'activate', 'issuing-2']);
    expect(await again()).toMatchObject(answer);
    await expectWhole('prepared', directory, { issuers: { root: 'active', issuing: 'superseded', 'issuing-2': 'active' }, issuing: 'issuing-2' });
  });

  it.each([
    ['after commit certificate.revoked', { code: 0 }],
    ['after rename hierarchy.json', refused('issuing is retired already')],
  ])('retiring the one before, %s, it is never issued with again, and the next attempt leaves it retired and on the CRL of the root', async (step, answer) => {
    const { directory, again } = await kill('activated', step, ['ca', 'rotate', 'retire', 'issuing', '--cut-off']);
    const back = await place.run('ca', 'rotate', 'activate', 'issuing', '--dir', directory);
    expect(back).toMatchObject(refused(step === 'after rename hierarchy.json' ? 'issuing is retired, which is final; prepare another' : 'the certificate of issuing is revoked; retire it and prepare another'));
    expect(await again()).toMatchObject(answer);
    await expectWhole('activated', directory, { issuers: { root: 'active', issuing: 'retired', 'issuing-2': 'active' }, issuing: 'issuing-2' });
    const listed = await opened(directory, async ({ authority }) => parseCrl((await authority.currentCrl('root')).der).find(authority.issuerNamed('issuing')?.certificate.serial ?? ''));
    expect(listed?.reason).toBe('superseded');
  });

  it.each([
    ['after commit request.approved', { code: 1, stderr: expect.stringMatching(/^error ERR_REQUEST_DECIDED: the request [0-9a-f]{16} is issued, by cli:bob/u) }],
    ['after commit certificate', { code: 4, stderr: expect.stringMatching(/^error ERR_REQUEST_PENDING: the request [0-9a-f]{16} is approved and its certificate is being made, or was when the process ended; ask again in a minute/u) }],
    ['after commit certificate.issued', { code: 1, stderr: expect.stringMatching(/^error ERR_REQUEST_DECIDED: the request [0-9a-f]{16} is issued, by cli:bob/u) }],
  ])('approving a request, %s, it is approved once, and whoever asked gets one certificate', async (step, answer) => {
    const { directory, again } = await kill('new', step, ['requests', 'approve', request]);
    expect(await again()).toMatchObject(answer);
    await opened(directory, async ({ authority, store }) => {
      expect(await authority.request(request)).toMatchObject({ state: 'issued', decidedBy: 'cli:bob' });
      const events = await store.audit.read({ from: 0, limit: 10_000 });
      expect(events.filter(({ event }) => event.includes('"request.approved"'))).toHaveLength(1);
    }, { laterSeconds: 61 });
    await opened(directory, async ({ authority }) => {
      const { serial } = await authority.issue({ agent: 'careful', profile: 'careful', csr, actor: 'cli:alice' });
      expect(await authority.certificates({ agent: 'careful', states: ['issued'] })).toMatchObject([{ serial }]);
    });
    await expectWhole('new', directory, { issuers: { root: 'active', issuing: 'active' }, issuing: 'issuing' });
  });
});
