import * as fc from 'fast-check';
import { createPrivateKey } from 'node:crypto';
import { chmod, mkdtemp, rm, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadIdentity, parseIdentityFile } from '../../src/bridge/identity.ts';
import { watchIdentity } from '../../src/bridge/identity-watch.ts';
import type { IdentityWatch } from '../../src/bridge/identity-watch.ts';
import { createTestPki, swapIdentity, writeIdentity } from './test-pki.ts';
import type { Issued, TestPki } from './test-pki.ts';

let pki: TestPki;
let issued: Issued;
let other: Issued;
let directory: string;

beforeAll(async () => {
  pki = await createTestPki();
  issued = await pki.issue({ name: 'agent-7' });
  other = await pki.issue({ name: 'agent-7' });
});
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'identity-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const put = (name: string, text: string): Promise<void> => writeFile(join(directory, name), text);
const problem = (what: string): object => ({ code: 'ERR_BRIDGE_IDENTITY', message: `the identity in ${directory} cannot be used: ${what}` });

describe('loading an identity directory', () => {
  it('gives key, leaf, issuing CA, roots and the addresses', async () => {
    await writeIdentity(directory, pki, issued, { gateway: 'https://localhost:8443/mcp', renewal: 'https://localhost:8444/renew' });
    const identity = await loadIdentity(directory);
    expect(identity).toMatchObject({ name: 'agent-7', serial: issued.serial.replace(/^(00)+/, ''), gateway: 'https://localhost:8443/mcp', renewal: 'https://localhost:8444/renew' });
    expect(identity.intermediates).toHaveLength(1);
    expect(identity.roots).toHaveLength(1);
    expect(identity.thumbprint).toMatch(/^[0-9a-f]{64}$/);
  });

  it('names the directory that issue or enroll wrote when there is none', async () => {
    await expect(loadIdentity(directory)).rejects.toMatchObject(problem('identity.json does not exist; give the directory that sallyport issue --out or sallyport enroll --out wrote'));
  });

  it('refuses an identity.json with an unknown key, another version, or a file outside the directory', async () => {
    await writeIdentity(directory, pki, issued, { pasword: 'x' });
    await expect(loadIdentity(directory)).rejects.toMatchObject(problem('identity.json is not valid: Unrecognized key: "pasword"'));
    await writeIdentity(directory, pki, issued, { version: 2 });
    await expect(loadIdentity(directory)).rejects.toMatchObject(problem('identity.json is not valid at version: Invalid input: expected 1'));
    await writeIdentity(directory, pki, issued, { key: '../key.pem' });
    await expect(loadIdentity(directory)).rejects.toMatchObject(problem('identity.json is not valid at key: must be a file name inside the identity directory'));
  });

  it('refuses a key that others may read, and says how to close it', async () => {
    await writeIdentity(directory, pki, issued);
    await chmod(join(directory, 'key.pem'), 0o640);
    await expect(loadIdentity(directory)).rejects.toMatchObject(problem(`key.pem is readable by others (mode 640); run: chmod 600 ${directory}/key.pem`));
    await expect(loadIdentity(directory, { onReadableKey: 'accept' })).resolves.toMatchObject({ name: 'agent-7' });
  });

  it('refuses a key of another certificate', async () => {
    await writeIdentity(directory, pki, issued);
    await put('key.pem', other.keyPem);
    await expect(loadIdentity(directory)).rejects.toMatchObject(problem('key.pem is not the key of the first certificate in cert.pem'));
  });

  it('refuses certificates out of order and a CA certificate in the first place', async () => {
    await writeIdentity(directory, pki, issued);
    await put('cert.pem', issued.leafPem + pki.rootPem);
    await expect(loadIdentity(directory)).rejects.toMatchObject(problem('certificate 1 of cert.pem is not signed by the one after it; order them leaf first, then its issuing CA'));
    await put('cert.pem', pki.issuingPem + issued.leafPem);
    await expect(loadIdentity(directory)).rejects.toMatchObject(problem("the first certificate of cert.pem is a CA certificate; put the agent's own certificate first"));
    await put('cert.pem', issued.certificatePem);
    await put('ca.pem', issued.leafPem);
    await expect(loadIdentity(directory)).rejects.toMatchObject(problem("ca.pem holds a certificate that is not a CA's"));
  });

  it('refuses parts that are missing or no PEM', async () => {
    await writeIdentity(directory, pki, issued);
    await put('cert.pem', 'nothing');
    await expect(loadIdentity(directory)).rejects.toMatchObject(problem('cert.pem holds no certificate'));
    await put('cert.pem', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
    await expect(loadIdentity(directory)).rejects.toMatchObject(problem('cert.pem is not a PEM certificate'));
    await put('key.pem', 'nothing');
    await expect(loadIdentity(directory)).rejects.toMatchObject(problem('key.pem is not a PEM private key'));
    await unlink(join(directory, 'ca.pem'));
    await expect(loadIdentity(directory)).rejects.toMatchObject(problem('ca.pem does not exist'));
  });

  it('opens an encrypted key with its passphrase only', async () => {
    await writeIdentity(directory, pki, issued);
    await put('key.pem', createPrivateKey(issued.keyPem).export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'correct' }).toString());
    await expect(loadIdentity(directory)).rejects.toMatchObject({ ...problem('key.pem is encrypted; give its passphrase with --passphrase-file or SALLYPORT_PASSPHRASE'), facts: { reason: 'ERR_KEY_PASSPHRASE' } });
    await expect(loadIdentity(directory, { passphrase: 'wrong' })).rejects.toMatchObject(problem('the passphrase does not open key.pem'));
    await expect(loadIdentity(directory, { passphrase: 'correct' })).resolves.toMatchObject({ name: 'agent-7' });
  });

  it('reads any text as a valid file or refuses it with its code', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          parseIdentityFile(text, 'd');
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_BRIDGE_IDENTITY' });
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('following an identity directory', () => {
  let watch: IdentityWatch;
  const problems: Error[] = [];
  const start = async (): Promise<void> => {
    problems.length = 0;
    await writeIdentity(directory, pki, issued);
    watch = await watchIdentity(directory, { pollMs: 50, onProblem: (error) => problems.push(error) });
  };
  afterEach(() => watch.close());

  it('takes a new pair into use at once', async () => {
    await start();
    const changed = new Promise((resolve) => watch.onChange(resolve));
    await swapIdentity(directory, other);
    await changed;
    expect(watch.current.leaf.raw.equals(other.leaf.raw)).toBe(true);
  });

  it('keeps the last good pair while the new one is half written, and says so once', async () => {
    await start();
    await put('key.pem', other.keyPem);
    await watch.refresh();
    await watch.refresh();
    expect(watch.current.leaf.raw.equals(issued.leaf.raw)).toBe(true);
    await expect.poll(() => problems.map(({ message }) => message)).toEqual([`the identity in ${directory} cannot be used: key.pem is not the key of the first certificate in cert.pem`]);
    await put('cert.pem', other.certificatePem);
    await expect.poll(() => watch.current.leaf.raw.equals(other.leaf.raw)).toBe(true);
  });

  it('keeps the last good pair when the directory disappears and takes one that comes back', async () => {
    await start();
    await rm(directory, { recursive: true });
    await expect.poll(() => problems.length).toBeGreaterThan(0);
    expect(watch.current.leaf.raw.equals(issued.leaf.raw)).toBe(true);
    await writeIdentity(directory, pki, other);
    await expect.poll(() => watch.current.leaf.raw.equals(other.leaf.raw)).toBe(true);
  });
});
