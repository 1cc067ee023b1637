/** Private keys: made, kept in files as (encrypted) PKCS#8, and used as signers. */
import { createPrivateKey, generateKeyPair, sign } from 'node:crypto';
import { open } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { KeyObject } from 'node:crypto';
import { writeDurably } from './durable-file.ts';
import { CaError } from './errors.ts';
import { encryptPkcs8, pbkdf2Iterations } from './pkcs8-encryption.ts';
import { encryptionWeakness } from './pkcs8-strength.ts';
import type { KeyAlgorithm, Randomness, Signer } from './ports.ts';
import { keyAlgorithmOf, signWith, spkiOf } from './x509/algorithm.ts';
import { encodePem } from './x509/pem.ts';

const generate = promisify(generateKeyPair) as unknown as (type: string, options: object) => Promise<{ privateKey: KeyObject; publicKey: KeyObject }>;

const generation: Readonly<Record<KeyAlgorithm, readonly [type: string, options: object]>> = {
  p256: ['ec', { namedCurve: 'P-256' }],
  p384: ['ec', { namedCurve: 'P-384' }],
  ed25519: ['ed25519', {}],
  rsa2048: ['rsa', { modulusLength: 2048 }],
  rsa3072: ['rsa', { modulusLength: 3072 }],
  rsa4096: ['rsa', { modulusLength: 4096 }],
  'ml-dsa-44': ['ml-dsa-44', {}],
  'ml-dsa-65': ['ml-dsa-65', {}],
  'ml-dsa-87': ['ml-dsa-87', {}],
};

/** A new key pair, made off the event loop by OpenSSL's own random source. */
export const generatePrivateKey = async (algorithm: KeyAlgorithm): Promise<KeyObject> => {
  if (!Object.hasOwn(generation, algorithm)) {
    throw new CaError('ERR_KEY_ALGORITHM', `${JSON.stringify(algorithm)} is not a key algorithm; use one of ${Object.keys(generation).join(', ')}`);
  }
  const [type, options] = generation[algorithm];
  return (await generate(type, options)).privateKey;
};

export interface WriteKeyOptions {
  /** Encrypts with PBES2: PBKDF2-HMAC-SHA256 and AES-256-CBC. Without it the file is plain PKCS#8. */
  readonly passphrase?: string | undefined;
  readonly randomness: Randomness;
  /** Default `refuse`: a key is never overwritten by accident (`ERR_CA_EXISTS`). */
  readonly existing?: 'replace' | 'refuse';
}

/** Writes PKCS#8 PEM with mode 0600, whole or not at all. */
export const writePrivateKey = async (path: string, key: KeyObject, options: WriteKeyOptions): Promise<void> => {
  const pem = await exportPrivateKey(key, options);
  try {
    await writeDurably(path, pem, { mode: 0o600, existing: options.existing ?? 'refuse' });
  } catch (error) {
    if (isSystemError(error, 'EEXIST')) throw new CaError('ERR_CA_EXISTS', `a key exists at ${path}; move it away first`, { facts: { path }, cause: error });
    throw error;
  }
};

/** PKCS#8 PEM, encrypted when there is a passphrase. */
export const exportPrivateKey = async (key: KeyObject, options: Pick<WriteKeyOptions, 'passphrase' | 'randomness'>): Promise<string> => {
  const der = key.export({ type: 'pkcs8', format: 'der' });
  if (options.passphrase === undefined) return encodePem('PRIVATE KEY', der);
  if (options.passphrase === '') throw new CaError('ERR_KEY_PASSPHRASE', 'the passphrase is empty; give one, or none at all for an unencrypted key');
  return encodePem('ENCRYPTED PRIVATE KEY', await encryptPkcs8(der, { passphrase: options.passphrase, randomness: options.randomness }));
};

/**
 * Reads a private key file. `ERR_KEY_MODE` when group or others may read it, `ERR_KEY_PASSPHRASE`
 * when the passphrase is missing or wrong, `ERR_KEY_UNREADABLE` when there is no usable key.
 */
export const readPrivateKey = async (path: string, options: { readonly passphrase?: string | undefined } = {}): Promise<KeyObject> => {
  const { pem, mode } = await readKeyFile(path);
  // Windows reports modes of its own making.
  if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
    throw new CaError('ERR_KEY_MODE', `${path} may be read by others (mode ${(mode & 0o777).toString(8)}); run chmod 600 on it, and replace the key if someone else may have read it`, { facts: { path } });
  }
  refuseWeakEncryption(pem, path);
  return parsePrivateKey(pem, { ...options, path });
};

/** What others encrypted less well is read at import alone, and written anew. */
const refuseWeakEncryption = (pem: string, path: string): void => {
  if (!pem.includes('-----BEGIN ENCRYPTED PRIVATE KEY-----')) return;
  let weakness: string | undefined;
  try {
    weakness = encryptionWeakness(pem);
  } catch (cause) {
    throw new CaError('ERR_KEY_UNREADABLE', `${path} holds no private key in PKCS#8 PEM`, { facts: { path }, cause });
  }
  if (weakness === undefined) return;
  throw new CaError('ERR_KEY_ENCRYPTION', `${path} is encrypted with ${weakness}; write it anew: openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -iter ${pbkdf2Iterations}`, { facts: { path } });
};

/** PEM text → private key of a supported algorithm. */
export const parsePrivateKey = (pem: string, options: { readonly passphrase?: string | undefined; readonly path?: string } = {}): KeyObject => {
  const where = options.path ?? 'the key';
  const facts = { path: options.path };
  const encrypted = pem.includes('-----BEGIN ENCRYPTED PRIVATE KEY-----');
  if (encrypted && (options.passphrase === undefined || options.passphrase === '')) {
    throw new CaError('ERR_KEY_PASSPHRASE', `${where} is encrypted; give its passphrase`, { facts });
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(encrypted ? { key: pem, passphrase: options.passphrase ?? '' } : { key: pem });
  } catch (cause) {
    if (encrypted) throw new CaError('ERR_KEY_PASSPHRASE', `${where} does not open with this passphrase; check it`, { facts, cause });
    throw new CaError('ERR_KEY_UNREADABLE', `${where} holds no private key in PKCS#8 PEM`, { facts, cause });
  }
  // Throws ERR_KEY_ALGORITHM for what is not on the list.
  keyAlgorithmOf(key);
  return key;
};

/** A signer on a key in this process. Slow algorithms sign off the event loop. */
export const signerOf = (key: KeyObject): Signer => {
  const algorithm = keyAlgorithmOf(key);
  const spki = spkiOf(key);
  const slow = algorithm !== 'p256' && algorithm !== 'ed25519';
  const hash = { p256: 'sha256', p384: 'sha384', rsa2048: 'sha256', rsa3072: 'sha256', rsa4096: 'sha256' }[algorithm as string] ?? null;
  const signer: Signer = {
    algorithm,
    spki,
    sign: (data) =>
      // A thread costs more than an elliptic curve signature, but hashing megabytes of CRL does not belong on the event loop.
      slow || data.length > 65_536
        ? new Promise((resolve, reject) => {
            sign(hash, data, key, (error, signature) => {
              if (error === null) resolve(new Uint8Array(signature));
              else reject(error);
            });
          })
        : Promise.resolve(signWith(key, data)),
  };
  keys.set(signer, key);
  return signer;
};

const keys = new WeakMap<Signer, KeyObject>();

/** The key of a signer of `signerOf`, for signing in another thread what is too large to be handed over; undefined for keys that are elsewhere. */
export const keyInProcess = (signer: Signer): KeyObject | undefined => keys.get(signer);

/** The text of a key file, and its mode. */
export const readKeyFile = async (path: string): Promise<{ pem: string; mode: number }> => {
  try {
    const file = await open(path, 'r');
    try {
      // One descriptor for both, so that the file looked at is the file read.
      return { mode: (await file.stat()).mode, pem: await file.readFile('utf8') };
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new CaError('ERR_KEY_UNREADABLE', isSystemError(cause, 'ENOENT') ? `there is no key at ${path}` : `the key at ${path} cannot be read`, { facts: { path }, cause });
  }
};

const isSystemError = (error: unknown, code: string): boolean => error instanceof Error && 'code' in error && error.code === code;
