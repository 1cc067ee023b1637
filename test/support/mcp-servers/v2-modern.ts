/** An MCP server written with SDK v2 that speaks the modern era only, and asks its client for input of every kind. */
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, inputRequired, inputResponse } from '@modelcontextprotocol/server';
import type { McpHttpHandler, McpServer } from '@modelcontextprotocol/server';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text as textOf } from 'node:stream/consumers';
import { z } from 'zod';
import { serveOnLoopback } from './loopback.ts';
import type { Loopback } from './loopback.ts';
import { createV2Server } from './v2.ts';

const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] });

export interface V2Modern extends Loopback {
  readonly notify: McpHttpHandler['notify'];
  readonly received: readonly { readonly headers: IncomingMessage['headers']; readonly message: { readonly method: string; readonly params: Record<string, unknown> } }[];
  /** Calls of `wait` that were cancelled. */
  readonly cancelled: () => number;
}

export interface V2ModernHandler {
  readonly handle: (request: IncomingMessage, response: ServerResponse, parsedBody?: unknown) => Promise<void>;
  readonly notify: McpHttpHandler['notify'];
  readonly cancelled: () => number;
  close(): Promise<void>;
}

export const createV2ModernHandler = (): V2ModernHandler => {
  let cancelled = 0;
  const create = (): McpServer => {
    const server = createV2Server();
    server.server.registerCapabilities({ resources: { subscribe: true, listChanged: true } });
    server.registerTool('ask_all', { description: 'Asks for input of every kind at once' }, ({ mcpReq }) => {
      const asked = mcpReq.inputResponses;
      const [user, model, roots] = [inputResponse(asked, 'user'), inputResponse(asked, 'model'), inputResponse(asked, 'roots')];
      if (user.kind !== 'elicit' || model.kind !== 'sampling' || roots.kind !== 'roots') {
        return inputRequired({
          inputRequests: {
            user: inputRequired.elicit({ message: 'which?', requestedSchema: { type: 'object', properties: { answer: { type: 'string' } } } }),
            model: inputRequired.createMessage({ messages: [{ role: 'user', content: { type: 'text', text: 'why?' } }], maxTokens: 16 }),
            roots: inputRequired.listRoots(),
          },
        });
      }
      return text(JSON.stringify([user.content, model.result.content, roots.roots]));
    });
    server.registerTool('rounds', { description: 'Asks again and again', inputSchema: z.object({ count: z.number() }) }, ({ count }, { mcpReq }) => {
      const done = Number(mcpReq.requestState() ?? '0');
      if (done >= count) return text(`${done} rounds`);
      return inputRequired({ requestState: String(done + 1), inputRequests: { again: inputRequired.elicit({ message: `round ${done}`, requestedSchema: { type: 'object', properties: {} } }) } });
    });
    server.registerTool('region', { description: 'Wants a header', inputSchema: z.object({ region: z.string().meta({ 'x-mcp-header': 'Region' }) }) }, ({ region }) => text(region));
    server.registerTool('numbers', { description: 'Gives a list', outputSchema: z.array(z.number()) }, () => ({ ...text('[1,2]'), structuredContent: [1, 2] }));
    server.registerTool('wait', { description: 'Waits to be cancelled' }, ({ mcpReq }) => new Promise((resolve) => {
      mcpReq.signal.addEventListener('abort', () => {
        cancelled += 1;
        resolve(text('cancelled'));
      }, { once: true });
    }));
    return server;
  };
  const handler = createMcpHandler(create, { legacy: 'reject' });
  const handle = toNodeHandler(handler);
  return {
    // The SDK's own types do not fit node:http's under exactOptionalPropertyTypes.
    handle: (request, response, parsedBody) => handle(request as Parameters<typeof handle>[0], response, parsedBody),
    notify: handler.notify,
    cancelled: () => cancelled,
    close: () => handler.close(),
  };
};

export const startV2Modern = async (): Promise<V2Modern> => {
  const handler = createV2ModernHandler();
  const received: { headers: IncomingMessage['headers']; message: { method: string; params: Record<string, unknown> } }[] = [];
  const loopback = await serveOnLoopback((request, response) => {
    void (async () => {
      if (request.method !== 'POST') return handler.handle(request, response);
      const message = JSON.parse(await textOf(request)) as { method: string; params: Record<string, unknown> };
      received.push({ headers: request.headers, message });
      return handler.handle(request, response, message);
    })();
  });
  return {
    url: loopback.url,
    received,
    notify: handler.notify,
    cancelled: handler.cancelled,
    close: async () => {
      await handler.close();
      await loopback.close();
    },
  };
};
