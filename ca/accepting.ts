/** The next issuing CA under a root that is elsewhere: asked for here, signed there, taken in here. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { newCaKey, openCaKey } from './ca-key.ts';
import type { CaKey } from './ca-key.ts';
import { writeDurably } from './durable-file.ts';
import { CaError } from './errors.ts';
import { authorityPrepared } from './events.ts';
import { issuerOf } from './hierarchy.ts';
import { certificateFile, keyFile, requestFile } from './hierarchy-files.ts';
import type { ImportedPath } from './import/imported-authority.ts';
import { hierarchyOf, pemOf, trustedOf } from './issuer.ts';
import type { Hierarchy, Issuer } from './issuer.ts';
import { acceptable, isPending, requestNext } from './pending.ts';
import type { PendingRequest } from './pending.ts';
import type { KeyAlgorithm } from './ports.ts';
import type { IssuerName } from './requests.ts';
import { nextName, nextSubject } from './rotation.ts';
import type { RotationWorld, Step } from './rotation.ts';
import { keyAlgorithmOfSpki } from './x509/algorithm.ts';
import type { Certificate } from './x509/certificate.ts';

/** A key here, and a request for the root. @throws CaError `ERR_CA_STATUS` when one waits already */
export const requestIssuer = async (hierarchy: Hierarchy, request: { readonly keyAlgorithm?: KeyAlgorithm | undefined; readonly issuingKey?: CaKey | undefined }, world: Pick<RotationWorld, 'passphrase' | 'randomness'>): Promise<PendingRequest> => {
  const { issuing } = hierarchy;
  const directory = requireDirectory(hierarchy);
  const name = nextName(hierarchy, 'issuing');
  const prepared = hierarchy.issuers.find(({ status, role }) => status === 'prepared' && role === 'issuing');
  if (prepared !== undefined) throw new CaError('ERR_CA_STATUS', `${prepared.name} is prepared already; activate it or retire it first`, { facts: { ca: prepared.name } });
  if (await isPending(directory, name)) throw new CaError('ERR_CA_STATUS', `${name} waits for its certificate already; have ${requestFile(directory, name)} signed and run sallyport ca accept, or delete it`, { facts: { ca: name } });
  const key = request.issuingKey ?? (await newCaKey(request.keyAlgorithm ?? keyAlgorithmOfSpki(issuing.certificate.spki)));
  // What lies there under a name that no list has was left over, or its request was deleted.
  return requestNext(directory, { ...world, issuer: name, subject: nextSubject(issuing, name), key, existing: 'replace' });
};

/** The CA that was accepted with one of these certificates before, as by a run that was interrupted behind it. */
export const acceptedBefore = ({ issuers }: Hierarchy, certificates: readonly Certificate[]): Issuer | undefined =>
  issuers.find(({ role, status, certificate }) => role === 'issuing' && status !== 'retired' && certificates.some(({ thumbprint }) => thumbprint === certificate.thumbprint));

/** Takes in what was signed for a request of `requestIssuer`: prepared, like one that was made here. @throws CaError `ERR_CA_IMPORT`, `ERR_CA_MISSING` */
export const acceptIssuer = async (hierarchy: Hierarchy, certificates: readonly Certificate[], world: RotationWorld & { readonly actor: string }): Promise<Step> => {
  const { clock, store, passphrase, trustDomain, actor } = world;
  const directory = requireDirectory(hierarchy);
  const now = clock.now();
  const { name, root, path } = await matching(hierarchy, { directory, certificates, trustDomain, now });
  const signer = await openCaKey(keyFile(directory, name), { passphrase });
  if (Buffer.compare(signer.spki, path[0].spki) !== 0) throw new CaError('ERR_KEY_UNREADABLE', `${keyFile(directory, name)} is not the key of the request; restore the one made with it`);
  await writeDurably(certificateFile(directory, name), pemOf(path));
  const made = issuerOf({ name, role: 'issuing', status: 'prepared', since: now, root: root.name }, { path, root: root.certificate, signer });
  const sequence = hierarchy.sequence + 1;
  await store.recordEvent(authorityPrepared(made, { time: now, actor, sequence }));
  return { next: hierarchyOf({ ...hierarchy, sequence, issuers: [...hierarchy.issuers, made] }), changed: [name] };
};

/** The request that a certificate is for, and the trusted root it leads to; the refusal of the last one tried when there is none. */
const matching = async (hierarchy: Hierarchy, given: { readonly directory: string; readonly certificates: readonly Certificate[]; readonly trustDomain: string; readonly now: Date }): Promise<{ readonly name: IssuerName; readonly root: Issuer; readonly path: ImportedPath['path'] }> => {
  const { directory } = given;
  const names = await pendingNames(directory, hierarchy);
  let refusal: unknown = new CaError('ERR_CA_MISSING', `no request waits for a certificate in ${directory}; make one with sallyport ca rotate prepare issuing`, { facts: { directory } });
  for (const name of names) {
    for (const root of trustedOf(hierarchy, 'root')) {
      try {
        const { path } = await acceptable(directory, name, { ...given, root: root.certificate });
        return { name, root, path };
      } catch (error) {
        if (!(error instanceof CaError)) throw error;
        refusal = error;
      }
    }
  }
  throw refusal;
};

const pendingNames = async (directory: string, { issuers }: Hierarchy): Promise<readonly IssuerName[]> => {
  const files = await readdir(join(directory, 'requests')).catch(() => []);
  return files.filter((file) => file.endsWith('.csr.pem')).map((file) => file.slice(0, -'.csr.pem'.length)).filter((name) => !issuers.some((issuer) => issuer.name === name));
};

const requireDirectory = ({ directory }: Hierarchy): string => {
  if (directory === undefined) throw new CaError('ERR_CA_MISSING', 'a hierarchy in memory makes no requests; keep it in a directory');
  return directory;
};
