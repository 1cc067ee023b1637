/** A gateway in small: decides on the certificate before HTTP is read, then serves MCP with the SDK. */
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { randomUUID } from 'node:crypto';
import { createServer as createHttpServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { z } from 'zod';
import type { TestPki } from './test-pki.ts';

export type Handler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

export interface TestGateway {
  readonly url: URL;
  readonly port: number;
  /** Serials whose handshakes end with the verdict. */
  readonly verdicts: Map<string, string>;
  /** Serial of each request's certificate with its method, in order. */
  readonly seen: { readonly serial: string; readonly method: string; readonly session: string | undefined }[];
  /** Open connections with the number of certificates the peer sent. */
  readonly sockets: Set<TLSSocket>;
  handshakes: number;
  handler: Handler;
  /** Revokes as the gateway does: verdict for new handshakes, cut for open ones. */
  revoke(serial: string): number;
  close(): Promise<void>;
}

export interface TestGatewayOptions {
  readonly pki: TestPki;
  readonly handler?: Handler;
  readonly host?: string;
  /** Certificate names; default localhost and 127.0.0.1. */
  readonly dns?: readonly string[];
  readonly serverNotAfter?: Date;
  readonly serverPki?: TestPki;
  readonly rejectUnauthorized?: boolean;
  readonly maxVersion?: 'TLSv1.2' | 'TLSv1.3';
}

export async function startTestGateway(options: TestGatewayOptions): Promise<TestGateway> {
  const { pki } = options;
  const server = await (options.serverPki ?? pki).issue({
    name: 'gateway',
    server: true,
    dns: options.dns ?? ['localhost'],
    ips: options.dns === undefined ? ['127.0.0.1'] : [],
    ...(options.serverNotAfter === undefined ? {} : { notAfter: options.serverNotAfter }),
  });
  const gateway = { handshakes: 0, handler: options.handler ?? mcpHandler(), verdicts: new Map(), seen: [], sockets: new Set() } as unknown as TestGateway;
  const http = createHttpServer((request, response) => {
    const serial = (request.socket as TLSSocket).getPeerX509Certificate()?.serialNumber.toLowerCase() ?? '';
    gateway.seen.push({ serial, method: request.method ?? '', session: request.headers['mcp-session-id'] as string | undefined });
    void gateway.handler(request, response);
  });
  const tls = createServer({
    key: server.keyPem,
    cert: server.certificatePem + (options.serverPki ?? pki).rootPem,
    ca: [pki.rootPem, pki.issuingPem],
    requestCert: true,
    rejectUnauthorized: options.rejectUnauthorized ?? false,
    ...(options.maxVersion === undefined ? {} : { maxVersion: options.maxVersion }),
  });
  const refused = new Set<TLSSocket>();
  tls.on('tlsClientError', () => undefined);
  tls.on('secureConnection', (socket) => {
    gateway.handshakes += 1;
    const certificate = socket.getPeerX509Certificate();
    const code = certificate === undefined ? 'ERR_PEER_NO_CERTIFICATE' : (gateway.verdicts.get(certificate.serialNumber.toLowerCase()) ?? (socket.authorized ? undefined : 'ERR_PEER_UNTRUSTED'));
    socket.on('error', () => undefined);
    if (code !== undefined) {
      refused.add(socket);
      // What the peer already sent is read and dropped: unread data would turn the end into a reset.
      socket.resume();
      const body = JSON.stringify({ error: { code, message: 'refused' } });
      socket.end(`HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`);
      return;
    }
    gateway.sockets.add(socket);
    socket.on('close', () => gateway.sockets.delete(socket));
    http.emit('connection', socket);
  });
  await new Promise<void>((resolve) => tls.listen(0, options.host ?? '127.0.0.1', resolve));
  const { port } = tls.address() as AddressInfo;
  return Object.assign(gateway, {
    port,
    url: new URL(`https://localhost:${port}/mcp`),
    revoke: (serial: string) => {
      gateway.verdicts.set(serial, 'ERR_PEER_REVOKED');
      let cut = 0;
      for (const socket of gateway.sockets) {
        if (socket.getPeerX509Certificate()?.serialNumber.toLowerCase() !== serial) continue;
        socket.destroy();
        cut += 1;
      }
      return cut;
    },
    close: async () => {
      for (const socket of [...gateway.sockets, ...refused]) socket.destroy();
      await new Promise((resolve) => tls.close(resolve));
    },
  });
}

/** Sessions of an SDK server with a few tools. */
export function mcpHandler(options: { json?: boolean; sessions?: Map<string, StreamableHTTPServerTransport> } = {}): Handler {
  const sessions = options.sessions ?? new Map<string, StreamableHTTPServerTransport>();
  return async (request, response) => {
    if (request.url !== '/mcp') return answerError(response, 404, 'ERR_HTTP_PATH', 'not found');
    const id = request.headers['mcp-session-id'];
    let transport = typeof id === 'string' ? sessions.get(id) : undefined;
    if (typeof id === 'string' && transport === undefined) return answerError(response, 404, 'ERR_MCP_SESSION_UNKNOWN', 'session not found');
    if (transport === undefined) {
      const created = new StreamableHTTPServerTransport({
        sessionIdGenerator: () => randomUUID(),
        enableJsonResponse: options.json ?? false,
        onsessioninitialized: (session) => void sessions.set(session, created),
        onsessionclosed: (session) => void sessions.delete(session),
      });
      transport = created;
      await toolServer().connect(created as unknown as Parameters<McpServer['connect']>[0]);
    }
    await transport.handleRequest(request, response);
  };
}

export function answerError(response: ServerResponse, status: number, code: string, message: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(`{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":${JSON.stringify(message)},"data":{"code":"${code}"}}}`);
}

function toolServer(): McpServer {
  const server = new McpServer({ name: 'small', version: '1.0.0' });
  server.registerTool('echo', { inputSchema: { text: z.string() } }, ({ text }) => ({ content: [{ type: 'text', text }] }));
  server.registerTool('wait', { inputSchema: { ms: z.number() } }, async ({ ms }, { signal }) => {
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      signal.addEventListener('abort', () => {
        clearTimeout(timer);
        resolve(undefined);
      });
    });
    return { content: [{ type: 'text', text: 'waited' }] };
  });
  return server;
}
