/**
 * An issuing CA whose certificate is made elsewhere: its key here, its request in a file, and what comes
 * back is checked before it counts.
 */
import { readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { openCaKey, writeCaKey } from './ca-key.ts';
import type { CaKey, KeyProtection } from './ca-key.ts';
import { makePrivateDirectory, writeDurably } from './durable-file.ts';
import { CaError } from './errors.ts';
import { issuingSubject, makeHierarchyDirectories } from './hierarchy.ts';
import { certificateFile, exists, keyFile, readCertificates, requestFile } from './hierarchy-files.ts';
import { importedPath, importedRoot } from './import/imported-authority.ts';
import type { ImportedPath } from './import/imported-authority.ts';
import { pemOf } from './issuer.ts';
import { checkAgentsNameable } from './name-bounds.ts';
import type { IssuerName } from './requests.ts';
import type { Certificate } from './x509/certificate.ts';
import { encodeCsr, parseCsr } from './x509/csr.ts';
import { equalBytes } from './x509/der.ts';
import type { DistinguishedName } from './x509/name.ts';
import { encodePem } from './x509/pem.ts';

export interface PendingRequest {
  readonly name: IssuerName;
  /** PEM. */
  readonly csr: string;
  readonly file: string;
}

/** The first issuing CA under a root that is elsewhere. The directory is complete once `acceptFirst` has its certificate. */
export const requestFirst = async (directory: string, options: KeyProtection & { readonly name: string; readonly root: Certificate; readonly key: CaKey; readonly now: Date }): Promise<PendingRequest> => {
  importedRoot(options.root, options.now);
  await makeHierarchyDirectories(directory);
  await writeDurably(certificateFile(directory, 'root'), pemOf([options.root]));
  return requestNext(directory, { ...options, issuer: 'issuing', subject: issuingSubject(options.name) });
};

/** A key and a request under a name that no CA has yet. */
export const requestNext = async (directory: string, options: KeyProtection & { readonly issuer: IssuerName; readonly subject: DistinguishedName; readonly key: CaKey; readonly existing?: 'replace' | 'refuse' }): Promise<PendingRequest> => {
  const { issuer, subject, key, passphrase, randomness, existing = 'refuse' } = options;
  await writeCaKey(keyFile(directory, issuer), key, { passphrase, randomness, existing });
  const csr = encodePem('CERTIFICATE REQUEST', await encodeCsr({ subject }, key.signer));
  const file = requestFile(directory, issuer);
  await makePrivateDirectory(join(directory, 'requests'));
  // Last: what has no request was never asked for.
  await writeDurably(file, csr);
  return { name: issuer, csr, file };
};

/**
 * What came back for a request: its key, a path to the root, what a CA must be.
 * @throws CaError `ERR_CA_IMPORT`, `ERR_CA_NAME`, `ERR_CA_MISSING` when nothing was asked for
 */
export const acceptable = async (directory: string, name: IssuerName, given: { readonly certificates: readonly Certificate[]; readonly root: Certificate; readonly trustDomain: string; readonly now: Date }): Promise<ImportedPath> => {
  const csr = parseCsr(await readRequest(directory, name));
  const certificate = given.certificates.find(({ spki }) => equalBytes(spki, csr.spki));
  if (certificate === undefined) throw new CaError('ERR_CA_IMPORT', `none of the certificates is for the key of ${requestFile(directory, name)}; give the one that was signed for it`);
  const path = importedPath(certificate, { root: given.root, intermediates: given.certificates }, given.now);
  checkAgentsNameable(given.trustDomain, [...path.path, given.root]);
  return path;
};

/** Completes a directory that `requestFirst` began. */
export const acceptFirst = async (directory: string, given: { readonly certificates: readonly Certificate[]; readonly trustDomain: string; readonly now: Date; readonly passphrase: string | undefined }): Promise<ImportedPath> => {
  const [root] = await readCertificates(certificateFile(directory, 'root'));
  const found = await acceptable(directory, 'issuing', { ...given, root });
  // The key must open before its certificate counts.
  const signer = await openCaKey(keyFile(directory, 'issuing'), given);
  if (!equalBytes(signer.spki, found.path[0].spki)) throw new CaError('ERR_KEY_UNREADABLE', `${keyFile(directory, 'issuing')} is not the key of the request; restore the one made with it`);
  await writeDurably(certificateFile(directory, 'issuing'), pemOf(found.path));
  return found;
};

export const isPending = (directory: string, name: IssuerName): Promise<boolean> => exists(requestFile(directory, name));

export const endRequest = (directory: string, name: IssuerName): Promise<void> => unlink(requestFile(directory, name)).catch(() => undefined);

const readRequest = async (directory: string, name: IssuerName): Promise<string> => {
  try {
    return await readFile(requestFile(directory, name), 'utf8');
  } catch (cause) {
    throw new CaError('ERR_CA_MISSING', `no request of ${name} waits for a certificate in ${directory}; make one with sallyport init --root or sallyport ca rotate prepare`, { facts: { directory }, cause });
  }
};
