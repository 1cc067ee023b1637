/**
 * Decrypts what is under a passphrase, however old: PBES2 (RFC 8018 §6.2), PBES1 (§6.1) and the schemes
 * of PKCS#12 (RFC 7292 appendix C). For import alone: what is written here is PBES2 with AES-256.
 */
import { hash, pbkdf2, scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { CaError } from '../errors.ts';
import { DerReader, TAG } from '../x509/der.ts';
import { cipherSizes, decryptCiphertext } from './password-ciphers.ts';
import type { PasswordCipher } from './password-ciphers.ts';
import { bmpPassphrase, derivePkcs12 } from './pkcs12-kdf.ts';
import type { WorkBudget } from './work-budget.ts';

export interface UnderPassphrase {
  readonly passphrase: string;
  readonly budget: WorkBudget;
}

/** `algorithm` is at the AlgorithmIdentifier. @throws CaError `ERR_KEY_PASSPHRASE`, `ERR_KEY_UNREADABLE`, `ERR_DER_INVALID` */
export async function decryptWithPassphrase(algorithm: DerReader, encrypted: Uint8Array, under: UnderPassphrase): Promise<Uint8Array> {
  const scheme = algorithm.oid();
  const parameters = algorithm.enter();
  algorithm.finish();
  if (scheme === PBES2) return decryptPbes2(parameters, encrypted, under);
  const salt = parameters.octetString();
  const iterations = parameters.smallInteger();
  parameters.finish();
  const pbes1 = PBES1.get(scheme);
  if (pbes1 !== undefined) {
    const derived = pbkdf1(pbes1.hash, { ...under, salt, iterations });
    return decryptCiphertext({ cipher: pbes1.cipher, key: derived.subarray(0, 8), iv: derived.subarray(8, 16), encrypted });
  }
  const cipher = PKCS12.get(scheme);
  if (cipher === undefined) throw unsupported(scheme);
  const { key, iv } = cipherSizes[cipher];
  const derivation = { hash: 'sha1', passphrase: bmpPassphrase(under.passphrase), salt, iterations } as const;
  return decryptCiphertext({
    cipher,
    key: derivePkcs12({ ...derivation, purpose: 1, length: key }, under.budget),
    iv: derivePkcs12({ ...derivation, purpose: 2, length: iv }, under.budget),
    encrypted,
  });
}

/** EncryptedPrivateKeyInfo (RFC 5958 §3) → PrivateKeyInfo. */
export async function decryptPrivateKeyInfo(der: Uint8Array, under: UnderPassphrase): Promise<Uint8Array> {
  const outer = new DerReader(der);
  const info = outer.enter();
  outer.finish();
  const algorithm = info.enter();
  const encrypted = info.octetString();
  info.finish();
  return decryptWithPassphrase(algorithm, encrypted, under);
}

const PBES2 = '1.2.840.113549.1.5.13';
const PBKDF2 = '1.2.840.113549.1.5.12';
const SCRYPT = '1.3.6.1.4.1.11591.4.11';

const PBES1 = new Map<string, { readonly hash: 'md5' | 'sha1'; readonly cipher: PasswordCipher }>([
  ['1.2.840.113549.1.5.3', { hash: 'md5', cipher: 'des-cbc' }],
  ['1.2.840.113549.1.5.6', { hash: 'md5', cipher: 'rc2-64-cbc' }],
  ['1.2.840.113549.1.5.10', { hash: 'sha1', cipher: 'des-cbc' }],
  ['1.2.840.113549.1.5.11', { hash: 'sha1', cipher: 'rc2-64-cbc' }],
]);

const PKCS12 = new Map<string, PasswordCipher>([
  ['1.2.840.113549.1.12.1.3', 'des-ede3-cbc'],
  ['1.2.840.113549.1.12.1.4', 'des-ede-cbc'],
  ['1.2.840.113549.1.12.1.5', 'rc2-128-cbc'],
  ['1.2.840.113549.1.12.1.6', 'rc2-40-cbc'],
]);

const PRFS = new Map<string, string>([
  ['1.2.840.113549.2.7', 'sha1'],
  ['1.2.840.113549.2.8', 'sha224'],
  ['1.2.840.113549.2.9', 'sha256'],
  ['1.2.840.113549.2.10', 'sha384'],
  ['1.2.840.113549.2.11', 'sha512'],
]);

const CIPHERS = new Map<string, PasswordCipher>([
  ['2.16.840.1.101.3.4.1.2', 'aes-128-cbc'],
  ['2.16.840.1.101.3.4.1.22', 'aes-192-cbc'],
  ['2.16.840.1.101.3.4.1.42', 'aes-256-cbc'],
  ['2.16.840.1.101.3.4.1.6', 'aes-128-gcm'],
  ['2.16.840.1.101.3.4.1.26', 'aes-192-gcm'],
  ['2.16.840.1.101.3.4.1.46', 'aes-256-gcm'],
  ['1.2.840.113549.3.7', 'des-ede3-cbc'],
  ['1.3.14.3.2.7', 'des-cbc'],
]);

const deriveWithPbkdf2 = promisify(pbkdf2);
const deriveWithScrypt = promisify<string, Uint8Array, number, object, Buffer>(scrypt);

async function decryptPbes2(parameters: DerReader, encrypted: Uint8Array, under: UnderPassphrase): Promise<Uint8Array> {
  const derivation = parameters.enter();
  const encryption = parameters.enter();
  parameters.finish();
  const dotted = encryption.oid();
  const cipher = CIPHERS.get(dotted);
  if (cipher === undefined) throw unsupported(dotted);
  const iv = ivOf(encryption, cipher);
  const key = await derivedKey(derivation, cipherSizes[cipher].key, under);
  return decryptCiphertext({ cipher, key, iv, encrypted });
}

function ivOf(encryption: DerReader, cipher: PasswordCipher): Uint8Array {
  const size = cipherSizes[cipher].iv;
  let iv: Uint8Array;
  if (cipher.endsWith('-gcm')) {
    // RFC 5084 §3.2: nonce, and the length of the tag, 12 unless said.
    const fields = encryption.enter();
    iv = fields.octetString();
    const tagLength = fields.done ? 12 : fields.smallInteger();
    fields.finish();
    if (tagLength !== 16) throw unsupported(`an authentication tag of ${tagLength} octets`);
  } else iv = encryption.octetString();
  encryption.finish();
  if (iv.length !== size) throw unsupported(`an initialization vector of ${iv.length} octets`);
  return iv;
}

/** Of PBKDF2-params (RFC 8018 §A.2) or scrypt-params (RFC 7914 §7), which `derivation` is at. */
export async function derivedKey(derivation: DerReader, length: number, { passphrase, budget }: UnderPassphrase): Promise<Uint8Array> {
  const dotted = derivation.oid();
  const fields = derivation.enter();
  derivation.finish();
  if (dotted === SCRYPT) {
    const salt = fields.octetString();
    const cost = fields.smallInteger();
    const blockSize = fields.smallInteger();
    const parallelization = fields.smallInteger();
    checkLength(fields, length);
    budget.scrypt({ cost, blockSize, parallelization });
    return deriveWithScrypt(passphrase, salt, length, { cost, blockSize, parallelization, maxmem: 128 * cost * blockSize + 128 * blockSize * parallelization + 1_048_576 });
  }
  if (dotted !== PBKDF2) throw unsupported(dotted);
  const salt = fields.octetString();
  const iterations = fields.smallInteger();
  const prf = readPrf(checkLength(fields, length));
  budget.pbkdf2(iterations);
  return deriveWithPbkdf2(passphrase, salt, iterations, length, prf);
}

/** RFC 8018 §A.2: keyLength may be said, and is then that of the cipher. */
function checkLength(fields: DerReader, length: number): DerReader {
  if (fields.peek() === TAG.integer && fields.smallInteger() !== length) throw unsupported('a key length that is not that of the cipher');
  return fields;
}

function readPrf(fields: DerReader): string {
  if (fields.done) return 'sha1';
  const algorithm = fields.enter();
  const dotted = algorithm.oid();
  if (!algorithm.done) algorithm.null();
  algorithm.finish();
  fields.finish();
  const prf = PRFS.get(dotted);
  if (prf === undefined) throw unsupported(dotted);
  return prf;
}

/** RFC 8018 §5.1. */
function pbkdf1(name: 'md5' | 'sha1', { passphrase, budget, salt, iterations }: UnderPassphrase & { readonly salt: Uint8Array; readonly iterations: number }): Uint8Array {
  budget.pkcs12(iterations);
  let digest = hash(name, Buffer.concat([Buffer.from(passphrase), salt]), 'buffer');
  for (let round = 1; round < iterations; round++) digest = hash(name, digest, 'buffer');
  return digest;
}

const unsupported = (what: string): CaError => new CaError('ERR_KEY_UNREADABLE', `it is encrypted with ${what}, which is not supported; write it anew, for instance with openssl pkcs8 -topk8`, { facts: { algorithm: what } });
