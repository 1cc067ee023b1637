/** Rules for every certificate we sign. */
import type { LintRule } from './lint-rule.ts';
import { keyAlgorithmOfSpki, signatureAlgorithmFor } from './x509/algorithm.ts';
import { DerReader, equalBytes } from './x509/der.ts';
import { EXTENSION, extensionValue, keyIdentifierOf, parseAuthorityInformationAccess, ACCESS_METHOD } from './x509/extension.ts';
import type { Certificate } from './x509/certificate.ts';

const known: ReadonlySet<string> = new Set([
  EXTENSION.basicConstraints,
  EXTENSION.keyUsage,
  EXTENSION.extendedKeyUsage,
  EXTENSION.subjectKeyIdentifier,
  EXTENSION.authorityKeyIdentifier,
  EXTENSION.subjectAltName,
  EXTENSION.crlDistributionPoints,
  EXTENSION.authorityInformationAccess,
  EXTENSION.noRevAvail,
  EXTENSION.nameConstraints,
  EXTENSION.ocspNoCheck,
]);

export const commonRules: readonly LintRule[] = [
  {
    name: 'version',
    citation: 'RFC 5280 §4.1.2.1',
    of: 'all',
    check: ({ version }) => (version === 3 ? undefined : `version ${version}`),
  },
  {
    // Ours are 19 octets: at most the 20 of the RFC, and more than the 64 random bits of the CA/B Forum.
    name: 'serial',
    citation: 'RFC 5280 §4.1.2.2',
    of: 'all',
    check: ({ serial }) => (/^(?!00)[0-7][0-9a-f]{37}$/.test(serial) ? undefined : 'the serial is not 19 positive octets'),
  },
  {
    name: 'issuerName',
    citation: 'RFC 5280 §4.1.2.4',
    of: 'all',
    // Byte for byte, stricter than name comparison, because OpenSSL and others compare caches of it.
    check: (certificate, { issuer }) => (issuer === undefined || equalBytes(certificate.issuerNameDer, issuer.subjectNameDer) ? undefined : "the issuer is not the issuer's subject"),
  },
  {
    name: 'issuerNameNotEmpty',
    citation: 'RFC 5280 §4.1.2.4',
    of: 'all',
    check: ({ issuer }) => (issuer.length > 0 ? undefined : 'the issuer is empty'),
  },
  {
    name: 'signatureAlgorithm',
    citation: 'RFC 5280 §4.1.1.2',
    of: 'all',
    check: signatureAlgorithmMismatch,
  },
  {
    name: 'wholeSeconds',
    citation: 'RFC 5280 §4.1.2.5',
    of: 'all',
    check: ({ notBefore, notAfter }) => (notBefore.getTime() % 1_000 === 0 && notAfter.getTime() % 1_000 === 0 ? undefined : 'a time has fractions'),
  },
  {
    name: 'timeForm',
    citation: 'RFC 5280 §4.1.2.5',
    of: 'all',
    check: timeForm,
  },
  {
    name: 'withinIssuer',
    citation: 'RFC 5280 §4.1.2.5, stricter',
    of: 'all',
    check: ({ notBefore, notAfter }, { issuer }) =>
      issuer === undefined || (notBefore >= issuer.notBefore && notAfter <= issuer.notAfter) ? undefined : 'valid outside the validity of its issuer',
  },
  {
    name: 'subjectKeyIdentifier',
    citation: 'RFC 5280 §4.2.1.2',
    of: 'all',
    // A CA that is run elsewhere keeps the one that its own certificates name.
    check: ({ subjectKeyIdentifier, spki }, { profile }) => (profile === 'subordinate' ? subjectKeyIdentifier !== undefined : subjectKeyIdentifier === hex(keyIdentifierOf(spki))) ? undefined : 'not derived from the key',
  },
  {
    name: 'authorityKeyIdentifier',
    citation: 'RFC 5280 §4.2.1.1',
    of: 'all',
    check: ({ authorityKeyIdentifier, subjectKeyIdentifier }, { issuer }) =>
      authorityKeyIdentifier !== undefined && authorityKeyIdentifier === (issuer === undefined ? subjectKeyIdentifier : (issuer.subjectKeyIdentifier ?? hex(keyIdentifierOf(issuer.spki)))) ? undefined : "not the issuer's key identifier",
  },
  {
    name: 'keyAlgorithm',
    citation: 'RFC 5480 §2.1.1, RFC 8410 §3, RFC 9881 §2',
    of: 'all',
    check: ({ spki }) => {
      try {
        keyAlgorithmOfSpki(spki);
        return undefined;
      } catch (error) {
        return error instanceof Error ? error.message : 'unsupported key';
      }
    },
  },
  {
    name: 'basicConstraintsCritical',
    citation: 'RFC 5280 §4.2.1.9',
    of: 'all',
    check: ({ extensions }) => (extensions.get(EXTENSION.basicConstraints)?.critical === true ? undefined : 'basicConstraints is missing or not critical'),
  },
  {
    name: 'keyUsageCritical',
    citation: 'RFC 5280 §4.2.1.3',
    of: 'all',
    check: ({ extensions }) => (extensions.get(EXTENSION.keyUsage)?.critical === true ? undefined : 'keyUsage is missing or not critical'),
  },
  {
    name: 'noForeignExtension',
    citation: 'RFC 5280 §4.2, stricter',
    of: 'all',
    check: ({ extensions }) => {
      const foreign = [...extensions.keys()].filter((oid) => !known.has(oid));
      return foreign.length === 0 ? undefined : `carries ${foreign.join(', ')}`;
    },
  },
  {
    name: 'identifiersNotCritical',
    citation: 'RFC 5280 §4.2.1.1, §4.2.1.2, §4.2.1.13, §4.2.2.1',
    of: 'all',
    check: ({ extensions }) => {
      const wrong = [EXTENSION.subjectKeyIdentifier, EXTENSION.authorityKeyIdentifier, EXTENSION.crlDistributionPoints, EXTENSION.authorityInformationAccess, EXTENSION.noRevAvail, EXTENSION.ocspNoCheck].filter((oid) => extensions.get(oid)?.critical === true);
      return wrong.length === 0 ? undefined : `critical: ${wrong.join(', ')}`;
    },
  },
  {
    name: 'distributionPoint',
    citation: 'RFC 5280 §4.2.1.13',
    of: 'all',
    check: ({ crlDistributionPoints }) =>
      crlDistributionPoints === undefined || crlDistributionPoints.every((point) => !point.limitedReasons && !point.foreignIssuer && point.uris.length > 0 && point.uris.every(isWebAddress)) ? undefined : 'a distribution point is not an http address of this issuer alone',
  },
  {
    name: 'authorityInformationAccess',
    citation: 'RFC 5280 §4.2.2.1',
    of: 'all',
    check: ({ extensions }) => {
      const places = (method: string) => extensionValue(extensions, EXTENSION.authorityInformationAccess, (value) => parseAuthorityInformationAccess(value, method));
      const issuers = places(ACCESS_METHOD.caIssuers);
      if (issuers !== undefined && !(issuers.length > 0 && issuers.every(isWebAddress))) return 'caIssuers is not an http address';
      return places(ACCESS_METHOD.ocsp)?.every(isWebAddress) === false ? 'ocsp is not an http address' : undefined;
    },
  },
  {
    name: 'ocspNoCheck',
    citation: 'RFC 6960 §4.2.2.2.1: of the responder alone',
    of: 'all',
    check: ({ extensions }, { profile }) => (extensions.has(EXTENSION.ocspNoCheck) === (typeof profile !== 'string' && profile.kind === 'ocsp') ? undefined : 'id-pkix-ocsp-nocheck does not fit the profile'),
  },
];

const isWebAddress = (uri: string): boolean => URL.canParse(uri) && ['http:', 'https:'].includes(new URL(uri).protocol);

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** ECDSA: SHA-256 with P-256, SHA-384 with P-384; the others have one. The algorithm must be one of the issuer's key. */
function signatureAlgorithmMismatch(certificate: Certificate, { issuer }: { readonly issuer: Certificate | undefined }): string | undefined {
  const spki = issuer?.spki ?? certificate.spki;
  return equalBytes(certificate.signatureAlgorithm, signatureAlgorithmFor(keyAlgorithmOfSpki(spki))) ? undefined : "not the signature algorithm of the issuer's key";
}

/** RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050. The parser takes either from others. */
function timeForm(certificate: Certificate): string | undefined {
  const fields = new DerReader(certificate.tbs).enter();
  for (let skipped = 0; skipped < 4; skipped++) fields.raw();
  const validity = fields.enter();
  for (const time of [certificate.notBefore, certificate.notAfter]) {
    const utc = validity.peek() === 0x17;
    if (utc !== time.getUTCFullYear() < 2050) return `${time.toISOString()} is written in the wrong form`;
    validity.raw();
  }
  return undefined;
}
