import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAX_FOREIGN_OCTETS, readForeignFile } from '../../../ca/import/foreign-file.ts';
import { spkiOf } from '../../../ca/x509/algorithm.ts';
import { DerReader, TAG, integer, nullValue, octetString, oid, sequence } from '../../../ca/x509/der.ts';
import { encodePem } from '../../../ca/x509/pem.ts';
import { CaError } from '../../../ca/errors.ts';
import { createTestPki } from '../../support/pki.ts';

const installed = (program: string): boolean => (process.env['PATH'] ?? '').split(delimiter).some((directory) => existsSync(join(directory, program)));
const run = promisify(execFile);

const pki = createTestPki('Acme');
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const passphrase = 'Grüße, 42 thieves';
let place: string;
const file = (name: string): Promise<Buffer> => readFile(join(place, name));

beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'sallyport-import-'));
  await writeFile(join(place, 'rsa.pem'), rsa.export({ type: 'pkcs8', format: 'pem' }));
  await writeFile(join(place, 'ec.pem'), pki.issuing.keyPem);
  await writeFile(join(place, 'chain.pem'), pki.issuing.certPem + pki.root.certPem);
  await writeFile(join(place, 'password'), `${passphrase}\n`);
  if (!installed('openssl')) return;
  const out = '-passout file:password';
  const commands = [
    // Traditional PEM, as OpenSSL 1 wrote it by default.
    'rsa -in rsa.pem -traditional -out rsa-traditional.pem',
    ...['des', 'des3', 'aes128', 'aes256'].map((cipher) => `rsa -in rsa.pem -traditional -${cipher} ${out} -provider legacy -provider default -out rsa-${cipher}.pem`),
    `ec -in ec.pem -aes256 ${out} -out ec-aes256.pem`,
    'ec -in ec.pem -outform DER -out ec.der',
    'pkcs8 -topk8 -in rsa.pem -nocrypt -outform DER -out rsa.der',
    // PBES2, PBES1 and the schemes of PKCS#12.
    `pkcs8 -topk8 -in ec.pem ${out} -out ec-pbes2.pem`,
    `pkcs8 -topk8 -in ec.pem ${out} -v2 aes-128-cbc -v2prf hmacWithSHA1 -outform DER -out ec-pbes2.der`,
    `pkcs8 -topk8 -in ec.pem ${out} -v2 des3 -out ec-pbes2-des3.pem`,
    `pkcs8 -topk8 -in ec.pem ${out} -scrypt -out ec-scrypt.pem`,
    ...['PBE-MD5-DES', 'PBE-SHA1-DES', 'PBE-SHA1-RC2-64', 'PBE-SHA1-3DES', 'PBE-SHA1-2DES', 'PBE-SHA1-RC2-128', 'PBE-SHA1-RC2-40'].map((scheme) => `pkcs8 -topk8 -in ec.pem ${out} -v1 ${scheme} -provider legacy -provider default -out ec-${scheme}.pem`),
    `pkcs12 -export -inkey ec.pem -in chain.pem ${out} -out modern.p12`,
    `pkcs12 -export -legacy -inkey ec.pem -in chain.pem ${out} -out legacy.p12`,
    `pkcs12 -export -inkey ec.pem -in chain.pem -certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1 ${out} -out adcs.p12`,
    'pkcs12 -export -inkey ec.pem -in chain.pem -passout pass: -out empty.p12',
    `pkcs12 -export -inkey ec.pem -in chain.pem -nomac ${out} -out nomac.p12`,
    `pkcs12 -export -nokeys -in chain.pem ${out} -out certificates.p12`,
    'crl2pkcs7 -nocrl -certfile chain.pem -out chain.p7b.pem',
    'crl2pkcs7 -nocrl -certfile chain.pem -outform DER -out chain.p7b',
  ];
  await Promise.all(commands.map((command) => run('openssl', command.split(' '), { cwd: place })));
});
afterAll(() => rm(place, { recursive: true, force: true }));

const codeAndMessage = async (input: Uint8Array | string, options: Parameters<typeof readForeignFile>[1] = {}): Promise<string> => {
  try {
    await readForeignFile(Buffer.from(input), options);
    return 'read';
  } catch (error) {
    if (error instanceof CaError) return `${error.code} ${error.message}`;
    throw error;
  }
};
const isKey = (found: KeyObject | undefined, key: KeyObject): boolean => found !== undefined && Buffer.from(spkiOf(found)).equals(spkiOf(key));

describe.skipIf(!installed('openssl'))('a private key that openssl wrote', () => {
  it.each(['rsa-traditional.pem', 'rsa-des.pem', 'rsa-des3.pem', 'rsa-aes128.pem', 'rsa-aes256.pem', 'rsa.der'])('is read: %s', async (name) => {
    expect(isKey((await readForeignFile(await file(name), { passphrase })).keys[0], rsa)).toBe(true);
  });

  it.each([
    'ec-aes256.pem', 'ec.der', 'ec-pbes2.pem', 'ec-pbes2.der', 'ec-pbes2-des3.pem', 'ec-scrypt.pem', 'ec-PBE-MD5-DES.pem', 'ec-PBE-SHA1-DES.pem', 'ec-PBE-SHA1-RC2-64.pem',
    'ec-PBE-SHA1-3DES.pem', 'ec-PBE-SHA1-2DES.pem', 'ec-PBE-SHA1-RC2-128.pem', 'ec-PBE-SHA1-RC2-40.pem',
  ])('is read: %s', async (name) => {
    expect(isKey((await readForeignFile(await file(name), { passphrase })).keys[0], pki.issuing.key)).toBe(true);
  });

  it.each(['rsa-des3.pem', 'ec-pbes2.pem', 'ec-PBE-SHA1-RC2-40.pem', 'legacy.p12', 'modern.p12'])('is refused with another passphrase, and with none: %s', async (name) => {
    const wrong = await codeAndMessage(await file(name), { passphrase: 'open sesame', path: name });
    expect(wrong).toMatch(new RegExp(`^ERR_KEY_PASSPHRASE ${name} cannot be used: it does not open with this passphrase`));
    expect(await codeAndMessage(await file(name), { path: name })).toBe(`ERR_KEY_PASSPHRASE ${name} cannot be used: it is encrypted; give its passphrase`);
  });
});

describe.skipIf(!installed('openssl'))('a PKCS#12 file', () => {
  it.each(['modern.p12', 'legacy.p12', 'adcs.p12'])('is read, key and chain: %s', async (name) => {
    const { keys, certificates } = await readForeignFile(await file(name), { passphrase });
    expect(keys.map((key) => isKey(key, pki.issuing.key))).toEqual([true]);
    expect(certificates.map(({ thumbprint }) => thumbprint).toSorted()).toEqual([pki.issuing.certificate.thumbprint, pki.root.certificate.thumbprint].toSorted());
  });

  it('is read without a passphrase when it was exported under an empty one', async () => {
    expect((await readForeignFile(await file('empty.p12'))).keys).toHaveLength(1);
  });

  it('may hold certificates alone', async () => {
    const { keys, certificates } = await readForeignFile(await file('certificates.p12'), { passphrase });
    expect([keys.length, certificates.length]).toEqual([0, 2]);
  });

  it('is refused without a MAC, and when a byte was changed', async () => {
    expect(await codeAndMessage(await file('nomac.p12'), { passphrase })).toMatch(/^ERR_KEY_UNREADABLE .*it has no MAC/);
    const changed = await file('modern.p12');
    changed[300] = (changed[300] ?? 0) ^ 1;
    expect(await codeAndMessage(changed, { passphrase })).toMatch(/^ERR_KEY_(PASSPHRASE|UNREADABLE) /);
  });

  it.skipIf(!installed('keytool'))('of an old Java, with an EC key under 3DES and certificates under RC2-40, is read', async () => {
    const options = ['-J-XX:+UseSerialGC', '-J-XX:TieredStopAtLevel=1', '-J-Dkeystore.pkcs12.legacy', '-J-Duser.language=en'];
    await run('keytool', [...options, '-genkeypair', '-alias', 'ca', '-keyalg', 'EC', '-groupname', 'secp384r1', '-dname', 'CN=Old Java', '-storetype', 'PKCS12', '-keystore', 'java.p12', '-storepass', 'open sesame'], { cwd: place });
    const { keys, certificates } = await readForeignFile(await file('java.p12'), { passphrase: 'open sesame' });
    expect(certificates).toHaveLength(1);
    expect(keys.map((key) => Buffer.from(spkiOf(key)).equals(certificates[0]?.spki ?? Buffer.alloc(0)))).toEqual([true]);
  });

  it('in BER, with indefinite lengths and strings in pieces as NSS writes them, is read', async () => {
    const { keys, certificates } = await readForeignFile(berOf(await file('modern.p12')), { passphrase });
    expect([keys.map((key) => isKey(key, pki.issuing.key)), certificates.length]).toEqual([[true], 2]);
  });
});

/** The same value, every constructed element of indefinite length and every longer OCTET STRING in two pieces. */
const berOf = (der: Uint8Array): Buffer => {
  const reader = new DerReader(der);
  const parts: Uint8Array[] = [];
  while (!reader.done) {
    const tag = reader.peek() ?? 0;
    const raw = reader.raw();
    const content = new DerReader(raw).content(tag);
    const end = Uint8Array.of(0, 0);
    if ((tag & 0x20) !== 0) parts.push(Uint8Array.of(tag, 0x80), berOf(content), end);
    else if (tag === TAG.octetString && content.length > 8) parts.push(Uint8Array.of(0x24, 0x80), octetString(content.subarray(0, 5)), octetString(content.subarray(5)), end);
    else parts.push(raw);
  }
  return Buffer.concat(parts);
};

describe('a file with certificates', () => {
  it.skipIf(!installed('openssl')).each(['chain.pem', 'chain.p7b.pem', 'chain.p7b'])('gives them in order: %s', async (name) => {
    const { certificates } = await readForeignFile(await file(name));
    expect(certificates.map(({ thumbprint }) => thumbprint).toSorted()).toEqual([pki.issuing.certificate.thumbprint, pki.root.certificate.thumbprint].toSorted());
  });

  it('may hold the key beside them, and text between', async () => {
    const { keys, certificates } = await readForeignFile(Buffer.from(`Bag Attributes\n    friendlyName: ca\n${pki.issuing.certPem}Key Attributes: <No Attributes>\n${pki.issuing.keyPem}`));
    expect([keys.length, certificates.length]).toEqual([1, 1]);
  });

  it('in DER is read', async () => {
    expect((await readForeignFile(pki.root.certificate.der)).certificates[0]?.thumbprint).toBe(pki.root.certificate.thumbprint);
  });
});

describe('hostile input', () => {
  /** An EncryptedPrivateKeyInfo that asks for this derivation. */
  const asking = (derivation: Uint8Array): string =>
    encodePem('ENCRYPTED PRIVATE KEY', sequence(sequence(oid('1.2.840.113549.1.5.13'), sequence(derivation, sequence(oid('2.16.840.1.101.3.4.1.42'), octetString(new Uint8Array(16))))), octetString(new Uint8Array(32))));
  const pbkdf2 = (iterations: number): Uint8Array => sequence(oid('1.2.840.113549.1.5.12'), sequence(octetString(new Uint8Array(8)), integer(iterations), sequence(oid('1.2.840.113549.2.9'), nullValue())));
  const scrypt = (cost: number, blockSize: number, parallelization: number): Uint8Array => sequence(oid('1.3.6.1.4.1.11591.4.11'), sequence(octetString(new Uint8Array(8)), integer(cost), integer(blockSize), integer(parallelization)));

  it.each([
    ['PBKDF2 beyond the limit', pbkdf2(10_000_001)],
    ['PBKDF2 of no iteration', pbkdf2(0)],
    ['scrypt that wants too much memory', scrypt(2 ** 18, 9, 1)],
    ['scrypt that wants too many runs', scrypt(1024, 8, 17)],
    ['scrypt with a cost that is no power of two', scrypt(1000, 8, 1)],
  ])('is refused before the work is done: %s', async (_name, derivation) => {
    expect(await codeAndMessage(asking(derivation), { passphrase })).toBe('ERR_KEY_UNREADABLE the file cannot be used: opening the key would take more work than the limit; write it anew with fewer iterations, for instance with openssl pkcs8 -topk8');
  });

  it('is refused when it is too long, too many or nothing at all', async () => {
    expect(await codeAndMessage(Buffer.alloc(MAX_FOREIGN_OCTETS + 1))).toMatch(/^ERR_KEY_UNREADABLE .* longer than/);
    expect(await codeAndMessage(pki.root.certPem.repeat(101))).toMatch(/^ERR_KEY_UNREADABLE .* more than 100/);
    expect(await codeAndMessage('')).toBe('ERR_KEY_UNREADABLE the file cannot be used: it is neither PEM, nor DER, nor PKCS#12');
  });

  it('is refused when the key is of a kind that is not on the list', async () => {
    const dsa = encodePem('DSA PRIVATE KEY', new Uint8Array(8));
    expect(await codeAndMessage(dsa)).toMatch(/^ERR_KEY_ALGORITHM /);
    const k1 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey.export({ type: 'pkcs8', format: 'pem' });
    expect(await codeAndMessage(k1)).toMatch(/^ERR_KEY_ALGORITHM /);
  });

  it('never ends in anything but a coded error', async () => {
    const seeds = [pki.issuing.certificate.der, rsa.export({ type: 'pkcs1', format: 'der' }), pki.issuing.key.export({ type: 'pkcs8', format: 'der' }), ...(installed('openssl') ? [await file('modern.p12'), await file('legacy.p12'), await file('chain.p7b'), await file('rsa-des3.pem')] : [])];
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...seeds), fc.nat(4_000), fc.integer({ min: 1, max: 255 }), async (seed, at, flip) => {
        const changed = Uint8Array.from(seed);
        const place = at % changed.length;
        changed[place] = (changed[place] ?? 0) ^ flip;
        await codeAndMessage(changed, { passphrase });
        await codeAndMessage(changed.subarray(0, place), { passphrase });
      }),
      { numRuns: 60 },
    );
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 64 }), async (octets) => void (await codeAndMessage(Uint8Array.of(0x30, 0x80, ...octets), { passphrase }))), { numRuns: 60 });
  });
});
