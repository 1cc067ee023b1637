/** What went wrong on the way to an HTTP upstream, in our codes. */
import { SallyportError } from '../errors.ts';

export const failureOf = (upstream: string, cause: unknown): SallyportError => {
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
  if (/CERT|ERR_TLS|ERR_SSL|EPROTO/u.test(code)) {
    return new SallyportError('ERR_UPSTREAM_UNREACHABLE', 'TLS with the upstream fails: check its host name and the ca, cert and key configured for it', { cause, facts });
  }
  return new SallyportError('ERR_UPSTREAM_UNREACHABLE', 'the upstream cannot be reached: check that it runs and that its url is right', { cause, facts });
};

/** With several addresses tried (`localhost`), the code of the first attempt. */
const codeOf = (error: unknown): string => {
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0]);
  if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string') return error.code;
  // undici leaves the code out when the very first octets are no HTTP.
  if (error instanceof Error && error.name === 'HTTPParserError') return 'HPE_INVALID';
  return 'unknown';
};
