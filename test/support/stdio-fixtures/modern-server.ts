/**
 * An MCP server of revision 2026-07-28 over stdio that does what each tools/call names, awkward things
 * included. Speaks raw lines, so that tests control every byte. `--late <ms>`: it starts slowly.
 * `--both`: it knows initialize too. `--mute`: it never says anything.
 */
import { setTimeout as delay } from 'node:timers/promises';

type Id = string | number;

interface Message {
  readonly id?: Id;
  readonly method?: string;
  readonly params?: {
    readonly name?: string;
    readonly arguments?: Readonly<Record<string, number | string>>;
    readonly requestId?: Id;
    readonly _meta?: { readonly progressToken?: Id };
  };
  readonly error?: unknown;
}

const subscriptionId = 'io.modelcontextprotocol/subscriptionId';

const write = (message: object): void => void process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
const notify = (method: string, params: object): void => write({ method, params });
const respond = (id: Id | undefined, result: object): void => write({ id, result: { resultType: 'complete', ...result } });

const listens: Id[] = [];
const cancelled: unknown[] = [];
const held: (Id | undefined)[] = [];
let asking: Id | undefined;

const tools: Record<string, (message: Message, line: string) => void> = {
  raw: ({ id }, line) => respond(id, { raw: line }),
  pid: ({ id }) => respond(id, { pid: process.pid, cwd: process.cwd(), environment: process.env }),
  never: () => undefined,
  hold: ({ id }) => void held.push(id),
  // The last one first.
  release: ({ id }) => {
    for (const one of held.splice(0).toReversed()) respond(one, { released: one });
    respond(id, {});
  },
  big: ({ id }) => void process.stdout.write(`{"jsonrpc":"2.0",  "result":{"resultType":"complete","n":12345678901234567890,"id":"mine"},"id":${JSON.stringify(id)}}\n`),
  fail: ({ id, params }) => write({ id, error: { code: Number(params?.arguments?.['code']), message: 'no' } }),
  progress: ({ id, params }) => {
    const progressToken = params?.['_meta']?.progressToken;
    notify('notifications/progress', { progressToken, progress: 1 });
    notify('notifications/progress', { progressToken: 'another', progress: 2 });
    respond(id, { token: typeof progressToken });
  },
  log: ({ id }) => {
    notify('notifications/message', { level: 'info', data: 'working' });
    respond(id, {});
  },
  ask: ({ id }) => {
    asking = id;
    write({ id: 'ask-1', method: 'roots/list' });
  },
  change: ({ id }) => {
    notify('notifications/tools/list_changed', {});
    for (const listen of listens) notify('notifications/tools/list_changed', { _meta: { [subscriptionId]: listen } });
    notify('notifications/tools/list_changed', { _meta: { [subscriptionId]: 'nobody' } });
    respond(id, {});
  },
  endListens: ({ id, params }) => {
    for (const listen of listens.splice(0)) {
      if (params?.arguments?.['how'] === 'result') respond(listen, { _meta: { [subscriptionId]: listen } });
      else notify('notifications/cancelled', { requestId: listen });
    }
    respond(id, {});
  },
  cancelled: ({ id }) => respond(id, { cancelled }),
  // More than a pipe holds.
  flood: ({ id, params }) => {
    for (let number = 0; number < 300; number += 1) notify('notifications/progress', { progressToken: params?.['_meta']?.progressToken, progress: number, message: 'x'.repeat(1000) });
    respond(id, {});
  },
  exit: () => process.exit(3),
  stderr: ({ id }) => {
    process.stderr.write(`calling with Authorization: Bearer abcdefgh12345678\nusing ${process.env['API_TOKEN'] ?? ''} now\n`);
    respond(id, {});
  },
};

const handle = (line: string): void => {
  const message = JSON.parse(line) as Message;
  const { id, method, params } = message;
  if (method === 'server/discover') respond(id, { supportedVersions: ['2026-07-28'], capabilities: {}, serverInfo: { name: 'modern', version: '1' } });
  else if (method === 'tools/call') tools[params?.name ?? '']?.(message, line);
  else if (method === 'subscriptions/listen' && id !== undefined) {
    listens.push(id);
    notify('notifications/subscriptions/acknowledged', { _meta: { [subscriptionId]: id }, notifications: { toolsListChanged: true } });
  } else if (method === 'notifications/cancelled') cancelled.push(params);
  else if (method === undefined) respond(asking, { answered: message.error });
  else if (method === 'initialize' && process.argv.includes('--both')) write({ id, result: { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'modern', version: '1' } } });
  else write({ id, error: { code: -32022, message: 'unsupported protocol version', data: { supported: ['2026-07-28'] } } });
};

const late = process.argv.indexOf('--late');
if (late !== -1) await delay(Number(process.argv[late + 1]));
let rest = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (chunk: string) => {
  const lines = (rest + chunk).split('\n');
  rest = lines.pop() ?? '';
  if (!process.argv.includes('--mute')) for (const line of lines) handle(line);
});
