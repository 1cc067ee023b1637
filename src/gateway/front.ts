/** What must be right about an HTTP request before its body is looked at. */
import type { IncomingMessage } from 'node:http';
import { SallyportError } from '../errors.ts';

export interface FrontOptions {
  /** `host` or `host:port`, lower case; an entry without a port matches any port. Empty: every host is refused. */
  readonly allowedHosts: readonly string[];
  /** Exact origins, e.g. `https://inspector.acme.internal`. Empty: every request with an Origin is refused. */
  readonly allowedOrigins: readonly string[];
}

export type FrontMethod = 'POST' | 'GET' | 'DELETE';

export interface Front {
  readonly method: FrontMethod;
  readonly sessionId: string | undefined;
  readonly protocolVersion: string | undefined;
  readonly lastEventId: string | undefined;
  /** `Mcp-Method` and `Mcp-Name`, as they came. */
  readonly mcpMethod: string | undefined;
  readonly mcpName: string | undefined;
  /** `Mcp-Param-*` by lower-case name, as they came. */
  readonly paramHeaders: Readonly<Record<string, string>> | undefined;
  readonly acceptsJson: boolean;
  readonly acceptsStream: boolean;
}

/** Node joins or drops repeated headers; two readers could then see two requests (mcp.md row 10). */
const singletons = new Set([
  'host', 'origin', 'content-type', 'content-length', 'content-encoding', 'transfer-encoding', 'authorization',
  'mcp-session-id', 'mcp-protocol-version', 'mcp-method', 'mcp-name', 'last-event-id',
]);

const methodOverrides = new Set(['x-http-method-override', 'x-http-method', 'x-method-override']);

/** Visible ASCII, as the MCP transport demands of session ids. */
const opaque = /^[\x21-\x7e]{1,1024}$/;

/**
 * Reads the head of a request to an MCP endpoint.
 * @throws SallyportError `ERR_HTTP_*`
 */
export const readFront = (request: IncomingMessage, options: FrontOptions): Front => {
  const { headers } = request;
  checkRawHeaders(request.rawHeaders);
  if (!hostAllowed(headers.host, options.allowedHosts)) {
    throw new SallyportError('ERR_HTTP_HOST', 'the Host header names a host this gateway does not serve: add it to gateway.allowedHosts if it should', {
      facts: { host: headers.host ?? '' },
    });
  }
  if (headers.origin !== undefined && !options.allowedOrigins.includes(headers.origin)) {
    throw new SallyportError('ERR_HTTP_ORIGIN', 'the Origin header names a site that may not call this gateway: add it to gateway.allowedOrigins if it should', {
      facts: { origin: headers.origin },
    });
  }
  const { method } = request;
  if (method !== 'POST' && method !== 'GET' && method !== 'DELETE') {
    throw new SallyportError('ERR_HTTP_METHOD', 'MCP endpoints answer POST, GET and DELETE only', { facts: { method: method ?? '' } });
  }
  const accept = headers.accept ?? '';
  const front: Front = {
    method,
    sessionId: opaqueHeader(headers['mcp-session-id'], 'mcp-session-id'),
    protocolVersion: opaqueHeader(headers['mcp-protocol-version'], 'mcp-protocol-version'),
    lastEventId: opaqueHeader(headers['last-event-id'], 'last-event-id'),
    mcpMethod: textHeader(headers['mcp-method']),
    mcpName: textHeader(headers['mcp-name']),
    paramHeaders: paramHeadersOf(headers),
    acceptsJson: accepts(accept, 'application/json', 'application/*'),
    acceptsStream: accepts(accept, 'text/event-stream', 'text/*'),
  };
  if (method === 'POST') checkContent(request);
  if (method === 'POST' ? !(front.acceptsJson && front.acceptsStream) : method === 'GET' && !front.acceptsStream) {
    throw new SallyportError('ERR_HTTP_NOT_ACCEPTABLE', 'the Accept header must list application/json and text/event-stream (GET: text/event-stream)');
  }
  return front;
};

const checkRawHeaders = (raw: readonly string[]): void => {
  let seen: Set<string> | undefined;
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] ?? '').toLowerCase();
    if (methodOverrides.has(name)) {
      throw new SallyportError('ERR_HTTP_HEADER', 'method override headers are refused: send the method itself', { facts: { header: name } });
    }
    if (!singletons.has(name) && !name.startsWith(paramPrefix)) continue;
    seen ??= new Set();
    if (seen.has(name)) throw new SallyportError('ERR_HTTP_HEADER', 'a header that must appear once appears twice', { facts: { header: name } });
    seen.add(name);
  }
};

const hostAllowed = (host: string | undefined, allowed: readonly string[]): boolean => {
  if (host === undefined) return false;
  const given = host.toLowerCase();
  if (allowed.includes(given)) return true;
  const port = /:\d{1,5}$/u.exec(given);
  return port !== null && allowed.includes(given.slice(0, port.index));
};

const opaqueHeader = (value: string | string[] | undefined, name: string): string | undefined => {
  if (value === undefined) return undefined;
  if (typeof value !== 'string' || !opaque.test(value)) {
    throw new SallyportError('ERR_HTTP_HEADER', 'a header holds characters or a length that MCP does not allow', { facts: { header: name } });
  }
  return value;
};

/** Once only, as the check of the raw headers has made sure. */
const textHeader = (value: string | string[] | undefined): string | undefined => (typeof value === 'string' ? value : undefined);

const paramPrefix = 'mcp-param-';

const paramHeadersOf = (headers: IncomingMessage['headers']): Readonly<Record<string, string>> | undefined => {
  let found: Record<string, string> | undefined;
  for (const name in headers) {
    const value = headers[name];
    if (name.startsWith(paramPrefix) && typeof value === 'string') (found ??= {})[name] = value;
  }
  return found;
};

const accepts = (accept: string, exact: string, range: string): boolean =>
  accept === '' ? false : accept.split(',').some((item) => {
    const media = (item.split(';', 1)[0] ?? '').trim().toLowerCase();
    return media === exact || media === range || media === '*/*';
  });

/** mcp.md row 11: what is not plain JSON in UTF-8 is not decoded, so no two decoders can differ. */
const checkContent = (request: IncomingMessage): void => {
  const [media, ...parameters] = (request.headers['content-type'] ?? '').split(';').map((part) => part.trim().toLowerCase());
  const charsetIsUtf8 = parameters.every((parameter) => parameter === '' || parameter === 'charset=utf-8' || parameter === 'charset="utf-8"');
  const coding = request.headers['content-encoding'];
  if (media !== 'application/json' || !charsetIsUtf8 || (coding !== undefined && coding.toLowerCase() !== 'identity')) {
    throw new SallyportError('ERR_HTTP_MEDIA_TYPE', 'the body must be application/json in UTF-8 without content coding', {
      facts: { contentType: request.headers['content-type'] ?? '', contentEncoding: coding ?? '' },
    });
  }
};
