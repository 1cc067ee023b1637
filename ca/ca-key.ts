/** Keys of CAs: in a file, or on a token whose key URI stands in the file. What signs, and what is kept. */
import type { KeyObject } from 'node:crypto';
import { writeDurably } from './durable-file.ts';
import { CaError } from './errors.ts';
import { exportPrivateKey, generatePrivateKey, readKeyFile, readPrivateKey, signerOf } from './key-store.ts';
import { openOrMakeTokenSigner, openTokenSigner } from './pkcs11/signer.ts';
import { isKeyUri } from './pkcs11/uri.ts';
import type { KeyAlgorithm, Randomness, Signer } from './ports.ts';

/** A key that is about to belong to a CA. */
export interface CaKey {
  readonly signer: Signer;
  /** What its file will hold: PKCS#8 PEM, encrypted when there is a passphrase, or the key URI. */
  text(protection: KeyProtection): Promise<string>;
}

export interface KeyProtection {
  readonly passphrase?: string | undefined;
  readonly randomness: Randomness;
}

/** The algorithms a CA key may have; all of `KeyAlgorithm` but RSA 2048, which is short for a decade. */
const caKeyAlgorithms: readonly KeyAlgorithm[] = ['p256', 'p384', 'ed25519', 'rsa3072', 'rsa4096', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'];

/** @throws CaError `ERR_KEY_ALGORITHM` */
export const checkCaKeyAlgorithm = (algorithm: KeyAlgorithm): KeyAlgorithm => {
  if (!caKeyAlgorithms.includes(algorithm)) throw new CaError('ERR_KEY_ALGORITHM', `${JSON.stringify(algorithm)} is not for a CA; use one of ${caKeyAlgorithms.join(', ')}`);
  return algorithm;
};

export const newCaKey = async (algorithm: KeyAlgorithm): Promise<CaKey> => caKeyOf(await generatePrivateKey(checkCaKeyAlgorithm(algorithm)));

/** On a key at hand, as one that was imported. */
export const caKeyOf = (key: KeyObject): CaKey => ({ signer: signerOf(key), text: (protection) => exportPrivateKey(key, protection) });

/** On the key that the URI names, made on the token when there is none. */
export const tokenCaKey = async (uri: string, algorithm: KeyAlgorithm, options: { readonly pin?: string | undefined }): Promise<CaKey> => {
  const signer = await openOrMakeTokenSigner(uri, checkCaKeyAlgorithm(algorithm), options);
  return { signer, text: () => Promise.resolve(`${signer.uri.text}\n`) };
};

/** A signer that is opened by its program alone: nothing is kept of it. */
export const caKeyOfSigner = (signer: Signer): CaKey => ({
  signer,
  text: () => Promise.reject(new CaError('ERR_KEY_UNREADABLE', 'a key that this process only has a signer of cannot be kept in a file; open the hierarchy with CertificateAuthority.open')),
});

/** Mode 0600, whole or not at all. @throws CaError `ERR_CA_EXISTS` */
export const writeCaKey = async (path: string, key: CaKey, { existing = 'refuse', ...protection }: KeyProtection & { readonly existing?: 'replace' | 'refuse' }): Promise<void> => {
  const text = await key.text(protection);
  try {
    await writeDurably(path, text, { mode: 0o600, existing });
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') throw new CaError('ERR_CA_EXISTS', `a key exists at ${path}; move it away first`, { facts: { path }, cause: error });
    throw error;
  }
};

/** The signer on the key of a file. The passphrase is also the PIN of a token whose URI names no file with it. @throws CaError `ERR_KEY_*` */
export const openCaKey = async (path: string, { passphrase }: { readonly passphrase?: string | undefined }): Promise<Signer> => {
  const { pem } = await readKeyFile(path);
  return isKeyUri(pem) ? openTokenSigner(pem, { pin: passphrase }) : signerOf(await readPrivateKey(path, { passphrase }));
};
