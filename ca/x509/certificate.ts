/** Certificates (RFC 5280 §4): what is to be signed, the signed whole, and strict reading. */
import { hash } from 'node:crypto';
import { readAlgorithmIdentifier, verifySignature } from './algorithm.ts';
import { DerReader, TAG, contextTag, decodeAs, equalBytes, explicit, integer, invalid, sequence, utcOrGeneralizedTime } from './der.ts';
import {
  EXTENSION,
  extensionValue,
  parseAuthorityKeyIdentifier,
  parseBasicConstraints,
  parseCrlDistributionPoints,
  parseExtendedKeyUsage,
  parseKeyUsage,
  parseNullExtension,
  parseSubjectAltName,
  parseSubjectKeyIdentifier,
  readExtensions,
} from './extension.ts';
import { encodeName, readName } from './name.ts';
import { derOf } from './pem.ts';
import { serialToHex } from './serial.ts';
import { checkSpki, readSigned } from './signed.ts';
import type { KeyObject } from 'node:crypto';
import type { SerialHex } from '../ports.ts';
import type { BasicConstraints, DistributionPoint, Extension, KeyUsage } from './extension.ts';
import type { DistinguishedName } from './name.ts';

export interface TbsCertificateFields {
  readonly serial: Uint8Array;
  /** DER Name, byte for byte the issuer's subject. */
  readonly issuerName: Uint8Array;
  /** Or its DER, to be taken over octet for octet. */
  readonly subject: DistinguishedName | Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** DER AlgorithmIdentifier of the signature to come. */
  readonly signatureAlgorithm: Uint8Array;
  /** Complete DER Extensions, in order. */
  readonly extensions: readonly Uint8Array[];
}

export { assembleShared, assembleSigned } from './signed.ts';

/** A certificate as it was read. Nothing in it is trusted: the signature is checked elsewhere. */
export interface Certificate {
  readonly der: Uint8Array;
  /** The signed octets. */
  readonly tbs: Uint8Array;
  readonly version: 1 | 2 | 3;
  readonly serial: SerialHex;
  readonly issuerNameDer: Uint8Array;
  readonly issuer: DistinguishedName;
  readonly subjectNameDer: Uint8Array;
  readonly subject: DistinguishedName;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** Lower-case hex SHA-256 of `spki`. */
  readonly spkiHash: string;
  /** Lower-case hex SHA-256 of `der`. */
  readonly thumbprint: string;
  readonly basicConstraints: BasicConstraints | undefined;
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
  /** Dotted OIDs; `EXTENDED_KEY_USAGE` names the usual ones. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  readonly emails: readonly string[];
  readonly ipAddresses: readonly string[];
  /** Alternative names of other kinds, complete DER. */
  readonly otherNames: readonly Uint8Array[];
  /** Lower-case hex. */
  readonly subjectKeyIdentifier: string | undefined;
  /** Lower-case hex. */
  readonly authorityKeyIdentifier: string | undefined;
  readonly crlDistributionPoints: readonly DistributionPoint[] | undefined;
  /** RFC 9608: the issuer publishes no status for this certificate. */
  readonly noRevAvail: boolean;
  /** DER value of nameConstraints, which is not enforced here: when critical it is listed below. */
  readonly nameConstraints: Uint8Array | undefined;
  /** Every extension by OID, for what is not taken apart here. */
  readonly extensions: ReadonlyMap<string, Extension>;
  /** Critical extensions that this reader does not understand: a relying party refuses any. */
  readonly unknownCriticalExtensions: readonly string[];
  /** DER AlgorithmIdentifier. */
  readonly signatureAlgorithm: Uint8Array;
  readonly signature: Uint8Array;
}

/** Longest certificate read; ML-DSA-87 with generous extensions needs 10 KiB. */
export const MAX_CERTIFICATE_OCTETS = 64 * 1024;

const PROCESSED: ReadonlySet<string> = new Set([
  EXTENSION.basicConstraints,
  EXTENSION.keyUsage,
  EXTENSION.extendedKeyUsage,
  EXTENSION.subjectAltName,
  EXTENSION.subjectKeyIdentifier,
  EXTENSION.authorityKeyIdentifier,
  EXTENSION.crlDistributionPoints,
]);

export function encodeTbsCertificate(fields: TbsCertificateFields): Uint8Array {
  return sequence(
    V3,
    integer(fields.serial),
    fields.signatureAlgorithm,
    fields.issuerName,
    sequence(utcOrGeneralizedTime(fields.notBefore), utcOrGeneralizedTime(fields.notAfter)),
    fields.subject instanceof Uint8Array ? fields.subject : encodeName(fields.subject),
    fields.spki,
    ...(fields.extensions.length === 0 ? [] : [explicit(3, sequence(...fields.extensions))]),
  );
}

/** DER, or PEM with one `CERTIFICATE` block. Refuses with `ERR_CERTIFICATE_INVALID` or `ERR_PEM_INVALID`. */
export function parseCertificate(input: Uint8Array | string): Certificate {
  const der = derOf(input, 'CERTIFICATE');
  return decodeAs('ERR_CERTIFICATE_INVALID', 'certificate', () => readCertificate(der));
}

/** False unless the issuer's key made the signature, with a scheme on the list of `algorithm.ts`. */
export function verifyCertificateSignature(certificate: Certificate, issuerSpki: Uint8Array | KeyObject): boolean {
  return verifySignature({ spki: issuerSpki, algorithm: certificate.signatureAlgorithm, data: certificate.tbs, signature: certificate.signature });
}

const V3 = explicit(0, integer(2));

function readCertificate(der: Uint8Array): Certificate {
  const { tbs, algorithm, signature } = readSigned(der, MAX_CERTIFICATE_OCTETS);
  const outer = new DerReader(tbs);
  const fields = outer.enter(TAG.sequence);
  const version = readVersion(fields);
  const serial = readSerial(fields);
  // RFC 5280 §4.1.1.2: the signed algorithm is the one outside.
  if (!equalBytes(readAlgorithmIdentifier(fields), algorithm)) throw invalid('signature algorithms differ', fields.offset);
  const { der: issuerNameDer, name: issuer } = readNameWithDer(fields);
  const { notBefore, notAfter } = readValidity(fields);
  const { der: subjectNameDer, name: subject } = readNameWithDer(fields);
  const spki = fields.raw(TAG.sequence);
  checkSpki(spki);
  // RFC 5280 §4.1.2.8: unique identifiers only in versions 2 and 3.
  for (const tag of [contextTag(1, 'primitive'), contextTag(2, 'primitive')]) {
    if (fields.peek() !== tag) continue;
    if (version === 1) throw invalid('unique identifier in version 1', fields.offset);
    fields.content(tag);
  }
  const extensions = readCertificateExtensions(fields, version);
  fields.finish();

  const names = extensionValue(extensions, EXTENSION.subjectAltName, parseSubjectAltName);
  // RFC 5280 §4.1.2.6: without a subject the names are in a critical subjectAltName.
  if (subject.length === 0 && extensions.get(EXTENSION.subjectAltName)?.critical !== true) throw invalid('empty subject without a critical subjectAltName', 0);
  return {
    der,
    tbs,
    version,
    serial,
    issuerNameDer,
    issuer,
    subjectNameDer,
    subject,
    notBefore,
    notAfter,
    spki,
    spkiHash: hash('sha256', spki, 'hex'),
    thumbprint: hash('sha256', der, 'hex'),
    basicConstraints: extensionValue(extensions, EXTENSION.basicConstraints, parseBasicConstraints),
    keyUsage: extensionValue(extensions, EXTENSION.keyUsage, parseKeyUsage),
    extendedKeyUsage: extensionValue(extensions, EXTENSION.extendedKeyUsage, parseExtendedKeyUsage),
    uris: names?.uris ?? [],
    dnsNames: names?.dnsNames ?? [],
    emails: names?.emails ?? [],
    ipAddresses: names?.ipAddresses ?? [],
    otherNames: names?.others ?? [],
    subjectKeyIdentifier: hexOf(extensionValue(extensions, EXTENSION.subjectKeyIdentifier, parseSubjectKeyIdentifier)),
    authorityKeyIdentifier: hexOf(extensionValue(extensions, EXTENSION.authorityKeyIdentifier, parseAuthorityKeyIdentifier)),
    crlDistributionPoints: extensionValue(extensions, EXTENSION.crlDistributionPoints, parseCrlDistributionPoints),
    noRevAvail: extensionValue(extensions, EXTENSION.noRevAvail, parseNullExtension) ?? false,
    nameConstraints: extensions.get(EXTENSION.nameConstraints)?.value,
    extensions,
    unknownCriticalExtensions: [...extensions.values()].filter(({ oid, critical }) => critical && !PROCESSED.has(oid)).map(({ oid }) => oid),
    signatureAlgorithm: algorithm,
    signature,
  };
}

function readVersion(fields: DerReader): 1 | 2 | 3 {
  const explicitVersion = fields.enterOptional(contextTag(0));
  if (explicitVersion === undefined) return 1;
  const at = explicitVersion.offset;
  const version = explicitVersion.smallInteger();
  explicitVersion.finish();
  // X.690 §11.5: version 1 is the default and is not encoded.
  if (version === 1) return 2;
  if (version === 2) return 3;
  throw invalid('unknown version', at);
}

/** RFC 5280 §4.1.2.2: positive, at most 20 octets. Stricter than "gracefully handle": others are refused. */
function readSerial(fields: DerReader): SerialHex {
  const at = fields.offset;
  const serial = fields.integer({ maxOctets: 20 });
  if ((serial[0] ?? 0) & 0x80 || (serial.length === 1 && serial[0] === 0)) throw invalid('serial is not positive', at);
  return serialToHex(serial);
}

function readNameWithDer(fields: DerReader): { der: Uint8Array; name: DistinguishedName } {
  const start = fields.offset;
  const name = readName(fields);
  return { der: fields.bytes.subarray(start, fields.offset), name };
}

function readValidity(fields: DerReader): { notBefore: Date; notAfter: Date } {
  const validity = fields.enter(TAG.sequence);
  const notBefore = validity.time();
  const notAfter = validity.time();
  validity.finish();
  if (notAfter < notBefore) throw invalid('notAfter is before notBefore', fields.offset);
  return { notBefore, notAfter };
}

function readCertificateExtensions(fields: DerReader, version: 1 | 2 | 3): ReadonlyMap<string, Extension> {
  const wrapper = fields.enterOptional(contextTag(3));
  if (wrapper === undefined) return new Map();
  // RFC 5280 §4.1.2.9: only in version 3.
  if (version !== 3) throw invalid('extensions before version 3', wrapper.offset);
  const extensions = readExtensions(wrapper);
  wrapper.finish();
  return extensions;
}

function hexOf(octets: Uint8Array | undefined): string | undefined {
  return octets === undefined ? undefined : Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('hex');
}
