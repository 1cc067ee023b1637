/** Root and issuing CA: made, kept in a data directory, loaded. */
import { join } from 'node:path';
import type { KeyObject } from 'node:crypto';
import { signAuthority } from './authority-certificate.ts';
import { makePrivateDirectory, writeDurably } from './durable-file.ts';
import { CaError } from './errors.ts';
import { certificateFile, crossName, exists, firstList, hierarchyFile, keyFile, readCertificates, readHierarchyList } from './hierarchy-files.ts';
import type { ListedIssuer } from './hierarchy-files.ts';
import { spkiHashOf } from './issuance.ts';
import type { PublishedAt, Validity } from './issuance.ts';
import { hierarchyOf, pemOf } from './issuer.ts';
import type { CrossCertificate, Hierarchy, Issuer } from './issuer.ts';
import { generatePrivateKey, readPrivateKey, signerOf, writePrivateKey } from './key-store.ts';
import type { Clock, KeyAlgorithm, Randomness, Signer } from './ports.ts';
import type { IssuerName } from './requests.ts';
import { checkAttributeText, checkTrustDomain } from './subject-rules.ts';
import { spkiOf } from './x509/algorithm.ts';
import { verifyCertificateSignature } from './x509/certificate.ts';
import type { Certificate } from './x509/certificate.ts';
import { equalBytes } from './x509/der.ts';
import { encodeNameConstraints } from './x509/extension.ts';
import type { DistinguishedName } from './x509/name.ts';
import { generateSerial } from './x509/serial.ts';

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
  /** Encrypts both private keys. */
  readonly passphrase?: string | undefined;
  /** Base URL of the public listener; written into the issuing CA's certificate as CDP and AIA. */
  readonly publicUrl?: string | undefined;
  /** Restricts the issuing CA to its trust domain and these DNS domains (critical nameConstraints). Default: no constraint. */
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

/** The algorithms a CA key may have; all of `KeyAlgorithm` but RSA 2048, which is short for a decade. */
const caKeyAlgorithms: readonly KeyAlgorithm[] = ['p256', 'p384', 'ed25519', 'rsa3072', 'rsa4096', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'];
const yearMs = 365.25 * 86_400_000;

/** @throws CaError `ERR_KEY_ALGORITHM` */
export const checkCaKeyAlgorithm = (algorithm: KeyAlgorithm): KeyAlgorithm => {
  if (!caKeyAlgorithms.includes(algorithm)) throw new CaError('ERR_KEY_ALGORITHM', `${JSON.stringify(algorithm)} is not for a CA; use one of ${caKeyAlgorithms.join(', ')}`);
  return algorithm;
};

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
  const { directory, clock, randomness } = options;
  const algorithm = checkCaKeyAlgorithm(options.keyAlgorithm ?? 'p256');
  checkTrustDomain(options.trustDomain);
  if (options.passphrase === '') throw new CaError('ERR_KEY_PASSPHRASE', 'the passphrase is empty; give one, or none at all for unencrypted keys');
  if (directory !== undefined) await refuseExisting(directory);

  const [rootKey, issuingKey] = await Promise.all([generatePrivateKey(algorithm), generatePrivateKey(algorithm)]);
  const rootValidity = validFor(options.rootYears ?? 20, clock.now());
  const issuingValidity = validFor(options.issuingYears ?? 10, clock.now());
  if (issuingValidity.notAfter > rootValidity.notAfter) throw new CaError('ERR_CA_TTL', 'the issuing CA may not outlive the root; give it fewer years');

  const rootSigner = signerOf(rootKey);
  const issuingSigner = signerOf(issuingKey);
  const root = await signAuthority({ role: 'root', subject: caSubject(options.name, 'Root CA'), own: rootSigner, by: undefined, validity: rootValidity, serial: generateSerial(randomness) });
  const issuing = await signAuthority({
    role: 'issuing',
    subject: caSubject(options.name, 'Issuing CA'),
    own: issuingSigner,
    by: { certificate: root, signer: rootSigner },
    validity: issuingValidity,
    serial: generateSerial(randomness),
    nameConstraints: options.permittedDnsNames === undefined ? undefined : nameConstraintsOf(options.trustDomain, options.permittedDnsNames),
    publishedAt: publishedAt(options.publicUrl, { name: 'root', role: 'root' }),
  });
  if (directory !== undefined) await writeHierarchy(directory, { root, issuing, rootKey, issuingKey }, options);
  const { sequence, issuers: [listedRoot, listedIssuing] } = firstList;
  return hierarchyOf({
    sequence,
    issuers: [issuerOf(listedRoot, { path: [root], root, signer: rootSigner }), issuerOf(listedIssuing, { path: [issuing], root, signer: issuingSigner })],
    crossCertificates: [],
    directory,
  });
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
  const signer = kept ? (known ?? matchingSigner(await readPrivateKey(file, { passphrase }), path[0], file)) : undefined;
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
  made: { readonly root: Certificate; readonly issuing: Certificate; readonly rootKey: KeyObject; readonly issuingKey: KeyObject },
  options: Pick<CreateHierarchyOptions, 'passphrase' | 'randomness'>,
): Promise<void> => {
  await makePrivateDirectory(directory);
  await makePrivateDirectory(join(directory, 'keys'));
  await makePrivateDirectory(join(directory, 'certs'));
  await writePrivateKey(keyFile(directory, 'root'), made.rootKey, options);
  await writePrivateKey(keyFile(directory, 'issuing'), made.issuingKey, options);
  await writeDurably(certificateFile(directory, 'root'), pemOf([made.root]));
  await writeDurably(certificateFile(directory, 'issuing'), pemOf([made.issuing]), { existing: 'refuse' });
};

const matchingSigner = (key: KeyObject, certificate: Certificate, path: string): Signer => {
  if (!equalBytes(spkiOf(key), certificate.spki)) throw new CaError('ERR_KEY_UNREADABLE', `${path} is not the key of its certificate; restore the one made with it`, { facts: { path } });
  return signerOf(key);
};

const firstExisting = async (paths: readonly string[]): Promise<string | undefined> => {
  for (const path of paths) if (await exists(path)) return path;
  return undefined;
};
