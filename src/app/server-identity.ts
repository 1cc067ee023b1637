import { X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { readPrivateKey } from '../../ca/index.ts';
import type { Hierarchy } from '../../ca/index.ts';
import { pathAbove, pemOf, shortPaths } from '../../ca/issuer.ts';
import { parseCertificate, verifyCertificateSignature } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { decodePem } from '../../ca/x509/pem.ts';
import { SallyportError } from '../errors.ts';
import type { ServerIdentity } from '../tls/listener.ts';
import { filesIn } from './deployment.ts';

/**
 * The gateway's own key and chain, as the files hold them now.
 * @throws SallyportError `ERR_CONFIG_MISSING`, CaError `ERR_KEY_*`
 */
export const readServerIdentity = async (directory: string, passphrase: string | undefined): Promise<ServerIdentity> => {
  const { serverCertificate } = filesIn(directory);
  const { key, cert } = await readPair(directory, passphrase).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).path !== serverCertificate) throw cause;
    throw new SallyportError('ERR_CONFIG_MISSING', `the server certificate ${serverCertificate} cannot be read: restore it from a backup`, { facts: { file: serverCertificate }, cause });
  });
  // Node's TLS takes PEM; the decrypted form stays in this process.
  return { key: key.export({ type: 'pkcs8', format: 'pem' }).toString(), cert };
};

/**
 * The certificate says which key counts: a renewal writes the next key beside the one in use, exchanges the
 * certificate by one rename, and moves the key after it. Whoever reads in between, or after a crash, finds both.
 */
const readPair = async (directory: string, passphrase: string | undefined): Promise<{ readonly key: KeyObject; readonly cert: string }> => {
  const { serverCertificate, serverKey, serverNextKey } = filesIn(directory);
  for (let attempt = 1; ; attempt += 1) {
    const cert = await readFile(serverCertificate, 'utf8');
    const key = await readPrivateKey(serverKey, { passphrase });
    if (belongs(key, cert)) return { key, cert };
    const next = await readPrivateKey(serverNextKey, { passphrase }).catch(() => undefined);
    if (next !== undefined && belongs(next, cert)) return { key: next, cert };
    // The files may have been exchanged meanwhile. What stays so is for whoever puts them to use to refuse.
    if (attempt === 3) return { key, cert };
  }
};

export const belongs = (key: KeyObject, cert: string): boolean => {
  try {
    return new X509Certificate(cert).checkPrivateKey(key);
  } catch {
    return false;
  }
};

/**
 * With what leads from the certificate to every root that is still trusted: so many may know no other. Which ones these
 * are changes while the file stays. A certificate of another CA is shown with what its file holds.
 */
export const shownUnder = (identity: ServerIdentity, hierarchy: Hierarchy, options: { readonly root?: 'shown' } = {}): ServerIdentity => {
  const leaf = leafOf(identity);
  const issuer = leaf === undefined ? undefined : hierarchy.issuers.find(({ role, certificate }) => role === 'issuing' && verifyCertificateSignature(leaf, certificate.spki));
  const above = pathAbove(hierarchy, issuer ?? hierarchy.issuing);
  // Last, so that whoever walks up the path arrives there.
  const root = options.root === 'shown' ? above.root.pem : '';
  const path = leaf === undefined || issuer === undefined ? `${String(identity.cert).trimEnd()}\n` : pemOf([leaf]) + above.pem + shortPaths(hierarchy, issuer);
  return { ...identity, cert: path + root };
};

/** What is no certificate is refused where it is put to use. */
const leafOf = ({ cert }: ServerIdentity): Certificate | undefined => {
  try {
    const [first] = decodePem(String(cert), 'CERTIFICATE');
    return first === undefined ? undefined : parseCertificate(first.der);
  } catch {
    return undefined;
  }
};
