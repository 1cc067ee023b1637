/** OpenSSL's path verification results, as Node names them, in our codes. */
import type { GateErrorCode } from '../errors.ts';

const codes: Readonly<Record<string, GateErrorCode>> = {
  CERT_HAS_EXPIRED: 'ERR_PEER_EXPIRED',
  ERROR_IN_CERT_NOT_AFTER_FIELD: 'ERR_PEER_EXPIRED',
  CERT_NOT_YET_VALID: 'ERR_PEER_NOT_YET_VALID',
  ERROR_IN_CERT_NOT_BEFORE_FIELD: 'ERR_PEER_NOT_YET_VALID',
  CERT_REVOKED: 'ERR_PEER_REVOKED',
  INVALID_PURPOSE: 'ERR_PEER_PROFILE',
};

/** Everything else means that no trusted path was found: `ERR_PEER_UNTRUSTED`. */
export const codeOfOpensslError = (opensslError: string): GateErrorCode => codes[opensslError] ?? 'ERR_PEER_UNTRUSTED';
