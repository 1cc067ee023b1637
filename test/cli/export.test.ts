import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { copyFile, mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { beginIdentity } from '../../src/bridge/identity-directory.ts';
import { loadIdentity } from '../../src/bridge/identity.ts';
import { kubernetesSecret, loadCredentialLines } from '../../src/cli/export-formats.ts';
import { askPassword } from '../../src/cli/export-password.ts';
import { processIo } from '../../src/cli/io.ts';
import { createTestPki } from '../support/pki.ts';
import { Workplace } from './run.ts';

const pki = createTestPki('Acme');
const agent = pki.issuing.leaf({ commonName: 'agent-7' });
const gone = pki.issuing.leaf({ commonName: 'agent-8', notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date('2026-02-01T00:00:00Z') });
const { key, certPem, chainPem } = agent;
const keyPem = key.export({ type: 'pkcs8', format: 'pem' }).toString();

let place: Workplace;
const identity = async (name: string, { certificate, passphrase }: { certificate: typeof agent; passphrase?: string }): Promise<void> => {
  const draft = await beginIdentity(place.path(name), certificate.key, passphrase);
  await draft.commit({ name, certificatePem: certificate.chainPem, caPem: pki.root.certPem, gateway: 'https://localhost:8443/mcp', renewal: 'https://localhost:8443/renew' });
};

beforeAll(async () => {
  place = await Workplace.make();
  await identity('agent-7', { certificate: agent });
  await identity('agent-8', { certificate: gone });
  await identity('locked', { certificate: agent, passphrase: 'of the key' });
  await writeFile(place.path('pass'), 'of the key\n');
  await writeFile(place.path('password'), 'open sesame\n');
});
afterAll(() => place.remove());

const unprotected = 'warning the key in it is not encrypted: whoever reads it is the agent\n';
const text = (...parts: readonly string[]): Promise<string> => readFile(place.path(...parts), 'utf8');
const modeOf = async (...parts: readonly string[]): Promise<number> => (await stat(place.path(...parts))).mode & 0o777;

describe('as PEM', () => {
  it('is leaf, issuing CA and key in one file that nobody else may read', async () => {
    expect(await place.run('export', 'agent-7', '--format', 'pem', '--out', 'agent-7.pem')).toEqual({ code: 0, stdout: 'exported agent-7 to agent-7.pem\n', stderr: unprotected });
    expect(await text('agent-7.pem')).toBe(chainPem + keyPem);
    expect(await modeOf('agent-7.pem')).toBe(0o600);
    expect(await place.run('export', 'agent-7', '--format', 'pem')).toEqual({ code: 0, stdout: chainPem + keyPem, stderr: '' });
  });

  it('is four files with --separate', async () => {
    const { files, ...facts } = await place.json('export', 'agent-7', '--format', 'pem', '--separate', '--out', 'parts');
    expect(facts).toEqual({ format: 'pem', name: 'agent-7', serial: agent.certificate.serial, notAfter: agent.certificate.notAfter.toISOString(), encrypted: false });
    expect(files).toEqual(['leaf', 'chain', 'ca', 'key'].map((name) => place.path('parts', `${name}.pem`)));
    expect(await Promise.all(['leaf', 'chain', 'ca', 'key'].map((name) => text('parts', `${name}.pem`)))).toEqual([certPem, pki.issuing.certPem, pki.root.certPem, keyPem]);
    expect([await modeOf('parts'), await modeOf('parts', 'key.pem'), await modeOf('parts', 'leaf.pem')]).toEqual([0o700, 0o600, 0o600]);
  });

  it('has the key encrypted when there is a password', async () => {
    expect(await place.run('export', 'agent-7', '--format', 'pem', '--password-file', 'password', '--out', 'sealed.pem')).toEqual({ code: 0, stdout: 'exported agent-7 to sealed.pem\n', stderr: '' });
    const sealed = await text('sealed.pem');
    expect(sealed).toContain('-----BEGIN ENCRYPTED PRIVATE KEY-----');
    expect(createPrivateKey({ key: sealed, passphrase: 'open sesame' }).equals(key)).toBe(true);
  });

  it('says that the certificate has ended', async () => {
    expect((await place.run('export', 'agent-8', '--format', 'pem')).stderr).toBe('warning the certificate ended at 2026-02-01T00:00:00.000Z: renew it, and export it again\n');
  });

  it('opens an encrypted key with its passphrase', async () => {
    expect((await place.run('export', 'locked', '--format', 'pem', '--passphrase-file', 'pass')).stdout).toBe(chainPem + keyPem);
    expect(await place.run('export', 'locked', '--format', 'pem')).toEqual({
      code: 1, stdout: '', stderr: `error ERR_BRIDGE_IDENTITY: the identity in ${place.path('locked')} cannot be used: key.pem is encrypted; give its passphrase with --passphrase-file or SALLYPORT_PASSPHRASE\n`,
    });
    expect((await place.run('export', 'agent-7', '--format', 'pem', '--passphrase-file', 'pass')).stderr).toContain('a passphrase is given and key.pem is not encrypted');
  });
});

describe('as a Secret of Kubernetes', () => {
  it('has what kubernetes.io/tls wants, and is an identity directory where it is mounted', async () => {
    const { stdout } = await place.run('export', 'agent-7', '--format', 'kubernetes');
    const { data, ...manifest } = parse(stdout) as { data: Record<string, string> };
    expect(manifest).toEqual({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'agent-7' }, type: 'kubernetes.io/tls' });
    await mkdir(place.path('mounted'));
    for (const [name, base64] of Object.entries(data)) await writeFile(place.path('mounted', name), Buffer.from(base64, 'base64'), { mode: 0o400 });
    expect(await Promise.all(['tls.crt', 'tls.key', 'ca.crt'].map((name) => text('mounted', name)))).toEqual([chainPem, keyPem, pki.root.certPem]);
    expect(await loadIdentity(place.path('mounted'))).toMatchObject({ name: 'agent-7', gateway: 'https://localhost:8443/mcp', renewal: undefined });
  });

  it.each(['on', 'null', '1e3', '0x1f', 'a'.repeat(253), 'a-1.b'])('is called %s literally', (name) => {
    expect(parse(kubernetesSecret(name, new Map()))).toMatchObject({ metadata: { name } });
  });

  it.each(['Agent', 'a b', 'a\nkind: Pod', '-a', 'a-', 'a..b', '', 'a'.repeat(254)])('is not called %j', (name) => {
    expect(() => kubernetesSecret(name, new Map())).toThrow(`${JSON.stringify(name)} is no name for a Secret: give one of lower case letters, digits, - and . with --name`);
  });
});

describe('for systemd', () => {
  it('is a directory and the lines that make it one of the unit', async () => {
    const { code, stdout } = await place.run('export', 'agent-7', '--format', 'systemd', '--out', '100% mine');
    const lines = ['tls.crt', 'tls.key', 'ca.crt', 'identity.json'].map((name) => `LoadCredential=${name}:${place.directory}/100%% mine/${name}\n`);
    expect({ code, stdout }).toEqual({ code: 0, stdout: `exported agent-7 to 100% mine/tls.crt, 100% mine/tls.key, 100% mine/ca.crt, 100% mine/identity.json; for the [Service] section of its unit:\n${lines.join('')}` });
    expect(await loadIdentity(place.path('100% mine'))).toMatchObject({ name: 'agent-7' });
    expect(() => loadCredentialLines('/a\nExecStart=/bin/sh', ['x'])).toThrow('the name of the directory has control characters');
  });
});

describe('files that exist', () => {
  it('are replaced only with --force', async () => {
    await writeFile(place.path('taken.pem'), 'mine', { mode: 0o644 });
    const again = ['export', 'agent-7', '--format', 'pem', '--out', 'taken.pem'];
    expect(await place.run(...again)).toEqual({ code: 1, stdout: '', stderr: `error ERR_CONFIG_EXISTS: ${place.path('taken.pem')} exists and was not touched: name another place with --out, or replace it with --force\n` });
    expect(await text('taken.pem')).toBe('mine');
    expect((await place.run(...again, '--force')).code).toBe(0);
    expect(await text('taken.pem')).toBe(chainPem + keyPem);
    expect(await modeOf('taken.pem')).toBe(0o600);
  });

  it('leave nothing of a directory behind when one is in the way', async () => {
    await mkdir(place.path('half'));
    await writeFile(place.path('half', 'ca.pem'), 'mine');
    expect((await place.run('export', 'agent-7', '--format', 'pem', '--separate', '--out', 'half')).stderr).toContain(`${place.path('half', 'ca.pem')} exists and was not touched`);
    expect(await readdir(place.path('half'))).toEqual(['ca.pem']);
  });

  it('of the identity are never replaced by its export', async () => {
    const before = await text('locked', 'key.pem');
    for (const out of [['--out', 'locked/key.pem'], ['--separate', '--out', 'locked']]) {
      const { code, stderr } = await place.run('export', 'locked', '--format', 'pem', '--passphrase-file', 'pass', '--force', ...out);
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('files of the identity itself are not replaced: name another place with --out\n') as string });
    }
    expect(await text('locked', 'key.pem')).toBe(before);
    expect((await readdir(place.path('locked'))).toSorted()).toEqual(['ca.pem', 'cert.pem', 'identity.json', 'key.pem']);
  });

  it('need a directory to stand in', async () => {
    expect((await place.run('export', 'agent-7', '--format', 'pem', '--out', 'no/where.pem')).stderr).toBe(`error ERR_USAGE: ${place.path('no', 'where.pem')} cannot be written (ENOENT): name another place with --out\n`);
  });
});

it.each([
  ['--separate is for --format pem: leave it out', 'kubernetes', '--separate'],
  ['nothing in pem bears a name: leave --name out', 'pem', '--name', 'x'],
  ['systemd hands the key to the program as it is: leave --password-file out', 'systemd', '--password-file', 'password'],
  ['several files need a directory: give it with --out DIR', 'systemd'],
  ['several files need a directory: give it with --out DIR', 'pem', '--separate'],
  ['--json says what was written: give --out FILE with it', 'pem', '--json'],
  ['--force is for files: give --out FILE with it', 'pem', '--force'],
  ['"Agent 7" is no name for a Secret: give one of lower case letters, digits, - and . with --name', 'kubernetes', '--name', 'Agent 7'],
  ['a password is missing: give it with --password-file FILE or in SALLYPORT_EXPORT_PASSWORD', 'pkcs12'],
])('refuses with "%s": %s %s', async (message, format, ...more) => {
  const { code, stdout, stderr } = await place.run('export', 'agent-7', '--format', format, ...more);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toContain(more.includes('--json') ? JSON.stringify(message) : `error ERR_USAGE: ${message}\n`);
});

describe('the password', () => {
  it.each([
    ['the password file bad is empty', '\n'],
    ['the password file bad holds more than one line: a password is one line', 'one\ntwo\n'],
    ['the password of a PKCS#12 file may hold only printable ASCII, which is all that Java opens: choose another', 'grün\n'],
  ])('is refused with "%s"', async (message, content) => {
    await writeFile(place.path('bad'), content);
    expect(await place.run('export', 'agent-7', '--format', 'pkcs12', '--password-file', 'bad')).toEqual({ code: 2, stdout: '', stderr: `error ERR_USAGE: ${message}\n` });
  });

  /** A terminal on which the answers are typed as they are asked for. */
  const terminal = (...answers: readonly string[]) => {
    const stdin = Object.assign(new PassThrough(), { isTTY: true });
    const shown: string[] = [];
    const stderr = {
      write: (chunk: string | Uint8Array) => {
        shown.push(String(chunk));
        if (String(chunk).endsWith(': ')) setImmediate(() => stdin.write(answers[shown.filter((line) => line.endsWith(': ')).length - 1] ?? ''));
      },
    };
    return { io: { ...processIo(new AbortController().signal), stdin, stderr }, shown };
  };

  it('is asked for twice at a terminal, and never shown', async () => {
    const { io, shown } = terminal('open sesame\r', 'open sesame\r');
    expect(await askPassword(io)).toBe('open sesame');
    expect(shown).toEqual(['Password for the export: ', '\n', 'The same again: ', '\n']);
  });

  it.each([
    ['the two passwords differ: nothing was written', ['a\r', 'b\r']],
    ['the password is empty: nothing was written', ['\r']],
    ['no password was given: nothing was written', ['a\u0003']],
    ['no password was given: nothing was written', ['a\r', '\u0004']],
  ])('is refused with "%s" after %j', async (message, answers) => {
    await expect(askPassword(terminal(...answers).io)).rejects.toThrow(message);
  });
});

it('shows no key on a screen', async () => {
  const { run } = await import('../../src/cli/main.ts');
  const written: string[] = [];
  const stream = { isTTY: true, write: (chunk: string | Uint8Array) => written.push(String(chunk)) };
  const code = await run(['export', place.path('agent-7'), '--format', 'pem'], { ...processIo(new AbortController().signal), env: { NO_COLOR: '1' }, stdout: stream, stderr: stream });
  expect({ code, written }).toEqual({ code: 2, written: ['error ERR_USAGE: this would show the private key on the screen: give --out FILE, or hand it on with a pipe\n'] });
});

it('refuses a directory whose key is not that of its certificate', async () => {
  await mkdir(place.path('mixed'));
  for (const name of ['cert.pem', 'ca.pem', 'identity.json']) await copyFile(place.path('agent-7', name), place.path('mixed', name));
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256', privateKeyEncoding: { type: 'pkcs8', format: 'pem' }, publicKeyEncoding: { type: 'spki', format: 'pem' } });
  await writeFile(place.path('mixed', 'key.pem'), other.privateKey, { mode: 0o600 });
  expect((await place.run('export', 'mixed', '--format', 'pem')).stderr).toContain('key.pem is not the key of the first certificate in cert.pem');
});
