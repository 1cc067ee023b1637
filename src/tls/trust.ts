/**
 * Whom we believe: our own pinned issuing CAs, each under a root, and the anchors of others beside
 * them. A value: a change of trust is a new `TrustStore`, handed to `TlsListener.reload`.
 */
import type { IssuerId, SerialHex } from '../../ca/ports.ts';
import { parseCertificate, verifyCertificateSignature } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { namesEqual } from '../../ca/x509/name.ts';
import { decodePem, encodePem } from '../../ca/x509/pem.ts';
import { SallyportError } from '../errors.ts';
import type { AcceptedForeigner, RefusedForeigner, TrustAnchor } from './trust-anchor.ts';

export interface TrustedIssuer {
  /** Lower-case hex SHA-256 of the issuing CA's SubjectPublicKeyInfo. */
  readonly issuerId: IssuerId;
  readonly certificate: Certificate;
  /** Between it and the root, from below. */
  readonly above: readonly Certificate[];
  readonly root: Certificate;
  readonly rootId: IssuerId;
  /** It and those above it, each under the CA that certified it, and would revoke it. */
  readonly certified: readonly { readonly issuerId: IssuerId; readonly serial: SerialHex; readonly certificate: Certificate }[];
  /** Whose CA it is; undefined: ours. */
  readonly anchor?: TrustAnchor | undefined;
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
  /** Of others. The first one that a certificate leads to counts. */
  readonly anchors?: readonly TrustAnchor[] | undefined;
}

export class TrustStore {
  readonly anchors: readonly TrustAnchor[];
  readonly #options: TrustOptions;
  /** Whose each configured CA key is, by anchor name; '' is ours. */
  readonly #owners = new Map<IssuerId, string>();
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
      const certified = certifiedIn([certificate, ...above], root);
      return { issuerId: certificate.spkiHash, certificate, above, root, rootId: root.spkiHash, certified };
    });
    this.#options = options;
    this.anchors = options.anchors ?? [];
    const above = this.issuers.flatMap((issuer) => issuer.above);
    this.#claim('', [...issuing, ...above, ...roots]);
    for (const anchor of this.anchors) this.#claim(anchor.name, anchor.authorities);
    const distinct = new Map([...issuing, ...above, ...roots, ...this.anchors.flatMap(({ authorities }) => authorities)].map((certificate) => [certificate.thumbprint, certificate]));
    this.authorities = [...distinct.values()].map((certificate) => encodePem('CERTIFICATE', certificate.der));
  }

  /** The pinned issuer of a certificate by name, key identifier and signature; names alone prove nothing. */
  issuerOf(certificate: Certificate): TrustedIssuer | undefined {
    return this.issuers.find((issuer) => isIssuedBy(certificate, issuer.certificate));
  }

  /** The same CAs of our own, beside these of others. @throws SallyportError `ERR_CONFIG_INVALID` when they share a key */
  with(anchors: readonly TrustAnchor[]): TrustStore {
    return new TrustStore({ ...this.#options, anchors });
  }

  /** Whether our own CAs are those of the other one. */
  ownIssuersAre(other: TrustStore): boolean {
    const certificates = (store: TrustStore): string => store.issuers.map(({ certificate, root }) => `${certificate.thumbprint} ${root.thumbprint}`).toSorted().join();
    return certificates(this) === certificates(other);
  }

  /** What the anchors of others say to a certificate that is not ours; undefined without any. */
  foreigner(certificate: Certificate, chain: readonly Certificate[], at: Date): AcceptedForeigner | RefusedForeigner | undefined {
    let nearest: RefusedForeigner | undefined;
    for (const anchor of this.anchors) {
      const verdict = anchor.accept(certificate, chain, at);
      if (!verdict.ok) {
        if (nearest === undefined || (verdict.ours && !nearest.ours)) nearest = verdict;
        continue;
      }
      const { certificate: issuer, above } = verdict.issuer;
      if ([issuer, ...above].every(({ spkiHash }) => (this.#owners.get(spkiHash) ?? anchor.name) === anchor.name)) return verdict;
      // A cross certificate must not turn one authority's agents into another's.
      nearest ??= { ok: false, code: 'ERR_PEER_ISSUER', reason: `it was issued by, or below, a CA of another trust than trust.${anchor.name}`, ours: true };
    }
    return nearest;
  }

  /** Whether a path that was accepted under an earlier store would be accepted still. */
  trusts(certificate: Certificate, { issuerId, anchor, certificate: issuer, above }: TrustedIssuer, at: Date): boolean {
    if (anchor === undefined) return this.issuers.some((known) => known.issuerId === issuerId);
    if (this.anchors.includes(anchor)) return true;
    const verdict = this.foreigner(certificate, [issuer, ...above], at);
    return verdict?.ok === true && verdict.issuer.anchor?.name === anchor.name && verdict.issuer.issuerId === issuerId;
  }

  #claim(owner: string, certificates: readonly Certificate[]): void {
    for (const { spkiHash, thumbprint } of certificates) {
      const other = this.#owners.get(spkiHash);
      if (other !== undefined && other !== owner) {
        const whose = other === '' ? 'our own CA' : `trust.${other}`;
        throw new SallyportError('ERR_CONFIG_INVALID', `a CA of trust.${owner} has the key of one of ${whose}: each CA belongs to one trust, so remove it from the other`, { facts: { trust: owner, thumbprint } });
      }
      this.#owners.set(spkiHash, owner);
    }
  }
}

/** Each with the one that certified it; from below. */
export const certifiedIn = (cas: readonly Certificate[], root: Certificate): TrustedIssuer['certified'] =>
  cas.map((certificate, index) => ({ issuerId: (cas[index + 1] ?? root).spkiHash, serial: certificate.serial, certificate }));

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
