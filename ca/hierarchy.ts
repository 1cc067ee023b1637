/** Root and issuing CA: made, kept in a data directory, loaded. */
import { join } from 'node:path';
import { signAuthority } from './authority-certificate.ts';
import { checkCaKeyAlgorithm, newCaKey, openCaKey, writeCaKey } from './ca-key.ts';
import type { CaKey } from './ca-key.ts';
import { makePrivateDirectory, writeDurably } from './durable-file.ts';
import { CaError } from './errors.ts';
import { certificateFile, crossName, exists, firstList, hierarchyFile, keyFile, requestFile, readCertificates, readHierarchyList, writeHierarchyList } from './hierarchy-files.ts';
import type { ListedIssuer } from './hierarchy-files.ts';
import { spkiHashOf } from './issuance.ts';
import type { PublishedAt, Validity } from './issuance.ts';
import { hierarchyOf, pemOf } from './issuer.ts';
import type { CrossCertificate, Hierarchy, Issuer } from './issuer.ts';
import { importedPath, importedRoot, mayCertifyAuthorities } from './import/imported-authority.ts';
import { checkAgentsNameable } from './name-bounds.ts';
import type { Clock, KeyAlgorithm, Randomness, Signer } from './ports.ts';
import type { IssuerName } from './requests.ts';
import { checkAttributeText, checkTrustDomain } from './subject-rules.ts';
import { verifyCertificateSignature } from './x509/certificate.ts';
import type { Certificate } from './x509/certificate.ts';
import { equalBytes } from './x509/der.ts';
import { encodeNameConstraints } from './x509/extension.ts';
import { formatName } from './x509/name.ts';
import type { DistinguishedName } from './x509/name.ts';
import { generateSerial } from './x509/serial.ts';

export { checkCaKeyAlgorithm } from './ca-key.ts';
export type { Hierarchy, Issuer } from './issuer.ts';

export interface CreateHierarchyOptions {
  /** Data directory. Without it the hierarchy lives in memory, for tests and throw-away CAs. */
  readonly directory?: string | undefined;
  /** Organization: `<name> Root CA` and `<name> Issuing CA`. */
  readonly name: string;
  /** SPIFFE trust domain of the agents. */
  readonly trustDomain: string;
  /** Default `p256`. */
  readonly keyAlgorithm?: KeyAlgorithm | undefined;
  /** Of the root alone. Default: `keyAlgorithm`. */
  readonly rootKeyAlgorithm?: KeyAlgorithm | undefined;
  /** Encrypts both private keys. */
  readonly passphrase?: string | undefined;
  /** Keys at hand, such as imported ones or those on a token. Default: new ones. */
  readonly rootKey?: CaKey | undefined;
  readonly issuingKey?: CaKey | undefined;
  /** A root made elsewhere. Without `rootKey` its key stays elsewhere, and `issuing` is needed too. */
  readonly root?: Certificate | undefined;
  /** An issuing CA made elsewhere, whose key is `issuingKey`, and the CAs between it and the root in any order. */
  readonly issuing?: { readonly certificate: Certificate; readonly intermediates?: readonly Certificate[] | undefined } | undefined;
  /** Base URL of the public listener; written into the issuing CA's certificate as CDP and AIA. */
  readonly publicUrl?: string | undefined;
  /** Restricts the issuing CA to its trust domain and these DNS domains (critical nameConstraints); an empty list leaves DNS free. Default: no constraint. */
  readonly permittedDnsNames?: readonly string[] | undefined;
  /** Years until the root and the issuing CA expire. Default 20 and 10. */
  readonly rootYears?: number | undefined;
  readonly issuingYears?: number | undefined;
  readonly clock: Clock;
  readonly randomness: Randomness;
}

export interface LoadHierarchyOptions {
  readonly directory: string;
  readonly passphrase?: string | undefined;
  /** As it was read before: keys that are open already are not opened again. */
  readonly before?: Hierarchy | undefined;
  /** `ignore`: nothing is to be signed, so that no passphrase is needed. Default `open`. */
  readonly keys?: 'open' | 'ignore' | undefined;
}

const yearMs = 365.25 * 86_400_000;

/** From a minute ago, for so many years from now. */
export const validFor = (years: number, now: Date): Validity => {
  const start = Math.floor(now.getTime() / 1_000) * 1_000;
  return { notBefore: new Date(start - 60_000), notAfter: new Date(start + Math.round((years * yearMs) / 1_000) * 1_000 - 1_000) };
};

/**
 * Makes root and issuing CA. In a directory the issuing CA's certificate is written last and is the
 * mark of completeness: what an interrupted run leaves behind is never taken for a hierarchy.
 */
export const createHierarchy = async (options: CreateHierarchyOptions): Promise<Hierarchy> => {
  const { directory, clock } = options;
  checkTrustDomain(options.trustDomain);
  if (options.passphrase === '') throw new CaError('ERR_KEY_PASSPHRASE', 'the passphrase is empty; give one, or none at all for unencrypted keys');
  if (directory !== undefined) await refuseExisting(directory);

  const now = clock.now();
  const algorithm = options.keyAlgorithm ?? 'p256';
  const [rootKey, issuingKey] = await Promise.all([
    options.rootKey ?? (options.root === undefined ? newCaKey(options.rootKeyAlgorithm ?? algorithm) : undefined),
    options.issuingKey ?? (options.issuing === undefined ? newCaKey(algorithm) : undefined),
  ]);
  const root = options.root ?? (await selfSigned(options, rootKey));
  if (options.root !== undefined) importedRoot(root, now);
  const path = options.issuing === undefined ? ([await firstIssuing(options, { root, rootKey, issuingKey })] as const) : importedPath(options.issuing.certificate, { root, intermediates: options.issuing.intermediates ?? [] }, now).path;
  checkAgentsNameable(options.trustDomain, [...path, root]);
  if (rootKey !== undefined) requireOwn(rootKey, root);
  if (issuingKey === undefined) throw new CaError('ERR_CA_IMPORT', 'the key of the issuing CA is missing; give it, because this CA is to issue with it');
  requireOwn(issuingKey, path[0]);
  if (directory !== undefined) await writeHierarchy(directory, { root, path, rootKey, issuingKey }, options);
  const { sequence, issuers: [listedRoot, listedIssuing] } = firstList;
  return hierarchyOf({
    sequence,
    issuers: [issuerOf(listedRoot, { path: [root], root, signer: rootKey?.signer }), issuerOf(listedIssuing, { path, root, signer: issuingKey.signer })],
    crossCertificates: [],
    directory,
  });
};

type Founding = Omit<CreateHierarchyOptions, 'directory'>;

const selfSigned = async ({ name, rootYears, clock, randomness }: Founding, key: CaKey | undefined): Promise<Certificate> => {
  if (key === undefined) throw new TypeError('a root that is not imported has a key');
  checkCaKeyAlgorithm(key.signer.algorithm);
  return signAuthority({ role: 'root', subject: caSubject(name, 'Root CA'), own: key.signer, by: undefined, validity: validFor(rootYears ?? 20, clock.now()), serial: generateSerial(randomness) });
};

const firstIssuing = async (options: Founding, { root, rootKey, issuingKey }: { readonly root: Certificate; readonly rootKey: CaKey | undefined; readonly issuingKey: CaKey | undefined }): Promise<Certificate> => {
  if (issuingKey === undefined || rootKey === undefined) throw new CaError('ERR_CA_IMPORT', 'the key of the root is missing; give it, or give an issuing CA with its key, or have a request signed where the root is');
  requireOwn(rootKey, root);
  if (!mayCertifyAuthorities(root)) throw new CaError('ERR_CA_IMPORT', 'the pathLen of the root leaves no room for an issuing CA below it; have the root certified anew with pathLen 1, or without');
  checkCaKeyAlgorithm(issuingKey.signer.algorithm);
  const validity = validFor(options.issuingYears ?? 10, options.clock.now());
  if (validity.notAfter > root.notAfter && (options.root === undefined || options.issuingYears !== undefined)) throw new CaError('ERR_CA_TTL', 'the issuing CA may not outlive the root; give it fewer years');
  return signAuthority({
    role: 'issuing',
    subject: issuingSubject(options.name),
    own: issuingKey.signer,
    by: { certificate: root, signer: rootKey.signer },
    validity: { ...validity, notAfter: new Date(Math.min(validity.notAfter.getTime(), root.notAfter.getTime())) },
    serial: generateSerial(options.randomness),
    nameConstraints: options.permittedDnsNames === undefined ? undefined : nameConstraintsOf(options.trustDomain, options.permittedDnsNames),
    publishedAt: publishedAt(options.publicUrl, { name: 'root', role: 'root' }),
  });
};

/** As it stands in a request, too. */
export const issuingSubject = (name: string): DistinguishedName => caSubject(name, 'Issuing CA');

const requireOwn = ({ signer }: CaKey, certificate: Certificate): void => {
  if (!equalBytes(signer.spki, certificate.spki)) throw new CaError('ERR_CA_IMPORT', `the key is not that of ${formatName(certificate.subject)}; give the one that belongs to it`);
};

/** A root alone, in a directory of its own: it certifies CAs that are elsewhere, and issues nothing else. */
export const createRootAlone = async (options: Omit<CreateHierarchyOptions, 'directory' | 'issuing' | 'issuingKey' | 'issuingYears' | 'permittedDnsNames'> & { readonly directory: string }): Promise<Hierarchy> => {
  const { directory, root: imported, clock, passphrase, randomness } = options;
  await refuseExisting(directory);
  const key = options.rootKey ?? (imported === undefined ? await newCaKey(options.rootKeyAlgorithm ?? options.keyAlgorithm ?? 'p256') : undefined);
  if (key === undefined) throw new CaError('ERR_CA_IMPORT', 'the key of the root is missing; give it, because a root alone is there to sign with it');
  const root = imported ?? (await selfSigned(options, key));
  if (imported !== undefined) importedRoot(imported, clock.now());
  requireOwn(key, root);
  await makeHierarchyDirectories(directory);
  await writeCaKey(keyFile(directory, 'root'), key, { passphrase, randomness });
  await writeDurably(certificateFile(directory, 'root'), pemOf([root]), { existing: 'refuse' });
  const [listed] = firstList.issuers;
  const hierarchy = hierarchyOf({ sequence: 1, issuers: [issuerOf(listed, { path: [root], root, signer: key.signer })], crossCertificates: [], directory });
  await writeHierarchyList(directory, hierarchy);
  return hierarchy;
};

/** Restricts a CA to its trust domain and to some DNS domains. */
export const nameConstraintsOf = (trustDomain: string, permittedDnsNames: readonly string[]): Uint8Array => encodeNameConstraints({ permittedUriHosts: [trustDomain], permittedDnsNames });

/**
 * Reads and checks a hierarchy: certificates sign each other, keys belong to them. Without the
 * root's key everything works but signing the root's CRL; the active issuing CA must have its key.
 */
export const loadHierarchy = async (options: LoadHierarchyOptions): Promise<Hierarchy> => {
  const { directory } = options;
  const list = await readHierarchyList(directory);
  if (!(await exists(hierarchyFile(directory)))) await requireComplete(directory);
  const roots = new Map<IssuerName, Certificate>();
  for (const { name, role } of list.issuers) if (role === 'root') roots.set(name, (await readCertificates(certificateFile(directory, name)))[0]);
  const issuers: Issuer[] = [];
  for (const listed of list.issuers) issuers.push(await loadIssuer(listed, roots, options));
  const crossCertificates: CrossCertificate[] = [];
  for (const listed of list.crossCertificates) crossCertificates.push(await loadCross(listed, issuers, directory));
  return hierarchyOf({ sequence: list.sequence, issuers, crossCertificates, directory });
};

const loadIssuer = async (listed: ListedIssuer, roots: ReadonlyMap<IssuerName, Certificate>, { directory, passphrase, before, keys }: LoadHierarchyOptions): Promise<Issuer> => {
  const path = await readCertificates(certificateFile(directory, listed.name));
  const root = roots.get(listed.root);
  const complete = listed.role === 'root' || root === undefined ? path : [...path, root];
  const last = complete.at(-1);
  const signed = complete.every((certificate, index) => verifyCertificateSignature(certificate, (complete[index + 1] ?? last ?? certificate).spki));
  if (root === undefined || !signed) throw notTogether(directory);
  const file = keyFile(directory, listed.name);
  const known = before?.issuers.find(({ id }) => id === path[0].spkiHash)?.signer;
  const kept = keys !== 'ignore' && ((listed.role === 'issuing' && listed.status === 'active') || (await exists(file)));
  const signer = kept ? (known ?? matchingSigner(await openCaKey(file, { passphrase }), path[0], file)) : undefined;
  return issuerOf(listed, { path, root, signer });
};

const loadCross = async ({ of, by }: { readonly of: IssuerName; readonly by: IssuerName }, issuers: readonly Issuer[], directory: string): Promise<CrossCertificate> => {
  const name = crossName({ of, by });
  const [certificate] = await readCertificates(certificateFile(directory, name));
  const [own, signer] = [of, by].map((each) => issuers.find((issuer) => issuer.name === each));
  if (own?.id !== certificate.spkiHash || signer === undefined || !verifyCertificateSignature(certificate, signer.certificate.spki)) throw notTogether(directory);
  return { name, of, by, certificate, pem: pemOf([certificate]) };
};

const notTogether = (directory: string): CaError => new CaError('ERR_CERTIFICATE_INVALID', `the certificates in ${join(directory, 'certs')} do not belong together; restore the ones made with each other`);

/** What `init` makes has the issuing CA's certificate as its mark of completeness. */
const requireComplete = async (directory: string): Promise<void> => {
  if (await exists(certificateFile(directory, 'issuing'))) return;
  if (await exists(requestFile(directory, 'issuing'))) {
    throw new CaError('ERR_CA_PENDING', `the issuing CA in ${directory} waits for its certificate; have ${requestFile(directory, 'issuing')} signed by its root (sallyport ca sign), then run sallyport ca accept`, { facts: { directory } });
  }
  const remains = await firstExisting([keyFile(directory, 'root'), keyFile(directory, 'issuing'), certificateFile(directory, 'root')]);
  throw new CaError(
    'ERR_CA_MISSING',
    remains === undefined ? `there is no certificate authority in ${directory}; run sallyport init` : `the certificate authority in ${directory} was never completed; move keys/ and certs/ away and run sallyport init again`,
    { facts: { directory } },
  );
};

/** CDP and AIA of what an issuer signs, under the public listener's base URL. Only issuing CAs have an OCSP responder: the root's key may be elsewhere. */
export const publishedAt = (publicUrl: string | undefined, issuer: Pick<Issuer, 'name' | 'role'>, options: { readonly ocsp?: boolean | undefined; readonly crl?: string | undefined } = {}): PublishedAt | undefined => {
  const prefix = prefixOf(publicUrl);
  if (prefix === undefined) return undefined;
  const ocsp = issuer.role === 'issuing' && options.ocsp === true ? { ocsp: `${prefix}/ocsp` } : {};
  return { crl: `${prefix}/crl/${options.crl ?? `${issuer.name}.crl`}`, certificate: `${prefix}/ca/${issuer.name}.cer`, ...ocsp };
};

/** A base URL without its last slash. @throws CaError `ERR_CA_NAME` */
export const prefixOf = (publicUrl: string | undefined): string | undefined => {
  if (publicUrl === undefined) return undefined;
  const base = URL.canParse(publicUrl) ? new URL(publicUrl) : undefined;
  // RFC 5280 §8: fetching status over https may itself need the status; plain http is the custom.
  if (base === undefined || !['http:', 'https:'].includes(base.protocol) || base.search !== '' || base.hash !== '' || base.username !== '') {
    throw new CaError('ERR_CA_NAME', `${JSON.stringify(publicUrl)} is not a base URL; write it like http://pki.acme.internal:8080`);
  }
  return base.href.replace(/\/+$/, '');
};

const caSubject = (name: string, role: string): DistinguishedName => [
  [{ type: 'O', value: checkAttributeText(name, 'name') }],
  [{ type: 'CN', value: checkAttributeText(`${name} ${role}`, 'commonName of the CA, made of the name,') }],
];

/** An issuer of a name, role and status, with the certificate it has now. */
export const issuerOf = (listed: ListedIssuer, parts: { readonly path: readonly [Certificate, ...Certificate[]]; readonly root: Certificate; readonly signer: Signer | undefined }): Issuer => {
  const [certificate, ...above] = parts.path;
  const pem = pemOf(parts.path);
  return { ...listed, id: spkiHashOf(certificate.spki), certificate, above, der: certificate.der, pem, chain: listed.role === 'root' ? pem : pem + pemOf([parts.root]), signer: parts.signer };
};

const refuseExisting = async (directory: string): Promise<void> => {
  const found = await firstExisting([certificateFile(directory, 'issuing'), certificateFile(directory, 'root'), keyFile(directory, 'issuing'), keyFile(directory, 'root')]);
  if (found === undefined) return;
  const complete = await exists(certificateFile(directory, 'issuing'));
  throw new CaError(
    'ERR_CA_EXISTS',
    complete ? `a certificate authority exists in ${directory}; choose another directory` : `${found} is left over from an interrupted run; move keys/ and certs/ away and try again`,
    { facts: { directory, found } },
  );
};

const writeHierarchy = async (
  directory: string,
  made: { readonly root: Certificate; readonly path: readonly Certificate[]; readonly rootKey: CaKey | undefined; readonly issuingKey: CaKey },
  { passphrase, randomness }: Pick<CreateHierarchyOptions, 'passphrase' | 'randomness'>,
): Promise<void> => {
  await makeHierarchyDirectories(directory);
  if (made.rootKey !== undefined) await writeCaKey(keyFile(directory, 'root'), made.rootKey, { passphrase, randomness });
  await writeCaKey(keyFile(directory, 'issuing'), made.issuingKey, { passphrase, randomness });
  await writeDurably(certificateFile(directory, 'root'), pemOf([made.root]));
  await writeDurably(certificateFile(directory, 'issuing'), pemOf(made.path), { existing: 'refuse' });
};

export const makeHierarchyDirectories = async (directory: string): Promise<void> => {
  await makePrivateDirectory(directory);
  await makePrivateDirectory(join(directory, 'keys'));
  await makePrivateDirectory(join(directory, 'certs'));
};

const matchingSigner = (signer: Signer, certificate: Certificate, path: string): Signer => {
  if (!equalBytes(signer.spki, certificate.spki)) throw new CaError('ERR_KEY_UNREADABLE', `${path} is not the key of its certificate; restore the one made with it`, { facts: { path } });
  return signer;
};

const firstExisting = async (paths: readonly string[]): Promise<string | undefined> => {
  for (const path of paths) if (await exists(path)) return path;
  return undefined;
};
