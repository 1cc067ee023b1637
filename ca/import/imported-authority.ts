/**
 * Judges CAs that were made elsewhere: whether they can be the root and the issuing CA of a hierarchy
 * here. What deviates from our own profile and RFC 5280 allows is told, the rest is refused. Pure.
 */
import type { KeyObject } from 'node:crypto';
import { CaError } from '../errors.ts';
import { lintParsed } from '../lint.ts';
import type { LintFinding } from '../lint.ts';
import { isSupportedSignature, spkiOf } from '../x509/algorithm.ts';
import { verifyCertificateSignature } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { equalBytes } from '../x509/der.ts';
import { EXTENDED_KEY_USAGE } from '../x509/extension.ts';
import { formatName } from '../x509/name.ts';
import { certificateProblem } from '../x509/path/certificate-rules.ts';
import { verifyPath } from '../x509/path/verify-path.ts';

export interface ImportedPath {
  /** The CA that is to issue, then those above it, below the root. */
  readonly path: readonly [Certificate, ...Certificate[]];
  readonly root: Certificate;
  readonly remarks: readonly ImportRemark[];
}

export interface ImportRemark {
  readonly certificate: Certificate;
  readonly text: string;
}

/** @throws CaError `ERR_CA_IMPORT` */
export function importedRoot(root: Certificate, at: Date): readonly ImportRemark[] {
  if (!equalBytes(root.issuerNameDer, root.subjectNameDer)) throw refused(root, 'it is not self-signed; give the certificate of the root, and the others with --chain');
  if (!isSupportedSignature(root.signatureAlgorithm)) throw refused(root, 'its signature is of a kind that is not accepted, such as SHA-1; have the root certified anew with SHA-256');
  if (!verifyCertificateSignature(root, root.spki)) throw refused(root, 'its signature does not verify; export it again');
  checkAuthority(root);
  const problem = certificateProblem(root, at);
  if (problem !== undefined) throw refused(root, `${problem.reason} (${problem.clause})`);
  return remarksOn(root, undefined, 'root');
}

/**
 * The path from an issuing CA to its root.
 * @throws CaError `ERR_CA_IMPORT` naming the certificate and the next step
 */
export function importedPath(issuing: Certificate, above: { readonly root: Certificate; readonly intermediates: readonly Certificate[] }, at: Date): ImportedPath {
  const { root } = above;
  if (equalBytes(issuing.spki, root.spki)) throw refused(issuing, 'it is the root itself; give the certificate of an issuing CA, or the root with its key alone so that one is made');
  checkAuthority(issuing);
  const verdict = verifyPath(issuing, { anchors: [root], intermediates: above.intermediates, at, purpose: 'any', onUnknownStatus: 'allow' });
  if (!verdict.ok) {
    const next = verdict.code === 'ERR_PATH_INCOMPLETE' ? '; give the certificates between it and the root with --chain' : verdict.code === 'ERR_PATH_EXPIRED' ? '; have it renewed first' : '';
    throw refused(verdict.at, `${verdict.reason} (${verdict.clause})${next}`);
  }
  const [first, ...others] = verdict.path;
  const path = [first ?? issuing, ...others] as const;
  for (const certificate of path) checkAuthority(certificate);
  const descending = [root, ...path.toReversed()];
  for (const [index, { basicConstraints }] of descending.entries()) {
    // RFC 5280 §4.2.1.9: CAs that may follow it, of which the last issues end entities.
    if ((basicConstraints?.pathLen ?? Infinity) < descending.length - 1 - index) throw refused(descending[index] ?? issuing, 'its pathLen does not allow the CAs below it');
  }
  return { path, root, remarks: path.flatMap((certificate, index) => remarksOn(certificate, path[index + 1] ?? root, index === 0 ? 'issuing' : undefined)) };
}

/** Whether a CA may certify another one that certifies end entities. */
export function mayCertifyAuthorities({ basicConstraints }: Pick<Certificate, 'basicConstraints'>): boolean {
  return (basicConstraints?.pathLen ?? Infinity) >= 1;
}

/** @throws CaError `ERR_CA_IMPORT` unless exactly one of the keys belongs to the certificate */
export function authorityKeyOf(certificate: Certificate, keys: readonly KeyObject[]): KeyObject {
  const key = keys.find((candidate) => equalBytes(spkiOf(candidate), certificate.spki));
  if (key !== undefined) return key;
  throw refused(certificate, keys.length === 0 ? 'no private key came with it; give its key' : 'none of the private keys is its own; give the key that belongs to it');
}

function checkAuthority(certificate: Certificate): void {
  const { basicConstraints, keyUsage, extendedKeyUsage, version } = certificate;
  if (version !== 3 || basicConstraints === undefined) throw refused(certificate, 'it does not say that it is a CA; have it certified anew with basicConstraints');
  if (!basicConstraints.ca) throw refused(certificate, 'it is not a CA; give the certificate of the CA, not one that it issued');
  // RFC 5280 §4.2.1.3: a CA that signs certificates and CRLs says both.
  if (keyUsage?.has('keyCertSign') !== true || !keyUsage.has('cRLSign')) throw refused(certificate, 'its keyUsage does not name keyCertSign and cRLSign; have it certified anew with both');
  // Not in RFC 5280, but OpenSSL, Windows and others take an extendedKeyUsage of a CA for a bound on what is below it.
  const missing = extendedKeyUsage === undefined || extendedKeyUsage.includes(ANY_EXTENDED_KEY_USAGE) ? [] : (['clientAuth', 'serverAuth'] as const).filter((name) => !extendedKeyUsage.includes(EXTENDED_KEY_USAGE[name]));
  if (missing.length > 0) throw refused(certificate, `its extendedKeyUsage does not name ${missing.join(' and ')}, which verifiers take for a bound on what is below it; have it certified anew without extendedKeyUsage`);
}

const ANY_EXTENDED_KEY_USAGE = '2.5.29.37.0';

/** How it differs from what is made here. A CA between root and issuing CA has no profile here. */
function remarksOn(certificate: Certificate, issuer: Certificate | undefined, profile: 'root' | 'issuing' | undefined): readonly ImportRemark[] {
  const findings: readonly LintFinding[] = lintParsed(certificate, { issuer, profile: profile ?? 'issuing' });
  return findings.filter(({ rule }) => profile !== undefined || rule !== 'pathLen').map(({ citation, message }) => ({ certificate, text: `${message} (${citation})` }));
}

const refused = (certificate: Certificate, why: string): CaError =>
  new CaError('ERR_CA_IMPORT', `${formatName(certificate.subject) || 'a certificate without subject'} cannot be used as a CA here: ${why}`, { facts: { subject: formatName(certificate.subject), serial: certificate.serial, thumbprint: certificate.thumbprint } });
