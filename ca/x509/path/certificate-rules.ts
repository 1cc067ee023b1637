/** What one certificate must say by itself: as any part of a path, and as an authority. */
import { CaError } from '../../errors.ts';
import { keyAlgorithmOfSpki } from '../algorithm.ts';
import { EXTENSION } from '../extension.ts';
import { nameConstraints, subjectNames } from './constrained-name.ts';
import { policyExtensions } from './policy-extension.ts';
import type { Certificate } from '../certificate.ts';
import type { PathCode, Problem } from './verdict.ts';

/** Critical extensions understood here and not by the reader of certificates alone. */
const UNDERSTOOD: ReadonlySet<string> = new Set([EXTENSION.nameConstraints, EXTENSION.certificatePolicies, EXTENSION.policyMappings, EXTENSION.policyConstraints, EXTENSION.inhibitAnyPolicy]);

/** The first rule that a certificate breaks, wherever in the path it stands. */
export function certificateProblem(certificate: Certificate, at: Date): Problem | undefined {
  return keyProblem(certificate) ?? validityProblem(certificate, at) ?? extensionProblem(certificate);
}

/** The first rule that keeps a certificate from issuing others. */
export function authorityProblem(certificate: Certificate): Problem | undefined {
  const no = (reason: string, clause: string) => problem('ERR_PATH_AUTHORITY', reason, clause, certificate);
  // RFC 5280 §6.1.4 (k). Of version 1 and 2 nothing says that they are a CA's.
  if (certificate.version !== 3 || certificate.basicConstraints === undefined) return no('it issued a certificate and does not say that it is a CA', 'RFC 5280 §6.1.4 (k)');
  if (!certificate.basicConstraints.ca) return no('it issued a certificate and is not a CA', 'RFC 5280 §6.1.4 (k)');
  // §6.1.4 (n) lets keyUsage be absent; stricter, since §4.2.1.3 wants it in every CA certificate.
  if (certificate.keyUsage?.has('keyCertSign') !== true) return no('it issued a certificate and its keyUsage does not name keyCertSign', 'RFC 5280 §6.1.4 (n)');
  // Every certificate without an issuer's name would lead to it.
  if (certificate.subject.length === 0) return no('it issued a certificate and has no subject', 'RFC 5280 §4.1.2.6');
  return undefined;
}

/** `notAfter` is inclusive, to the second (RFC 5280 §4.1.2.5). */
export const endOf = (certificate: Certificate): number => certificate.notAfter.getTime() + 1000;

export function keyProblem(certificate: Certificate): Problem | undefined {
  try {
    keyAlgorithmOfSpki(certificate.spki);
    return undefined;
  } catch (error) {
    if (!(error instanceof CaError)) throw error;
    const reason = error.code === 'ERR_KEY_ALGORITHM' ? error.message : `its public key is malformed: ${error.message}`;
    return problem('ERR_PATH_ALGORITHM', reason, 'RFC 5280 §4.1.2.7', certificate);
  }
}

function validityProblem(certificate: Certificate, at: Date): Problem | undefined {
  const now = at.getTime();
  if (now < certificate.notBefore.getTime()) return problem('ERR_PATH_NOT_YET_VALID', `it is valid only from ${seconds(certificate.notBefore)}`, 'RFC 5280 §6.1.3 (a)(2)', certificate);
  if (now >= endOf(certificate)) return problem('ERR_PATH_EXPIRED', `it was valid until ${seconds(certificate.notAfter)}`, 'RFC 5280 §6.1.3 (a)(2)', certificate);
  return undefined;
}

function extensionProblem(certificate: Certificate): Problem | undefined {
  const unknown = certificate.unknownCriticalExtensions.filter((oid) => !UNDERSTOOD.has(oid));
  // RFC 5280 §4.2: what is critical and not understood makes the certificate unusable.
  if (unknown.length > 0) return problem('ERR_PATH_EXTENSION', `it has critical extensions that are not understood: ${unknown.slice(0, 4).join(', ')}`, 'RFC 5280 §4.2', certificate);
  // RFC 5280 §4.2.1.10: only in CA certificates.
  if (certificate.nameConstraints !== undefined && certificate.basicConstraints?.ca !== true) return problem('ERR_PATH_EXTENSION', 'it has nameConstraints and is not a CA', 'RFC 5280 §4.2.1.10', certificate);
  // RFC 5280 §4.2.1.9: without cA there is no keyCertSign.
  if (certificate.keyUsage?.has('keyCertSign') === true && certificate.basicConstraints?.ca !== true) return problem('ERR_PATH_EXTENSION', 'its keyUsage names keyCertSign and it is not a CA', 'RFC 5280 §4.2.1.9', certificate);
  try {
    policyExtensions(certificate);
    nameConstraints(certificate);
    subjectNames(certificate);
    return undefined;
  } catch (error) {
    if (!(error instanceof CaError)) throw error;
    return problem('ERR_CERTIFICATE_INVALID', `it has a malformed extension: ${error.message}`, 'RFC 5280 §4.2', certificate);
  }
}

export function problem(code: PathCode, reason: string, clause: string, at: Certificate): Problem {
  return { code, reason, clause, at };
}

const seconds = (time: Date): string => time.toISOString().replace('.000Z', 'Z');
