/**
 * Certifies a CA that is run elsewhere: on a request carried as a file, or, cross-signing, the key and name
 * that another CA's certificate shows. First a plan that can be looked at, then the durable order.
 */
import { authorityIntent, recordAuthority } from './adoption.ts';
import { signAuthority } from './authority-certificate.ts';
import { checkCaKeyAlgorithm } from './ca-key.ts';
import { CaError } from './errors.ts';
import { publishedAt, validFor } from './hierarchy.ts';
import { issuerKeyIdentifier, spkiHashOf } from './issuance.ts';
import type { Validity } from './issuance.ts';
import { mayCertifyAuthorities } from './import/imported-authority.ts';
import { boundsOf } from './issuer.ts';
import type { Hierarchy, Issuer } from './issuer.ts';
import { checkSubjectKey } from './key-policy.ts';
import { readTbs } from './lint.ts';
import type { AuthorityOptions } from './authority-options.ts';
import type { KeyAlgorithm } from './ports.ts';
import { roleOf } from './record-role.ts';
import { compromises } from './revocation.ts';
import { checkAttributeText } from './subject-rules.ts';
import { keyAlgorithmOfSpki } from './x509/algorithm.ts';
import type { Certificate } from './x509/certificate.ts';
import { verifyCsr } from './x509/csr.ts';
import type { Csr } from './x509/csr.ts';
import { equalBytes } from './x509/der.ts';
import { encodeNameConstraints } from './x509/extension.ts';
import type { NameConstraintsInput } from './x509/extension.ts';
import { formatName, nameAttributes } from './x509/name.ts';
import { generateSerial } from './x509/serial.ts';

export interface SubordinateOptions {
  /** CAs that may stand below it. Default 0: it certifies agents and servers alone. */
  readonly pathLen?: number | undefined;
  /** Default 10, and never beyond the signing CA. */
  readonly years?: number | undefined;
  readonly nameConstraints?: NameConstraintsInput | undefined;
}

export interface SubordinatePlan {
  /** What it is for: `issuing` has pathLen 0 and a name other than its issuer's. */
  readonly role: 'issuing' | 'subordinate';
  /** DER, as the request or the certificate has it. */
  readonly subject: Uint8Array;
  readonly subjectText: string;
  readonly spki: Uint8Array;
  readonly spkiHash: string;
  readonly keyAlgorithm: KeyAlgorithm;
  /** Of a key that has one. */
  readonly subjectKeyIdentifier: Uint8Array | undefined;
  readonly pathLen: number;
  readonly validity: Validity;
  readonly nameConstraints: NameConstraintsInput | undefined;
}

/** From a request, whose sender holds the key. @throws CaError `ERR_CSR_SIGNATURE`, `ERR_CA_CSR_CONTENT`, `ERR_CA_NAME`, `ERR_KEY_ALGORITHM`, `ERR_CA_KEY_REFUSED` */
export const planRequested = (csr: Csr, by: Issuer, options: SubordinateOptions, now: Date): SubordinatePlan => {
  verifyCsr(csr);
  // All of a request that counts is its name and its key; that it asks to be a CA is why it is here.
  if (csr.requested.extendedKeyUsage !== undefined || csr.requested.uris.length + csr.requested.dnsNames.length + csr.requested.emails.length + csr.requested.ipAddresses.length + csr.requested.otherNames.length > 0) {
    throw new CaError('ERR_CA_CSR_CONTENT', 'the request asks for names or usages of an agent or a server; make one for a CA');
  }
  for (const attribute of csr.subject.flat()) checkAttributeText(attribute.value, `attribute ${attribute.type} of the subject`);
  return plan({ ...csr, subjectKeyIdentifier: undefined }, by, options, now);
};

/** From the certificate of another CA: its name, key and key identifier stay, so that what it issued leads to us too. */
export const planCrossSigned = (certificate: Certificate, by: Issuer, options: SubordinateOptions, now: Date): SubordinatePlan => {
  if (certificate.basicConstraints?.ca !== true) throw new CaError('ERR_CA_IMPORT', `${formatName(certificate.subject)} is not a CA; give the certificate of the CA to cross-sign`);
  // RFC 5280 §4.2.1.3: a conforming CA has keyUsage, and keyCertSign in it.
  if (certificate.keyUsage?.has('keyCertSign') !== true) throw new CaError('ERR_CA_IMPORT', `${formatName(certificate.subject)} has no keyCertSign in its keyUsage; have it issued with it`);
  if (certificate.notAfter < now) throw new CaError('ERR_CA_IMPORT', `${formatName(certificate.subject)} has expired; have it renewed first`);
  const planned = plan({ ...certificate, subjectKeyIdentifier: issuerKeyIdentifier(certificate) }, by, { pathLen: certificate.basicConstraints.pathLen ?? 0, ...options }, now);
  // Never longer than it says of itself.
  return { ...planned, role: 'subordinate', validity: { ...planned.validity, notAfter: new Date(Math.min(planned.validity.notAfter.getTime(), certificate.notAfter.getTime())) } };
};

const plan = (of: Pick<Csr, 'subject' | 'subjectNameDer' | 'spki'> & { readonly subjectKeyIdentifier: Uint8Array | undefined }, by: Issuer, options: SubordinateOptions, now: Date): SubordinatePlan => {
  const { subject, subjectNameDer, spki } = of;
  const { certificate } = by;
  const pathLen = options.pathLen ?? 0;
  if (subject.length === 0 || nameAttributes(subject, 'CN').length === 0) throw new CaError('ERR_CA_NAME', 'a CA needs a subject with a common name; make the request with one');
  if (equalBytes(subjectNameDer, certificate.subjectNameDer)) throw new CaError('ERR_CA_NAME', `the subject is that of ${by.name} itself; give the CA another name`);
  if (equalBytes(spki, certificate.spki)) throw new CaError('ERR_CA_KEY_REFUSED', `the key is that of ${by.name} itself; make another for the CA`);
  if (!Number.isInteger(pathLen) || pathLen < 0 || pathLen > 8) throw new CaError('ERR_CA_LIMIT', 'pathLen is a whole number from 0 to 8; give 0 for a CA that certifies agents and servers alone');
  const room = certificate.basicConstraints?.pathLen;
  if (!mayCertifyAuthorities(certificate) || (room !== undefined && pathLen >= room)) throw new CaError('ERR_CA_IMPORT', `the pathLen of ${by.name} is ${room ?? 'none'}, which leaves no room for a CA with pathLen ${pathLen} below it; give a lower one, or have ${by.name} certified anew`);
  const keyAlgorithm = checkCaKeyAlgorithm(keyAlgorithmOfSpki(spki));
  checkSubjectKey(spki, { allowed: new Set([keyAlgorithm]) });
  const wanted = validFor(options.years ?? 10, now);
  return {
    role: pathLen === 0 ? 'issuing' : 'subordinate',
    subject: subjectNameDer,
    subjectText: formatName(subject),
    spki,
    spkiHash: spkiHashOf(spki),
    keyAlgorithm,
    subjectKeyIdentifier: of.subjectKeyIdentifier,
    pathLen,
    // RFC 5280 §4.1.2.5, stricter: within the validity of its issuer.
    validity: { notBefore: new Date(Math.max(wanted.notBefore.getTime(), certificate.notBefore.getTime())), notAfter: new Date(Math.min(wanted.notAfter.getTime(), certificate.notAfter.getTime())) },
    nameConstraints: options.nameConstraints,
  };
};

export type SubordinateWorld = Pick<AuthorityOptions, 'store' | 'clock' | 'randomness' | 'publicUrl' | 'refusedSpkiHashes'>;

/** On record before it is signed, and once more after. @throws CaError `ERR_CA_MISSING` when the key of `by` is elsewhere */
export const signSubordinate = async (planned: SubordinatePlan, by: Issuer, world: SubordinateWorld & { readonly actor: string }): Promise<Certificate> => {
  const { store, clock, randomness, actor } = world;
  const { signer } = by;
  if (signer === undefined) throw new CaError('ERR_CA_MISSING', `the key of ${by.name} is not here; sign where it is kept`);
  checkSubjectKey(planned.spki, { allowed: new Set([planned.keyAlgorithm]), refusedSpkiHashes: new Set(world.refusedSpkiHashes) });
  await checkKeyHistory(planned, store);
  const entry = { name: inventoryName(planned), role: planned.role, issuerId: by.id, actor };
  const certificate = await signAuthority({
    role: planned.role,
    subject: planned.subject,
    own: planned,
    by: { certificate: by.certificate, signer },
    validity: planned.validity,
    serial: generateSerial(randomness),
    pathLen: planned.pathLen,
    subjectKeyIdentifier: planned.subjectKeyIdentifier,
    nameConstraints: planned.nameConstraints === undefined ? undefined : encodeNameConstraints(planned.nameConstraints),
    publishedAt: publishedAt(world.publicUrl, by),
    record: async (tbs) => {
      await store.recordIntent(authorityIntent(readTbs(tbs), entry, clock.now()));
    },
  });
  await recordAuthority(certificate, entry, world);
  return certificate;
};

/** As with agents: neither a key that was revoked as compromised, nor that of an agent or a server. A CA may be certified again. */
const checkKeyHistory = async ({ spkiHash }: SubordinatePlan, store: SubordinateWorld['store']): Promise<void> => {
  const ofKey = await store.findCertificates({ spkiHash });
  if (ofKey.some(({ revocationReason }) => revocationReason !== undefined && compromises.has(revocationReason))) throw new CaError('ERR_CA_KEY_REFUSED', 'the key was revoked as compromised; make another for the CA', { facts: { spkiHash } });
  const other = ofKey.find((record) => roleOf(record) !== 'ca');
  if (other !== undefined) throw new CaError('ERR_CA_KEY_REUSED', `the key is that of ${JSON.stringify(other.agent)}; make another for the CA`, { facts: { spkiHash, agent: other.agent } });
};

/** The CAs above a certificate that `by` signed, itself first. */
export const pathOf = (hierarchy: Hierarchy, by: Issuer): readonly Certificate[] => [...new Map(boundsOf(hierarchy, by).map((each) => [each.thumbprint, each])).values()];

/** `Acme Issuing CA` → `acme-issuing-ca`: what the inventory calls it, behind `ca:`. */
const inventoryName = ({ subjectText, spkiHash }: SubordinatePlan): string => {
  const commonName = /CN=([^,]*)/.exec(subjectText)?.[1] ?? spkiHash;
  return commonName.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-').replaceAll(/^-+|-+$/g, '').slice(0, 48) || spkiHash.slice(0, 16);
};
