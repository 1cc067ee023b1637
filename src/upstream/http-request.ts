/**
 * The request head for an HTTP upstream, made from decided values only. No header of the client
 * passes: what is not written here is not sent (mcp.md rows 12, 18, 19).
 */
import { SallyportError } from '../errors.ts';
import { nameMemberOf } from '../mcp/era.ts';
import { encodeHeaderValue } from '../mcp/header-value.ts';
import type { UpstreamRequest } from './upstream.ts';

/** Where the requests of one upstream go. */
export interface HttpTarget {
  readonly origin: string;
  readonly path: string;
  readonly hostname: string;
  readonly port: number;
  readonly secure: boolean;
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
    secure: url.protocol === 'https:',
  };
};

/** Of the headers that tell an upstream who calls; never configured, so that nobody can mistake one for the other. */
export const identityPrefix = 'x-sallyport-';

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
  constructor(upstream: string, configured: Readonly<Record<string, string>> = {}, credentialHeader?: string) {
    this.#upstream = upstream;
    if (credentialHeader !== undefined && (!isConfigurable(credentialHeader, '') || Object.keys(configured).some((name) => name.toLowerCase() === credentialHeader.toLowerCase()))) {
      throw new SallyportError('ERR_CONFIG_INVALID', 'the header of the credential of an upstream is one the gateway sets itself, or stands under headers too: name another', { facts: { upstream, header: credentialHeader } });
    }
    const own = Object.entries(configured).flatMap(([name, value]) => {
      if (!isConfigurable(name, value)) {
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

  /** `added`: what the upstream learns about the caller, and the credential it takes. */
  of(request: RequestHead, added: Readonly<Record<string, string>> | undefined): FlatHeaders {
    const headers = [...(request.method === 'POST' ? this.#post : request.method === 'GET' ? this.#get : this.#delete)];
    if (request.protocolVersion !== undefined) headers.push('mcp-protocol-version', request.protocolVersion);
    if (request.era === 'modern') {
      // The modern era has neither; whatever the caller holds of the legacy one stays here.
      pushMirrored(headers, request);
      this.#pushParams(headers, request.paramHeaders);
    } else {
      if (request.session !== undefined) headers.push('mcp-session-id', request.session);
      if (request.lastEventId !== undefined) headers.push('last-event-id', request.lastEventId);
    }
    this.#push(headers, added);
    return headers;
  }

  /** For ending a session without a request of a peer. */
  ofDelete(session: string, added?: Readonly<Record<string, string>>): FlatHeaders {
    const headers = [...this.#delete, 'mcp-session-id', session];
    this.#push(headers, added);
    return headers;
  }

  #push(headers: FlatHeaders, added: Readonly<Record<string, string>> | undefined): void {
    for (const name in added) {
      const value = added[name] ?? '';
      // An identity that cannot be said is not replaced by none: the request is not sent.
      if (!isUsable(name, value)) throw new SallyportError('ERR_INTERNAL', 'the identity cannot be passed on: a header for it is malformed', { facts: { upstream: this.#upstream, header: name } });
      headers.push(name, value);
    }
  }

  /** Values stay as they are: the MCP server compares them with the body, and so has the gateway. */
  #pushParams(headers: FlatHeaders, given: UpstreamRequest['paramHeaders']): void {
    for (const name in given) {
      const value = given[name] ?? '';
      if (!paramName.test(name) || !headerValue.test(value)) {
        throw new SallyportError('ERR_MCP_HEADER_MISMATCH', 'an Mcp-Param header holds what no header may: encode it as =?base64?…?=', { facts: { upstream: this.#upstream, header: name.slice(0, 100) } });
      }
      headers.push(name, value);
    }
  }
}

/** What of a request its head is made of. */
export type RequestHead = Pick<UpstreamRequest, 'era' | 'method' | 'session' | 'protocolVersion' | 'lastEventId' | 'messages' | 'paramHeaders'>;

/** Revision 2026-07-28, Streamable HTTP: headers that repeat what the body says. */
const pushMirrored = (headers: FlatHeaders, { messages }: RequestHead): void => {
  const [message] = messages;
  if (message === undefined || message.kind === 'response') return;
  headers.push('mcp-method', encodeHeaderValue(message.method));
  const member = nameMemberOf(message.method);
  const name = member === undefined ? undefined : message.params?.[member];
  if (typeof name === 'string') headers.push('mcp-name', encodeHeaderValue(name));
};

const paramName = /^mcp-param-[!#$%&'*+.^_`|~0-9A-Za-z-]+$/iu;
const headerName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/u;
const headerValue = /^[\t\u0020-\u007e]*$/u;

const reserved = new Set([
  'accept', 'accept-encoding', 'cache-control', 'connection', 'content-encoding', 'content-length', 'content-type', 'expect', 'host', 'keep-alive',
  'last-event-id', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade',
]);

const isUsable = (name: string, value: string): boolean => {
  const lower = name.toLowerCase();
  return headerName.test(name) && headerValue.test(value) && !reserved.has(lower) && !lower.startsWith('mcp-');
};

const isConfigurable = (name: string, value: string): boolean => isUsable(name, value) && !name.toLowerCase().startsWith(identityPrefix);
