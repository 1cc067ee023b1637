/** Keys that a gateway makes for itself when it first needs them. */
import { hkdfSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readOrMakePrivateKey } from '../../ca/kept-key.ts';
import type { KeyWorld } from '../../ca/kept-key.ts';
import { filesIn } from './deployment.ts';

/**
 * The key that signs what upstreams learn about callers. Not the key of the server certificate: a key is for one use.
 * @throws CaError `ERR_KEY_*`
 */
export const identityKeyOf = (directory: string, world: KeyWorld): Promise<KeyObject> => readOrMakePrivateKey(filesIn(directory).identityKey, 'p256', world);

/**
 * What seals the texts that are handed out and wanted back (src/mcp/sealing.ts), 32 octets: kept, so that they open
 * after a restart and at every gateway of the data directory.
 * @throws CaError `ERR_KEY_*`
 */
export const sealingKeyOf = (directory: string, world: KeyWorld): Promise<Uint8Array> => secretIn(filesIn(directory).sealingKey, 'sallyport sealing key', world);

/**
 * What MAC keys of external accounts and nonces of ACME are drawn from (ca/acme/secrets.ts), 32 octets.
 * @throws CaError `ERR_KEY_*`
 */
export const acmeSecretOf = (directory: string, world: KeyWorld): Promise<Uint8Array> => secretIn(filesIn(directory).acmeKey, 'sallyport acme secret', world);

const secretIn = async (file: string, use: string, world: KeyWorld): Promise<Uint8Array> => {
  const key = await readOrMakePrivateKey(file, 'ed25519', world);
  // A file format with a passphrase and checks of its mode is there for private keys; the secret is drawn from one.
  return new Uint8Array(hkdfSync('sha256', key.export({ format: 'der', type: 'pkcs8' }), '', use, 32));
};
