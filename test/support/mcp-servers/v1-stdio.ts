/** The v1 fixture over stdio: `node v1-stdio.ts`. */
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { fileURLToPath } from 'node:url';
import { createV1Server } from './v1-server.ts';

/** How to start it as a child. */
export const v1StdioCommand = { command: process.execPath, args: [fileURLToPath(import.meta.url)] } as const;

if (import.meta.main) await createV1Server().connect(new StdioServerTransport());
