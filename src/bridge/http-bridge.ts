/**
 * Loopback HTTP on one side, a gateway on the other, for MCP clients that speak Streamable HTTP but
 * know no certificates. Whoever can send here acts as the agent, so every request proves it was told
 * the address: Host, Origin and a secret of this launch in the path (mcp.md row 13).
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Randomness } from '../../ca/ports.ts';
import { present, SallyportError } from '../errors.ts';
import { systemRandomness } from '../system.ts';
import { explainFailure } from './explain.ts';
import type { IdentityFetch } from './identity-fetch.ts';
import { factsOf } from './message-text.ts';
import type { NoticeSink } from './notice.ts';

export interface HttpBridgeOptions extends HttpBridgeListener {
  readonly url: URL;
  readonly fetch: IdentityFetch;
}

/** A gateway behind the bridge, with the identity that is presented to it. */
export interface BridgedGateway {
  readonly name: string;
  readonly url: URL;
  readonly fetch: IdentityFetch;
}

export interface HttpBridgeListener {
  readonly notice: NoticeSink;
  /** Default 0: one that is free. */
  readonly port?: number;
  readonly maxBodyBytes?: number;
  readonly bodyTimeoutMs?: number;
  readonly randomness?: Randomness;
}

export interface HttpBridge {
  /** What goes into the MCP client's configuration; holds the secret. */
  readonly url: string;
  readonly port: number;
  close(): Promise<void>;
}

export interface HttpBridges extends Omit<HttpBridge, 'url'> {
  /** By the name of the gateway. Each has a secret of its own: who is told one address acts as one agent. */
  readonly urls: ReadonlyMap<string, string>;
}

/** Listens on 127.0.0.1, and on ::1 where there is one. Rejects with `ERR_LISTEN_ADDRESS`. */
export async function startHttpBridge({ url, fetch, ...listener }: HttpBridgeOptions): Promise<HttpBridge> {
  const path = `/${newSecret(listener)}/mcp`;
  const { port, close } = await listenOnLoopback([{ url, fetch, path }], listener);
  return { url: `http://127.0.0.1:${port}${path}`, port, close };
}

/** Several gateways on one port, each at `/<secret>/<name>/mcp`. */
export async function startHttpBridges({ gateways, ...listener }: HttpBridgeListener & { readonly gateways: readonly BridgedGateway[] }): Promise<HttpBridges> {
  const doors = gateways.map(({ name, url, fetch }) => ({ name, url, fetch, path: `/${newSecret(listener)}/${name}/mcp` }));
  const { port, close } = await listenOnLoopback(doors, listener);
  return { urls: new Map(doors.map(({ name, path }) => [name, `http://127.0.0.1:${port}${path}`])), port, close };
}

interface Door {
  readonly url: URL;
  readonly fetch: IdentityFetch;
  readonly path: string;
}

const newSecret = ({ randomness = systemRandomness }: HttpBridgeListener): string => Buffer.from(randomness.bytes(32)).toString('base64url');

async function listenOnLoopback(doors: readonly Door[], options: HttpBridgeListener): Promise<{ port: number; close(): Promise<void> }> {
  const servers: Server[] = [];
  const listen = async (host: string, port: number): Promise<number> => {
    const server = createServer({ headersTimeout: 10_000, requestTimeout: options.bodyTimeoutMs ?? 30_000, maxHeaderSize: 16_384 });
    server.on('request', (request, response) => void answer(request, response, { doors, options }));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, ipv6Only: host === '::1' }, resolve);
    });
    servers.push(server);
    return (server.address() as AddressInfo).port;
  };

  let port: number;
  try {
    port = await listen('127.0.0.1', options.port ?? 0);
  } catch (cause) {
    throw new SallyportError('ERR_LISTEN_ADDRESS', `port ${options.port ?? 0} on 127.0.0.1 cannot be listened on; give another (--http PORT, or http.port where a file has it), or none to have one chosen`, { facts: { port: options.port ?? 0 }, cause });
  }
  try {
    await listen('::1', port);
  } catch {
    // No IPv6 here, or another program has the port there: the address we print is the IPv4 one.
  }
  return {
    port,
    close: async () => {
      await Promise.all(
        servers.map(
          (server) =>
            new Promise<void>((resolve) => {
              server.close(() => resolve());
              server.closeAllConnections();
            }),
        ),
      );
    },
  };
}

interface House {
  readonly doors: readonly Door[];
  readonly options: HttpBridgeListener;
}

/** What an MCP client may say in headers; everything else stays here. */
const forwardedRequestHeaders = ['accept', 'content-type', 'mcp-session-id', 'mcp-protocol-version', 'mcp-method', 'mcp-name', 'last-event-id'];
/** RFC 9110 §5.6.2: what a tool's schema may name a header. */
const forwardedParameter = /^mcp-param-[!#$%&'*+\-.^_`|~0-9a-z]{1,128}$/u;
const returnedHeaders = ['content-type', 'mcp-session-id', 'mcp-protocol-version', 'retry-after', 'allow'];
const methods = new Set(['POST', 'GET', 'DELETE']);

async function answer(request: IncomingMessage, response: ServerResponse, { doors, options }: House): Promise<void> {
  let body: Buffer | undefined;
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  let url: URL | undefined;
  try {
    const door = doorOf(request, doors);
    url = door.url;
    const headers = headersOf(request);
    if (request.method === 'POST') body = await bodyOf(request, options.maxBodyBytes ?? 16 * 1024 * 1024);
    const upstream = await door.fetch(door.url, { method: request.method ?? 'GET', headers, signal: gone.signal, ...(body === undefined ? {} : { body: new Uint8Array(body) }) });
    await passOn(upstream, response);
  } catch (error) {
    if (gone.signal.aborted || response.destroyed) return;
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const explained = error instanceof SallyportError || url === undefined ? error : explainFailure(error, { url });
    if (explained instanceof SallyportError && explained.code.startsWith('ERR_BRIDGE_')) options.notice({ level: 'error', message: explained.message, facts: { code: explained.code, ...explained.facts } });
    refuse(request, response, explained instanceof SallyportError ? explained : new SallyportError('ERR_INTERNAL', 'the bridge failed; start it again', { cause: explained }), body);
  }
}

/** The gateway whose address the sender was told. */
function doorOf(request: IncomingMessage, doors: readonly Door[]): Door {
  const { headers } = request;
  const port = (request.socket.localPort ?? 0).toString();
  const hosts = [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`];
  if (headers.host === undefined || !hosts.includes(headers.host)) {
    throw new SallyportError('ERR_HTTP_HOST', `the Host header must name this machine, as in http://127.0.0.1:${port}`);
  }
  // Browsers send an Origin, and no page has business here. The bridge's own is let through for MCP clients
  // that name the address they were given: we serve no pages, and one that an earlier owner of the port
  // left in a browser does not know the secret.
  if (headers.origin !== undefined && headers.origin !== `http://127.0.0.1:${port}`) throw new SallyportError('ERR_HTTP_ORIGIN', 'requests of web pages are refused; use a program that sends no Origin header');
  const given = digest(request.url ?? '');
  // All of them are compared, so that the time does not tell which came close.
  const [door] = doors.filter(({ path }) => timingSafeEqual(given, digest(path)));
  if (door === undefined) throw new SallyportError('ERR_HTTP_PATH', 'not found; use the whole address that sallyport connect printed');
  if (!methods.has(request.method ?? '')) throw new SallyportError('ERR_HTTP_METHOD', 'the MCP endpoint takes POST, GET and DELETE');
  return door;
}

/** Compared instead of the texts: neither the length nor a common start of a guess shows in the time. */
const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

function headersOf(request: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, values] of Object.entries(request.headersDistinct)) {
    if (values === undefined || (!forwardedRequestHeaders.includes(name) && !forwardedParameter.test(name))) continue;
    // Two readers could take a repeated header for two things (mcp.md row 10); lists may be split.
    if (values.length > 1 && name !== 'accept') throw new SallyportError('ERR_HTTP_HEADER', `the header ${name} is given more than once; send it once`);
    headers[name] = values.join(', ');
  }
  if (request.headers['content-encoding'] !== undefined) throw new SallyportError('ERR_HTTP_MEDIA_TYPE', 'compressed bodies are not taken; send application/json as it is');
  // A form of a web page cannot send this type without asking first.
  if (request.method === 'POST' && !/^application\/json(?:;\s*charset=utf-8)?$/iu.test(headers['content-type'] ?? '')) {
    throw new SallyportError('ERR_HTTP_MEDIA_TYPE', 'the content type must be application/json');
  }
  return headers;
}

async function bodyOf(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.byteLength;
      if (size > maxBytes) throw new SallyportError('ERR_HTTP_BODY_TOO_LARGE', `the body is larger than ${maxBytes} bytes; send less`);
      chunks.push(chunk);
    }
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause;
    throw new SallyportError('ERR_HTTP_BODY_INCOMPLETE', 'the body ended early; send it again', { cause });
  }
  return Buffer.concat(chunks);
}

/** Rebuilds the answer: status, the headers MCP knows, and the body as it comes. */
async function passOn(upstream: Response, response: ServerResponse): Promise<void> {
  for (const name of returnedHeaders) {
    const value = upstream.headers.get(name);
    if (value !== null) response.setHeader(name, value);
  }
  response.setHeader('cache-control', 'no-store');
  response.writeHead(upstream.status);
  if (upstream.body === null) {
    response.end();
    return;
  }
  response.flushHeaders();
  for await (const chunk of upstream.body as AsyncIterable<Uint8Array>) {
    if (!response.write(chunk)) await drained(response);
    if (response.destroyed) return;
  }
  response.end();
}

const drained = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const settle = (): void => {
      response.off('drain', settle).off('close', settle);
      resolve();
    };
    response.once('drain', settle).once('close', settle);
  });

function refuse(request: IncomingMessage, response: ServerResponse, error: SallyportError, body: Buffer | undefined): void {
  const { http, jsonRpc } = present(error);
  const [facts] = body === undefined ? [] : (factsOf(body.toString('utf8')) ?? []);
  const id = facts?.kind === 'request' ? (facts.id ?? 'null') : 'null';
  const reason = error.facts['reason'];
  const detail = { code: jsonRpc, message: error.message, data: { code: error.code, ...(typeof reason === 'string' && reason !== '' ? { reason } : {}) } };
  if (http === 405) response.setHeader('allow', 'POST, GET, DELETE');
  // What is left of an unread body must not be read as the next request.
  if (!request.complete) response.setHeader('connection', 'close');
  response.writeHead(http, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(`{"jsonrpc":"2.0","id":${id},"error":${JSON.stringify(detail)}}`);
}
