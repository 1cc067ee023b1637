/** The HTTP server behind the mutual-TLS port: verified sockets in, one endpoint per upstream. */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { SallyportError } from '../errors.ts';
import type { ConnectionRegistry } from '../tls/connections.ts';
import type { TlsListener } from '../tls/listener.ts';
import type { VerifiedPeer } from '../tls/verified-peer.ts';
import { hasClientCert, readClientCert } from './client-cert.ts';
import type { McpEndpoint } from './endpoint.ts';

export interface McpServerOptions {
  readonly connections: Pick<ConnectionRegistry, 'check' | 'peerOf'>;
  /** By exact path; asked for every request, so that a reload takes effect. */
  readonly endpointOf: (path: string) => McpEndpoint | undefined;
  readonly isDraining: () => boolean;
  /** Ids of principals that may name the caller in Client-Cert. */
  readonly proxies: ReadonlySet<string>;
  readonly admitForwarded: TlsListener['admitForwarded'];
  /** Answers and records what no endpoint may take. */
  readonly refuse: (request: IncomingMessage, response: ServerResponse, facts: { readonly peer: VerifiedPeer; readonly error: SallyportError }) => void;
}

/** Milliseconds. A body has its own, shorter time (`gateway.limits.bodyTimeoutMs`). */
const headersTimeout = 10_000;
const requestTimeout = 120_000;
const keepAliveTimeout = 65_000;

export const createMcpServer = (options: McpServerOptions): Server => {
  const server = createServer({ headersTimeout, requestTimeout, keepAliveTimeout, maxHeaderSize: options.proxies.size === 0 ? 16_384 : 65_536, insecureHTTPParser: false }, (request, response) => {
    void serveRequest(request, response, options.endpointOf(request.url ?? ''), options);
  });
  // The one protocol here is MCP over HTTP/1.1: no upgrade, no tunnel (mcp.md row 12).
  server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'));
  server.on('connect', (_request, socket) => socket.destroy());
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (!socket.writable || error.code === 'ECONNRESET') socket.destroy();
    else socket.end(`HTTP/1.1 ${error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : '400 Bad Request'}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  });
  return server;
};

/** The last look at the connection, then the endpoint. */
export const serveRequest = async (
  request: IncomingMessage, response: ServerResponse, endpoint: McpEndpoint | undefined, options: Omit<McpServerOptions, 'endpointOf'>,
): Promise<void> => {
  const socket = request.socket as TLSSocket;
  // Revoked or expired since the last request: the registry has destroyed the socket and said so.
  if (options.connections.check(socket) !== undefined) return;
  const peer = options.connections.peerOf(socket);
  if (peer === undefined) {
    socket.destroy();
    return;
  }
  const isProxy = options.proxies.has(peer.principal.id);
  if (!isProxy && !hasClientCert(request.headers)) {
    await serveAs(peer, request, response, endpoint, options);
    return;
  }
  if (!isProxy) {
    // Whoever writes it would be believed by the next reader who is less careful.
    options.refuse(request, response, { peer, error: new SallyportError('ERR_HTTP_CLIENT_CERT', 'Client-Cert came from a peer that is no proxy: name it under gateway.proxies if it is one') });
    return;
  }
  const admitted = await admit(request, socket, peer, options);
  if (admitted instanceof SallyportError) {
    options.refuse(request, response, { peer, error: admitted });
    return;
  }
  response.once('close', admitted.release);
  if (response.destroyed || socket.destroyed) admitted.release();
  else await serveAs(admitted.peer, request, response, endpoint, options);
};

/** Who is behind a proxy. The proxy itself may ask nothing: one that forgets the header must not lend its own rights. */
const admit = async (request: IncomingMessage, socket: TLSSocket, proxy: VerifiedPeer, { proxies, admitForwarded }: Omit<McpServerOptions, 'endpointOf'>): ReturnType<TlsListener['admitForwarded']> => {
  try {
    const forwarded = readClientCert(request.headers);
    if (forwarded === undefined) return new SallyportError('ERR_PEER_NO_CERTIFICATE', 'the proxy names no client certificate: have it send Client-Cert, and demand one of its clients');
    const admitted = await admitForwarded(socket, forwarded, proxy);
    if (admitted instanceof SallyportError || !proxies.has(admitted.peer.principal.id)) return admitted;
    admitted.release();
    return new SallyportError('ERR_HTTP_CLIENT_CERT', 'Client-Cert names a proxy: there is one between a caller and the gateway, and no more');
  } catch (error) {
    return error instanceof SallyportError ? error : new SallyportError('ERR_INTERNAL', 'the caller behind the proxy could not be judged', { cause: error });
  }
};

const serveAs = async (peer: VerifiedPeer, request: IncomingMessage, response: ServerResponse, endpoint: McpEndpoint | undefined, options: Pick<McpServerOptions, 'isDraining' | 'refuse'>): Promise<void> => {
  if (options.isDraining()) options.refuse(request, response, { peer, error: new SallyportError('ERR_DRAINING', 'the gateway is shutting down: try again in a moment') });
  else if (endpoint === undefined) {
    options.refuse(request, response, { peer, error: new SallyportError('ERR_HTTP_PATH', 'no MCP server is served at this path', { facts: { path: (request.url ?? '').slice(0, 256) } }) });
  } else await endpoint.handle(request, response, peer);
};
