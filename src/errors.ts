/**
 * The code table: every error code of both sides, with what each audience gets to see.
 * The peer sees `public`; the message and facts of the error go to the log and the audit log.
 */
import { CodedError } from '../ca/errors.ts';
import type { CaErrorCode } from '../ca/errors.ts';

export type GateErrorCode =
  // Configuration and start
  | 'ERR_CONFIG_INVALID'
  | 'ERR_CONFIG_WRITABLE'
  | 'ERR_CONFIG_MISSING'
  | 'ERR_CONFIG_EXISTS'
  | 'ERR_POLICY_INVALID'
  | 'ERR_LISTEN_ADDRESS'
  | 'ERR_USAGE'
  // The far end of TLS
  | 'ERR_PEER_NO_CERTIFICATE'
  | 'ERR_PEER_UNTRUSTED'
  | 'ERR_PEER_EXPIRED'
  | 'ERR_PEER_NOT_YET_VALID'
  | 'ERR_PEER_REVOKED'
  | 'ERR_PEER_PROFILE'
  | 'ERR_PEER_ISSUER'
  | 'ERR_PEER_IDENTITY'
  | 'ERR_PEER_UNKNOWN_SERIAL'
  | 'ERR_PEER_STATUS_UNKNOWN'
  | 'ERR_PEER_HANDSHAKE'
  // What other authorities publish
  | 'ERR_TRUST_FETCH'
  | 'ERR_TRUST_BUNDLE'
  // HTTP in front of MCP
  | 'ERR_HTTP_PATH'
  | 'ERR_HTTP_METHOD'
  | 'ERR_HTTP_HOST'
  | 'ERR_HTTP_ORIGIN'
  | 'ERR_HTTP_HEADER'
  | 'ERR_HTTP_CLIENT_CERT'
  | 'ERR_HTTP_MEDIA_TYPE'
  | 'ERR_HTTP_NOT_ACCEPTABLE'
  | 'ERR_HTTP_BODY_TOO_LARGE'
  | 'ERR_HTTP_BODY_TIMEOUT'
  | 'ERR_HTTP_BODY_INCOMPLETE'
  | 'ERR_HTTP_ABANDONED'
  // MCP
  | 'ERR_MCP_PARSE'
  | 'ERR_MCP_INVALID_REQUEST'
  | 'ERR_MCP_BATCH'
  | 'ERR_MCP_REVISION'
  | 'ERR_MCP_REVISION_UNSUPPORTED'
  | 'ERR_MCP_ENVELOPE'
  | 'ERR_MCP_HEADER_MISMATCH'
  | 'ERR_MCP_CAPABILITY'
  | 'ERR_MCP_STATE'
  | 'ERR_MCP_CURSOR'
  | 'ERR_MCP_TASK_UNKNOWN'
  | 'ERR_MCP_UNTRANSLATABLE'
  | 'ERR_MCP_METHOD'
  | 'ERR_MCP_DENIED'
  | 'ERR_MCP_ARGUMENTS'
  | 'ERR_MCP_BATCH_REFUSED'
  | 'ERR_MCP_SESSION_UNKNOWN'
  | 'ERR_MCP_SESSION_REQUIRED'
  | 'ERR_MCP_ALREADY_INITIALIZED'
  | 'ERR_MCP_UNSOLICITED'
  | 'ERR_MCP_EVENT_ID'
  // Limits
  | 'ERR_LIMIT_SESSIONS'
  | 'ERR_LIMIT_STREAMS'
  | 'ERR_LIMIT_REQUESTS'
  | 'ERR_LIMIT_RATE'
  | 'ERR_LIMIT_CONCURRENT'
  | 'ERR_LIMIT_SUBSCRIPTIONS'
  // Upstream
  | 'ERR_UPSTREAM_UNREACHABLE'
  | 'ERR_UPSTREAM_EXITED'
  | 'ERR_UPSTREAM_TIMEOUT'
  | 'ERR_UPSTREAM_INVALID'
  | 'ERR_UPSTREAM_TOO_LARGE'
  | 'ERR_UPSTREAM_CREDENTIAL'
  // Tool definitions
  | 'ERR_TOOL_UNKNOWN'
  | 'ERR_TOOL_CHANGED'
  // Evidence
  | 'ERR_AUDIT_UNAVAILABLE'
  | 'ERR_AUDIT_TAMPERED'
  | 'ERR_AUDIT_KEY'
  // Administration over HTTP
  | 'ERR_API_DENIED'
  | 'ERR_API_REQUEST'
  | 'ERR_API_REPEATED'
  // Backups
  | 'ERR_BACKUP_INVALID'
  | 'ERR_BACKUP_PASSPHRASE'
  | 'ERR_BACKUP_TRUNCATED'
  | 'ERR_BACKUP_ALTERED'
  | 'ERR_BACKUP_CONTENT'
  // Bridge
  | 'ERR_BRIDGE_REFUSED'
  | 'ERR_BRIDGE_IDENTITY'
  | 'ERR_BRIDGE_UNREACHABLE'
  | 'ERR_BRIDGE_HOSTNAME'
  | 'ERR_BRIDGE_UNTRUSTED_GATEWAY'
  | 'ERR_BRIDGE_ENROLLMENT'
  | 'ERR_RENEWAL_HOOK'
  | 'ERR_BRIDGE_PENDING'
  // Everything
  | 'ERR_DRAINING'
  | 'ERR_INTERNAL';

export type ErrorCode = CaErrorCode | GateErrorCode;

export class SallyportError extends CodedError<GateErrorCode> {}

/** Exit codes of the command line: 0 done, 1 failed, 2 usage, 3 denied or a finding, 4 waits for a second person. */
export type ExitCode = 0 | 1 | 2 | 3 | 4;

export interface ErrorPresentation {
  readonly http: number;
  /** JSON-RPC error code of an answer to a request with an id. */
  readonly jsonRpc: number;
  readonly exit: ExitCode;
  /** What the peer gets to read. */
  readonly public: string;
}

const row = (http: number, jsonRpc: number, exit: ExitCode, publicText: string): ErrorPresentation => ({ http, jsonRpc, exit, public: publicText });

export const errorTable: Readonly<Record<ErrorCode, ErrorPresentation>> = {
  ERR_DER_INVALID: row(400, -32602, 1, 'malformed DER'),
  ERR_PEM_INVALID: row(400, -32602, 1, 'malformed PEM'),
  ERR_CERTIFICATE_INVALID: row(400, -32602, 1, 'malformed certificate'),
  ERR_CSR_INVALID: row(400, -32602, 1, 'malformed certificate signing request'),
  ERR_CSR_SIGNATURE: row(400, -32602, 3, 'the request does not prove possession of its key'),
  ERR_CRL_INVALID: row(400, -32602, 1, 'malformed CRL'),
  ERR_CRL_SIGNATURE: row(400, -32602, 3, 'the CRL signature does not verify'),
  ERR_CRL_SCOPE: row(400, -32602, 3, 'the CRL does not cover this certificate'),
  ERR_CRL_STALE: row(503, -32603, 3, 'the CRL is not current'),
  ERR_CRL_ISSUER: row(400, -32602, 3, 'the CRL was issued by another authority'),
  ERR_OCSP_INVALID: row(400, -32602, 1, 'malformed OCSP message'),
  ERR_PATH_INCOMPLETE: row(403, -32001, 3, 'the certificate does not lead to a trusted authority'),
  ERR_PATH_SIGNATURE: row(403, -32001, 3, 'a signature of the certificate path does not verify'),
  ERR_PATH_ALGORITHM: row(403, -32001, 3, 'the certificate path uses an unsupported algorithm'),
  ERR_PATH_EXPIRED: row(403, -32001, 3, 'a certificate of the path has expired'),
  ERR_PATH_NOT_YET_VALID: row(403, -32001, 3, 'a certificate of the path is not yet valid'),
  ERR_PATH_AUTHORITY: row(403, -32001, 3, 'a certificate of the path was not issued by an authority'),
  ERR_PATH_LENGTH: row(403, -32001, 3, 'the certificate path is longer than an authority allows'),
  ERR_PATH_EXTENSION: row(403, -32001, 3, 'a certificate of the path holds something critical that is not understood'),
  ERR_PATH_NAME: row(403, -32001, 3, 'a name in the certificate path is outside its constraints'),
  ERR_PATH_POLICY: row(403, -32001, 3, 'the certificate policies of the path do not allow it'),
  ERR_PATH_PURPOSE: row(403, -32001, 3, 'the certificate is not for this purpose'),
  ERR_PATH_REVOKED: row(403, -32001, 3, 'a certificate of the path was revoked'),
  ERR_PATH_STATUS_UNKNOWN: row(403, -32001, 3, 'the status of a certificate of the path cannot be established'),
  ERR_PATH_LIMIT: row(403, -32001, 3, 'the certificate path takes too much work to verify'),
  ERR_CA_EXISTS: row(409, -32603, 1, 'a certificate authority exists here'),
  ERR_CA_MISSING: row(503, -32603, 1, 'no certificate authority here'),
  ERR_CA_NAME: row(400, -32602, 2, 'the name is not usable in a certificate'),
  ERR_CA_PROFILE: row(400, -32602, 2, 'unknown or unusable profile'),
  ERR_CA_TTL: row(400, -32602, 2, 'the lifetime is outside the bounds of the profile'),
  ERR_CA_CSR_CONTENT: row(400, -32602, 3, 'the request asks for something its enrollment does not grant'),
  ERR_CA_KEY_REFUSED: row(400, -32602, 3, 'the key is not acceptable'),
  ERR_CA_KEY_REUSED: row(409, -32602, 3, 'the key already belongs to another agent'),
  ERR_CA_LIMIT: row(409, -32602, 3, 'the agent holds as many live certificates as it may'),
  ERR_CA_IDENTITY_REVOKED: row(403, -32602, 3, 'the identity was revoked'),
  ERR_CA_LINT: row(500, -32603, 1, 'the certificate failed its own checks and was not issued'),
  ERR_CA_CERTIFICATE_UNKNOWN: row(404, -32602, 1, 'no such certificate'),
  ERR_CA_ALREADY_REVOKED: row(409, -32602, 1, 'already revoked'),
  ERR_CA_REASON: row(400, -32602, 2, 'unknown revocation reason'),
  ERR_CA_SELECTION: row(400, -32602, 2, 'nothing says which certificates'),
  ERR_CA_NOT_HELD: row(409, -32602, 1, 'not on hold'),
  ERR_CA_STATUS: row(409, -32602, 1, 'not possible with this CA at this time'),
  ERR_CA_IN_USE: row(409, -32602, 3, 'certificates of this CA are still valid'),
  ERR_CA_IMPORT: row(400, -32602, 1, 'not a CA that can be used here'),
  ERR_CA_PENDING: row(503, -32603, 1, 'the certificate authority waits for its certificate'),
  ERR_TOKEN_INVALID: row(403, -32602, 3, 'the enrollment token is not valid'),
  ERR_TOKEN_SPENT: row(403, -32602, 3, 'the enrollment token is not valid'),
  ERR_TOKEN_EXPIRED: row(403, -32602, 3, 'the enrollment token is not valid'),
  ERR_TOKEN_UNKNOWN: row(404, -32602, 1, 'no such token'),
  ERR_REQUEST_PENDING: row(202, -32602, 4, 'the request waits for approval: ask again later with the same request'),
  ERR_REQUEST_DENIED: row(403, -32602, 3, 'the request was denied'),
  ERR_REQUEST_EXPIRED: row(403, -32602, 3, 'the request was not approved, or not collected, in time'),
  ERR_REQUEST_UNKNOWN: row(404, -32602, 1, 'no such request'),
  ERR_REQUEST_DECIDED: row(409, -32602, 1, 'the request was decided before'),
  ERR_REQUEST_FOUR_EYES: row(403, -32602, 3, 'another person must decide'),
  ERR_REQUEST_QUEUE_FULL: row(503, -32603, 1, 'too many requests wait for approval'),
  ERR_ACME_ACCOUNT_UNKNOWN: row(404, -32602, 1, 'no such account'),
  ERR_KEY_PASSPHRASE: row(500, -32603, 1, 'the key cannot be opened'),
  ERR_KEY_UNREADABLE: row(500, -32603, 1, 'the key cannot be read'),
  ERR_KEY_ALGORITHM: row(400, -32602, 2, 'the key algorithm is not supported'),
  ERR_KEY_MODE: row(500, -32603, 3, 'a private key is readable by others'),
  ERR_KEY_ENCRYPTION: row(500, -32603, 3, 'a private key is not encrypted well enough'),
  ERR_KEY_URI: row(500, -32603, 2, 'the key URI is not usable'),
  ERR_KEY_TOKEN: row(503, -32603, 1, 'the token of a private key cannot be used'),
  ERR_STORE_DUPLICATE_SERIAL: row(500, -32603, 1, 'internal error'),
  ERR_STORE_SCHEMA: row(503, -32603, 1, 'temporarily unavailable'),
  ERR_STORE_UNAVAILABLE: row(503, -32603, 1, 'temporarily unavailable'),
  ERR_CONFIG_INVALID: row(500, -32603, 2, 'internal error'),
  ERR_CONFIG_WRITABLE: row(500, -32603, 2, 'internal error'),
  ERR_CONFIG_MISSING: row(500, -32603, 2, 'internal error'),
  ERR_CONFIG_EXISTS: row(500, -32603, 1, 'internal error'),
  ERR_POLICY_INVALID: row(500, -32603, 3, 'internal error'),
  ERR_LISTEN_ADDRESS: row(500, -32603, 1, 'internal error'),
  ERR_USAGE: row(400, -32602, 2, 'wrong usage'),
  ERR_PEER_NO_CERTIFICATE: row(403, -32001, 3, 'a client certificate is required'),
  ERR_PEER_UNTRUSTED: row(403, -32001, 3, 'the client certificate is not trusted'),
  ERR_PEER_EXPIRED: row(403, -32001, 3, 'the client certificate has expired'),
  ERR_PEER_NOT_YET_VALID: row(403, -32001, 3, 'the client certificate is not yet valid'),
  ERR_PEER_REVOKED: row(403, -32001, 3, 'the client certificate was revoked'),
  ERR_PEER_PROFILE: row(403, -32001, 3, 'the certificate is not a client certificate'),
  ERR_PEER_ISSUER: row(403, -32001, 3, 'the client certificate is not trusted'),
  ERR_PEER_IDENTITY: row(403, -32001, 3, 'the client certificate names nobody who may connect'),
  ERR_PEER_UNKNOWN_SERIAL: row(403, -32001, 3, 'the client certificate is not trusted'),
  ERR_PEER_STATUS_UNKNOWN: row(403, -32001, 3, 'the status of the client certificate cannot be established'),
  ERR_PEER_HANDSHAKE: row(403, -32001, 3, 'the handshake failed'),
  ERR_TRUST_FETCH: row(502, -32603, 1, 'what another authority publishes could not be fetched'),
  ERR_TRUST_BUNDLE: row(502, -32603, 3, 'the trust bundle of another authority cannot be used'),
  ERR_HTTP_PATH: row(404, -32600, 1, 'not found'),
  ERR_HTTP_METHOD: row(405, -32600, 1, 'method not allowed'),
  ERR_HTTP_HOST: row(403, -32600, 3, 'host not allowed'),
  ERR_HTTP_ORIGIN: row(403, -32600, 3, 'origin not allowed'),
  ERR_HTTP_HEADER: row(400, -32600, 1, 'bad header'),
  ERR_HTTP_CLIENT_CERT: row(400, -32600, 3, 'the Client-Cert header is not taken'),
  ERR_HTTP_MEDIA_TYPE: row(415, -32600, 1, 'content must be application/json in UTF-8 without content coding'),
  ERR_HTTP_NOT_ACCEPTABLE: row(406, -32600, 1, 'the client must accept application/json and text/event-stream'),
  ERR_HTTP_BODY_TOO_LARGE: row(413, -32600, 1, 'request body too large'),
  ERR_HTTP_BODY_TIMEOUT: row(408, -32600, 1, 'request body took too long'),
  ERR_HTTP_BODY_INCOMPLETE: row(400, -32600, 1, 'request body incomplete'),
  ERR_HTTP_ABANDONED: row(400, -32600, 1, 'the request was given up'),
  ERR_MCP_PARSE: row(400, -32700, 1, 'parse error'),
  ERR_MCP_INVALID_REQUEST: row(400, -32600, 1, 'invalid request'),
  ERR_MCP_BATCH: row(400, -32600, 1, 'batches are not part of this protocol revision'),
  ERR_MCP_REVISION: row(400, -32600, 1, 'unsupported protocol revision'),
  ERR_MCP_REVISION_UNSUPPORTED: row(400, -32022, 1, 'unsupported protocol revision'),
  ERR_MCP_ENVELOPE: row(400, -32602, 1, 'the request lacks what its protocol revision demands in params._meta'),
  ERR_MCP_HEADER_MISMATCH: row(400, -32020, 1, 'the request headers and the body disagree'),
  ERR_MCP_CAPABILITY: row(400, -32021, 1, 'the client must declare a capability that this request needs'),
  ERR_MCP_STATE: row(200, -32602, 1, 'requestState was not given for this request, or has expired'),
  ERR_MCP_CURSOR: row(200, -32602, 1, 'unknown cursor'),
  ERR_MCP_TASK_UNKNOWN: row(200, -32602, 1, 'task not found'),
  ERR_MCP_UNTRANSLATABLE: row(200, -32601, 1, 'this MCP server speaks another era of the protocol, which has no counterpart of this request'),
  ERR_MCP_METHOD: row(200, -32601, 1, 'method not found'),
  ERR_MCP_DENIED: row(200, -32602, 3, 'not found or not permitted'),
  ERR_MCP_ARGUMENTS: row(200, -32602, 3, 'these arguments are not permitted'),
  ERR_MCP_BATCH_REFUSED: row(200, -32600, 3, 'not executed, because another request of the batch is not permitted'),
  ERR_MCP_SESSION_UNKNOWN: row(404, -32001, 1, 'session not found'),
  ERR_MCP_SESSION_REQUIRED: row(400, -32600, 1, 'session id required'),
  ERR_MCP_ALREADY_INITIALIZED: row(400, -32600, 1, 'session is already initialized'),
  ERR_MCP_UNSOLICITED: row(400, -32600, 1, 'no request of this session awaits this response'),
  ERR_MCP_EVENT_ID: row(400, -32600, 1, 'unknown event id'),
  ERR_LIMIT_SESSIONS: row(429, -32002, 1, 'too many sessions'),
  ERR_LIMIT_STREAMS: row(429, -32002, 1, 'too many streams'),
  ERR_LIMIT_REQUESTS: row(429, -32002, 1, 'too many requests in flight'),
  ERR_LIMIT_RATE: row(429, -32002, 1, 'too many calls'),
  ERR_LIMIT_CONCURRENT: row(429, -32002, 1, 'too many calls at once'),
  ERR_LIMIT_SUBSCRIPTIONS: row(429, -32002, 1, 'too many subscriptions'),
  ERR_UPSTREAM_UNREACHABLE: row(502, -32003, 1, 'the MCP server cannot be reached'),
  ERR_UPSTREAM_EXITED: row(502, -32003, 1, 'the MCP server ended'),
  ERR_UPSTREAM_TIMEOUT: row(504, -32003, 1, 'the MCP server did not answer in time'),
  ERR_UPSTREAM_INVALID: row(502, -32003, 1, 'the MCP server sent an invalid answer'),
  ERR_UPSTREAM_TOO_LARGE: row(502, -32003, 1, 'the MCP server sent too much'),
  ERR_UPSTREAM_CREDENTIAL: row(502, -32003, 1, 'the gateway has no usable credential of this agent for the MCP server'),
  ERR_TOOL_UNKNOWN: row(404, -32602, 1, 'no such tool'),
  ERR_TOOL_CHANGED: row(409, -32602, 3, 'the tool is not what was to be approved'),
  ERR_AUDIT_UNAVAILABLE: row(503, -32603, 1, 'temporarily unavailable'),
  ERR_AUDIT_TAMPERED: row(500, -32603, 3, 'the audit log was altered'),
  ERR_AUDIT_KEY: row(500, -32603, 1, 'the audit log key cannot be used'),
  ERR_API_DENIED: row(403, -32602, 3, 'not permitted'),
  ERR_API_REQUEST: row(400, -32602, 2, 'malformed request'),
  ERR_API_REPEATED: row(409, -32602, 1, 'the idempotency key was used for another request, or that request is not finished'),
  ERR_BACKUP_INVALID: row(500, -32603, 1, 'internal error'),
  ERR_BACKUP_PASSPHRASE: row(500, -32603, 1, 'internal error'),
  ERR_BACKUP_TRUNCATED: row(500, -32603, 3, 'internal error'),
  ERR_BACKUP_ALTERED: row(500, -32603, 3, 'internal error'),
  ERR_BACKUP_CONTENT: row(500, -32603, 3, 'internal error'),
  ERR_BRIDGE_REFUSED: row(502, -32001, 3, 'the gateway refused this identity'),
  ERR_BRIDGE_IDENTITY: row(500, -32603, 1, 'the identity cannot be used'),
  ERR_BRIDGE_UNREACHABLE: row(502, -32003, 1, 'the gateway cannot be reached'),
  ERR_BRIDGE_HOSTNAME: row(502, -32003, 3, 'the gateway certificate is for another host'),
  ERR_BRIDGE_UNTRUSTED_GATEWAY: row(502, -32003, 3, 'the gateway certificate is not trusted'),
  ERR_BRIDGE_ENROLLMENT: row(502, -32003, 1, 'enrollment failed'),
  ERR_RENEWAL_HOOK: row(500, -32003, 1, 'a renewed certificate could not be announced'),
  ERR_BRIDGE_PENDING: row(503, -32003, 4, 'enrollment waits for approval'),
  ERR_DRAINING: row(503, -32003, 1, 'shutting down'),
  ERR_INTERNAL: row(500, -32603, 1, 'internal error'),
};

/** The code of any thrown value; what is not ours is `ERR_INTERNAL`. */
export const codeOf = (error: unknown): ErrorCode => (error instanceof CodedError ? (error.code as ErrorCode) : 'ERR_INTERNAL');

export const present = (error: unknown): ErrorPresentation => errorTable[codeOf(error)];
