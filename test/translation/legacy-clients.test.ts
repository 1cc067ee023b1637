/** The official v1 client at a server that speaks the modern era only. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import {
  CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema, LoggingMessageNotificationSchema, ResourceUpdatedNotificationSchema, ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemRandomness } from '../../src/system.ts';
import { translated } from '../../src/translation/translated.ts';
import { createHttpUpstream } from '../../src/upstream/http.ts';
import { bigInteger } from '../support/mcp-servers/v1-server.ts';
import { startV2Modern } from '../support/mcp-servers/v2-modern.ts';
import type { V2Modern } from '../support/mcp-servers/v2-modern.ts';
import type { Loopback } from '../support/mcp-servers/loopback.ts';
import { serveUpstream } from '../support/upstream-front.ts';
import { recordingLog } from '../support/upstream-requests.ts';

const closers: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

const text = (result: unknown): string | undefined => (result as { content?: { text?: string }[] }).content?.[0]?.text;

describe('a legacy client at a modern server', () => {
  let server: V2Modern;
  let front: Loopback;
  let client: Client;
  const logged: unknown[] = [];
  const updated: string[] = [];
  const changed: string[] = [];
  const create = (options: ConstructorParameters<typeof Client>[1]): Client => new Client({ name: 'legacy', version: '1' }, options);
  const open = async (connecting: Client): Promise<void> => {
    await connecting.connect(new StreamableHTTPClientTransport(front.url) as Transport);
    closers.push(() => connecting.close());
  };
  beforeAll(async () => {
    server = await startV2Modern();
    closers.push(() => server.close());
    const upstream = translated(createHttpUpstream({ name: 'v2', url: server.url, log: recordingLog() }), { randomness: systemRandomness, log: recordingLog() });
    closers.push(() => upstream.close());
    front = await serveUpstream(upstream);
    closers.push(() => front.close());
    client = create({ capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } } });
    client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => ({ role: 'assistant', model: 'm', content: { type: 'text', text: `sampled ${JSON.stringify(params.messages[0]?.content)}` } }));
    client.setRequestHandler(ElicitRequestSchema, ({ params }) => ({ action: 'accept', content: { answer: `to ${params.message}` } }));
    client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: 'file:///root' }] }));
    client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void logged.push(params.data));
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => void updated.push(params.uri));
    client.setNotificationHandler(ToolListChangedNotificationSchema, () => void changed.push('tools'));
    await open(client);
  });

  it('initializes', async () => {
    expect(client.getServerVersion()).toEqual({ name: 'v2-fixture', version: '2.0.0' });
    expect(client.getServerCapabilities()).toMatchObject({ tools: { listChanged: true }, resources: { subscribe: true, listChanged: true }, logging: {} });
    expect(client.getInstructions()).toBe('a fixture');
    await client.ping();
  });

  it('lists, reads, gets, completes and calls', async () => {
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toContain('echo');
    expect(tools.find(({ name }) => name === 'numbers')?.outputSchema).toMatchObject({ type: 'object', properties: { result: { type: 'array' } }, required: ['result'] });
    expect((await client.listResources()).resources.map(({ uri }) => uri)).toContain('file:///reports/annual');
    expect((await client.listResourceTemplates()).resourceTemplates.map(({ uriTemplate }) => uriTemplate)).toEqual(['file:///reports/{name}']);
    expect((await client.listPrompts()).prompts.map(({ name }) => name)).toEqual(['greet', 'confidential']);
    const read = await client.readResource({ uri: 'file:///readme.txt' });
    expect(read).toEqual({ contents: [{ uri: 'file:///readme.txt', mimeType: 'text/plain', text: 'read me' }] });
    expect((await client.getPrompt({ name: 'greet', arguments: { who: 'bob' } })).messages).toHaveLength(1);
    expect((await client.complete({ ref: { type: 'ref/prompt', name: 'greet' }, argument: { name: 'who', value: 'b' } })).completion.values).toEqual(['bob']);
    expect(await client.callTool({ name: 'echo', arguments: { text: 'hi' } })).toEqual({ content: [{ type: 'text', text: 'hi' }] });
    expect(text(await client.callTool({ name: 'big_integer', arguments: {} }))).toBe(bigInteger);
    expect(await client.callTool({ name: 'numbers', arguments: {} })).toMatchObject({ structuredContent: { result: [1, 2] } });
    await expect(client.readResource({ uri: 'file:///nowhere' })).rejects.toMatchObject({ code: -32602 });
  });

  it('sends the headers that a tool wants, although its client does not know them', async () => {
    const another = create({});
    await open(another);
    expect(text(await another.callTool({ name: 'region', arguments: { region: 'Zürich' } }))).toBe('Zürich');
    expect(server.received.at(-1)?.headers['mcp-param-region']).toBe('=?base64?WsO8cmljaA==?=');
    expect(server.received.filter(({ message }) => message.method === 'tools/list').length).toBeGreaterThan(0);
  });

  it('reports progress and logs as the client set it', async () => {
    const progress: number[] = [];
    expect(text(await client.callTool({ name: 'slow', arguments: { steps: 3, milliseconds: 20 } }, undefined, { onprogress: (one) => void progress.push(one.progress) }))).toBe('3 steps');
    expect(progress).toEqual([1, 2, 3]);
    await client.callTool({ name: 'log', arguments: { count: 1 } });
    expect(logged).toEqual([]);
    await client.setLoggingLevel('info');
    await client.callTool({ name: 'log', arguments: { count: 2 } });
    expect(logged).toEqual(['message 0', 'message 1']);
  });

  it('asks the client what the server needs to know, all at once and over several rounds', async () => {
    expect(JSON.parse(text(await client.callTool({ name: 'ask_all', arguments: {} })) ?? '')).toEqual([
      { answer: 'to which?' }, { type: 'text', text: 'sampled {"type":"text","text":"why?"}' }, [{ uri: 'file:///root' }],
    ]);
    expect(text(await client.callTool({ name: 'rounds', arguments: { count: 8 } }))).toBe('8 rounds');
    expect(await client.callTool({ name: 'rounds', arguments: { count: 9 } })).toMatchObject({ isError: true });
  });

  it('says so when the client cannot be asked', async () => {
    const another = create({ capabilities: { elicitation: {} } });
    await open(another);
    await expect(another.callTool({ name: 'ask_all', arguments: {} })).rejects.toMatchObject({ code: -32602, data: { requiredCapabilities: { sampling: {} } } });
  });

  it('tells of changes, also to resources subscribed to later', async () => {
    await expect.poll(() => server.received.some(({ message }) => message.method === 'subscriptions/listen')).toBe(true);
    await client.subscribeResource({ uri: 'file:///readme.txt' });
    server.notify.resourceUpdated('file:///readme.txt');
    server.notify.resourceUpdated('file:///other.txt');
    server.notify.toolsChanged();
    await expect.poll(() => [updated, changed]).toEqual([['file:///readme.txt'], ['tools']]);
    await client.subscribeResource({ uri: 'file:///other.txt' });
    server.notify.resourceUpdated('file:///other.txt');
    await expect.poll(() => updated).toEqual(['file:///readme.txt', 'file:///other.txt']);
    await client.unsubscribeResource({ uri: 'file:///readme.txt' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    server.notify.resourceUpdated('file:///readme.txt');
    server.notify.resourceUpdated('file:///other.txt');
    await expect.poll(() => updated.slice(2)).toEqual(['file:///other.txt']);
    await expect(client.subscribeResource({ uri: 'file:///other.txt' })).resolves.toEqual({});
  });

  it('takes a cancelled request back at the server', async () => {
    const cancelling = new AbortController();
    const waiting = client.callTool({ name: 'wait', arguments: {} }, undefined, { signal: cancelling.signal });
    await expect.poll(() => server.received.some(({ message }) => message.params['name'] === 'wait')).toBe(true);
    cancelling.abort();
    await expect(waiting).rejects.toThrow();
    await expect.poll(() => server.cancelled()).toBe(1);
  });
});
