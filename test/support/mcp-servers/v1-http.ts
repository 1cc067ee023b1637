/** The v1 fixture over Streamable HTTP, with sessions and resumption or with neither. */
import type { EventStore } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { serveOnLoopback } from './loopback.ts';
import type { Loopback } from './loopback.ts';
import { createOrderedEventStore } from './ordered-event-store.ts';
import { createV1Server } from './v1-server.ts';

export interface V1HttpOptions {
  /** Default `stateful`. */
  readonly sessions?: 'stateful' | 'stateless';
  /** Answers single requests as JSON instead of SSE. Default false. */
  readonly json?: boolean;
}

export interface V1Handler {
  /** Fits `protect()`: takes the body parsed or reads it itself. */
  readonly handle: (request: IncomingMessage, response: ServerResponse, parsedBody?: unknown) => Promise<void>;
  /** Session ids the server has given out and not ended. */
  readonly sessions: () => readonly string[];
  close(): Promise<void>;
}

export interface V1Http extends Loopback, Pick<V1Handler, 'sessions'> {
  /** Every POST body as it came over the wire. */
  readonly received: readonly string[];
  /** Headers of every request. */
  readonly headers: readonly IncomingMessage['headers'][];
}

export const createV1Handler = (options: V1HttpOptions = {}): V1Handler => {
  const transports = new Map<string, StreamableHTTPServerTransport>();
  const open = async (eventStore: EventStore | undefined): Promise<StreamableHTTPServerTransport> => {
    const transport: StreamableHTTPServerTransport = new StreamableHTTPServerTransport({
      ...(eventStore === undefined
        ? {}
        : {
            eventStore,
            sessionIdGenerator: randomUUID,
            onsessioninitialized: (id: string) => void transports.set(id, transport),
            onsessionclosed: (id: string) => void transports.delete(id),
          }),
      enableJsonResponse: options.json ?? false,
    });
    // The SDK's own types do not agree with each other under exactOptionalPropertyTypes.
    await createV1Server().connect(transport as Transport);
    return transport;
  };
  return {
    handle: async (request, response, parsedBody) => {
      if (options.sessions === 'stateless') {
        const transport = await open(undefined);
        response.once('close', () => void transport.close());
        await transport.handleRequest(request, response, parsedBody);
        return;
      }
      const session = request.headers['mcp-session-id'];
      const known = typeof session === 'string' ? transports.get(session) : undefined;
      if (session !== undefined && known === undefined) {
        response.writeHead(404, { 'content-type': 'application/json' }).end('{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}');
        return;
      }
      await (known ?? (await open(createOrderedEventStore()))).handleRequest(request, response, parsedBody);
    },
    sessions: () => [...transports.keys()],
    close: async () => {
      await Promise.all([...transports.values()].map((transport) => transport.close()));
      transports.clear();
    },
  };
};

export const startV1Http = async (options: V1HttpOptions = {}): Promise<V1Http> => {
  const handler = createV1Handler(options);
  const received: string[] = [];
  const headers: IncomingMessage['headers'][] = [];
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    headers.push(request.headers);
    if (request.method !== 'POST') return handler.handle(request, response);
    const body = await text(request);
    received.push(body);
    return handler.handle(request, response, JSON.parse(body));
  };
  const loopback = await serveOnLoopback((request, response) => {
    serve(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
  });
  return {
    url: loopback.url,
    received,
    headers,
    sessions: handler.sessions,
    close: async () => {
      await handler.close();
      await loopback.close();
    },
  };
};
