/** What to do about each refusal of the path verifier; `docs/errors.md` has it too. */
import type { PathCode } from '../../ca/x509/path/verdict.ts';

export const pathAdvice: Readonly<Record<PathCode, string>> = {
  ERR_CERTIFICATE_INVALID: 'have it issued anew: the message names the octet or the extension that is malformed',
  ERR_PATH_INCOMPLETE: 'give the missing issuer along with the certificate, or trust its root if you do',
  ERR_PATH_SIGNATURE: 'compare it with the original: it was altered, or its issuer has another key than the one known here',
  ERR_PATH_ALGORITHM: 'have it issued with P-256, P-384, Ed25519, RSA of 2048, 3072 or 4096 bits, or ML-DSA',
  ERR_PATH_EXPIRED: 'renew it, or have it issued by a CA that is still valid',
  ERR_PATH_NOT_YET_VALID: 'compare the clocks, or wait',
  ERR_PATH_AUTHORITY: 'have it issued by a CA: with basicConstraints cA and keyUsage keyCertSign',
  ERR_PATH_LENGTH: 'have it issued higher up, or the CA above certified with a larger pathLen',
  ERR_PATH_EXTENSION: 'have it issued without that extension, or with the extension not critical if it may be overlooked',
  ERR_PATH_NAME: 'use names that all CAs above may certify, or another CA',
  ERR_PATH_POLICY: 'have it issued under a policy that every CA above allows',
  ERR_PATH_PURPOSE: 'have it issued for this purpose: extendedKeyUsage, keyUsage digitalSignature and a subjectAltName',
  ERR_PATH_REVOKED: 'do not use it: have another one issued with another key',
  ERR_PATH_STATUS_UNKNOWN: 'give a current CRL of each CA with --crl, or let it pass with --on-unknown-status allow',
  ERR_PATH_LIMIT: 'give only the certificates that lead to the root: seven at most, and one for each CA',
};
