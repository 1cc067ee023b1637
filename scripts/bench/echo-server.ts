/** The MCP server behind everything the call benchmark compares: SDK v1, one tool, sessions. Over stdio: `node echo-server.ts`. */
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const createEchoServer = (): McpServer => {
  const server = new McpServer({ name: 'echo', version: '1.0.0' });
  server.registerTool('echo', { description: 'Gives back its text', inputSchema: { text: z.string() } }, ({ text }) => ({ content: [{ type: 'text', text }] }));
  return server;
};

/** As the SDK's own examples serve it. */
export const createEchoHandler = (): ((request: IncomingMessage, response: ServerResponse, parsedBody?: unknown) => Promise<void>) => {
  const transports = new Map<string, StreamableHTTPServerTransport>();
  return async (request, response, parsedBody) => {
    const id = request.headers['mcp-session-id'];
    let transport = typeof id === 'string' ? transports.get(id) : undefined;
    if (transport === undefined) {
      const opened = new StreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, onsessioninitialized: (session) => { transports.set(session, opened); } });
      transport = opened;
      // The SDK's own types do not agree with each other under exactOptionalPropertyTypes.
      await createEchoServer().connect(transport as Transport);
    }
    await transport.handleRequest(request, response, parsedBody);
  };
};

export const echoOverStdio = { command: process.execPath, args: [fileURLToPath(import.meta.url)] } as const;

if (import.meta.main) await createEchoServer().connect(new StdioServerTransport());
