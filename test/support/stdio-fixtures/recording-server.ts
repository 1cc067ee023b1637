/** The v1 fixture over stdio, which keeps what it was sent: `node recording-server.ts <file>`. The first line is its pid. */
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { appendFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createV1Server } from '../mcp-servers/v1-server.ts';

/** How to start it as a child. */
export const recordingServer = (file: string): { readonly command: string; readonly args: readonly string[] } => ({ command: process.execPath, args: [fileURLToPath(import.meta.url), file] });

const [, , file] = process.argv;
if (import.meta.main && file !== undefined) {
  appendFileSync(file, `pid ${process.pid}\n`);
  process.stdin.on('data', (chunk: Buffer) => appendFileSync(file, chunk));
  await createV1Server().connect(new StdioServerTransport());
}
