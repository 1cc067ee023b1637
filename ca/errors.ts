/**
 * Errors of the issuing side. The relying side has its own codes in `src/errors.ts`, where one
 * table maps every code of both sides to HTTP status, JSON-RPC code, exit code and public text.
 */

/** Facts that go to logs and the audit log. Never a key, a token or a passphrase. */
export type ErrorFacts = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;

/** An error with a stable code. `message` starts in lower case, says what happened and what to do next. */
export abstract class CodedError<Code extends string> extends Error {
  readonly code: Code;
  readonly facts: ErrorFacts;

  constructor(code: Code, message: string, options: { facts?: ErrorFacts; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.facts = options.facts ?? {};
  }
}

export type CaErrorCode =
  // Encoded structures (ca/x509)
  | 'ERR_DER_INVALID'
  | 'ERR_PEM_INVALID'
  | 'ERR_CERTIFICATE_INVALID'
  | 'ERR_CSR_INVALID'
  | 'ERR_CSR_SIGNATURE'
  | 'ERR_CRL_INVALID'
  | 'ERR_CRL_SIGNATURE'
  | 'ERR_CRL_SCOPE'
  | 'ERR_CRL_STALE'
  | 'ERR_CRL_ISSUER'
  | 'ERR_OCSP_INVALID'
  // Paths to a trust anchor (ca/x509/path)
  | 'ERR_PATH_INCOMPLETE'
  | 'ERR_PATH_SIGNATURE'
  | 'ERR_PATH_ALGORITHM'
  | 'ERR_PATH_EXPIRED'
  | 'ERR_PATH_NOT_YET_VALID'
  | 'ERR_PATH_AUTHORITY'
  | 'ERR_PATH_LENGTH'
  | 'ERR_PATH_EXTENSION'
  | 'ERR_PATH_NAME'
  | 'ERR_PATH_POLICY'
  | 'ERR_PATH_PURPOSE'
  | 'ERR_PATH_REVOKED'
  | 'ERR_PATH_STATUS_UNKNOWN'
  | 'ERR_PATH_LIMIT'
  // Issuance
  | 'ERR_CA_EXISTS'
  | 'ERR_CA_MISSING'
  | 'ERR_CA_NAME'
  | 'ERR_CA_PROFILE'
  | 'ERR_CA_TTL'
  | 'ERR_CA_CSR_CONTENT'
  | 'ERR_CA_KEY_REFUSED'
  | 'ERR_CA_KEY_REUSED'
  | 'ERR_CA_LIMIT'
  | 'ERR_CA_IDENTITY_REVOKED'
  | 'ERR_CA_LINT'
  | 'ERR_CA_CERTIFICATE_UNKNOWN'
  | 'ERR_CA_ALREADY_REVOKED'
  | 'ERR_CA_REASON'
  | 'ERR_CA_SELECTION'
  | 'ERR_CA_NOT_HELD'
  | 'ERR_CA_STATUS'
  | 'ERR_CA_IN_USE'
  | 'ERR_CA_IMPORT'
  | 'ERR_CA_PENDING'
  // Enrollment
  | 'ERR_TOKEN_INVALID'
  | 'ERR_TOKEN_SPENT'
  | 'ERR_TOKEN_EXPIRED'
  | 'ERR_TOKEN_UNKNOWN'
  // Approval by a second person
  | 'ERR_REQUEST_PENDING'
  | 'ERR_REQUEST_DENIED'
  | 'ERR_REQUEST_EXPIRED'
  | 'ERR_REQUEST_UNKNOWN'
  | 'ERR_REQUEST_DECIDED'
  | 'ERR_REQUEST_FOUR_EYES'
  | 'ERR_REQUEST_QUEUE_FULL'
  | 'ERR_ACME_ACCOUNT_UNKNOWN'
  // Keys
  | 'ERR_KEY_PASSPHRASE'
  | 'ERR_KEY_UNREADABLE'
  | 'ERR_KEY_ALGORITHM'
  | 'ERR_KEY_MODE'
  | 'ERR_KEY_ENCRYPTION'
  | 'ERR_KEY_URI'
  | 'ERR_KEY_TOKEN'
  // Store, as the CA sees it
  | 'ERR_STORE_DUPLICATE_SERIAL'
  | 'ERR_STORE_SCHEMA'
  | 'ERR_STORE_UNAVAILABLE';

export class CaError extends CodedError<CaErrorCode> {}
