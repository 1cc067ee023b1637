import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { exportPrivateKey, generatePrivateKey, parsePrivateKey, readPrivateKey, signerOf, writePrivateKey } from '../../ca/key-store.ts';
import type { KeyAlgorithm } from '../../ca/ports.ts';
import { signatureAlgorithmFor, spkiOf, verifySignature } from '../../ca/x509/algorithm.ts';
import { systemRandomness as randomness } from '../../src/system.ts';
import { codeOfRefusal, newKey } from '../support/authority.ts';

const directory = mkdtempSync(join(tmpdir(), 'sallyport-keys-'));
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});
const key = newKey();

describe('key files', () => {
  it('are 0600, whatever the umask, and read back', async () => {
    const path = join(directory, 'plain.key.pem');
    await writePrivateKey(path, key, { randomness });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(spkiOf(await readPrivateKey(path))).toEqual(spkiOf(key));
    expect(readdirSync(directory).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
  it('are not overwritten unless asked', async () => {
    const path = join(directory, 'kept.key.pem');
    await writePrivateKey(path, key, { randomness });
    const before = readFileSync(path, 'utf8');
    expect(await codeOfRefusal(writePrivateKey(path, newKey(), { randomness }))).toBe('ERR_CA_EXISTS');
    expect(readFileSync(path, 'utf8')).toBe(before);
    await writePrivateKey(path, newKey(), { randomness, existing: 'replace' });
    expect(readFileSync(path, 'utf8')).not.toBe(before);
  });
  it.each([0o640, 0o604, 0o660, 0o610])('are refused with mode %o', async (mode) => {
    const path = join(directory, `mode-${mode}.key.pem`);
    await writePrivateKey(path, key, { randomness });
    chmodSync(path, mode);
    expect(await codeOfRefusal(readPrivateKey(path))).toBe('ERR_KEY_MODE');
  });
  it('are read with mode 0400', async () => {
    const path = join(directory, 'readonly.key.pem');
    await writePrivateKey(path, key, { randomness });
    chmodSync(path, 0o400);
    await expect(readPrivateKey(path)).resolves.toBeDefined();
  });
  it('are refused when absent, empty or something else', async () => {
    expect(await codeOfRefusal(readPrivateKey(join(directory, 'absent')))).toBe('ERR_KEY_UNREADABLE');
    for (const content of ['', 'hello', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n']) {
      const path = join(directory, 'odd.key.pem');
      writeFileSync(path, content, { mode: 0o600 });
      expect(await codeOfRefusal(readPrivateKey(path))).toBe('ERR_KEY_UNREADABLE');
    }
  });
});

describe('encrypted keys', () => {
  const passphrase = 'grüße aus dem tresor';
  it('open with their passphrase and no other, and never name it', async () => {
    const pem = await exportPrivateKey(key, { passphrase, randomness });
    expect(spkiOf(parsePrivateKey(pem, { passphrase }))).toEqual(spkiOf(key));
    for (const wrong of ['wrong', '', undefined, `${passphrase} `]) expect(await codeOfRefusal(() => parsePrivateKey(pem, { passphrase: wrong }))).toBe('ERR_KEY_PASSPHRASE');
    expect(() => parsePrivateKey(pem, { passphrase: 'opensesame' })).not.toThrow(/opensesame/);
  });
  it('refuse an empty passphrase', async () => {
    expect(await codeOfRefusal(exportPrivateKey(key, { passphrase: '', randomness }))).toBe('ERR_KEY_PASSPHRASE');
  });
  it('are PBES2 with AES-256 and 600,000 rounds of PBKDF2-HMAC-SHA256, as OpenSSL reads them', async () => {
    const path = join(directory, 'encrypted.key.pem');
    await writePrivateKey(path, key, { passphrase, randomness });
    const structure = execFileSync('openssl', ['asn1parse', '-in', path], { encoding: 'utf8' });
    for (const part of [':PBES2', ':PBKDF2', ':hmacWithSHA256', ':aes-256-cbc', ':0927C0']) expect(structure).toContain(part);
    const opened = execFileSync('openssl', ['pkcs8', '-in', path, '-passin', 'env:PASS'], { encoding: 'utf8', env: { ...process.env, PASS: passphrase } });
    expect(spkiOf(parsePrivateKey(opened))).toEqual(spkiOf(key));
  });
});

describe('a key file that somebody else encrypted', () => {
  it.each([
    ['2,048 iterations', ['-v2', 'aes-256-cbc', '-iter', '2048'], 'ERR_KEY_ENCRYPTION'],
    ['599,999 iterations', ['-v2', 'aes-256-cbc', '-iter', '599999'], 'ERR_KEY_ENCRYPTION'],
    ['600,000 iterations', ['-v2', 'aes-256-cbc', '-iter', '600000'], undefined],
    ['AES-128', ['-v2', 'aes-128-cbc', '-iter', '600000'], 'ERR_KEY_ENCRYPTION'],
    ['SHA-1', ['-v2', 'aes-256-cbc', '-v2prf', 'hmacWithSHA1', '-iter', '600000'], 'ERR_KEY_ENCRYPTION'],
    ['scrypt', ['-v2', 'aes-256-cbc', '-scrypt'], undefined],
    ['scrypt with less memory', ['-v2', 'aes-256-cbc', '-scrypt', '-scrypt_N', '8192'], 'ERR_KEY_ENCRYPTION'],
    ['3DES of PKCS#12', ['-v1', 'PBE-SHA1-3DES'], 'ERR_KEY_ENCRYPTION'],
  ])('is opened only when that is as hard as with our own: %s', async (name, options, code) => {
    const path = join(directory, `${name}.pem`);
    const pem = execFileSync('openssl', ['pkcs8', '-topk8', ...options, '-passout', 'pass:open sesame'], { input: key.export({ type: 'pkcs8', format: 'pem' }), encoding: 'utf8' });
    writeFileSync(path, pem, { mode: 0o600 });
    expect(await codeOfRefusal(readPrivateKey(path, { passphrase: 'open sesame' }))).toBe(code);
  });
});

describe('signers', () => {
  it.each<KeyAlgorithm>(['p256', 'p384', 'ed25519', 'rsa3072', 'ml-dsa-65'])('sign with %s, small and large, and survive a file', async (algorithm) => {
    const made = await generatePrivateKey(algorithm);
    const restored = parsePrivateKey(await exportPrivateKey(made, { randomness }));
    const signer = signerOf(restored);
    expect(signer.algorithm).toBe(algorithm);
    for (const data of [new Uint8Array(100), new Uint8Array(100_000)]) {
      expect(verifySignature({ spki: spkiOf(made), algorithm: signatureAlgorithmFor(algorithm), data, signature: await signer.sign(data) })).toBe(true);
    }
  });
  it('refuse an algorithm that is none', async () => {
    expect(await codeOfRefusal(generatePrivateKey('dsa' as KeyAlgorithm))).toBe('ERR_KEY_ALGORITHM');
  });
});
