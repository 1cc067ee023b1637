/** MCP servers whose tools change: one written with SDK v2 without sessions, one with SDK v1 and sessions, one on stdio. */
import { McpServer as V1Server } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { NodeMcpHandler } from '../../../src/gateway/handler-leg.ts';

/** Descriptions by name. */
export type Shop = Record<string, string>;

const done = (name: string) => ({ content: [{ type: 'text' as const, text: `${name} done` }] });

const createShopServer = (shop: Shop): McpServer => {
  const server = new McpServer({ name: 'shop', version: '1.0.0' });
  for (const [name, description] of Object.entries(shop)) {
    server.registerTool(name, { description, inputSchema: z.object({ region: z.string().optional().meta({ 'x-mcp-header': 'Region' }) }), outputSchema: z.array(z.string()).optional() }, () => ({ ...done(name), structuredContent: [] }));
  }
  return server;
};

/** Every request is answered as the shop is then. */
export const shopHandler = (shop: Shop, legacy: 'stateless' | 'reject' = 'stateless'): NodeMcpHandler => toNodeHandler(createMcpHandler(() => createShopServer(shop), { legacy })) as NodeMcpHandler;

/** One session, whose tools are changed with `describe`: it tells its client. */
export const sessionShop = async (shop: Shop): Promise<{ readonly handler: NodeMcpHandler; describe(name: string, description: string): void }> => {
  const server = new V1Server({ name: 'shop', version: '1.0.0' });
  const tools = new Map(Object.entries(shop).map(([name, description]) => [name, server.registerTool(name, { description, inputSchema: {} }, () => done(name))]));
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: randomUUID });
  await server.connect(transport as Transport);
  return {
    handler: (request, response, parsedBody) => transport.handleRequest(request, response, parsedBody),
    describe: (name, description) => tools.get(name)?.update({ description }),
  };
};

/** On stdio, with the shop in a file that is read when the server starts. */
export const shopCommand = (file: string) => ({ command: process.execPath, args: [fileURLToPath(import.meta.url), file] });

if (import.meta.main) serveStdio(() => createShopServer(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Shop));
