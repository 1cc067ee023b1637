import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createHierarchy, loadHierarchy, publishedAt } from '../../ca/hierarchy.ts';
import type { CreateHierarchyOptions } from '../../ca/hierarchy.ts';
import { lintCertificate } from '../../ca/lint.ts';
import type { KeyAlgorithm } from '../../ca/ports.ts';
import { keyAlgorithmOfSpki } from '../../ca/x509/algorithm.ts';
import { element, sequence } from '../../ca/x509/der.ts';
import { formatName } from '../../ca/x509/name.ts';
import { systemClock as clock, systemRandomness as randomness } from '../../src/system.ts';
import { codeOfRefusal } from '../support/authority.ts';

const parent = mkdtempSync(join(tmpdir(), 'sallyport-hierarchy-'));
afterAll(() => {
  rmSync(parent, { recursive: true, force: true });
});
let count = 0;
const fresh = (): string => join(parent, `port-${++count}`);
const create = (options: Partial<CreateHierarchyOptions> = {}) => createHierarchy({ name: 'Acme', trustDomain: 'acme.internal', clock, randomness, ...options });

describe('a new hierarchy', () => {
  it.each<KeyAlgorithm>(['p256', 'p384', 'ed25519', 'rsa3072', 'ml-dsa-65'])('is a root and an issuing CA with %s keys', async (keyAlgorithm) => {
    const { root, issuing } = await create({ keyAlgorithm, publicUrl: 'http://pki:8080' });
    expect(keyAlgorithmOfSpki(root.certificate.spki)).toBe(keyAlgorithm);
    expect(keyAlgorithmOfSpki(issuing.certificate.spki)).toBe(keyAlgorithm);
    expect(lintCertificate(root.der, { issuer: root.certificate, profile: 'root' })).toEqual([]);
    expect(lintCertificate(issuing.der, { issuer: root.certificate, profile: 'issuing' })).toEqual([]);
    expect(formatName(issuing.certificate.subject)).toBe('CN=Acme Issuing CA,O=Acme');
    expect(issuing.certificate.crlDistributionPoints?.[0]?.uris).toEqual(['http://pki:8080/crl/root.crl']);
    expect(root.certificate.crlDistributionPoints).toBeUndefined();
  });
  it('lives in private files and loads again', async () => {
    const directory = fresh();
    const made = await create({ directory });
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(statSync(join(directory, 'keys')).mode & 0o777).toBe(0o700);
    for (const name of ['root', 'issuing']) expect(statSync(join(directory, 'keys', `${name}.key.pem`)).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(directory, 'keys'))).toHaveLength(2);
    const loaded = await loadHierarchy({ directory });
    expect([loaded.root.id, loaded.issuing.id]).toEqual([made.root.id, made.issuing.id]);
  });
  it('with a passphrase opens with it alone', async () => {
    const directory = fresh();
    await create({ directory, passphrase: 'tresor' });
    await expect(loadHierarchy({ directory, passphrase: 'tresor' })).resolves.toBeDefined();
    for (const passphrase of ['other', undefined]) expect(await codeOfRefusal(loadHierarchy({ directory, passphrase }))).toBe('ERR_KEY_PASSPHRASE');
  });
  it('writes years from 2050 on as GeneralizedTime', async () => {
    const { root } = await create({ rootYears: 40 });
    expect(root.certificate.notAfter.getUTCFullYear()).toBeGreaterThan(2050);
    expect(lintCertificate(root.der, { issuer: root.certificate, profile: 'root' })).toEqual([]);
  });
  it('carries critical name constraints when asked', async () => {
    const { issuing } = await create({ permittedDnsNames: ['acme.internal', 'localhost'] });
    expect(issuing.certificate.unknownCriticalExtensions).toEqual(['2.5.29.30']);
    // RFC 5280 §4.2.1.10: [2] a domain name, [6] the host of a URI; both behind permittedSubtrees.
    const subtree = (tag: number, name: string) => sequence(element(tag, Buffer.from(name)));
    const permitted = ['acme.internal', 'localhost'].map((name) => subtree(0x82, name));
    expect(issuing.certificate.nameConstraints).toEqual(sequence(element(0xa0, ...permitted, subtree(0x86, 'acme.internal'))));
    expect((await create()).issuing.certificate.nameConstraints).toBeUndefined();
  });
  it.each([
    ['ERR_CA_NAME', { trustDomain: 'Not A Domain' }],
    ['ERR_CA_NAME', { name: '' }],
    ['ERR_CA_NAME', { name: 'x'.repeat(60) }],
    ['ERR_KEY_ALGORITHM', { keyAlgorithm: 'rsa2048' as const }],
    ['ERR_KEY_PASSPHRASE', { passphrase: '' }],
    ['ERR_CA_TTL', { issuingYears: 21 }],
    ['ERR_CA_NAME', { publicUrl: 'ftp://x' }],
  ])('is refused with %s for %j, and nothing is written', async (code, options) => {
    const directory = fresh();
    expect(await codeOfRefusal(create({ directory, ...options }))).toBe(code);
    expect(existsSync(directory)).toBe(false);
  });
});

describe('a hierarchy on disk', () => {
  it('is never overwritten', async () => {
    const directory = fresh();
    const made = await create({ directory });
    expect(await codeOfRefusal(create({ directory }))).toBe('ERR_CA_EXISTS');
    expect((await loadHierarchy({ directory })).root.id).toBe(made.root.id);
  });
  it('left half-written is neither loaded nor overwritten, whatever is missing', async () => {
    for (const missing of [['issuing.cert.pem'], ['issuing.cert.pem', 'root.cert.pem'], ['issuing.cert.pem', 'root.cert.pem', 'issuing.key.pem']]) {
      const directory = fresh();
      await create({ directory });
      for (const name of missing) unlinkSync(join(directory, name.includes('key') ? 'keys' : 'certs', name));
      expect(await codeOfRefusal(loadHierarchy({ directory }))).toBe('ERR_CA_MISSING');
      await expect(loadHierarchy({ directory })).rejects.toThrow(/never completed/);
      expect(await codeOfRefusal(create({ directory }))).toBe('ERR_CA_EXISTS');
    }
  });
  it('that does not exist is said to be missing', async () => {
    await expect(loadHierarchy({ directory: fresh() })).rejects.toThrow(/run sallyport init/);
  });
  it('works without the root key, except to sign for the root', async () => {
    const directory = fresh();
    await create({ directory });
    renameSync(join(directory, 'keys', 'root.key.pem'), join(parent, `root-${count}.key.pem`));
    const { root, issuing } = await loadHierarchy({ directory });
    expect(root.signer).toBeUndefined();
    expect(issuing.signer).toBeDefined();
  });
  it('is refused when keys and certificates do not belong together', async () => {
    const [one, two] = [fresh(), fresh()];
    await create({ directory: one });
    await create({ directory: two });
    const swap = (path: string): void => {
      rmSync(join(one, path));
      renameSync(join(two, path), join(one, path));
    };
    swap('keys/issuing.key.pem');
    expect(await codeOfRefusal(loadHierarchy({ directory: one }))).toBe('ERR_KEY_UNREADABLE');
    swap('certs/issuing.cert.pem');
    expect(await codeOfRefusal(loadHierarchy({ directory: one }))).toBe('ERR_CERTIFICATE_INVALID');
  });
  it('is refused when a file is garbage', async () => {
    const directory = fresh();
    await create({ directory });
    writeFileSync(join(directory, 'certs', 'root.cert.pem'), 'garbage');
    expect(await codeOfRefusal(loadHierarchy({ directory }))).toBe('ERR_PEM_INVALID');
  });
  it('cannot be made where a file is in the way, and says so', async () => {
    const directory = fresh();
    mkdirSync(directory);
    writeFileSync(join(directory, 'keys'), '');
    await expect(create({ directory })).rejects.toThrow(/EEXIST|ENOTDIR/);
  });
});

describe('published addresses', () => {
  it('stand under the base, with or without a path', () => {
    expect(publishedAt('http://a:1/', { name: 'root', role: 'root' })).toEqual({ crl: 'http://a:1/crl/root.crl', certificate: 'http://a:1/ca/root.cer' });
    expect(publishedAt('http://a/pki//', { name: 'issuing-2', role: 'issuing' })?.crl).toBe('http://a/pki/crl/issuing-2.crl');
    expect(publishedAt(undefined, { name: 'root', role: 'root' })).toBeUndefined();
  });
});
