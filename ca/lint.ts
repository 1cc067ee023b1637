/**
 * What a certificate must be before and after it is signed: one function per clause, each with its
 * citation. Written against the parsed octets, not against what `issuance.ts` meant, so that a
 * mistake there is seen here.
 */
import type { KeyObject } from 'node:crypto';
import { endEntityRules } from './lint-end-entity.ts';
import { certificateAuthorityRules } from './lint-certificate-authority.ts';
import { commonRules } from './lint-common.ts';
import type { LintContext, LintFinding, LintRule } from './lint-rule.ts';
import { CaError } from './errors.ts';
import { publicKeyOf, verifySignatureAside } from './x509/algorithm.ts';
import { assembleSigned, parseCertificate, verifyCertificateSignature } from './x509/certificate.ts';
import type { Certificate } from './x509/certificate.ts';
import { DerReader, equalBytes } from './x509/der.ts';

export type { LintContext, LintFinding, LintRule } from './lint-rule.ts';

export const lintRules: readonly LintRule[] = [...commonRules, ...certificateAuthorityRules, ...endEntityRules];

/** Before signing: the octets that are about to be signed. */
export const lintTbs = (tbs: Uint8Array, context: LintContext): readonly LintFinding[] => {
  let certificate: Certificate;
  try {
    certificate = readTbs(tbs);
  } catch (error) {
    return [unreadable(error)];
  }
  return lintParsed(certificate, context);
};

/** What is to be signed, or was meant to be, as a certificate whose signature says nothing. Refuses like `parseCertificate`. */
export const readTbs = (tbs: Uint8Array): Certificate => {
  const fields = new DerReader(tbs).enter();
  fields.raw();
  fields.raw();
  // The parser wants a whole certificate.
  return parseCertificate(assembleSigned(tbs, fields.raw(), Uint8Array.of(0)));
};

type SignedContext = LintContext & { readonly intended?: Uint8Array };

/** After signing: the same rules on the certificate, its signature, and that it is what was intended. */
export const lintCertificate = (der: Uint8Array, context: SignedContext): readonly LintFinding[] => {
  const { certificate, findings } = examined(der, context);
  if (certificate === undefined || verifyCertificateSignature(certificate, context.issuer?.spki ?? certificate.spki)) return findings;
  return [...findings, signatureFinding];
};

/** The same with the signature checked on a thread of the pool; answers with the certificate when nothing was found. */
export const requireCleanSigned = async (der: Uint8Array, context: SignedContext & { readonly issuer: Certificate }): Promise<Certificate> => {
  const { certificate, findings } = examined(der, context);
  if (certificate === undefined || findings.length > 0) throw unclean(findings);
  const { signatureAlgorithm: algorithm, tbs: data, signature } = certificate;
  if (!(await verifySignatureAside({ spki: keyOf(context.issuer), algorithm, data, signature }))) throw unclean([signatureFinding]);
  return certificate;
};

const examined = (der: Uint8Array, context: SignedContext): { readonly certificate: Certificate | undefined; readonly findings: readonly LintFinding[] } => {
  let certificate: Certificate;
  try {
    certificate = parseCertificate(der);
  } catch (error) {
    return { certificate: undefined, findings: [unreadable(error)] };
  }
  const findings = [...lintParsed(certificate, context)];
  if (context.intended !== undefined && !equalBytes(certificate.tbs, context.intended)) {
    findings.push({ rule: 'asIntended', citation: 'docs: intent, sign, check', message: 'the signed octets are not those of the intent' });
  }
  return { certificate, findings };
};

/** RFC 5280 §6.1.3 (a)(1): the signature verifies under the issuer's key. */
const signatureFinding: LintFinding = { rule: 'signature', citation: 'RFC 5280 §6.1.3', message: "the signature does not verify under the issuer's key" };

/** Of an issuer, which checks many. */
const keyOf = (issuer: Certificate): KeyObject => {
  const known = issuerKeys.get(issuer);
  if (known !== undefined) return known;
  const key = publicKeyOf(issuer.spki);
  issuerKeys.set(issuer, key);
  return key;
};

const issuerKeys = new WeakMap<Certificate, KeyObject>();

/** `ERR_CA_LINT` naming every rule that was broken. */
export const requireClean = (findings: readonly LintFinding[]): void => {
  if (findings.length > 0) throw unclean(findings);
};

const unclean = (findings: readonly LintFinding[]): CaError =>
  new CaError('ERR_CA_LINT', `the certificate breaks ${findings.map(({ rule, citation }) => `${rule} (${citation})`).join(', ')}; report this as a defect`, {
    facts: { findings: findings.map(({ rule, message }) => `${rule}: ${message}`) },
  });

/** The rules alone, without the signature. */
export const lintParsed = (certificate: Certificate, context: LintContext): readonly LintFinding[] => {
  const kind = typeof context.profile === 'string' ? 'ca' : 'endEntity';
  const findings: LintFinding[] = [];
  for (const rule of lintRules) {
    if (rule.of !== 'all' && rule.of !== kind) continue;
    const message = rule.check(certificate, context);
    if (message !== undefined) findings.push({ rule: rule.name, citation: rule.citation, message });
  }
  return findings;
};

/** Among others the strict parser refuses duplicate extensions, times not in whole seconds and Z, and non-minimal DER. */
const unreadable = (error: unknown): LintFinding => ({ rule: 'readable', citation: 'RFC 5280 §4.1', message: error instanceof Error ? error.message : 'not a certificate' });
