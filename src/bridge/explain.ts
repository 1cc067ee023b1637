/** Turns what TLS, the network and the gateway say into words with a next step. Pure: values in, an error out. */
import type { ErrorFacts } from '../../ca/errors.ts';
import { errorTable, SallyportError } from '../errors.ts';
import type { ErrorCode, GateErrorCode } from '../errors.ts';
import { refusalWords, whenToRetry } from './refusal-words.ts';

/** What the words are about. */
export interface ExplainContext {
  readonly url: URL;
  /** The identity that was presented, as far as one was loaded. */
  readonly identity?: PresentedIdentity | undefined;
}

/** The parts of an `Identity` that a message names. */
export interface PresentedIdentity {
  readonly name: string;
  readonly serial: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** An HTTP answer that was not a success. */
export interface GatewayAnswer {
  readonly status: number;
  /** `error.code` of the body: one of ours, or a JSON-RPC number. */
  readonly code?: string | number | undefined;
  readonly message?: string | undefined;
  readonly retryAfter?: string | undefined;
  /** Whether the request named a session. */
  readonly hadSession?: boolean | undefined;
}

const newIdentity = 'ask the operator of the gateway for a new one (sallyport issue, or a token for sallyport enroll)';

/** Own certificate outside its lifetime: said before dialing, in better words than a TLS alert has. */
export function refuseOutsideLifetime(identity: PresentedIdentity, now: Date): void {
  const certificate = `the certificate of ${identity.name}`;
  if (now > identity.notAfter) {
    throw new SallyportError('ERR_BRIDGE_IDENTITY', `${certificate} expired at ${identity.notAfter.toISOString()}; ${newIdentity}`, {
      facts: { reason: 'ERR_PEER_EXPIRED', serial: identity.serial },
    });
  }
  if (now < identity.notBefore) {
    throw new SallyportError('ERR_BRIDGE_IDENTITY', `${certificate} is not valid before ${identity.notBefore.toISOString()}; check the clock of this machine, which says ${now.toISOString()}`, {
      facts: { reason: 'ERR_PEER_NOT_YET_VALID', serial: identity.serial },
    });
  }
}

/** The gateway's verdict on our certificate, by its code (plain HTTP 403 right after the handshake). */
const verdicts: Readonly<Partial<Record<GateErrorCode, (name: string) => string>>> = {
  ERR_PEER_NO_CERTIFICATE: () => 'it asks for a client certificate and got none; connect with --identity DIR',
  ERR_PEER_UNTRUSTED: (name) => `it does not trust the CA that issued ${name}; use an identity issued by the CA of this gateway`,
  ERR_PEER_ISSUER: (name) => `${name} was not issued by the issuing CA it accepts; use an identity issued by the CA of this gateway`,
  ERR_PEER_EXPIRED: (name) => `${name} has expired; ${newIdentity}`,
  ERR_PEER_NOT_YET_VALID: (name) => `${name} is not yet valid; compare the clocks of both machines`,
  ERR_PEER_REVOKED: (name) => `${name} was revoked; ${newIdentity}`,
  ERR_PEER_PROFILE: (name) => `${name} is not a client certificate; use one issued with --profile agent or agent-spiffe`,
  ERR_PEER_UNKNOWN_SERIAL: (name) => `${name} is not in its inventory; ${newIdentity}`,
  ERR_PEER_STATUS_UNKNOWN: (name) => `it cannot establish whether ${name} is revoked; its operator should run sallyport doctor`,
  ERR_PEER_HANDSHAKE: () => 'the TLS handshake failed; its operator finds the reason with sallyport audit tail',
};

/** Whether an answer is the verdict on the certificate rather than on one request. */
export const isVerdict = (answer: GatewayAnswer): boolean => answer.status === 403 && typeof answer.code === 'string' && Object.hasOwn(verdicts, answer.code);

/** Reads `{ error: { code, message } }`, which is the shape of the gateway's own answers and of JSON-RPC errors. */
export function readAnswer(status: number, body: string): GatewayAnswer {
  try {
    const { error } = JSON.parse(body) as { error?: { code?: unknown; message?: unknown; data?: { code?: unknown } } };
    const named = typeof error?.data?.code === 'string' ? error.data.code : error?.code;
    return {
      status,
      code: typeof named === 'string' || typeof named === 'number' ? named : undefined,
      message: typeof error?.message === 'string' ? error.message : undefined,
    };
  } catch {
    return { status };
  }
}

/** Words for an answer of the gateway that was not a success. */
export function explainAnswer(answer: GatewayAnswer, context: ExplainContext): SallyportError {
  const gateway = `the gateway ${context.url.host}`;
  const facts: ErrorFacts = { host: context.url.host, status: answer.status, reason: answer.code === undefined ? undefined : String(answer.code), serial: context.identity?.serial };
  const error = (code: GateErrorCode, message: string): SallyportError => new SallyportError(code, message, { facts });
  const said = answer.message === undefined ? '' : ` (${answer.message})`;

  if (isVerdict(answer)) {
    const verdict = verdicts[answer.code as GateErrorCode];
    return error('ERR_BRIDGE_REFUSED', `${gateway} refused this identity: ${verdict?.(certificateOf(context)) ?? 'it was not accepted'}`);
  }
  const retry = answer.retryAfter === undefined ? 'try again later' : `try again in ${answer.retryAfter} s`;
  // A session that is gone and a path that never was are both 404: what was asked tells them apart.
  const code = answer.hadSession === true && answer.status === 404 && answer.code !== 'ERR_HTTP_PATH' ? 'ERR_MCP_SESSION_UNKNOWN' : (modernCodes[String(answer.code)] ?? answer.code);
  if (isKnownCode(code)) {
    const words = refusalWords[code];
    if (words !== undefined) {
      const happened = words.happened.replace('{said}', said).replace('{path}', context.url.pathname);
      return error(words.as ?? (isGateCode(code) ? code : 'ERR_BRIDGE_ENROLLMENT'), `${gateway} ${happened}; ${words.next.replace(whenToRetry, retry)}`);
    }
  }
  switch (answer.status) {
    case 401:
      return error('ERR_BRIDGE_REFUSED', `${gateway} asks for a token besides the certificate${said}; ask its operator how agents sign in`);
    case 403:
      return error('ERR_BRIDGE_REFUSED', `${gateway} does not permit this to ${context.identity?.name ?? 'this identity'}${said}; ask its operator for a role that does (sallyport policy explain shows which rule decided)`);
    case 404:
      return error('ERR_HTTP_PATH', `${gateway} has no MCP endpoint at ${context.url.pathname}; it is /mcp for one upstream and /NAME/mcp for a named one`);
    case 408:
      return error('ERR_HTTP_BODY_TIMEOUT', `${gateway} did not receive the request in time; try again`);
    case 413:
      return error('ERR_HTTP_BODY_TOO_LARGE', `${gateway} does not take a message of this size; send less, or raise gateway.limits.bodyBytes there`);
    case 429:
      return error('ERR_LIMIT_REQUESTS', `${gateway} has reached a limit of this agent${said}; ${retry}`);
    case 502:
    case 504:
      return error(answer.status === 502 ? 'ERR_UPSTREAM_UNREACHABLE' : 'ERR_UPSTREAM_TIMEOUT', `${gateway} is there, the MCP server behind it is not answering${said}; ask its operator to look at the log of sallyport serve`);
    case 503:
      return error('ERR_BRIDGE_UNREACHABLE', `${gateway} is not taking requests now${said}; ${retry}`);
    default:
      return error('ERR_BRIDGE_UNREACHABLE', `${gateway} answered HTTP ${answer.status}${said}; check that the URL is the MCP endpoint of a gateway`);
  }
}

/** JSON-RPC numbers of revision 2026-07-28, as an MCP server without codes of ours answers them. */
const modernCodes: Readonly<Record<string, ErrorCode>> = { '-32020': 'ERR_MCP_HEADER_MISMATCH', '-32021': 'ERR_MCP_CAPABILITY', '-32022': 'ERR_MCP_REVISION_UNSUPPORTED' };

/** Whether an answer is trouble with the way to the MCP server rather than an answer of the protocol. */
export const isTrouble = (answer: GatewayAnswer): boolean => (isKnownCode(answer.code) && refusalWords[answer.code]?.trouble === true) || isVerdict(answer);

/** Words for an `initialize` that policy denies: the certificate is good, and opens nothing. */
export function nothingGranted({ url, identity }: ExplainContext): SallyportError {
  return new SallyportError('ERR_BRIDGE_REFUSED', `the gateway ${url.host} knows ${identity?.name ?? 'this identity'}, but its policy grants it nothing at ${url.pathname}; ask its operator for a role that does (sallyport policy explain shows which rule decided)`, {
    facts: { host: url.host, reason: 'ERR_MCP_DENIED', serial: identity?.serial },
  });
}

/** Words for a failed connection. Errors of ours pass through. */
export function explainFailure(cause: unknown, context: ExplainContext): SallyportError {
  if (cause instanceof SallyportError) return cause;
  const { host, hostname } = context.url;
  const gateway = `the gateway ${host}`;
  const code = systemCodeOf(cause);
  const error = (as: GateErrorCode, message: string, reason?: string): SallyportError =>
    new SallyportError(as, message, { facts: { host, reason: reason ?? code, serial: context.identity?.serial }, cause });

  const alert = /ALERT_([A-Z_]+)$/u.exec(code)?.[1];
  if (alert !== undefined) {
    const verdict = alertVerdict(alert);
    if (verdict !== undefined) return error('ERR_BRIDGE_REFUSED', `${gateway} refused this identity: ${verdicts[verdict]?.(certificateOf(context)) ?? alert}`, verdict);
    return error('ERR_BRIDGE_REFUSED', `${gateway} ended the TLS handshake: ${alert.toLowerCase().replaceAll('_', ' ')}; its operator finds the reason with sallyport audit tail`);
  }
  const trust = ownTrust(code, hostname, gateway, namesOf(cause));
  if (trust !== undefined) return error(trust.code, trust.message);
  const network = networkWords[code];
  if (network !== undefined) return error('ERR_BRIDGE_UNREACHABLE', `${gateway} cannot be reached: ${network}`);
  if (code.startsWith('ERR_SSL_')) {
    const plain = code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG' || code === 'ERR_SSL_HTTP_REQUEST';
    return error('ERR_BRIDGE_UNREACHABLE', plain ? `${gateway} does not speak TLS on this port; use the port of gateway.listen, not the public one` : `${gateway} and this machine cannot agree on TLS (${code}); check that both allow TLS 1.3`);
  }
  const text = cause instanceof Error ? cause.message : String(cause);
  return error('ERR_BRIDGE_UNREACHABLE', `${gateway} cannot be reached: ${text}`);
}

const isKnownCode = (code: string | number | undefined): code is ErrorCode => typeof code === 'string' && Object.hasOwn(errorTable, code);

/** Codes of the issuing side are none of ours to throw. */
const isGateCode = (code: ErrorCode): code is GateErrorCode => !/^ERR_(?:DER|PEM|CERTIFICATE|CSR|CRL|CA|TOKEN|KEY|STORE)_/u.test(code);

/** The first error code of an error and its causes (a failed dial to several addresses is an AggregateError). */
export function systemCodeOf(error: unknown): string {
  for (let at: unknown = error; at instanceof Error; ) {
    if ('code' in at && typeof at.code === 'string') return at.code === 'EPROTO' ? (openSslReason(at.message) ?? at.code) : at.code;
    at = at instanceof AggregateError ? at.errors[0] : at.cause;
  }
  return '';
}

/** A failed write carries OpenSSL's reason in its text only: `…:SSL routines:<function>:<reason>:…`. */
function openSslReason(message: string): string | undefined {
  const reason = /:SSL routines:[^:]*:([^:]+):/u.exec(message)?.[1];
  return reason === undefined ? undefined : `ERR_SSL_${reason.toUpperCase().replaceAll(' ', '_')}`;
}

/** Alerts are the same in all spellings of OpenSSL: `SSLV3_ALERT_…`, `TLSV1_ALERT_…`, `TLSV13_ALERT_…`, `SSL/TLS_ALERT_…`. */
function alertVerdict(alert: string): GateErrorCode | undefined {
  // RFC 8446 §6.2.
  switch (alert) {
    case 'CERTIFICATE_REQUIRED':
      return 'ERR_PEER_NO_CERTIFICATE';
    case 'UNKNOWN_CA':
      return 'ERR_PEER_UNTRUSTED';
    case 'CERTIFICATE_EXPIRED':
      return 'ERR_PEER_EXPIRED';
    case 'CERTIFICATE_REVOKED':
      return 'ERR_PEER_REVOKED';
    case 'UNSUPPORTED_CERTIFICATE':
      return 'ERR_PEER_PROFILE';
    case 'BAD_CERTIFICATE':
    case 'CERTIFICATE_UNKNOWN':
    case 'ACCESS_DENIED':
    case 'DECRYPT_ERROR':
      return 'ERR_PEER_HANDSHAKE';
    default:
      return undefined;
  }
}

/** What our own verification of the gateway's certificate found. */
function ownTrust(code: string, hostname: string, gateway: string, names: string | undefined): { code: GateErrorCode; message: string } | undefined {
  switch (code) {
    case 'ERR_TLS_CERT_ALTNAME_INVALID': {
      const holds = names === undefined ? '' : ` (it is for ${names})`;
      return { code: 'ERR_BRIDGE_HOSTNAME', message: `the certificate of ${gateway} is not for ${hostname}${holds}; use a name it is for, or ask the operator of the gateway for a certificate with this one (sallyport issue NAME --profile server --host ${hostname})` };
    }
    case 'CERT_HAS_EXPIRED':
      return { code: 'ERR_BRIDGE_UNTRUSTED_GATEWAY', message: `the certificate of ${gateway} has expired; its operator should renew it (sallyport doctor), or check the clock of this machine` };
    case 'CERT_NOT_YET_VALID':
      return { code: 'ERR_BRIDGE_UNTRUSTED_GATEWAY', message: `the certificate of ${gateway} is not yet valid; check the clock of this machine` };
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'CERT_SIGNATURE_FAILURE':
    case 'CERT_UNTRUSTED':
    case 'INVALID_CA':
    case 'INVALID_PURPOSE':
    case 'PATH_LENGTH_EXCEEDED':
      return { code: 'ERR_BRIDGE_UNTRUSTED_GATEWAY', message: `the certificate of ${gateway} does not come from the CA of this identity; check the address, and that the identity was issued for this gateway` };
    default:
      return undefined;
  }
}

const networkWords: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there; start it with sallyport serve, or check host and port',
  ENOTFOUND: 'its host name is unknown; check the URL',
  EAI_AGAIN: 'its host name cannot be resolved now; check the network',
  ETIMEDOUT: 'no answer in time; check host, port and firewall',
  EHOSTUNREACH: 'no route to the host; check the network',
  ENETUNREACH: 'no route to the network; check the network',
  EADDRNOTAVAIL: 'its address is not usable from here; check the URL',
  ECONNRESET: 'it closed the connection without an answer; if this goes on, its operator finds the reason with sallyport audit tail',
  EPIPE: 'it closed the connection without an answer; if this goes on, its operator finds the reason with sallyport audit tail',
};

function certificateOf(context: ExplainContext): string {
  return context.identity === undefined ? 'the certificate' : `the certificate of ${context.identity.name} (serial ${context.identity.serial})`;
}

/** The names of a gateway certificate that was refused for its host; Node hangs its legacy form on the error. */
function namesOf(cause: unknown): string | undefined {
  if (!(cause instanceof Error) || !('cert' in cause)) return undefined;
  const names = (cause.cert as { subjectaltname?: unknown } | undefined)?.subjectaltname;
  return typeof names === 'string' ? names : undefined;
}
