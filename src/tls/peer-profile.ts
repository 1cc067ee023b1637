/**
 * What an end-entity certificate must say before its holder may connect. OpenSSL accepts leaves
 * that break each of these rules (no EKU, no keyUsage, a CA as a leaf), so they are ours.
 */
import type { Certificate } from '../../ca/x509/certificate.ts';

const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

type Rule = (certificate: Certificate) => string | undefined;

/** What is wrong, or undefined. */
export const profileProblem = (certificate: Certificate): string | undefined => {
  for (const rule of rules) {
    const problem = rule(certificate);
    if (problem !== undefined) return problem;
  }
  return undefined;
};

const rules: readonly Rule[] = [
  // RFC 5280 §4.2: a critical extension that is not understood makes the certificate unusable.
  ({ unknownCriticalExtensions }) =>
    unknownCriticalExtensions.length > 0 ? `it has critical extensions that are not understood: ${unknownCriticalExtensions.slice(0, 4).join(', ')}` : undefined,
  // RFC 5280 §4.1.2.2: positive, at most 20 octets.
  ({ serial }) => (serial.length > 40 || /^0*$/.test(serial) ? 'its serial is not a positive number of at most 20 octets' : undefined),
  // RFC 5280 §4.2.1.9: a CA certificate is not an end entity.
  ({ basicConstraints }) => (basicConstraints?.ca === true ? 'it is a CA certificate' : undefined),
  // RFC 5280 §4.2.1.3. Stricter: the extension must be there, and must not allow signing certificates or CRLs.
  ({ keyUsage }) => (keyUsage?.has('digitalSignature') === true ? undefined : 'its keyUsage lacks digitalSignature'),
  ({ keyUsage }) => (keyUsage?.has('keyCertSign') === true || keyUsage?.has('cRLSign') === true ? 'its keyUsage is that of a CA' : undefined),
  // RFC 5280 §4.2.1.12. Stricter: clientAuth by name; no extension and anyExtendedKeyUsage do not count.
  ({ extendedKeyUsage }) => (extendedKeyUsage?.includes(CLIENT_AUTH) === true ? undefined : 'its extendedKeyUsage lacks clientAuth'),
  // RFC 5280 §4.2.1.6. Stricter: an identity needs a subjectAltName.
  ({ uris, dnsNames, emails, ipAddresses }) =>
    uris.length + dnsNames.length + emails.length + ipAddresses.length === 0 ? 'it has no subjectAltName' : undefined,
  // RFC 5280 §4.2.1.1: every certificate that is not self-signed names its issuer's key.
  ({ authorityKeyIdentifier }) => (authorityKeyIdentifier === undefined ? 'it has no authorityKeyIdentifier' : undefined),
];
