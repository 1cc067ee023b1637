import { readFile } from 'node:fs/promises';
import { readPrivateKey } from '../../ca/index.ts';
import { SallyportError } from '../errors.ts';
import type { ServerIdentity } from '../tls/listener.ts';
import { filesIn } from './deployment.ts';

/**
 * The gateway's own key and chain, as the files hold them now.
 * @throws SallyportError `ERR_CONFIG_MISSING`, CaError `ERR_KEY_*`
 */
export const readServerIdentity = async (directory: string, passphrase: string | undefined): Promise<ServerIdentity> => {
  const { serverKey, serverCertificate } = filesIn(directory);
  const key = await readPrivateKey(serverKey, { passphrase });
  try {
    // Node's TLS takes PEM; the decrypted form stays in this process.
    return { key: key.export({ type: 'pkcs8', format: 'pem' }).toString(), cert: await readFile(serverCertificate, 'utf8') };
  } catch (cause) {
    throw new SallyportError('ERR_CONFIG_MISSING', `the server certificate ${serverCertificate} cannot be read: restore it from a backup`, { facts: { file: serverCertificate }, cause });
  }
};
