/** The gate around an MCP handler in a server of your own: the same checks, decisions and evidence. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import type { Logger } from 'pino';
import { defaultUpstreamName } from '../config/starter.ts';
import { SallyportError } from '../errors.ts';
import { sendError } from '../gateway/answer.ts';
import { nodeHandlerOf } from '../gateway/fetch-handler.ts';
import type { FetchMcpHandler } from '../gateway/fetch-handler.ts';
import type { NodeMcpHandler } from '../gateway/handler-leg.ts';
import { createGateway } from './create-gateway.ts';
import type { RunningGateway, TlsServerOptions } from './create-gateway.ts';
import { createLogger } from './log.ts';

export interface ProtectOptions {
  /** Data directory, as `sallyport init` makes it. */
  readonly directory: string;
  /** Of the private keys, when they are encrypted. */
  readonly passphrase?: string | undefined;
  /** What policy calls this MCP server. Default `default`. */
  readonly name?: string | undefined;
  readonly logger?: Logger | undefined;
}

/** A request listener, for `https.createServer` or as Express, Fastify or Connect middleware mounted before any body parser. */
export interface ProtectedListener {
  (request: IncomingMessage, response: ServerResponse): void;
  /** Resolves once the data directory is open; rejects with what is wrong with it. Requests before that wait. */
  ready(): Promise<void>;
  /** For `https.createServer`: asks for certificates and leaves the verdict to us. */
  tlsOptions(): Promise<TlsServerOptions>;
  /** Optional and recommended: peers are judged at the handshake, before the server parses a byte of HTTP. */
  attach(server: HttpsServer): Promise<void>;
  /** Ends sessions, writes the audit log, lets go of the data directory. */
  close(): Promise<void>;
}

/** Protects a Node handler: SDK v1 `transport.handleRequest`, or v2 `toNodeHandler(handler)`. */
export const protect = (handler: NodeMcpHandler, options: ProtectOptions): ProtectedListener => {
  const opening: Promise<RunningGateway> = createGateway({ ...options, upstreams: { [options.name ?? defaultUpstreamName]: { handler } }, public: false, enroll: false });
  // Whoever calls ready(), or the first request, learns of it.
  opening.catch(() => undefined);
  const logger = options.logger ?? createLogger({ level: 'info' });
  // The peer learns the public text only: what is wrong here is for whoever wrote this server.
  const fail = (request: IncomingMessage, response: ServerResponse, error: unknown): void => {
    logger.error({ error }, 'request could not be served');
    sendError(request, response, error);
  };
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    if (request.readableEnded) {
      fail(request, response, new SallyportError('ERR_CONFIG_INVALID', 'the body was read before the gate saw it: mount protect() before any body parser'));
      return;
    }
    opening.then((gateway) => gateway.handle(request, response)).catch((error: unknown) => fail(request, response, error));
  };
  return Object.assign(listener, {
    ready: async () => void (await opening),
    tlsOptions: async () => (await opening).tlsOptions(),
    attach: async (server: HttpsServer) => (await opening).attach(server),
    close: async () => (await opening).close(),
  });
};

/** Protects a fetch handler, such as SDK v2 `handler.fetch`. */
export const protectFetch = (handler: FetchMcpHandler, options: ProtectOptions): ProtectedListener => protect(nodeHandlerOf(handler), options);
