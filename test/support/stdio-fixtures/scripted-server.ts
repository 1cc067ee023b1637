/**
 * An MCP server over stdio that does what each tools/call names, awkward things included.
 * Speaks raw lines, so that tests control every byte.
 */
import { closeSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

interface Message {
  readonly id?: string | number;
  readonly method?: string;
  readonly params?: { readonly name?: string; readonly arguments?: Record<string, number | string>; readonly _meta?: { readonly progressToken?: string | number } };
  readonly result?: unknown;
}

const write = (text: string): void => {
  process.stdout.write(`${text}\n`);
};
const notify = (method: string, params: object): void => write(JSON.stringify({ jsonrpc: '2.0', method, params }));
const respond = (id: string | number | undefined, result: object): void => write(JSON.stringify({ jsonrpc: '2.0', id, result }));

/** Calls that wait for the answer to the request they sent, by that request's id. */
const asking = new Map<string | number, string | number | undefined>();

const tools: Record<string, (message: Message, line: string) => void | Promise<void>> = {
  raw: ({ id }, line) => respond(id, { raw: line }),
  environment: ({ id }) => respond(id, { environment: process.env, pid: process.pid }),
  exit: () => process.exit(3),
  crash: () => {
    process.kill(process.pid, 'SIGSEGV');
  },
  never: () => undefined,
  slow: async ({ id, params }) => {
    await delay(Number(params?.arguments?.['ms'] ?? 100));
    respond(id, { slow: true });
  },
  // A number that JSON.parse would round, and spacing nobody else would write.
  big: ({ id }) => write(`{"jsonrpc":"2.0",  "id":${JSON.stringify(id)},"result":{"n":12345678901234567890}}`),
  progress: ({ id, params }) => {
    const progressToken = params?.['_meta']?.progressToken;
    for (const progress of [1, 2, 3]) notify('notifications/progress', { progressToken, progress });
    respond(id, { done: true });
  },
  log: ({ id }) => {
    notify('notifications/message', { level: 'info', data: 'working' });
    respond(id, { done: true });
  },
  changed: ({ id }) => {
    notify('notifications/tools/list_changed', {});
    respond(id, { done: true });
  },
  ask: ({ id }) => {
    asking.set(`ask-${String(id)}`, id);
    write(JSON.stringify({ jsonrpc: '2.0', id: `ask-${String(id)}`, method: 'roots/list' }));
  },
  noise: ({ id }) => {
    write('Server listening…');
    write('{"jsonrpc":"2.0","id":');
    write('{"jsonrpc":"2.0","id":"nobody-asked","result":{}}');
    write('{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}');
    process.stdout.write(Buffer.from([0x22, 0xff, 0xfe, 0x22, 0x0a]));
    write(`{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":"${'x'.repeat(200_000)}"}`);
    process.stdout.write('\r\n\n');
    respond(id, { noise: 'over' });
  },
  batch: ({ id }) => write(`[{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1}}, {"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":{"n":1e400}}]`),
  flood: async ({ id, params }) => {
    const count = Number(params?.arguments?.['count'] ?? 1000);
    const data = 'x'.repeat(1000);
    let written = 0;
    for (let number = 0; number < count; number += 1) {
      written += 1;
      if (!process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/message', params: { number, data } })}\n`)) {
        process.stderr.write(`blocked after ${written}\n`);
        await new Promise((resolve) => {
          process.stdout.once('drain', resolve);
        });
      }
    }
    respond(id, { flooded: written });
    process.stderr.write('flooded\n');
  },
  stderr: ({ id }) => {
    for (let line = 0; line < 50; line += 1) process.stderr.write(`line ${line} ${'y'.repeat(100)}\n`);
    respond(id, { done: true });
  },
  // Reads nothing further, so that the pipe fills.
  deaf: async ({ id, params }) => {
    process.stdin.pause();
    await delay(Number(params?.arguments?.['ms'] ?? 200));
    process.stdin.resume();
    respond(id, { listening: true });
  },
  closeStdin: () => closeSync(0),
  limits: ({ id }) => respond(id, { limits: readFileSync('/proc/self/limits', 'utf8') }),
};

const handle = (line: string): void => {
  const message = JSON.parse(line) as Message;
  if (message.method === 'initialize') respond(message.id, { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'scripted', version: '1' } });
  else if (message.method === 'tools/call') void tools[message.params?.name ?? '']?.(message, line);
  else if (message.method === undefined && message.id !== undefined) respond(asking.get(message.id), { answered: line });
};

let rest = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (chunk: string) => {
  const lines = (rest + chunk).split('\n');
  rest = lines.pop() ?? '';
  for (const line of lines) handle(line);
});
// Keeps running with its stdin closed.
if (process.argv.includes('--stay')) setInterval(() => undefined, 1000);
