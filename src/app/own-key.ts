/** Keys that a gateway makes for itself when it first needs them. */
import { hkdfSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { generatePrivateKey, readPrivateKey, writePrivateKey } from '../../ca/index.ts';
import { CaError } from '../../ca/errors.ts';
import type { KeyAlgorithm, Randomness } from '../../ca/index.ts';
import { filesIn } from './deployment.ts';

export interface KeyWorld {
  readonly passphrase: string | undefined;
  readonly randomness: Randomness;
}

/**
 * The key that signs what upstreams learn about callers. Not the key of the server certificate: a key is for one use.
 * @throws CaError `ERR_KEY_*`
 */
export const identityKeyOf = (directory: string, world: KeyWorld): Promise<KeyObject> => readOrMake(filesIn(directory).identityKey, 'p256', world);

/**
 * What seals the texts that are handed out and wanted back (src/mcp/sealing.ts), 32 octets: kept, so that they open
 * after a restart and at every gateway of the data directory.
 * @throws CaError `ERR_KEY_*`
 */
export const sealingKeyOf = async (directory: string, world: KeyWorld): Promise<Uint8Array> => {
  const key = await readOrMake(filesIn(directory).sealingKey, 'ed25519', world);
  // A file format with a passphrase and checks of its mode is there for private keys; the secret is drawn from one.
  return new Uint8Array(hkdfSync('sha256', key.export({ format: 'der', type: 'pkcs8' }), '', 'sallyport sealing key', 32));
};

const readOrMake = async (path: string, algorithm: KeyAlgorithm, world: KeyWorld): Promise<KeyObject> => {
  const { passphrase } = world;
  try {
    return await readPrivateKey(path, { passphrase });
  } catch (error) {
    if (!(error instanceof CaError && error.code === 'ERR_KEY_UNREADABLE' && isMissing(error.cause))) throw error;
  }
  const key = await generatePrivateKey(algorithm);
  try {
    await writePrivateKey(path, key, world);
    return key;
  } catch (error) {
    // Another gateway of this data directory made it in the same moment.
    if (error instanceof CaError && error.code === 'ERR_CA_EXISTS') return readPrivateKey(path, { passphrase });
    throw error;
  }
};

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';
