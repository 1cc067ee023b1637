/** Keys that a program makes for itself when it first needs them, and keeps. */
import type { KeyObject } from 'node:crypto';
import { CaError } from './errors.ts';
import { generatePrivateKey, readPrivateKey, writePrivateKey } from './key-store.ts';
import type { KeyAlgorithm, Randomness } from './ports.ts';

export interface KeyWorld {
  readonly passphrase: string | undefined;
  readonly randomness: Randomness;
}

/** The key in the file, made when there is none. @throws CaError `ERR_KEY_*` */
export const readOrMakePrivateKey = async (path: string, algorithm: KeyAlgorithm, world: KeyWorld): Promise<KeyObject> => {
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
    // Another process made it in the same moment.
    if (error instanceof CaError && error.code === 'ERR_CA_EXISTS') return readPrivateKey(path, { passphrase });
    throw error;
  }
};

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';
