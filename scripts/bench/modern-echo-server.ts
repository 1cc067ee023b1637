/** The echo server in the modern revision: SDK v2, one tool, no sessions. Over stdio: `node modern-echo-server.ts`. */
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { NodeMcpHandler } from '../../src/gateway/handler-leg.ts';

const createEchoServer = (): McpServer => {
  const server = new McpServer({ name: 'echo', version: '2.0.0' });
  server.registerTool('echo', { description: 'Gives back its text', inputSchema: z.object({ text: z.string() }) }, ({ text }) => ({ content: [{ type: 'text' as const, text }] }));
  return server;
};

/** As the SDK's own examples serve it. */
export const createModernEchoHandler = (): NodeMcpHandler => toNodeHandler(createMcpHandler(createEchoServer));

export const modernEchoOverStdio = { command: process.execPath, args: [fileURLToPath(import.meta.url)] } as const;

if (import.meta.main) serveStdio(createEchoServer);
