import { expect, it } from 'vitest';
import { errorTable } from '../../src/errors.ts';

/** code: HTTP status, JSON-RPC code, exit code. */
const pinned = {
  ERR_DER_INVALID: [400, -32602, 1],
  ERR_PEM_INVALID: [400, -32602, 1],
  ERR_CERTIFICATE_INVALID: [400, -32602, 1],
  ERR_CSR_INVALID: [400, -32602, 1],
  ERR_CSR_SIGNATURE: [400, -32602, 3],
  ERR_CRL_INVALID: [400, -32602, 1],
  ERR_CRL_SIGNATURE: [400, -32602, 3],
  ERR_CRL_SCOPE: [400, -32602, 3],
  ERR_CRL_STALE: [503, -32603, 3],
  ERR_CRL_ISSUER: [400, -32602, 3],
  ERR_CA_EXISTS: [409, -32603, 1],
  ERR_CA_MISSING: [503, -32603, 1],
  ERR_CA_NAME: [400, -32602, 2],
  ERR_CA_PROFILE: [400, -32602, 2],
  ERR_CA_TTL: [400, -32602, 2],
  ERR_CA_CSR_CONTENT: [400, -32602, 3],
  ERR_CA_KEY_REFUSED: [400, -32602, 3],
  ERR_CA_KEY_REUSED: [409, -32602, 3],
  ERR_CA_LIMIT: [409, -32602, 3],
  ERR_CA_IDENTITY_REVOKED: [403, -32602, 3],
  ERR_CA_LINT: [500, -32603, 1],
  ERR_CA_CERTIFICATE_UNKNOWN: [404, -32602, 1],
  ERR_CA_ALREADY_REVOKED: [409, -32602, 1],
  ERR_CA_REASON: [400, -32602, 2],
  ERR_TOKEN_INVALID: [403, -32602, 3],
  ERR_TOKEN_SPENT: [403, -32602, 3],
  ERR_TOKEN_EXPIRED: [403, -32602, 3],
  ERR_KEY_PASSPHRASE: [500, -32603, 1],
  ERR_KEY_UNREADABLE: [500, -32603, 1],
  ERR_KEY_ALGORITHM: [400, -32602, 2],
  ERR_KEY_MODE: [500, -32603, 3],
  ERR_STORE_DUPLICATE_SERIAL: [500, -32603, 1],
  ERR_STORE_SCHEMA: [503, -32603, 1],
  ERR_STORE_UNAVAILABLE: [503, -32603, 1],
  ERR_CONFIG_INVALID: [500, -32603, 2],
  ERR_CONFIG_MISSING: [500, -32603, 2],
  ERR_CONFIG_EXISTS: [500, -32603, 1],
  ERR_POLICY_INVALID: [500, -32603, 3],
  ERR_LISTEN_ADDRESS: [500, -32603, 1],
  ERR_USAGE: [400, -32602, 2],
  ERR_PEER_NO_CERTIFICATE: [403, -32001, 3],
  ERR_PEER_UNTRUSTED: [403, -32001, 3],
  ERR_PEER_EXPIRED: [403, -32001, 3],
  ERR_PEER_NOT_YET_VALID: [403, -32001, 3],
  ERR_PEER_REVOKED: [403, -32001, 3],
  ERR_PEER_PROFILE: [403, -32001, 3],
  ERR_PEER_ISSUER: [403, -32001, 3],
  ERR_PEER_UNKNOWN_SERIAL: [403, -32001, 3],
  ERR_PEER_STATUS_UNKNOWN: [403, -32001, 3],
  ERR_PEER_HANDSHAKE: [403, -32001, 3],
  ERR_HTTP_PATH: [404, -32600, 1],
  ERR_HTTP_METHOD: [405, -32600, 1],
  ERR_HTTP_HOST: [403, -32600, 3],
  ERR_HTTP_ORIGIN: [403, -32600, 3],
  ERR_HTTP_HEADER: [400, -32600, 1],
  ERR_HTTP_MEDIA_TYPE: [415, -32600, 1],
  ERR_HTTP_NOT_ACCEPTABLE: [406, -32600, 1],
  ERR_HTTP_BODY_TOO_LARGE: [413, -32600, 1],
  ERR_HTTP_BODY_TIMEOUT: [408, -32600, 1],
  ERR_HTTP_BODY_INCOMPLETE: [400, -32600, 1],
  ERR_HTTP_ABANDONED: [400, -32600, 1],
  ERR_MCP_PARSE: [400, -32700, 1],
  ERR_MCP_INVALID_REQUEST: [400, -32600, 1],
  ERR_MCP_BATCH: [400, -32600, 1],
  ERR_MCP_REVISION: [400, -32600, 1],
  ERR_MCP_METHOD: [200, -32601, 1],
  ERR_MCP_DENIED: [200, -32602, 3],
  ERR_MCP_ARGUMENTS: [200, -32602, 3],
  ERR_MCP_BATCH_REFUSED: [200, -32600, 3],
  ERR_MCP_SESSION_UNKNOWN: [404, -32001, 1],
  ERR_MCP_SESSION_REQUIRED: [400, -32600, 1],
  ERR_MCP_ALREADY_INITIALIZED: [400, -32600, 1],
  ERR_MCP_UNSOLICITED: [400, -32600, 1],
  ERR_MCP_EVENT_ID: [400, -32600, 1],
  ERR_LIMIT_SESSIONS: [429, -32002, 1],
  ERR_LIMIT_STREAMS: [429, -32002, 1],
  ERR_LIMIT_REQUESTS: [429, -32002, 1],
  ERR_LIMIT_RATE: [429, -32002, 1],
  ERR_LIMIT_CONCURRENT: [429, -32002, 1],
  ERR_LIMIT_SUBSCRIPTIONS: [429, -32002, 1],
  ERR_UPSTREAM_UNREACHABLE: [502, -32003, 1],
  ERR_UPSTREAM_EXITED: [502, -32003, 1],
  ERR_UPSTREAM_TIMEOUT: [504, -32003, 1],
  ERR_UPSTREAM_INVALID: [502, -32003, 1],
  ERR_UPSTREAM_TOO_LARGE: [502, -32003, 1],
  ERR_UPSTREAM_CREDENTIAL: [502, -32003, 1],
  ERR_TOOL_UNKNOWN: [404, -32602, 1],
  ERR_TOOL_CHANGED: [409, -32602, 3],
  ERR_AUDIT_UNAVAILABLE: [503, -32603, 1],
  ERR_AUDIT_TAMPERED: [500, -32603, 3],
  ERR_AUDIT_KEY: [500, -32603, 1],
  ERR_BRIDGE_REFUSED: [502, -32001, 3],
  ERR_BRIDGE_IDENTITY: [500, -32603, 1],
  ERR_BRIDGE_UNREACHABLE: [502, -32003, 1],
  ERR_BRIDGE_HOSTNAME: [502, -32003, 3],
  ERR_BRIDGE_UNTRUSTED_GATEWAY: [502, -32003, 3],
  ERR_BRIDGE_ENROLLMENT: [502, -32003, 1],
  ERR_DRAINING: [503, -32003, 1],
  ERR_INTERNAL: [500, -32603, 1],
};

it('keeps every code with its HTTP status, JSON-RPC code and exit code', () => {
  expect(Object.fromEntries(Object.entries(errorTable).map(([code, { http, jsonRpc, exit }]) => [code, [http, jsonRpc, exit]]))).toEqual(pinned);
});

it('tells apart neither the three ways a token can be wrong, nor what is denied from what is unknown', () => {
  expect(new Set([errorTable.ERR_TOKEN_INVALID, errorTable.ERR_TOKEN_SPENT, errorTable.ERR_TOKEN_EXPIRED].map((row) => JSON.stringify(row))).size).toBe(1);
  expect(errorTable.ERR_MCP_DENIED.public).toBe('not found or not permitted');
});

it.each(Object.entries(errorTable))('%s has a public text that starts in lower case and ends without a period', (_code, { public: text }) => {
  expect(text).toMatch(/^([a-z]|CRL|MCP|DER|PEM).*[^.]$/);
});

it('answers a problem with the certificate with 403, never with 401', () => {
  expect(Object.entries(errorTable).filter(([code]) => code.startsWith('ERR_PEER_')).map(([, { http }]) => http)).toEqual(Array.from({ length: 10 }, () => 403));
  expect(Object.values(errorTable).filter(({ http }) => http === 401)).toEqual([]);
});
