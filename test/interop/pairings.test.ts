/** Every official client with every kind of MCP server, through the gateway: nothing that is permitted is lost, whoever speaks to whom. */
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';
import type { VersionNegotiationMode } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createIdentityFetch } from '../../src/bridge/index.ts';
import type { IdentityFetch } from '../../src/bridge/index.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createHttpUpstream } from '../../src/upstream/http.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import { bridgeIdentity, startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { eventually } from '../support/gateway-requests.ts';
import { quietLog, startUpstream } from '../support/gateway-upstreams.ts';
import type { TestUpstream } from '../support/gateway-upstreams.ts';
import { v1StdioCommand } from '../support/mcp-servers/v1-stdio.ts';
import { createV2NodeHandler, startV2Http } from '../support/mcp-servers/v2.ts';
import { modernStdioCommand, v2StdioCommand } from '../support/mcp-servers/v2-stdio.ts';

type ClientKind = 'v1' | 'v2 legacy' | 'v2 modern' | 'v2 auto';
/** `modern` ones are v2 servers that speak nothing else; to a modern client they are what the others are. */
type ServerKind = 'v1-http' | 'v1-stdio' | 'v1-in-process' | 'v2-http' | 'v2-stdio' | 'v2-in-process' | 'modern-http' | 'modern-stdio' | 'modern-in-process';

/** MCP client, MCP server, and the protocol revision in which they meet at the gateway. */
const pairings: readonly (readonly [ClientKind, ServerKind, string])[] = [
  ['v1', 'v1-http', '2025-11-25'],
  ['v1', 'v1-stdio', '2025-11-25'],
  ['v1', 'v1-in-process', '2025-11-25'],
  ['v1', 'v2-http', '2025-11-25'],
  ['v1', 'v2-stdio', '2025-11-25'],
  ['v1', 'v2-in-process', '2025-11-25'],
  ['v1', 'modern-http', '2025-11-25'],
  ['v1', 'modern-stdio', '2025-11-25'],
  ['v1', 'modern-in-process', '2025-11-25'],
  ['v2 legacy', 'v1-http', '2025-11-25'],
  ['v2 legacy', 'v1-stdio', '2025-11-25'],
  ['v2 legacy', 'v1-in-process', '2025-11-25'],
  ['v2 legacy', 'v2-http', '2025-11-25'],
  ['v2 legacy', 'v2-stdio', '2025-11-25'],
  ['v2 legacy', 'v2-in-process', '2025-11-25'],
  ['v2 legacy', 'modern-http', '2025-11-25'],
  ['v2 legacy', 'modern-stdio', '2025-11-25'],
  ['v2 legacy', 'modern-in-process', '2025-11-25'],
  ['v2 modern', 'v1-http', '2026-07-28'],
  ['v2 modern', 'v1-stdio', '2026-07-28'],
  ['v2 modern', 'v1-in-process', '2026-07-28'],
  ['v2 modern', 'v2-http', '2026-07-28'],
  ['v2 modern', 'v2-stdio', '2026-07-28'],
  ['v2 modern', 'v2-in-process', '2026-07-28'],
  ['v2 auto', 'v1-http', '2026-07-28'],
  ['v2 auto', 'v1-stdio', '2026-07-28'],
  ['v2 auto', 'v1-in-process', '2026-07-28'],
  ['v2 auto', 'v2-http', '2026-07-28'],
  ['v2 auto', 'v2-stdio', '2026-07-28'],
  ['v2 auto', 'v2-in-process', '2026-07-28'],
];

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startTestGateway({ upstreams: await startServers() });
});
afterAll(() => gateway.close());

it('has every client with every server that could be new to it', () => {
  const eras = (kind: ClientKind): readonly string[] => (kind === 'v1' || kind === 'v2 legacy' ? ['v1', 'v2', 'modern'] : ['v1', 'v2']);
  const clients: readonly ClientKind[] = ['v1', 'v2 legacy', 'v2 modern', 'v2 auto'];
  const expected = clients.flatMap((client) => eras(client).flatMap((server) => ['http', 'stdio', 'in-process'].map((kind) => `${client}, ${server}-${kind}`)));
  expect(pairings.map(([client, server]) => `${client}, ${server}`)).toEqual(expected);
});

it.concurrent.each(pairings)('the %s client and %s meet in %s and do all that both know', async (kind, server, revision) => {
  // Each an agent of its own: what one principal's clients do at once shares a stdio child, whose log messages do not say whom they are for.
  const fetch = createIdentityFetch({ identity: bridgeIdentity(gateway.pki, gateway.agent(`${kind}-${server}`.replace(' ', '-'))) });
  const client = await open(kind, new URL(`/${server}/mcp`, gateway.url), fetch);
  try {
    expect(client.revision()).toBe(revision);
    const names = await client.tools();
    expect(names).toEqual(expect.arrayContaining(['add', 'echo', 'log', 'slow']));
    expect(names).not.toContain('delete_everything');
    expect(await client.call('echo', { text: 'naïve → ✓' })).toMatchObject({ content: [{ text: 'naïve → ✓' }] });
    expect(await client.call('add', { a: 1, b: 2 })).toMatchObject({ structuredContent: { sum: 3 } });
    expect(await client.resources()).toEqual(['file:///readme.txt', 'file:///reports/annual', 'file:///reports/weekly']);
    expect(await client.read('file:///reports/annual')).toMatchObject({ contents: [{ text: 'report annual' }] });
    expect(await client.get('greet', { who: 'bob' })).toMatchObject({ messages: [{ content: { text: 'Greet bob' } }] });
    expect(await client.complete('greet', 'who', 'a')).toEqual(['alice']);
    const progress: number[] = [];
    expect(await client.call('slow', { steps: 2, milliseconds: 100 }, (step) => void progress.push(step))).toMatchObject({ content: [{ text: '2 steps' }] });
    expect(progress).toEqual([1, 2]);
    expect(await client.call('log', { count: 2 })).toMatchObject({ content: [{ text: '2 messages' }] });
    await eventually(() => client.logged.length >= 2);
    expect(client.logged).toEqual(['message 0', 'message 1']);
    await expect(client.call('delete_everything', {})).rejects.toMatchObject({ code: -32602 });
    await expect(client.read('file:///reports/secret')).rejects.toMatchObject({ code: -32602 });
  } finally {
    await client.close();
    fetch.close();
  }
});

/** What both SDKs' clients can do, spelled once. */
interface AnyClient {
  revision(): string | undefined;
  tools(): Promise<readonly string[]>;
  resources(): Promise<readonly string[]>;
  call(name: string, args: Record<string, unknown>, onProgress?: (step: number) => void): Promise<unknown>;
  read(uri: string): Promise<unknown>;
  get(name: string, args: Record<string, string>): Promise<unknown>;
  complete(prompt: string, argument: string, value: string): Promise<readonly string[]>;
  readonly logged: readonly unknown[];
  close(): Promise<void>;
}

const open = (kind: ClientKind, url: URL, fetch: IdentityFetch): Promise<AnyClient> => {
  switch (kind) {
    case 'v1':
      return openV1(url, fetch);
    case 'v2 legacy':
      return openV2(url, fetch, 'legacy');
    case 'v2 modern':
      return openV2(url, fetch, { pin: '2026-07-28' });
    case 'v2 auto':
      return openV2(url, fetch, 'auto');
  }
};

const openV1 = async (url: URL, fetch: IdentityFetch): Promise<AnyClient> => {
  const client = new Client({ name: 'interop', version: '1' });
  const transport = new StreamableHTTPClientTransport(url, { fetch });
  const logged: unknown[] = [];
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void logged.push(params.data));
  // The SDK's own types do not agree with each other under exactOptionalPropertyTypes.
  await client.connect(transport as Transport);
  await client.setLoggingLevel('info');
  return {
    ...shared(client), logged,
    revision: () => transport.protocolVersion,
    call: (name, args, onProgress) => client.callTool({ name, arguments: args }, undefined, onProgress === undefined ? {} : { onprogress: ({ progress }) => onProgress(progress) }),
  };
};

const openV2 = async (url: URL, fetch: IdentityFetch, mode: VersionNegotiationMode): Promise<AnyClient> => {
  const client = new ClientV2({ name: 'interop', version: '2' }, { versionNegotiation: { mode } });
  const logged: unknown[] = [];
  client.setNotificationHandler('notifications/message', ({ params }) => void logged.push(params.data));
  await client.connect(new TransportV2(url, { fetch }));
  if (mode === 'legacy') await client.setLoggingLevel('info');
  return {
    ...shared(client), logged,
    revision: () => client.getNegotiatedProtocolVersion(),
    call: (name, args, onProgress) =>
      client.callTool(
        // In the modern revision each request asks for what is logged about it.
        { name, arguments: args, ...(mode === 'legacy' ? {} : { _meta: { 'io.modelcontextprotocol/logLevel': 'info' } }) },
        onProgress === undefined ? {} : { onprogress: ({ progress }) => onProgress(progress) },
      ),
  };
};

const shared = (client: Client | ClientV2): Omit<AnyClient, 'revision' | 'call' | 'logged'> => ({
  tools: async () => (await client.listTools()).tools.map(({ name }) => name),
  resources: async () => (await client.listResources()).resources.map(({ uri }) => uri),
  read: (uri) => client.readResource({ uri }),
  get: (name, args) => client.getPrompt({ name, arguments: args }),
  complete: async (prompt, name, value) => (await client.complete({ ref: { type: 'ref/prompt', name: prompt }, argument: { name, value } })).completion.values,
  close: () => client.close(),
});

const startServers = async (): Promise<readonly TestUpstream[]> => {
  const world = { clock: systemClock, randomness: systemRandomness, log: quietLog };
  const other = (upstream: TestUpstream['upstream'], close = async () => undefined as void): TestUpstream => ({ kind: 'other', upstream, received: () => [], headers: () => [], sessions: () => [], close });
  const [v2Http, modernHttp] = [await startV2Http(), await startV2Http({ legacy: 'reject' })];
  const modern = createV2NodeHandler({ legacy: 'reject' });
  return [
    await startUpstream('http', { name: 'v1-http' }),
    other(createStdioUpstream({ ...world, ...v1StdioCommand, name: 'v1-stdio' })),
    await startUpstream('v1', { name: 'v1-in-process' }),
    other(createHttpUpstream({ name: 'v2-http', url: v2Http.url, log: quietLog }), () => v2Http.close()),
    other(createStdioUpstream({ ...world, ...v2StdioCommand, name: 'v2-stdio' })),
    await startUpstream('v2', { name: 'v2-in-process' }),
    other(createHttpUpstream({ name: 'modern-http', url: modernHttp.url, log: quietLog }), () => modernHttp.close()),
    other(createStdioUpstream({ ...world, ...modernStdioCommand, name: 'modern-stdio' })),
    other({ name: 'modern-in-process', handler: modern.handle }, () => modern.close()),
  ];
};
