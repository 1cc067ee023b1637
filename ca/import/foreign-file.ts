/**
 * A file from elsewhere that holds a private key, certificates or both: PEM (PKCS#8, PKCS#1, SEC 1,
 * encrypted the new way or the old), DER, PKCS#12, and PKCS#7 for chains. Nothing in it is trusted yet.
 */
import { createHash, createPrivateKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { CaError } from '../errors.ts';
import { keyAlgorithmOf } from '../x509/algorithm.ts';
import { parseCertificate } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { DerReader, TAG, contextTag } from '../x509/der.ts';
import { decodePem } from '../x509/pem.ts';
import { derOfBer } from './ber.ts';
import { cipherSizes, decryptCiphertext } from './password-ciphers.ts';
import type { PasswordCipher } from './password-ciphers.ts';
import { decryptPrivateKeyInfo } from './password-encryption.ts';
import { readPkcs12 } from './pkcs12-reader.ts';
import { WorkBudget } from './work-budget.ts';

export interface ForeignFile {
  readonly keys: readonly KeyObject[];
  readonly certificates: readonly Certificate[];
}

/** Longest file read; a chain with an ML-DSA-87 key needs 100 KiB. */
export const MAX_FOREIGN_OCTETS = 1024 * 1024;
const MAX_PARTS = 100;

/**
 * @throws CaError `ERR_KEY_PASSPHRASE` when the passphrase is missing or wrong, `ERR_KEY_ALGORITHM` for a
 * key that is not on the list, `ERR_KEY_UNREADABLE` or `ERR_CERTIFICATE_INVALID` for what cannot be read
 */
export async function readForeignFile(input: Uint8Array, options: { readonly passphrase?: string | undefined; readonly path?: string | undefined } = {}): Promise<ForeignFile> {
  const { passphrase, path } = options;
  try {
    if (input.length > MAX_FOREIGN_OCTETS) throw new CaError('ERR_KEY_UNREADABLE', `it is longer than ${MAX_FOREIGN_OCTETS} octets; give the key and its chain alone`);
    const found: Found = { keys: [], certificates: [], passphrase, budget: new WorkBudget() };
    if (input[0] === TAG.sequence && input.length > 2) await readDer(input, found);
    else for (const block of blocksOf(Buffer.from(input).toString('latin1'))) await readBlock(block, found);
    if (found.keys.length + found.certificates.length > MAX_PARTS) throw new CaError('ERR_KEY_UNREADABLE', `it holds more than ${MAX_PARTS} keys and certificates`);
    return found;
  } catch (error) {
    if (!(error instanceof CaError)) throw error;
    const code = error.code === 'ERR_DER_INVALID' || error.code === 'ERR_PEM_INVALID' ? 'ERR_KEY_UNREADABLE' : error.code;
    throw new CaError(code, `${path ?? 'the file'} cannot be used: ${error.message}`, { facts: { ...error.facts, path }, cause: error });
  }
}

interface Found {
  readonly keys: KeyObject[];
  readonly certificates: Certificate[];
  readonly passphrase: string | undefined;
  readonly budget: WorkBudget;
}

interface Block {
  readonly label: string;
  readonly der: Uint8Array;
  /** RFC 1421 §4.6.1.3, as OpenSSL uses it. */
  readonly dekInfo: { readonly cipher: string; readonly iv: Uint8Array } | undefined;
}

const BEGIN = /^-----BEGIN [A-Z0-9 ]{1,64}-----[ \t]*\r?$/gm;
const HEADERS = /^(-----BEGIN [^\n]*\n)Proc-Type: 4,ENCRYPTED\r?\nDEK-Info: ([A-Z0-9-]{1,32}),([0-9A-Fa-f]{16,32})\r?\n\r?\n/;

function blocksOf(text: string): readonly Block[] {
  const starts = [...text.matchAll(BEGIN)].map(({ index }) => index);
  if (starts.length === 0) throw new CaError('ERR_KEY_UNREADABLE', 'it is neither PEM, nor DER, nor PKCS#12');
  if (starts.length > MAX_PARTS) throw new CaError('ERR_KEY_UNREADABLE', `it holds more than ${MAX_PARTS} keys and certificates`);
  return starts.map((start, index) => {
    const part = text.slice(start, starts[index + 1]);
    const [, , cipher, iv] = HEADERS.exec(part) ?? [];
    const [block] = decodePem(part.replace(HEADERS, '$1'));
    if (block === undefined) throw new CaError('ERR_KEY_UNREADABLE', 'a PEM block is empty');
    return { ...block, dekInfo: cipher === undefined || iv === undefined ? undefined : { cipher, iv: Buffer.from(iv, 'hex') } };
  });
}

async function readBlock({ label, der, dekInfo }: Block, found: Found): Promise<void> {
  if (label === 'CERTIFICATE' || label === 'X509 CERTIFICATE' || label === 'TRUSTED CERTIFICATE') found.certificates.push(parseCertificate(der));
  else if (label === 'PKCS7') readPkcs7(der, found);
  else if (label === 'PRIVATE KEY') addKey(der, 'pkcs8', found);
  else if (label === 'ENCRYPTED PRIVATE KEY') await addEncryptedKey(der, found);
  else if (label === 'RSA PRIVATE KEY' || label === 'EC PRIVATE KEY') {
    const type = label.startsWith('RSA') ? 'pkcs1' : 'sec1';
    if (dekInfo === undefined) addKey(der, type, found);
    else addKey(await decryptTraditional(der, dekInfo, found), type, found, 'decrypted');
  }
  else if (label.endsWith('PRIVATE KEY')) throw new CaError('ERR_KEY_ALGORITHM', `a key of the kind ${label} is not supported; use P-256, P-384, Ed25519, RSA from 2048 bits or ML-DSA, in PKCS#8`);
}

/** OpenSSL's PEM_BYTES_TO_KEY: MD5, one round, the first half of the IV as salt. Weak, which is why it is read and never written. */
async function decryptTraditional(der: Uint8Array, { cipher: name, iv }: NonNullable<Block['dekInfo']>, found: Found): Promise<Uint8Array> {
  const cipher = TRADITIONAL.get(name);
  if (cipher === undefined || iv.length !== cipherSizes[cipher].iv) throw new CaError('ERR_KEY_UNREADABLE', `it is encrypted with ${name}, which is not supported; write it anew with openssl pkcs8 -topk8`);
  const passphrase = Buffer.from(passphraseOf(found));
  let key = Buffer.alloc(0);
  let last = Buffer.alloc(0);
  while (key.length < cipherSizes[cipher].key) {
    last = createHash('md5').update(last).update(passphrase).update(iv.subarray(0, 8)).digest();
    key = Buffer.concat([key, last]);
  }
  return decryptCiphertext({ cipher, key: key.subarray(0, cipherSizes[cipher].key), iv, encrypted: der });
}

const TRADITIONAL = new Map<string, PasswordCipher>([
  ['DES-EDE3-CBC', 'des-ede3-cbc'],
  ['DES-CBC', 'des-cbc'],
  ['AES-128-CBC', 'aes-128-cbc'],
  ['AES-192-CBC', 'aes-192-cbc'],
  ['AES-256-CBC', 'aes-256-cbc'],
  ['RC2-40-CBC', 'rc2-40-cbc'],
  ['RC2-64-CBC', 'rc2-64-cbc'],
  ['RC2-CBC', 'rc2-128-cbc'],
]);

/** What stands first in the outer SEQUENCE tells the formats apart. */
async function readDer(der: Uint8Array, found: Found): Promise<void> {
  const plain = der[1] === 0x80 ? derOfBer(der) : der;
  const fields = new DerReader(plain).enter();
  const first = fields.peek();
  if (first === TAG.oid) return readPkcs7(plain, found);
  if (first === TAG.sequence) {
    fields.raw();
    if (fields.peek() === TAG.sequence) found.certificates.push(parseCertificate(plain));
    else await addEncryptedKey(plain, found);
    return;
  }
  const version = fields.smallInteger();
  const second = fields.peek();
  if (version === 3) return addPkcs12(der, found);
  if (second === TAG.integer) addKey(plain, 'pkcs1', found);
  else if (second === TAG.octetString) addKey(plain, 'sec1', found);
  else addKey(plain, 'pkcs8', found);
}

/** Many tools write an empty passphrase when asked for none. */
async function addPkcs12(der: Uint8Array, found: Found): Promise<void> {
  const { passphrase = '', budget } = found;
  try {
    const { keys, certificates } = await readPkcs12(der, { passphrase, budget });
    for (const key of keys) addKey(key, 'pkcs8', found);
    found.certificates.push(...certificates.map((certificate) => parseCertificate(certificate)));
  } catch (error) {
    if (found.passphrase === undefined && error instanceof CaError && error.code === 'ERR_KEY_PASSPHRASE') passphraseOf(found);
    throw error;
  }
}

/** Certificates of a degenerate SignedData (RFC 5652 §5.1), whose signature would say nothing about them. */
function readPkcs7(der: Uint8Array, found: Found): void {
  const info = new DerReader(derOfBer(der)).enter();
  if (info.oid() !== '1.2.840.113549.1.7.2') throw new CaError('ERR_KEY_UNREADABLE', 'it is PKCS#7, but no list of certificates');
  const signedData = info.enter(contextTag(0)).enter();
  signedData.smallInteger();
  signedData.raw(TAG.set);
  signedData.raw(TAG.sequence);
  const certificates = signedData.enter(contextTag(0));
  while (!certificates.done) {
    if (found.certificates.length === MAX_PARTS) throw new CaError('ERR_KEY_UNREADABLE', `it holds more than ${MAX_PARTS} keys and certificates`);
    found.certificates.push(parseCertificate(certificates.raw(TAG.sequence)));
  }
}

async function addEncryptedKey(der: Uint8Array, found: Found): Promise<void> {
  addKey(await decryptPrivateKeyInfo(der, { passphrase: passphraseOf(found), budget: found.budget }), 'pkcs8', found, 'decrypted');
}

function addKey(der: Uint8Array, type: 'pkcs8' | 'pkcs1' | 'sec1', found: Found, origin: 'plain' | 'decrypted' = 'plain'): void {
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: Buffer.from(der), format: 'der', type });
  } catch (cause) {
    // One wrong passphrase in 256 leaves padding that looks right.
    if (origin === 'decrypted') throw new CaError('ERR_KEY_PASSPHRASE', 'it does not open with this passphrase; check the passphrase', { cause });
    throw new CaError('ERR_KEY_UNREADABLE', 'it holds octets that are no private key, or not one of a supported kind', { cause });
  }
  // Throws ERR_KEY_ALGORITHM for what is not on the list.
  keyAlgorithmOf(key);
  found.keys.push(key);
}

function passphraseOf({ passphrase }: Found): string {
  if (passphrase === undefined || passphrase === '') throw new CaError('ERR_KEY_PASSPHRASE', 'it is encrypted; give its passphrase');
  return passphrase;
}
