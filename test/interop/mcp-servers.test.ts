/** The fixture servers themselves, reached directly by the official clients: what the gateway is later compared with. */
import { Client as ClientV2, StreamableHTTPClientTransport as HttpTransportV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema, LoggingMessageNotificationSchema, ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { bigInteger } from '../support/mcp-servers/v1-server.ts';
import { startV1Http } from '../support/mcp-servers/v1-http.ts';
import { v1StdioCommand } from '../support/mcp-servers/v1-stdio.ts';
import { createV2Handler, startV2Http } from '../support/mcp-servers/v2.ts';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

const connect = async (transport: StreamableHTTPClientTransport | StdioClientTransport): Promise<Client> => {
  const client = new Client({ name: 'test', version: '1' }, { capabilities: { sampling: {}, elicitation: {}, roots: {} } });
  client.setRequestHandler(CreateMessageRequestSchema, () => ({ role: 'assistant', model: 'm', content: { type: 'text', text: 'sampled' } }));
  client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { answer: 'yes' } }));
  client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: 'file:///root' }] }));
  await client.connect(transport as Transport);
  closers.push(() => client.close());
  return client;
};

const call = async (client: Pick<Client, 'callTool'>, name: string, args: Record<string, unknown> = {}): Promise<unknown> => {
  const result = (await client.callTool({ name, arguments: args })) as { content: { text: string }[] };
  return result.content[0]?.text;
};

const stateful = async () => {
  const server = await startV1Http();
  closers.push(() => server.close());
  return { server, client: await connect(new StreamableHTTPClientTransport(server.url)) };
};

describe.each(['Streamable HTTP', 'stdio'])('the v1 fixture over %s', (kind) => {
  const open = async () => (kind === 'stdio' ? connect(new StdioClientTransport({ ...v1StdioCommand, args: [...v1StdioCommand.args] })) : (await stateful()).client);

  test('offers tools, resources and prompts, and completes', async () => {
    const client = await open();
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain('delete_everything');
    expect((await client.listResources()).resources.map(({ uri }) => uri)).toStrictEqual(['file:///readme.txt', 'file:///reports/annual', 'file:///reports/secret', 'file:///reports/weekly']);
    expect((await client.listResourceTemplates()).resourceTemplates.map(({ uriTemplate }) => uriTemplate)).toStrictEqual(['file:///reports/{name}']);
    expect((await client.listPrompts()).prompts.map(({ name }) => name)).toStrictEqual(['greet', 'confidential']);
    expect((await client.complete({ ref: { type: 'ref/resource', uri: 'file:///reports/{name}' }, argument: { name: 'name', value: '' } })).completion.values).toStrictEqual(['annual', 'secret', 'weekly']);
    expect((await client.complete({ ref: { type: 'ref/prompt', name: 'greet' }, argument: { name: 'who', value: 'b' } })).completion.values).toStrictEqual(['bob']);
    expect(await call(client, 'echo', { text: 'hi' })).toBe('hi');
    expect(await client.callTool({ name: 'add', arguments: { a: 1, b: 2 } })).toMatchObject({ structuredContent: { sum: 3 } });
  });

  test('asks its client, logs, reports progress and announces changes', async () => {
    const client = await open();
    const seen: string[] = [];
    client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void seen.push(String(params.data)));
    const updated = new Promise<string>((resolve) => {
      client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => resolve(params.uri));
    });
    expect(await call(client, 'ask_model', { question: '?' })).toBe('sampled');
    expect(await call(client, 'ask_user', { question: '?' })).toBe('accept: yes');
    expect(await call(client, 'list_roots')).toBe('file:///root');
    expect(await call(client, 'log', { count: 2 })).toBe('2 messages');
    expect(seen).toStrictEqual(['message 0', 'message 1']);
    const progress: number[] = [];
    await client.callTool({ name: 'slow', arguments: { steps: 3, milliseconds: 1 } }, undefined, { onprogress: (report) => void progress.push(report.progress) });
    expect(progress).toStrictEqual([1, 2, 3]);
    await client.subscribeResource({ uri: 'file:///readme.txt' });
    expect(await call(client, 'touch', { uri: 'file:///readme.txt' })).toBe('announced');
    expect(await updated).toBe('file:///readme.txt');
  });
});

test('the v1 fixture keeps what came over the wire, and sends integers a double cannot hold', async () => {
  const { server, client } = await stateful();
  await call(client, 'echo', { text: 'hi' });
  expect(JSON.parse(server.received.at(-1) ?? '')).toMatchObject({ method: 'tools/call' });
  expect(server.sessions()).toHaveLength(1);
  const response = await fetch(server.url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'mcp-session-id': server.sessions()[0] ?? '' },
    body: '{"jsonrpc":"2.0","id":"big","method":"tools/call","params":{"name":"big_integer"}}',
  });
  expect(await response.text()).toContain(`"value":${bigInteger}`);
});

test('the v1 fixture resumes a stream where it was cut', async () => {
  const { server } = await stateful();
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'mcp-session-id': server.sessions()[0] ?? '', 'mcp-protocol-version': '2025-11-25' };
  const post = await fetch(server.url, { method: 'POST', headers, body: '{"jsonrpc":"2.0","id":"r","method":"tools/call","params":{"name":"slow","arguments":{"steps":2,"milliseconds":20},"_meta":{"progressToken":"p"}}}' });
  const reader = post.body?.getReader();
  const first = new TextDecoder().decode((await reader?.read())?.value);
  await reader?.cancel();
  const eventId = /id: (\S+)/.exec(first)?.[1] ?? '';
  // The server answers 409 until it has noticed that the first stream is gone.
  const resumed = await vi.waitFor(async () => {
    const response = await fetch(server.url, { headers: { accept: 'text/event-stream', 'mcp-session-id': headers['mcp-session-id'], 'last-event-id': eventId } });
    expect(response.status).toBe(200);
    return response;
  });
  let rest = '';
  for await (const chunk of resumed.body ?? []) {
    rest += new TextDecoder().decode(chunk as Uint8Array);
    if (rest.includes('"result"')) break;
  }
  expect(rest).toContain('2 steps');
});

test('the v1 fixture without sessions answers every request alone', async () => {
  const server = await startV1Http({ sessions: 'stateless', json: true });
  closers.push(() => server.close());
  const client = await connect(new StreamableHTTPClientTransport(server.url));
  expect(await call(client, 'echo', { text: 'hi' })).toBe('hi');
  expect(server.sessions()).toStrictEqual([]);
});

test.each([
  ['the v1 client', async (url: URL) => connect(new StreamableHTTPClientTransport(url))],
  ['the v2 client', async (url: URL) => {
    const client = new ClientV2({ name: 'test', version: '2' });
    await client.connect(new HttpTransportV2(url));
    closers.push(() => client.close());
    return client as unknown as Client;
  }],
])('the v2 fixture serves %s', async (_name, open) => {
  const server = await startV2Http();
  closers.push(() => server.close());
  const client = await open(server.url);
  expect(await call(client, 'echo', { text: 'hi' })).toBe('hi');
  expect((await client.listResources()).resources).toHaveLength(4);
  expect((await client.listPrompts()).prompts.map(({ name }) => name)).toStrictEqual(['greet', 'confidential']);
});

test('the v2 fixture answers fetch requests in process, and sees the identity it is given', async () => {
  const handler = createV2Handler();
  closers.push(() => handler.close());
  const response = await handler.fetch(
    new Request('http://localhost/mcp', { method: 'POST', headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }, body: '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami"}}' }),
    { authInfo: { token: '', clientId: 'agent-7', scopes: [] } },
  );
  expect(await response.text()).toContain('agent-7');
});
