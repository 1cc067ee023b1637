/**
 * The request head for an HTTP upstream, made from decided values only. No header of the client
 * passes: what is not written here is not sent (mcp.md rows 12, 18, 19).
 */
import { SallyportError } from '../errors.ts';
import type { UpstreamRequest } from './upstream.ts';

/** Where the requests of one upstream go. */
export interface HttpTarget {
  readonly origin: string;
  readonly path: string;
  readonly hostname: string;
  readonly port: number;
}

/**
 * @throws SallyportError `ERR_CONFIG_INVALID`
 */
export const readTarget = (upstream: string, given: string | URL): HttpTarget => {
  const url = URL.canParse(String(given)) ? new URL(given) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new SallyportError('ERR_CONFIG_INVALID', 'the url of an upstream must be an absolute http or https URL', { facts: { upstream } });
  }
  if (url.username !== '' || url.password !== '' || url.hash !== '') {
    throw new SallyportError('ERR_CONFIG_INVALID', 'the url of an upstream must hold no user, password or fragment: put credentials into its headers', { facts: { upstream } });
  }
  return {
    origin: url.origin,
    path: `${url.pathname}${url.search}`,
    hostname: url.hostname.replace(/^\[(?<address>.*)\]$/u, '$<address>'),
    port: url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port),
  };
};

/** Headers as undici takes them: name, value, name, value. */
export type FlatHeaders = string[];

export class RequestHeaders {
  readonly #upstream: string;
  readonly #post: readonly string[];
  readonly #get: readonly string[];
  readonly #delete: readonly string[];

  /**
   * @throws SallyportError `ERR_CONFIG_INVALID` when a configured header is one this side sets itself
   */
  constructor(upstream: string, configured: Readonly<Record<string, string>> = {}) {
    this.#upstream = upstream;
    const own = Object.entries(configured).flatMap(([name, value]) => {
      if (!isUsable(name, value)) {
        throw new SallyportError('ERR_CONFIG_INVALID', 'a header configured for an upstream is one the gateway sets itself, or is malformed: remove it', {
          facts: { upstream, header: name },
        });
      }
      return [name, value];
    });
    // Without Accept-Encoding any coding would be acceptable (RFC 9110 §12.5.3).
    const common = ['accept-encoding', 'identity', ...own];
    this.#post = ['accept', 'application/json, text/event-stream', 'content-type', 'application/json', ...common];
    this.#get = ['accept', 'text/event-stream', 'cache-control', 'no-store', ...common];
    this.#delete = ['accept', 'application/json', ...common];
  }

  of(request: UpstreamRequest, identity: Readonly<Record<string, string>> | undefined): FlatHeaders {
    const headers = [...(request.method === 'POST' ? this.#post : request.method === 'GET' ? this.#get : this.#delete)];
    if (request.protocolVersion !== undefined) headers.push('mcp-protocol-version', request.protocolVersion);
    if (request.session !== undefined) headers.push('mcp-session-id', request.session);
    if (request.lastEventId !== undefined) headers.push('last-event-id', request.lastEventId);
    for (const name in identity) {
      const value = identity[name] ?? '';
      // An identity that cannot be said is not replaced by none: the request is not sent.
      if (!isUsable(name, value)) throw new SallyportError('ERR_INTERNAL', 'the identity cannot be passed on: a header for it is malformed', { facts: { upstream: this.#upstream, header: name } });
      headers.push(name, value);
    }
    return headers;
  }

  /** For ending a session without a request of a peer. */
  ofDelete(session: string): FlatHeaders {
    return [...this.#delete, 'mcp-session-id', session];
  }
}

const reserved = new Set([
  'accept', 'accept-encoding', 'cache-control', 'connection', 'content-encoding', 'content-length', 'content-type', 'expect', 'host', 'keep-alive',
  'last-event-id', 'mcp-protocol-version', 'mcp-session-id', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade',
]);

const isUsable = (name: string, value: string): boolean =>
  /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/u.test(name) && /^[\t\u0020-\u007e]*$/u.test(value) && !reserved.has(name.toLowerCase());
