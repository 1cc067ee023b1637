/** The CA certificates of a data directory, without any key: what the store is held against. */
import { readFile, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CaError } from '../../ca/errors.ts';
import { certificateFile, crossName, readHierarchyList } from '../../ca/hierarchy-files.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { decodePem } from '../../ca/x509/pem.ts';
import { filesIn } from './deployment.ts';

/** Every CA certificate under `certs/`, each once. */
export async function readKnownAuthorities(directory: string): Promise<readonly Certificate[]> {
  const folder = dirname(filesIn(directory).serverCertificate);
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new CaError('ERR_CERTIFICATE_INVALID', `${folder} cannot be read: restore it from a backup`, { facts: { directory: folder }, cause });
  });
  const found = new Map<string, Certificate>();
  const listed = await readHierarchyList(directory);
  const ofHierarchy = new Set([...listed.issuers.map(({ name }) => name), ...listed.crossCertificates.map(crossName)].map((name) => basename(certificateFile(directory, name))));
  // Of a step that was interrupted before it counted; the next one writes over it.
  const leftOver = (name: string): boolean => /^(?:root|issuing)-\d+(?:-by-.*)?\.cert\.pem$/.test(name) && !ofHierarchy.has(name);
  for (const name of names.filter((each) => each.endsWith('.pem') && !leftOver(each)).toSorted()) {
    for (const certificate of await certificatesIn(join(folder, name))) if (certificate.basicConstraints?.ca === true) found.set(certificate.thumbprint, certificate);
  }
  if (found.size === 0) throw new CaError('ERR_CERTIFICATE_INVALID', `there is no CA certificate in ${folder}: restore root.cert.pem and issuing.cert.pem`, { facts: { directory: folder } });
  return [...found.values()];
}

async function certificatesIn(file: string): Promise<readonly Certificate[]> {
  try {
    return decodePem(await readFile(file, 'utf8'), 'CERTIFICATE').map(({ der }) => parseCertificate(der));
  } catch (cause) {
    const why = cause instanceof CaError ? cause.message : ((cause as NodeJS.ErrnoException).code ?? 'unreadable');
    throw new CaError('ERR_CERTIFICATE_INVALID', `${file}: ${why}; restore it, or move it out of certs/`, { facts: { file }, cause });
  }
}
