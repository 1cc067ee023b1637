/** The certificate of a CA: filled in, linted, signed, linted again. */
import { caTbs, issuerKeyIdentifier } from './issuance.ts';
import type { PublishedAt, Validity } from './issuance.ts';
import { lintCertificate, lintTbs, requireClean } from './lint.ts';
import type { AuthorityRole } from './lint-rule.ts';
import type { Signer } from './ports.ts';
import { signatureAlgorithmFor } from './x509/algorithm.ts';
import { assembleSigned, parseCertificate } from './x509/certificate.ts';
import type { Certificate } from './x509/certificate.ts';
import { encodeName } from './x509/name.ts';
import type { DistinguishedName } from './x509/name.ts';

export interface AuthorityOrder {
  readonly role: AuthorityRole;
  readonly subject: DistinguishedName | Uint8Array;
  readonly own: Pick<Signer, 'spki'>;
  /** Who certifies it; undefined for a root, which does so itself. */
  readonly by: { readonly certificate: Certificate; readonly signer: Signer } | undefined;
  readonly validity: Validity;
  readonly serial: Uint8Array;
  /** Of a subordinate; that of the others is settled. */
  readonly pathLen?: number | undefined;
  /** Of a key that has one already. Default: derived from the key. */
  readonly subjectKeyIdentifier?: Uint8Array | undefined;
  /** DER extension. */
  readonly nameConstraints?: Uint8Array | undefined;
  readonly publishedAt?: PublishedAt | undefined;
  /** Keeps what is about to be signed. */
  readonly record?: ((tbs: Uint8Array) => Promise<void>) | undefined;
}

export interface SelfSigned extends Omit<AuthorityOrder, 'own' | 'by'> {
  readonly own: Signer;
  readonly by: undefined;
}

/** @throws CaError `ERR_CA_LINT` */
export const signAuthority = async ({ role, subject, own, by, record, pathLen, ...content }: AuthorityOrder | SelfSigned): Promise<Certificate> => {
  const signer = by?.signer ?? (own as Signer);
  const issuerName = by?.certificate.subjectNameDer ?? (subject instanceof Uint8Array ? subject : encodeName(subject));
  const tbs = caTbs({ ...content, subject, issuerName, issuerKeyIdentifier: issuerKeyIdentifier(by?.certificate ?? { subjectKeyIdentifier: undefined, spki: own.spki }), issuerAlgorithm: signer.algorithm, spki: own.spki, pathLen: pathLenOf(role, pathLen) });
  const lint = { issuer: by?.certificate, profile: role };
  requireClean(lintTbs(tbs, lint));
  await record?.(tbs);
  const certificate = parseCertificate(assembleSigned(tbs, signatureAlgorithmFor(signer.algorithm), await signer.sign(tbs)));
  requireClean(lintCertificate(certificate.der, { ...lint, intended: tbs }));
  return certificate;
};

const pathLenOf = (role: AuthorityRole, wanted: number | undefined): number => (role === 'subordinate' ? (wanted ?? 0) : role === 'issuing' ? 0 : 1);
