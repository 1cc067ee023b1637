/**
 * Whom we believe: pinned issuing CAs, each under a root. A value: a change of trust is a new
 * `TrustStore`, handed to `TlsListener.reload`.
 */
import type { IssuerId, SerialHex } from '../../ca/ports.ts';
import { parseCertificate, verifyCertificateSignature } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { namesEqual } from '../../ca/x509/name.ts';
import { decodePem, encodePem } from '../../ca/x509/pem.ts';
import { SallyportError } from '../errors.ts';

export interface TrustedIssuer {
  /** Lower-case hex SHA-256 of the issuing CA's SubjectPublicKeyInfo. */
  readonly issuerId: IssuerId;
  readonly certificate: Certificate;
  /** Between it and the root, from below. */
  readonly above: readonly Certificate[];
  readonly root: Certificate;
  readonly rootId: IssuerId;
  /** It and those above it, each under the CA that certified it, and would revoke it. */
  readonly certified: readonly { readonly issuerId: IssuerId; readonly serial: SerialHex }[];
}

/** PEM text with one or more certificates, or one certificate in DER. */
export type CertificateSource = string | Uint8Array;

export interface TrustOptions {
  /** CAs whose end entities may connect. A root belongs here only when it signs end entities itself. */
  readonly issuing: readonly CertificateSource[];
  /** CAs between them and a root. Nobody may connect on their word alone. */
  readonly intermediates?: readonly CertificateSource[] | undefined;
  /** Trust anchors above them. */
  readonly roots: readonly CertificateSource[];
}

export class TrustStore {
  readonly issuers: readonly TrustedIssuer[];
  /** For the TLS context: issuing CAs first, so that peers need not send them, then roots. */
  readonly authorities: readonly string[];

  /** @throws SallyportError `ERR_CONFIG_INVALID` when an issuing CA is not one, or does not lead to a root given here */
  constructor(options: TrustOptions) {
    const roots = options.roots.flatMap(certificatesOf);
    const issuing = options.issuing.flatMap(certificatesOf);
    const intermediates = (options.intermediates ?? []).flatMap(certificatesOf);
    if (issuing.length === 0) throw new SallyportError('ERR_CONFIG_INVALID', 'no issuing CA is trusted: name at least one, otherwise nobody can connect');
    this.issuers = issuing.map((certificate) => {
      checkAuthority(certificate);
      const path = pathTo(certificate, roots, intermediates);
      if (path === undefined) {
        throw new SallyportError('ERR_CONFIG_INVALID', 'an issuing CA was not signed by any of the roots: add its root certificate', {
          facts: { thumbprint: certificate.thumbprint },
        });
      }
      const { above, root } = path;
      for (const authority of [...above, root]) checkAuthority(authority);
      const certified = [certificate, ...above].map(({ serial }, index) => ({ issuerId: above[index]?.spkiHash ?? root.spkiHash, serial }));
      return { issuerId: certificate.spkiHash, certificate, above, root, rootId: root.spkiHash, certified };
    });
    const distinct = new Map([...issuing, ...this.issuers.flatMap(({ above }) => above), ...roots].map((certificate) => [certificate.thumbprint, certificate]));
    this.authorities = [...distinct.values()].map((certificate) => encodePem('CERTIFICATE', certificate.der));
  }

  /** The pinned issuer of a certificate by name, key identifier and signature; names alone prove nothing. */
  issuerOf(certificate: Certificate): TrustedIssuer | undefined {
    return this.issuers.find((issuer) => isIssuedBy(certificate, issuer.certificate));
  }

  trusts(issuerId: IssuerId): boolean {
    return this.issuers.some((issuer) => issuer.issuerId === issuerId);
  }
}

const certificatesOf = (source: CertificateSource): readonly Certificate[] => {
  if (typeof source !== 'string') return [parseCertificate(source)];
  return decodePem(source, 'CERTIFICATE').map(({ der }) => parseCertificate(der));
};

const checkAuthority = (certificate: Certificate): void => {
  // RFC 5280 §4.2.1.9 and §4.2.1.3: cA and keyCertSign make a CA.
  if (certificate.basicConstraints?.ca !== true || certificate.keyUsage?.has('keyCertSign') !== true) {
    throw new SallyportError('ERR_CONFIG_INVALID', 'a trusted authority is not a CA certificate: give the certificate of the CA, not one that it issued', {
      facts: { thumbprint: certificate.thumbprint },
    });
  }
};

/** More CAs than any hierarchy has. */
const MAX_ABOVE = 6;

const pathTo = (certificate: Certificate, roots: readonly Certificate[], intermediates: readonly Certificate[]): { readonly above: readonly Certificate[]; readonly root: Certificate } | undefined => {
  const above: Certificate[] = [];
  for (let below = certificate; above.length <= MAX_ABOVE; ) {
    const root = roots.find((candidate) => isIssuedBy(below, candidate));
    if (root !== undefined) return { above, root };
    const next = intermediates.find((candidate) => !above.includes(candidate) && isIssuedBy(below, candidate));
    if (next === undefined) return undefined;
    above.push(next);
    below = next;
  }
  return undefined;
};

const isIssuedBy = (certificate: Certificate, issuer: Certificate): boolean => {
  if (!namesEqual(certificate.issuerNameDer, issuer.subjectNameDer)) return false;
  // RFC 5280 §4.2.1.1: the key identifier tells two keys of one name apart. A self-signed root may leave it out.
  const keyIdentifier = certificate.authorityKeyIdentifier;
  if (keyIdentifier !== undefined && issuer.subjectKeyIdentifier !== undefined && keyIdentifier !== issuer.subjectKeyIdentifier) return false;
  return verifyCertificateSignature(certificate, issuer.spki);
};
