/** Certificate of our own CA → the identity policy sees. Pure; whoever calls it has verified the certificate. */
import type { IssuerId } from '../../ca/ports.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { formatName, nameAttributes } from '../../ca/x509/name.ts';
import { ownTrust } from './principal.ts';
import type { Principal } from './principal.ts';

export function principalOf(certificate: Certificate, issuerId: IssuerId): Principal {
  const { subject, uris, dnsNames, emails, serial, thumbprint, notBefore, notAfter } = certificate;
  const commonNames = nameAttributes(subject, 'CN');
  // With several common names none is taken: which one an agent goes by must not hang on their order.
  const commonName = commonNames.length === 1 ? commonNames[0] : undefined;
  const [uri] = uris;
  return Object.freeze({
    id: uri ?? (commonName === undefined ? `x5t:${thumbprint}` : `cn:${commonName}`),
    trust: ownTrust,
    subject: formatName(subject),
    commonName,
    organizations: nameAttributes(subject, 'O'),
    organizationalUnits: nameAttributes(subject, 'OU'),
    uris,
    dnsNames,
    emails,
    issuerId,
    serial,
    thumbprint,
    notBefore,
    notAfter,
  });
}
