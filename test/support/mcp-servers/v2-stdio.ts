/** The v2 fixture over stdio, in whichever era its client opens with: `node v2-stdio.ts`, or `node v2-stdio.ts modern`. */
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { fileURLToPath } from 'node:url';
import { createV2Server } from './v2.ts';

/** How to start it as a child. */
export const v2StdioCommand = { command: process.execPath, args: [fileURLToPath(import.meta.url)] } as const;

/** The modern revision and no other. */
export const modernStdioCommand = { ...v2StdioCommand, args: [...v2StdioCommand.args, 'modern'] } as const;

if (import.meta.main) serveStdio(() => createV2Server(), { legacy: process.argv[2] === 'modern' ? 'reject' : 'serve' });
