import { execFile } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { beginIdentity } from '../../src/bridge/identity-directory.ts';
import { Workplace } from '../cli/run.ts';
import { createTestPki } from '../support/pki.ts';

/** By its file: to start a Java program only to see that it is there takes a second. */
const installed = (program: string): boolean => (process.env['PATH'] ?? '').split(delimiter).some((directory) => existsSync(join(directory, program)));

const pki = createTestPki('Acme');
const agent = pki.issuing.leaf({ commonName: 'agent-7' });
/** Longer than a block of the derivation, with what a shell or a parser might take for its own. */
const password = 'Open "sesame" $42 & forty thieves: please';
let place: Workplace;
beforeAll(async () => {
  place = await Workplace.make();
  const draft = await beginIdentity(place.path('agent-7'), agent.key, undefined);
  await draft.commit({ name: 'agent-7', certificatePem: agent.chainPem, caPem: pki.root.certPem, gateway: undefined, renewal: undefined });
  await writeFile(place.path('password'), `${password}\n`);
  place.env['SALLYPORT_EXPORT_PASSWORD'] = password;
  expect(await place.json('export', 'agent-7', '--format', 'pkcs12', '--name', 'wärehouse', '--out', 'agent-7.p12')).toMatchObject({ format: 'pkcs12', encrypted: true, files: [place.path('agent-7.p12')] });
});
afterAll(() => place.remove());

const judge = async (program: string, ...args: readonly string[]): Promise<string> => {
  const { stdout, stderr } = await promisify(execFile)(program, args, { cwd: place.directory, env: { ...process.env, LC_ALL: 'C.UTF-8' } });
  return stdout + stderr;
};

describe.concurrent('an exported PKCS#12 file', () => {
  it.skipIf(!installed('openssl'))('is opened by openssl pkcs12: key, leaf, issuing CA and root, nothing weaker than a key file', async () => {
    const text = await judge('openssl', 'pkcs12', '-in', 'agent-7.p12', '-passin', 'file:password', '-noenc', '-info');
    expect([...text.matchAll(/^(?:MAC: |Shrouded|PKCS7 Enc).*$/gm)].map(([line]) => line).toSorted()).toEqual([
      expect.stringMatching(/^MAC: sha256, Iteration 600000/i),
      'PKCS7 Encrypted data: PBES2, PBKDF2, AES-256-CBC, Iteration 600000, PRF hmacWithSHA256',
      'Shrouded Keybag: PBES2, PBKDF2, AES-256-CBC, Iteration 600000, PRF hmacWithSHA256',
    ]);
    expect([...text.matchAll(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/g)].map(([pem]) => pem)).toEqual([agent.certPem, pki.issuing.certPem, pki.root.certPem]);
    expect(createPrivateKey(text.slice(text.indexOf('-----BEGIN PRIVATE KEY-----'))).equals(agent.key)).toBe(true);
    expect(text.match(/friendlyName: .*/g)).toHaveLength(2);
  });

  it.skipIf(!installed('openssl'))('is refused by openssl pkcs12 with another password, and when a byte of it was changed', async () => {
    const changed = await readFile(place.path('agent-7.p12'));
    changed[200] = (changed[200] ?? 0) ^ 1;
    await writeFile(place.path('changed.p12'), changed);
    await expect(judge('openssl', 'pkcs12', '-in', 'agent-7.p12', '-passin', 'pass:open', '-noout')).rejects.toThrow('invalid password');
    await expect(judge('openssl', 'pkcs12', '-in', 'changed.p12', '-passin', 'file:password', '-noout')).rejects.toThrow('invalid password');
  });

  it.skipIf(!installed('keytool'))('is made a JKS file by keytool -importkeystore', async () => {
    const options = ['-J-XX:+UseSerialGC', '-J-Duser.language=en'];
    const text = await judge('keytool', ...options, '-importkeystore', '-srckeystore', 'agent-7.p12', '-srcstoretype', 'PKCS12', '-srcstorepass:file', 'password', '-destkeystore', 'agent-7.jks', '-deststoretype', 'JKS', '-deststorepass:file', 'password');
    expect(text).toContain('Entry for alias wärehouse successfully imported.');
    // The magic of JKS.
    expect((await readFile(place.path('agent-7.jks'))).subarray(0, 4).toString('hex')).toBe('feedfeed');
  });

  it.skipIf(!installed('pk12util') || !installed('certutil'))('is imported by pk12util of NSS', async () => {
    await mkdir(place.path('nss'));
    await judge('certutil', '-N', '-d', 'sql:nss', '--empty-password');
    expect(await judge('pk12util', '-i', 'agent-7.p12', '-d', 'sql:nss', '-w', 'password')).toContain('PKCS12 IMPORT SUCCESSFUL');
    expect(await judge('certutil', '-K', '-d', 'sql:nss')).toContain('wärehouse');
  });
});
