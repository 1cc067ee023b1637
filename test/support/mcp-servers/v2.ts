/** An MCP server written with SDK v2: stateless, answering the legacy and the modern era. */
import { toNodeHandler } from '@modelcontextprotocol/node';
import { completable, createMcpHandler, McpServer, ResourceTemplate } from '@modelcontextprotocol/server';
import type { McpHttpHandler } from '@modelcontextprotocol/server';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { serveOnLoopback } from './loopback.ts';
import type { Loopback } from './loopback.ts';
import { bigInteger, reportNames } from './v1-server.ts';

const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] });

export const createV2Server = (): McpServer => {
  const server = new McpServer({ name: 'v2-fixture', version: '2.0.0' }, { capabilities: { logging: {} }, instructions: 'a fixture' });
  server.registerTool('echo', { description: 'Gives back its text', inputSchema: z.object({ text: z.string() }) }, ({ text: given }) => text(given));
  server.registerTool('add', { description: 'Adds two numbers', inputSchema: z.object({ a: z.number(), b: z.number() }), outputSchema: z.object({ sum: z.number() }) }, ({ a, b }) => ({
    ...text(String(a + b)),
    structuredContent: { sum: a + b },
  }));
  server.registerTool('big_integer', { description: 'Gives an integer that a double cannot hold' }, () => ({
    ...text(bigInteger),
    structuredContent: { value: (JSON as unknown as { rawJSON(source: string): unknown }).rawJSON(bigInteger) },
  }));
  server.registerTool('slow', { description: 'Reports progress step by step', inputSchema: z.object({ steps: z.number().int(), milliseconds: z.number().int() }) }, async ({ steps, milliseconds }, context) => {
    const { _meta: meta } = context.mcpReq;
    const progressToken = meta?.progressToken;
    for (let progress = 1; progress <= steps; progress += 1) {
      if (progressToken !== undefined) await context.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: steps } });
      // After the report: a client drops progress that arrives in one piece with the result.
      await sleep(milliseconds, undefined, { signal: context.mcpReq.signal });
    }
    return text(`${steps} steps`);
  });
  server.registerTool('log', { description: 'Logs some messages', inputSchema: z.object({ count: z.number().int() }) }, async ({ count }, context) => {
    for (let index = 0; index < count; index += 1) await context.mcpReq.log('info', `message ${index}`, 'v2-fixture');
    return text(`${count} messages`);
  });
  server.registerTool('whoami', { description: 'Gives the identity the transport passed on' }, (context) => text(JSON.stringify(context.http?.authInfo ?? null)));
  server.registerTool('delete_everything', { description: 'Not for everyone' }, () => text('deleted'));
  server.registerResource('readme', 'file:///readme.txt', { mimeType: 'text/plain' }, (uri) => ({ contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'read me' }] }));
  const reports = new ResourceTemplate('file:///reports/{name}', {
    list: () => ({ resources: reportNames.map((name) => ({ name, uri: `file:///reports/${name}` })) }),
    complete: { name: (value) => reportNames.filter((name) => name.startsWith(value)) },
  });
  server.registerResource('reports', reports, { mimeType: 'text/plain' }, (uri, { name }) => ({ contents: [{ uri: uri.href, mimeType: 'text/plain', text: `report ${String(name)}` }] }));
  server.registerPrompt(
    'greet',
    { description: 'Greets someone', argsSchema: z.object({ who: completable(z.string(), (value) => ['alice', 'bob', 'carol'].filter((name) => name.startsWith(value))) }) },
    ({ who }) => ({ messages: [{ role: 'user', content: { type: 'text', text: `Greet ${who}` } }] }),
  );
  server.registerPrompt('confidential', { description: 'Not for everyone' }, () => ({ messages: [{ role: 'user', content: { type: 'text', text: 'confidential' } }] }));
  return server;
};

export interface V2Options {
  /** `reject`: the modern revision and no other. Default `stateless`. */
  readonly legacy?: 'stateless' | 'reject';
}

/** `.fetch` fits `protectFetch()`; `toNodeHandler` of it fits `protect()`. */
export const createV2Handler = (options: V2Options = {}): McpHttpHandler => createMcpHandler(() => createV2Server(), options);

export const createV2NodeHandler = (options: V2Options = {}): { readonly handle: ReturnType<typeof toNodeHandler>; readonly close: () => Promise<void> } => {
  const handler = createV2Handler(options);
  return { handle: toNodeHandler(handler), close: () => handler.close() };
};

export const startV2Http = async (options: V2Options = {}): Promise<Loopback> => {
  const { handle, close } = createV2NodeHandler(options);
  const loopback = await serveOnLoopback((request, response) => {
    // The SDK's own types do not fit node:http's under exactOptionalPropertyTypes.
    void handle(request as Parameters<typeof handle>[0], response);
  });
  return {
    url: loopback.url,
    close: async () => {
      await close();
      await loopback.close();
    },
  };
};
