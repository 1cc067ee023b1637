/** What went wrong on the way to an HTTP upstream, in our codes, with words someone can act on. */
import { SallyportError } from '../errors.ts';

export interface FailureContext {
  readonly upstream: string;
  readonly secure: boolean;
}

export const failureOf = (cause: unknown, { upstream, secure }: FailureContext): SallyportError => {
  if (cause instanceof SallyportError) return cause;
  const code = codeOf(cause);
  const facts = { upstream, reason: code };
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT') {
    return new SallyportError('ERR_UPSTREAM_TIMEOUT', 'the upstream did not answer in time: raise upstreamTimeoutMs if it needs longer', { cause, facts });
  }
  if (code === 'UND_ERR_HEADERS_OVERFLOW') return new SallyportError('ERR_UPSTREAM_TOO_LARGE', 'the response head of the upstream is too large', { cause, facts });
  if (code.startsWith('HPE_') || code.startsWith('UND_ERR_RES')) {
    return new SallyportError('ERR_UPSTREAM_INVALID', 'the upstream does not speak HTTP properly: check that its url names an MCP server', { cause, facts });
  }
  if (code.startsWith('UND_ERR_INVALID')) return new SallyportError('ERR_INTERNAL', 'the request to the upstream could not be built', { cause, facts });
  const advice = tlsAdvice.find(([codes]) => codes.test(code))?.[1]
    ?? (secure && isConnectionFailure(code) && code !== 'ECONNREFUSED' ? 'the upstream closed the connection without an answer: if it demands client certificates, set tls.cert and tls.key of this upstream to ones it trusts' : undefined)
    ?? 'the upstream cannot be reached: check that it runs and that its url is right';
  return new SallyportError('ERR_UPSTREAM_UNREACHABLE', advice, { cause, facts: { ...facts, ...detailOf(cause) } });
};

/** Whether the connection was refused or lost; a TLS problem is none, since it would come again. */
export const isConnectionFailure = (reason: unknown): boolean => typeof reason === 'string' && connectionFailures.has(reason);

const connectionFailures: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ECONNRESET', 'ECONNABORTED', 'EPIPE', 'UND_ERR_SOCKET']);

/** By the codes of OpenSSL's verification, its alerts, and Node's own check of the name. */
const tlsAdvice: readonly (readonly [codes: RegExp, advice: string])[] = [
  [/^ERR_TLS_CERT_ALTNAME/u, 'the certificate of the upstream is for another host: use a url with a name it holds, or set tls.serverName of this upstream'],
  [/^CERT_HAS_EXPIRED$|^CERT_NOT_YET_VALID$/u, 'the certificate of the upstream is not valid now: renew it there, or correct the clock'],
  [/SELF_SIGNED|UNABLE_TO_(?:GET_ISSUER|VERIFY)|CERT_UNTRUSTED|INVALID_CA|CERT_SIGNATURE/u, 'the certificate of the upstream is not signed by a CA that is trusted for it: set tls.ca of this upstream to the CA it has its certificate from'],
  [/ALERT_CERTIFICATE_REQUIRED|ALERT_HANDSHAKE_FAILURE/u, 'the upstream demands a client certificate: set tls.cert and tls.key of this upstream'],
  [/ALERT_(?:UNKNOWN_CA|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_|ACCESS_DENIED)/u, 'the upstream does not accept the certificate of the gateway: set tls.cert and tls.key of this upstream to one it trusts'],
  [/CERT|ERR_TLS|ERR_SSL|EPROTO/u, 'TLS with the upstream fails: check its host name and the ca, cert and key configured for it'],
];

/** With several addresses tried (`localhost`), the code of the first attempt. */
const codeOf = (error: unknown): string => {
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0]);
  if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string') return error.code;
  // undici leaves the code out when the very first octets are no HTTP.
  if (error instanceof Error && error.name === 'HTTPParserError') return 'HPE_INVALID';
  return 'unknown';
};

/** Of a certificate for another host: which names it holds. */
const detailOf = (error: unknown): { detail?: string } =>
  error instanceof Error && 'reason' in error && typeof error.reason === 'string' && error.reason !== '' ? { detail: error.reason } : {};
