import { describe, expect, it } from 'vitest';
import { explainAnswer, explainFailure, readAnswer } from '../../src/bridge/explain.ts';
import { errorTable } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';

const url = new URL('https://gate:8443/mcp');
const identity = { name: 'agent-7', serial: '0abc', notBefore: new Date(0), notAfter: new Date(1) };
const failure = (code: string): Error => Object.assign(new Error('write EPROTO'), { code });

describe('failures of TLS and the network', () => {
  const rows: [code: string, as: string, words: string][] = [
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'ERR_BRIDGE_REFUSED', 'the gateway gate:8443 refused this identity: it asks for a client certificate and got none; connect with --identity DIR'],
    ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'ERR_BRIDGE_REFUSED', 'the gateway gate:8443 refused this identity: it does not trust the CA that issued the certificate of agent-7 (serial 0abc); use an identity issued by the CA of this gateway'],
    ['ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED', 'ERR_BRIDGE_REFUSED', 'the gateway gate:8443 refused this identity: the certificate of agent-7 (serial 0abc) has expired; ask the operator of the gateway for a new one (sallyport issue, or a token for sallyport enroll)'],
    ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_REVOKED', 'ERR_BRIDGE_REFUSED', 'the gateway gate:8443 refused this identity: the certificate of agent-7 (serial 0abc) was revoked; ask the operator of the gateway for a new one (sallyport issue, or a token for sallyport enroll)'],
    ['ERR_SSL_SSL/TLS_ALERT_UNSUPPORTED_CERTIFICATE', 'ERR_BRIDGE_REFUSED', 'the gateway gate:8443 refused this identity: the certificate of agent-7 (serial 0abc) is not a client certificate; use one issued with --profile agent or agent-spiffe'],
    ['ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE', 'ERR_BRIDGE_REFUSED', 'the gateway gate:8443 refused this identity: the TLS handshake failed; its operator finds the reason with sallyport audit tail'],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'ERR_BRIDGE_REFUSED', 'the gateway gate:8443 ended the TLS handshake: protocol version; its operator finds the reason with sallyport audit tail'],
    ['ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM', 'ERR_BRIDGE_UNREACHABLE', 'the gateway gate:8443 and this machine cannot agree on TLS (ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM); check that both allow TLS 1.3'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'ERR_BRIDGE_UNTRUSTED_GATEWAY', 'the certificate of the gateway gate:8443 does not come from the CA of this identity; check the address, and that the identity was issued for this gateway'],
    ['CERT_NOT_YET_VALID', 'ERR_BRIDGE_UNTRUSTED_GATEWAY', 'the certificate of the gateway gate:8443 is not yet valid; check the clock of this machine'],
    ['ENOTFOUND', 'ERR_BRIDGE_UNREACHABLE', 'the gateway gate:8443 cannot be reached: its host name is unknown; check the URL'],
    ['ECONNRESET', 'ERR_BRIDGE_UNREACHABLE', 'the gateway gate:8443 cannot be reached: it closed the connection without an answer; if this goes on, its operator finds the reason with sallyport audit tail'],
    ['EWHATEVER', 'ERR_BRIDGE_UNREACHABLE', 'the gateway gate:8443 cannot be reached: write EPROTO'],
  ];
  for (const [code, as, message] of rows) it(`says what ${code} means`, () => expect(explainFailure(failure(code), { url, identity })).toMatchObject({ code: as, message }));

  it('finds the code inside an error that names several addresses', () => {
    expect(explainFailure(new AggregateError([failure('ECONNREFUSED')]), { url })).toMatchObject({ message: 'the gateway gate:8443 cannot be reached: nothing listens there; start it with sallyport serve, or check host and port' });
  });
});

describe('answers of the gateway', () => {
  const rows: [answer: Parameters<typeof explainAnswer>[0], as: string, words: string][] = [
    [{ status: 401 }, 'ERR_BRIDGE_REFUSED', 'the gateway gate:8443 asks for a token besides the certificate; ask its operator how agents sign in'],
    [{ status: 403, code: 'ERR_HTTP_HOST', message: 'host not allowed' }, 'ERR_BRIDGE_REFUSED', 'the gateway gate:8443 is not reached under this host name; use the address that gateway.url names, or have the name added to gateway.allowedHosts'],
    [{ status: 404 }, 'ERR_HTTP_PATH', 'the gateway gate:8443 has no MCP endpoint at /mcp; it is /mcp for one upstream and /NAME/mcp for a named one'],
    [{ status: 404, hadSession: true, message: 'session not found' }, 'ERR_MCP_SESSION_UNKNOWN', 'the gateway gate:8443 does not know this session any more; initialize again'],
    [{ status: 413 }, 'ERR_HTTP_BODY_TOO_LARGE', 'the gateway gate:8443 does not take a message of this size; send less, or raise gateway.limits.bodyBytes there'],
    [{ status: 429, code: 'ERR_LIMIT_SESSIONS', message: 'too many sessions', retryAfter: '5' }, 'ERR_LIMIT_SESSIONS', 'the gateway gate:8443 has reached a limit of this agent (too many sessions); close sessions that are not needed, or try again in 5 s'],
    [{ status: 503, code: 'ERR_DRAINING', message: 'shutting down' }, 'ERR_BRIDGE_UNREACHABLE', 'the gateway gate:8443 is shutting down; try again later, since it may be on its way back'],
    [{ status: 502 }, 'ERR_UPSTREAM_UNREACHABLE', 'the gateway gate:8443 is there, the MCP server behind it is not answering; ask its operator to look at the log of sallyport serve'],
    [{ status: 400, code: 'ERR_MCP_PARSE', message: 'parse error' }, 'ERR_MCP_PARSE', 'the gateway gate:8443 cannot read the message as JSON; report it to the maker of the MCP client, since the message itself is wrong'],
    [{ status: 400, code: -32020, message: 'x' }, 'ERR_MCP_HEADER_MISMATCH', 'the gateway gate:8443 found headers and body of the request in disagreement; list the tools again, since one may have changed, and repeat the call'],
    [{ status: 400, code: -32021, message: 'x' }, 'ERR_MCP_CAPABILITY', 'the gateway gate:8443 needs the MCP client to declare a capability for this request; use an MCP client that has it'],
    [{ status: 400, code: -32022, message: 'x' }, 'ERR_MCP_REVISION_UNSUPPORTED', 'the gateway gate:8443 does not offer this protocol revision here; use one of those it names (gateway.eras there decides)'],
    [{ status: 200, code: 'ERR_MCP_STATE' }, 'ERR_MCP_STATE', 'the gateway gate:8443 does not take this state back: it was given for another request, or has expired; begin the call again from the start'],
    [{ status: 418 }, 'ERR_BRIDGE_UNREACHABLE', 'the gateway gate:8443 answered HTTP 418; check that the URL is the MCP endpoint of a gateway'],
  ];
  for (const [answer, as, message] of rows) it(`says what ${answer.status} ${answer.code ?? ''} means`, () => expect(explainAnswer(answer, { url, identity })).toMatchObject({ code: as, message }));

  it('reads the code of both shapes the gateway answers in', () => {
    expect(readAnswer(403, '{"error":{"code":"ERR_PEER_REVOKED","message":"m"}}')).toEqual({ status: 403, code: 'ERR_PEER_REVOKED', message: 'm' });
    expect(readAnswer(404, '{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"m","data":{"code":"ERR_MCP_SESSION_UNKNOWN"}}}')).toEqual({ status: 404, code: 'ERR_MCP_SESSION_UNKNOWN', message: 'm' });
    expect(readAnswer(500, 'null')).toEqual({ status: 500 });
  });
});

describe('every code that a gateway can answer', () => {
  /** Said by commands and the bridge themselves, inside certificates and stores, or to those who speak ACME or the API: nothing a bridge gets to hear. */
  const neverAnswered = /^ERR_(?:CONFIG|POLICY|LISTEN|USAGE|BRIDGE|DER|PEM|CERTIFICATE|CRL|OCSP|KEY|AUDIT_TAMPERED|AUDIT_KEY|RENEWAL_HOOK|BACKUP|API|ACME|CA_IMPORT|CA_IN_USE|CA_STATUS|REQUEST_UNKNOWN|REQUEST_DECIDED|REQUEST_FOUR_EYES|CA_EXISTS|CA_ALREADY_REVOKED|CA_REASON|CA_SELECTION|CA_NOT_HELD|STORE_DUPLICATE_SERIAL|TOOL)/u;
  const answered = (Object.keys(errorTable) as ErrorCode[]).filter((code) => !neverAnswered.test(code));

  it.each(answered)('%s: what happened, and what to do', (code) => {
    const { http, public: message } = errorTable[code];
    const words = explainAnswer({ status: http, code, message, retryAfter: '3' }, { url, identity }).message;
    const [happened, ...next] = words.split('; ');
    expect(happened).toMatch(/^the gateway gate:8443 [a-z][^{}]+$/);
    expect(next.join('; ')).toMatch(/^[a-z/][^{}]{10,}[^.]$/);
    // Words for a status, where a code should have its own.
    expect(words).not.toContain(`answered HTTP ${http}`);
    expect(words).not.toMatch(/undefined|ERR_/);
    if (http === 429) expect(words).toContain('try again in 3 s');
  });
});
