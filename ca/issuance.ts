/** Key + subject + profile + issuer → certificate to be signed. Pure: the same input gives the same octets. */
import { hash } from 'node:crypto';
import { formatDuration } from './duration.ts';
import { CaError } from './errors.ts';
import type { KeyAlgorithm } from './ports.ts';
import type { Profile } from './profile.ts';
import type { Certificate } from './x509/certificate.ts';
import { encodeTbsCertificate } from './x509/certificate.ts';
import { signatureAlgorithmFor } from './x509/algorithm.ts';
import {
  encodeAuthorityInformationAccess,
  encodeAuthorityKeyIdentifier,
  encodeBasicConstraints,
  encodeCrlDistributionPoints,
  encodeExtendedKeyUsage,
  encodeKeyUsage,
  encodeNoRevAvail,
  encodeOcspNoCheck,
  encodeSubjectAltName,
  encodeSubjectKeyIdentifier,
  keyIdentifierOf,
} from './x509/extension.ts';
import type { DistinguishedName } from './x509/name.ts';

/** Who an end entity is, as enrollment decided; nothing of it comes from the requester. */
export interface Granted {
  readonly subject: DistinguishedName;
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  /** Of a person. */
  readonly emails?: readonly string[];
}

export interface Validity {
  readonly notBefore: Date;
  /** Inclusive. */
  readonly notAfter: Date;
}

/** Where the issuer's CRL and certificate are published, and asked about; written when the deployment has a public URL. */
export interface PublishedAt {
  readonly crl: string;
  readonly certificate: string;
  readonly ocsp?: string | undefined;
}

export interface EndEntityInput {
  readonly serial: Uint8Array;
  readonly issuer: Certificate;
  readonly issuerAlgorithm: KeyAlgorithm;
  readonly profile: Profile;
  readonly granted: Granted;
  readonly spki: Uint8Array;
  readonly validity: Validity;
  readonly publishedAt: PublishedAt | undefined;
}

/** DER TBSCertificate of an end entity. */
export const endEntityTbs = (input: EndEntityInput): Uint8Array => {
  const { issuer, profile, granted, publishedAt } = input;
  return encodeTbsCertificate({
    serial: input.serial,
    issuerName: issuer.subjectNameDer,
    subject: granted.subject,
    notBefore: input.validity.notBefore,
    notAfter: input.validity.notAfter,
    spki: input.spki,
    signatureAlgorithm: signatureAlgorithmFor(input.issuerAlgorithm),
    extensions: [
      encodeBasicConstraints({ ca: false }),
      encodeKeyUsage(['digitalSignature']),
      encodeExtendedKeyUsage(profile.extendedKeyUsage),
      encodeSubjectKeyIdentifier(keyIdentifierOf(input.spki)),
      encodeAuthorityKeyIdentifier(issuerKeyIdentifier(issuer)),
      ...(profile.kind === 'ocsp' ? [] : [encodeSubjectAltName(granted, granted.subject.length === 0 ? 'critical' : 'nonCritical')]),
      ...statusOf(profile, publishedAt),
    ],
  });
};

const statusOf = (profile: Profile, publishedAt: PublishedAt | undefined): readonly Uint8Array[] => {
  // RFC 6960 §4.2.2.2.1: nobody is to ask for the status of whoever signs answers about status.
  if (profile.kind === 'ocsp') return [encodeOcspNoCheck()];
  // RFC 9608 §2: with noRevAvail there is neither a CDP nor a pointer to OCSP.
  return profile.status === 'noRevAvail' ? [encodeNoRevAvail()] : published(publishedAt);
};

export interface CaInput {
  readonly serial: Uint8Array;
  /** The name of the CA that is to be, or its DER. */
  readonly subject: DistinguishedName | Uint8Array;
  readonly spki: Uint8Array;
  readonly pathLen: number;
  readonly validity: Validity;
  readonly issuerName: Uint8Array;
  readonly issuerKeyIdentifier: Uint8Array;
  /** Default: derived from the key. */
  readonly subjectKeyIdentifier?: Uint8Array | undefined;
  readonly issuerAlgorithm: KeyAlgorithm;
  /** DER extension. */
  readonly nameConstraints?: Uint8Array | undefined;
  readonly publishedAt?: PublishedAt | undefined;
}

/** DER TBSCertificate of a CA; of a root when the issuer is the subject. */
export const caTbs = (input: CaInput): Uint8Array =>
  encodeTbsCertificate({
    serial: input.serial,
    issuerName: input.issuerName,
    subject: input.subject,
    notBefore: input.validity.notBefore,
    notAfter: input.validity.notAfter,
    spki: input.spki,
    signatureAlgorithm: signatureAlgorithmFor(input.issuerAlgorithm),
    extensions: [
      encodeBasicConstraints({ ca: true, pathLen: input.pathLen }),
      encodeKeyUsage(['keyCertSign', 'cRLSign']),
      encodeSubjectKeyIdentifier(input.subjectKeyIdentifier ?? keyIdentifierOf(input.spki)),
      encodeAuthorityKeyIdentifier(input.issuerKeyIdentifier),
      ...(input.nameConstraints === undefined ? [] : [input.nameConstraints]),
      ...published(input.publishedAt),
    ],
  });

/**
 * Backdated start, lifetime counted from now, inclusive end, whole seconds, never beyond the issuer:
 * near the issuer's end the lifetime is cut, and once nothing is left, refused.
 */
export const validityOf = (now: Date, profile: Pick<Profile, 'name' | 'backdateSeconds' | 'minTtlSeconds' | 'maxTtlSeconds'>, ttlSeconds: number, issuer: Validity): Validity => {
  if (!Number.isInteger(ttlSeconds) || ttlSeconds < profile.minTtlSeconds || ttlSeconds > profile.maxTtlSeconds) {
    throw new CaError('ERR_CA_TTL', `a lifetime of ${formatDuration(ttlSeconds)} is outside profile ${profile.name}; ask for ${formatDuration(profile.minTtlSeconds)} to ${formatDuration(profile.maxTtlSeconds)}`, { facts: { profile: profile.name, ttlSeconds } });
  }
  const start = Math.floor(now.getTime() / 1_000);
  const issuerEnd = Math.floor(issuer.notAfter.getTime() / 1_000);
  const issuerStart = Math.ceil(issuer.notBefore.getTime() / 1_000);
  if (issuerEnd < start || issuerStart > start) {
    throw new CaError('ERR_CA_TTL', `the issuing CA is valid from ${issuer.notBefore.toISOString()} to ${issuer.notAfter.toISOString()} only; check the clock, or replace the CA`);
  }
  // RFC 5280 §4.1.2.5: the period includes both ends, so a lifetime of n seconds ends at n - 1.
  const notAfter = Math.min(start + ttlSeconds - 1, issuerEnd);
  return { notBefore: new Date(Math.max(start - profile.backdateSeconds, issuerStart) * 1_000), notAfter: new Date(notAfter * 1_000) };
};

/** RFC 5280 §4.2.1.1: the issuer's own, which a CA from elsewhere may have derived in another way. */
export const issuerKeyIdentifier = ({ subjectKeyIdentifier, spki }: Pick<Certificate, 'subjectKeyIdentifier' | 'spki'>): Uint8Array =>
  subjectKeyIdentifier === undefined ? keyIdentifierOf(spki) : Buffer.from(subjectKeyIdentifier, 'hex');

/** Lower-case hex SHA-256 of a SubjectPublicKeyInfo: `spkiHash` and, for a CA's key, `IssuerId`. */
export const spkiHashOf = (spki: Uint8Array): string => hash('sha256', spki, 'hex');

const published = (at: PublishedAt | undefined): readonly Uint8Array[] =>
  at === undefined ? [] : [encodeCrlDistributionPoints([at.crl]), encodeAuthorityInformationAccess({ caIssuers: [at.certificate], ...(at.ocsp === undefined ? {} : { ocsp: [at.ocsp] }) })];
