/** What the certificate at the end of the path is to be used for, and whether the authorities above may certify that. */
import { EXTENDED_KEY_USAGE } from '../extension.ts';
import { problem } from './certificate-rules.ts';
import type { Certificate } from '../certificate.ts';
import type { Problem } from './verdict.ts';

/** `any` asks nothing of the certificate: it may be of a CA too. */
export type Purpose = 'client' | 'server' | 'any';

const USAGE = { client: 'clientAuth', server: 'serverAuth' } as const;

/** The same rules as for a peer of the gateway, in each point stricter than RFC 5280 where it says so. */
export function purposeProblem(certificate: Certificate, purpose: Purpose): Problem | undefined {
  if (purpose === 'any') return undefined;
  const no = (reason: string, clause: string) => problem('ERR_PATH_PURPOSE', reason, clause, certificate);
  const { basicConstraints, keyUsage, extendedKeyUsage } = certificate;
  if (basicConstraints?.ca === true) return no('it is a CA certificate, which is no end entity', 'RFC 5280 §4.2.1.9');
  // Stricter: the extension must be there, and must not be that of a CA.
  if (keyUsage?.has('digitalSignature') !== true) return no('its keyUsage does not name digitalSignature', 'RFC 5280 §4.2.1.3');
  if (keyUsage.has('keyCertSign') || keyUsage.has('cRLSign')) return no('its keyUsage is that of a CA', 'RFC 5280 §4.2.1.3');
  // Stricter: by name. No extension at all and anyExtendedKeyUsage do not count.
  if (extendedKeyUsage?.includes(EXTENDED_KEY_USAGE[USAGE[purpose]]) !== true) return no(`its extendedKeyUsage does not name ${USAGE[purpose]}`, 'RFC 5280 §4.2.1.12');
  // RFC 5280 §4.2.1.1: every certificate that is not self-signed names its issuer's key.
  if (certificate.authorityKeyIdentifier === undefined) return no('it has no authorityKeyIdentifier', 'RFC 5280 §4.2.1.1');
  // Stricter: a commonName alone is no identity (RFC 9525 §2).
  const { uris, dnsNames, emails, ipAddresses } = certificate;
  if (uris.length + dnsNames.length + emails.length + ipAddresses.length === 0) return no('it has no subjectAltName', 'RFC 5280 §4.2.1.6');
  return undefined;
}

/** RFC 5280 leaves the extendedKeyUsage of CAs open; as in OpenSSL, Go and browsers it confines what is issued below. */
export function nestingProblem(authority: Certificate, purpose: Purpose): Problem | undefined {
  const usages = authority.extendedKeyUsage;
  if (purpose === 'any' || usages === undefined) return undefined;
  if (usages.includes(EXTENDED_KEY_USAGE[USAGE[purpose]]) || usages.includes(EXTENDED_KEY_USAGE.anyExtendedKeyUsage)) return undefined;
  return problem('ERR_PATH_PURPOSE', `its extendedKeyUsage does not name ${USAGE[purpose]}, so it may not certify that`, 'RFC 5280 §4.2.1.12', authority);
}
