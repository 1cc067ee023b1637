/** MCP servers that others wrote, from npm, behind the gateway: what is permitted has its effect in the world, what is denied has none. */
import { mkdtemp, readFile, readdir, realpath, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createIdentityFetch } from '../../src/bridge/index.ts';
import type { IdentityFetch } from '../../src/bridge/index.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import { bridgeIdentity, startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { quietLog } from '../support/gateway-upstreams.ts';
import type { TestUpstream } from '../support/gateway-upstreams.ts';

const policy = `
roles:
  assistant:
    grants:
      - { upstream: everything, tools: [echo, get-sum] }
      - upstream: filesystem
        tools:
          - list_directory
          - { name: read_text_file, arguments: { properties: { path: { type: string, pattern: "/open[.]txt$" } }, required: [path] } }
      - { upstream: memory, tools: [create_entities, search_nodes] }
      - { upstream: sequential-thinking, tools: [sequentialthinking] }
  onlooker:
    grants: [{ upstream: memory, tools: [search_nodes] }]
bindings:
  - { role: assistant, when: { organizationalUnit: analytics } }
  - { role: onlooker, when: { organizationalUnit: visitors } }
`;

let place: string;
let gateway: TestGateway;
let fetch: IdentityFetch;
const clients: Client[] = [];

beforeAll(async () => {
  place = await realpath(await mkdtemp(join(tmpdir(), 'sallyport-interop-')));
  await Promise.all([writeFile(join(place, 'open.txt'), 'for everyone'), writeFile(join(place, 'closed.txt'), 'not for everyone')]);
  gateway = await startTestGateway({
    policy,
    upstreams: [
      fromNpm('everything', 'server-everything', { args: ['stdio'] }),
      fromNpm('filesystem', 'server-filesystem', { args: [place] }),
      fromNpm('memory', 'server-memory', { env: { MEMORY_FILE_PATH: join(place, 'memory.jsonl') } }),
      fromNpm('sequential-thinking', 'server-sequential-thinking'),
    ],
  });
  fetch = createIdentityFetch({ identity: bridgeIdentity(gateway.pki, gateway.agent()) });
});
afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()));
  fetch.close();
  await gateway.close();
  await rm(place, { recursive: true, force: true });
});

it.concurrent('everything: echoes and adds, and does not tell its environment', async () => {
  const { client, tools } = await connect('everything');
  expect(tools).toEqual(['echo', 'get-sum']);
  expect(await textOf(client, 'echo', { message: 'hi' })).toBe('Echo: hi');
  expect(await textOf(client, 'get-sum', { a: 2, b: 3 })).toContain('5');
  await expect(textOf(client, 'get-env', {})).rejects.toMatchObject({ code: -32602 });
});

it.concurrent('filesystem: reads the file it may, and neither reads nor writes another', async () => {
  const { client, tools } = await connect('filesystem');
  expect(tools).toEqual(['list_directory', 'read_text_file']);
  expect(await textOf(client, 'list_directory', { path: place })).toContain('[FILE] closed.txt');
  expect(await textOf(client, 'read_text_file', { path: join(place, 'open.txt') })).toBe('for everyone');
  await expect(textOf(client, 'read_text_file', { path: join(place, 'closed.txt') })).rejects.toMatchObject({ code: -32602 });
  await expect(textOf(client, 'write_file', { path: join(place, 'new.txt'), content: 'written' })).rejects.toMatchObject({ code: -32602 });
  await expect(textOf(client, 'move_file', { source: join(place, 'open.txt'), destination: join(place, 'gone.txt') })).rejects.toMatchObject({ code: -32602 });
  const files = await readdir(place);
  expect(files).toEqual(expect.arrayContaining(['closed.txt', 'open.txt']));
  expect(files).not.toContain('new.txt');
});

it.concurrent('memory: remembers on disk for one agent what another may only look up', async () => {
  const { client } = await connect('memory');
  await textOf(client, 'create_entities', { entities: [{ name: 'Ada', entityType: 'person', observations: ['wrote the first program'] }] });
  const remembered = await readFile(join(place, 'memory.jsonl'), 'utf8');
  expect(remembered).toContain('wrote the first program');
  await expect(textOf(client, 'delete_entities', { entityNames: ['Ada'] })).rejects.toMatchObject({ code: -32602 });

  const visiting = createIdentityFetch({ identity: bridgeIdentity(gateway.pki, gateway.agent('agent-8', { organizationalUnits: ['visitors'] })) });
  const visitor = await connect('memory', visiting);
  expect(visitor.tools).toEqual(['search_nodes']);
  expect(await textOf(visitor.client, 'search_nodes', { query: 'Ada' })).toContain('wrote the first program');
  await expect(textOf(visitor.client, 'create_entities', { entities: [{ name: 'Eve', entityType: 'person', observations: [] }] })).rejects.toMatchObject({ code: -32602 });
  expect(await readFile(join(place, 'memory.jsonl'), 'utf8')).toBe(remembered);
  visiting.close();
});

it.concurrent('sequential-thinking: counts the thoughts of a session', async () => {
  const { client } = await connect('sequential-thinking');
  const think = (thoughtNumber: number): Promise<string> => textOf(client, 'sequentialthinking', { thought: `step ${thoughtNumber}`, thoughtNumber, totalThoughts: 2, nextThoughtNeeded: thoughtNumber < 2 });
  expect(JSON.parse(await think(1))).toMatchObject({ thoughtHistoryLength: 1, nextThoughtNeeded: true });
  expect(JSON.parse(await think(2))).toMatchObject({ thoughtHistoryLength: 2, nextThoughtNeeded: false });
});

it.concurrent('a server without a grant for the agent answers it like one that offers nothing', async () => {
  const visiting = createIdentityFetch({ identity: bridgeIdentity(gateway.pki, gateway.agent('agent-9', { organizationalUnits: ['visitors'] })) });
  await expect(connect('filesystem', visiting)).rejects.toThrow();
  visiting.close();
});

const connect = async (server: string, through = fetch): Promise<{ readonly client: Client; readonly tools: readonly string[] }> => {
  const client = new Client({ name: 'interop', version: '1' });
  await client.connect(new StreamableHTTPClientTransport(new URL(`/${server}/mcp`, gateway.url), { fetch: through }) as Transport);
  clients.push(client);
  return { client, tools: (await client.listTools()).tools.map(({ name }) => name).toSorted() };
};

const textOf = async (client: Client, name: string, args: Record<string, unknown>): Promise<string> => {
  const result = (await client.callTool({ name, arguments: args })) as { readonly content: readonly { readonly text: string }[]; readonly isError?: boolean };
  const text = result.content.map((one) => one.text).join('\n');
  if (result.isError === true) throw new Error(`${name} failed: ${text}`);
  return text;
};

const fromNpm = (name: string, packageName: string, { args = [], env = {} }: { readonly args?: readonly string[]; readonly env?: Readonly<Record<string, string>> } = {}): TestUpstream => ({
  kind: 'other',
  upstream: createStdioUpstream({
    name, command: process.execPath, args: [createRequire(import.meta.url).resolve(`@modelcontextprotocol/${packageName}/dist/index.js`), ...args], env,
    clock: systemClock, randomness: systemRandomness, log: quietLog,
  }),
  received: () => [], headers: () => [], sessions: () => [],
  close: () => Promise.resolve(),
});
