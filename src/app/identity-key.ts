import type { KeyObject } from 'node:crypto';
import { generatePrivateKey, readPrivateKey, writePrivateKey } from '../../ca/index.ts';
import { CaError } from '../../ca/errors.ts';
import type { Randomness } from '../../ca/index.ts';
import { filesIn } from './deployment.ts';

/**
 * The key that signs what upstreams learn about callers; made when there is none. Not the key of the
 * server certificate: a key is for one use.
 * @throws CaError `ERR_KEY_*`
 */
export const identityKeyOf = async (directory: string, world: { readonly passphrase: string | undefined; readonly randomness: Randomness }): Promise<KeyObject> => {
  const { identityKey } = filesIn(directory);
  try {
    return await readPrivateKey(identityKey, { passphrase: world.passphrase });
  } catch (error) {
    if (!(error instanceof CaError && error.code === 'ERR_KEY_UNREADABLE' && isMissing(error.cause))) throw error;
  }
  const key = await generatePrivateKey('p256');
  await writePrivateKey(identityKey, key, world);
  return key;
};

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';
