/** Root and issuing CA: made, kept in a data directory, loaded. */
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { KeyObject } from 'node:crypto';
import { makePrivateDirectory, writeDurably } from './durable-file.ts';
import { CaError } from './errors.ts';
import { caTbs, spkiHashOf } from './issuance.ts';
import type { PublishedAt, Validity } from './issuance.ts';
import { generatePrivateKey, readPrivateKey, signerOf, writePrivateKey } from './key-store.ts';
import { lintCertificate, requireClean } from './lint.ts';
import type { Clock, IssuerId, KeyAlgorithm, Randomness, Signer } from './ports.ts';
import type { IssuerName } from './requests.ts';
import { checkAttributeText, checkTrustDomain } from './subject-rules.ts';
import { signatureAlgorithmFor, spkiOf } from './x509/algorithm.ts';
import { assembleSigned, parseCertificate, verifyCertificateSignature } from './x509/certificate.ts';
import type { Certificate } from './x509/certificate.ts';
import { equalBytes } from './x509/der.ts';
import { encodeName } from './x509/name.ts';
import type { DistinguishedName } from './x509/name.ts';
import { encodePem } from './x509/pem.ts';
import { generateSerial } from './x509/serial.ts';

/** One CA of the hierarchy. */
export interface Issuer {
  readonly name: IssuerName;
  readonly id: IssuerId;
  readonly certificate: Certificate;
  readonly der: Uint8Array;
  readonly pem: string;
  /** Undefined for a root whose key is kept elsewhere. */
  readonly signer: Signer | undefined;
}

export interface Hierarchy {
  readonly root: Issuer;
  readonly issuing: Issuer;
  /** Where it is kept; undefined for one that lives in memory only. */
  readonly directory: string | undefined;
}

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
}

/** The algorithms a CA key may have; all of `KeyAlgorithm` but RSA 2048, which is short for a decade. */
const caKeyAlgorithms: readonly KeyAlgorithm[] = ['p256', 'p384', 'ed25519', 'rsa3072', 'rsa4096', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'];
const yearMs = 365.25 * 86_400_000;

/**
 * Makes root and issuing CA. In a directory the issuing CA's certificate is written last and is the
 * mark of completeness: what an interrupted run leaves behind is never taken for a hierarchy.
 */
export const createHierarchy = async (options: CreateHierarchyOptions): Promise<Hierarchy> => {
  const { directory, clock, randomness } = options;
  const algorithm = options.keyAlgorithm ?? 'p256';
  if (!caKeyAlgorithms.includes(algorithm)) throw new CaError('ERR_KEY_ALGORITHM', `${JSON.stringify(algorithm)} is not for a CA; use one of ${caKeyAlgorithms.join(', ')}`);
  checkTrustDomain(options.trustDomain);
  if (options.passphrase === '') throw new CaError('ERR_KEY_PASSPHRASE', 'the passphrase is empty; give one, or none at all for unencrypted keys');
  if (directory !== undefined) await refuseExisting(directory);

  const [rootKey, issuingKey] = await Promise.all([generatePrivateKey(algorithm), generatePrivateKey(algorithm)]);
  const validity = (years: number): Validity => {
    const start = Math.floor(clock.now().getTime() / 1_000) * 1_000;
    return { notBefore: new Date(start - 60_000), notAfter: new Date(start + Math.round((years * yearMs) / 1_000) * 1_000 - 1_000) };
  };
  const rootValidity = validity(options.rootYears ?? 20);
  const issuingValidity = validity(options.issuingYears ?? 10);
  if (issuingValidity.notAfter > rootValidity.notAfter) throw new CaError('ERR_CA_TTL', 'the issuing CA may not outlive the root; give it fewer years');

  const rootSigner = signerOf(rootKey);
  const rootSubject = caSubject(options.name, 'Root CA');
  const common = { issuerName: encodeName(rootSubject), issuerSpki: rootSigner.spki, issuerAlgorithm: algorithm };
  const root = await signCa('root', rootSigner, rootSigner, caTbs({ ...common, serial: generateSerial(randomness), subject: rootSubject, spki: rootSigner.spki, pathLen: 1, validity: rootValidity }));
  const issuingSigner = signerOf(issuingKey);
  const issuing = await signCa(
    'issuing',
    issuingSigner,
    rootSigner,
    caTbs({
      ...common,
      serial: generateSerial(randomness),
      subject: caSubject(options.name, 'Issuing CA'),
      spki: issuingSigner.spki,
      pathLen: 0,
      validity: issuingValidity,
      nameConstraints: options.permittedDnsNames === undefined ? undefined : { permittedUriHosts: [options.trustDomain], permittedDnsNames: options.permittedDnsNames },
      publishedAt: publishedAt(options.publicUrl, 'root'),
    }),
  );
  requireClean(lintCertificate(root.der, { issuer: root.certificate, profile: 'root' }));
  requireClean(lintCertificate(issuing.der, { issuer: root.certificate, profile: 'issuing' }));
  if (directory !== undefined) await writeHierarchy(directory, { root, issuing, rootKey, issuingKey }, options);
  return { root, issuing, directory };
};

/**
 * Reads and checks a hierarchy: certificates sign each other, keys belong to them. Without the
 * root's key everything works but signing the root's CRL.
 */
export const loadHierarchy = async (options: LoadHierarchyOptions): Promise<Hierarchy> => {
  const { directory } = options;
  const files = filesOf(directory);
  if (!(await exists(files.issuing.certificate))) {
    const remains = await firstExisting([files.root.key, files.issuing.key, files.root.certificate]);
    throw new CaError(
      'ERR_CA_MISSING',
      remains === undefined ? `there is no certificate authority in ${directory}; run sallyport init` : `the certificate authority in ${directory} was never completed; move keys/ and certs/ away and run sallyport init again`,
      { facts: { directory } },
    );
  }
  const rootCertificate = await readCertificate(files.root.certificate);
  const issuingCertificate = await readCertificate(files.issuing.certificate);
  if (!verifyCertificateSignature(rootCertificate, rootCertificate.spki) || !verifyCertificateSignature(issuingCertificate, rootCertificate.spki)) {
    throw new CaError('ERR_CERTIFICATE_INVALID', `the certificates in ${join(directory, 'certs')} do not belong together; restore the ones made with each other`);
  }
  const rootKey = (await exists(files.root.key)) ? await readPrivateKey(files.root.key, options) : undefined;
  const issuingKey = await readPrivateKey(files.issuing.key, options);
  return {
    root: issuerOf('root', rootCertificate, rootKey === undefined ? undefined : matchingSigner(rootKey, rootCertificate, files.root.key)),
    issuing: issuerOf('issuing', issuingCertificate, matchingSigner(issuingKey, issuingCertificate, files.issuing.key)),
    directory,
  };
};

/** CDP and AIA of what an issuer signs, under the public listener's base URL. Only the issuing CA has an OCSP responder: the root's key may be elsewhere. */
export const publishedAt = (publicUrl: string | undefined, issuer: IssuerName, options: { readonly ocsp?: boolean | undefined } = {}): PublishedAt | undefined => {
  if (publicUrl === undefined) return undefined;
  const base = URL.canParse(publicUrl) ? new URL(publicUrl) : undefined;
  // RFC 5280 §8: fetching status over https may itself need the status; plain http is the custom.
  if (base === undefined || !['http:', 'https:'].includes(base.protocol) || base.search !== '' || base.hash !== '' || base.username !== '') {
    throw new CaError('ERR_CA_NAME', `${JSON.stringify(publicUrl)} is not a base URL; write it like http://pki.acme.internal:8080`);
  }
  const prefix = base.href.replace(/\/+$/, '');
  const ocsp = issuer === 'issuing' && options.ocsp === true ? { ocsp: `${prefix}/ocsp` } : {};
  return { crl: `${prefix}/crl/${issuer}.crl`, certificate: `${prefix}/ca/${issuer}.cer`, ...ocsp };
};

const caSubject = (name: string, role: string): DistinguishedName => [
  [{ type: 'O', value: checkAttributeText(name, 'name') }],
  [{ type: 'CN', value: checkAttributeText(`${name} ${role}`, 'commonName of the CA, made of the name,') }],
];

const signCa = async (name: IssuerName, own: Signer, by: Signer, tbs: Uint8Array): Promise<Issuer & { signer: Signer }> => {
  const certificate = parseCertificate(assembleSigned(tbs, signatureAlgorithmFor(by.algorithm), await by.sign(tbs)));
  return { ...issuerOf(name, certificate, own), signer: own };
};

const issuerOf = (name: IssuerName, certificate: Certificate, signer: Signer | undefined): Issuer => ({
  name,
  id: spkiHashOf(certificate.spki),
  certificate,
  der: certificate.der,
  pem: encodePem('CERTIFICATE', certificate.der),
  signer,
});

const filesOf = (directory: string): Readonly<Record<IssuerName, { key: string; certificate: string }>> => ({
  root: { key: join(directory, 'keys', 'root.key.pem'), certificate: join(directory, 'certs', 'root.cert.pem') },
  issuing: { key: join(directory, 'keys', 'issuing.key.pem'), certificate: join(directory, 'certs', 'issuing.cert.pem') },
});

const refuseExisting = async (directory: string): Promise<void> => {
  const { root, issuing } = filesOf(directory);
  const found = await firstExisting([issuing.certificate, root.certificate, issuing.key, root.key]);
  if (found === undefined) return;
  const complete = await exists(issuing.certificate);
  throw new CaError(
    'ERR_CA_EXISTS',
    complete ? `a certificate authority exists in ${directory}; choose another directory` : `${found} is left over from an interrupted run; move keys/ and certs/ away and try again`,
    { facts: { directory, found } },
  );
};

const writeHierarchy = async (
  directory: string,
  made: { readonly root: Issuer; readonly issuing: Issuer; readonly rootKey: KeyObject; readonly issuingKey: KeyObject },
  options: Pick<CreateHierarchyOptions, 'passphrase' | 'randomness'>,
): Promise<void> => {
  const files = filesOf(directory);
  await makePrivateDirectory(directory);
  await makePrivateDirectory(join(directory, 'keys'));
  await makePrivateDirectory(join(directory, 'certs'));
  await writePrivateKey(files.root.key, made.rootKey, options);
  await writePrivateKey(files.issuing.key, made.issuingKey, options);
  await writeDurably(files.root.certificate, made.root.pem);
  await writeDurably(files.issuing.certificate, made.issuing.pem, { existing: 'refuse' });
};

const matchingSigner = (key: KeyObject, certificate: Certificate, path: string): Signer => {
  if (!equalBytes(spkiOf(key), certificate.spki)) throw new CaError('ERR_KEY_UNREADABLE', `${path} is not the key of its certificate; restore the one made with it`, { facts: { path } });
  return signerOf(key);
};

const readCertificate = async (path: string): Promise<Certificate> => {
  try {
    return parseCertificate(await readFile(path, 'utf8'));
  } catch (cause) {
    if (cause instanceof CaError) throw new CaError(cause.code, `${path}: ${cause.message}`, { facts: { path }, cause });
    throw new CaError('ERR_CA_MISSING', `${path} cannot be read`, { facts: { path }, cause });
  }
};

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

const firstExisting = async (paths: readonly string[]): Promise<string | undefined> => {
  for (const path of paths) if (await exists(path)) return path;
  return undefined;
};
