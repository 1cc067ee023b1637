/** The official v2 client, pinned to the modern era, at servers that speak the legacy era only. */
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { translated } from '../../src/translation/translated.ts';
import { createHandlerUpstream } from '../../src/upstream/handler-upstream.ts';
import { createHttpUpstream } from '../../src/upstream/http.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import type { Upstream } from '../../src/upstream/upstream.ts';
import { bigInteger } from '../support/mcp-servers/v1-server.ts';
import { createV1Handler, startV1Http } from '../support/mcp-servers/v1-http.ts';
import { v1StdioCommand } from '../support/mcp-servers/v1-stdio.ts';
import { serveUpstream } from '../support/upstream-front.ts';
import { recordingLog } from '../support/upstream-requests.ts';

const closers: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

const upstreamOf = async (kind: string): Promise<Upstream> => {
  if (kind === 'stdio') return createStdioUpstream({ name: 'v1', ...v1StdioCommand, clock: systemClock, randomness: systemRandomness, log: recordingLog() });
  if (kind === 'in-process') {
    const handler = createV1Handler();
    closers.push(() => handler.close());
    return createHandlerUpstream({ name: 'v1', handler: handler.handle, log: recordingLog() });
  }
  const server = await startV1Http();
  closers.push(() => server.close());
  return createHttpUpstream({ name: 'v1', url: server.url, log: recordingLog() });
};

const text = (result: unknown): string | undefined => (result as { content?: { text?: string }[] }).content?.[0]?.text;

describe.each(['http', 'stdio', 'in-process'])('a modern client at a legacy server: %s', (kind) => {
  let client: Client;
  const seen: unknown[] = [];
  beforeAll(async () => {
    const upstream = translated(await upstreamOf(kind), { randomness: systemRandomness, log: recordingLog() });
    closers.push(() => upstream.close());
    const front = await serveUpstream(upstream);
    closers.push(() => front.close());
    client = new Client({ name: 'modern', version: '1' }, { capabilities: { sampling: {}, elicitation: {}, roots: {} }, versionNegotiation: { mode: { pin: '2026-07-28' } } });
    client.setRequestHandler('sampling/createMessage', ({ params }) => ({ role: 'assistant', model: 'm', content: { type: 'text', text: `sampled ${JSON.stringify(params.messages[0]?.content)}` } }));
    client.setRequestHandler('elicitation/create', ({ params }) => ({ action: 'accept', content: { answer: `to ${params.message}` } }));
    client.setRequestHandler('roots/list', () => ({ roots: [{ uri: 'file:///root' }] }));
    client.setNotificationHandler('notifications/message', ({ params }) => void seen.push(params.data));
    await client.connect(new StreamableHTTPClientTransport(front.url));
    closers.push(() => client.close());
  });

  it('discovers it', () => {
    expect(client.getServerVersion()).toEqual({ name: 'v1-fixture', version: '1.0.0' });
    expect(client.getServerCapabilities()).toMatchObject({ tools: { listChanged: true }, resources: { subscribe: true, listChanged: true }, logging: {} });
    expect(client.getInstructions()).toBe('a fixture');
  });

  it('lists, reads, gets, completes and calls', async () => {
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain('echo');
    expect((await client.listResources()).resources.map(({ uri }) => uri)).toContain('file:///reports/annual');
    expect((await client.listResourceTemplates()).resourceTemplates.map(({ uriTemplate }) => uriTemplate)).toEqual(['file:///reports/{name}']);
    expect((await client.listPrompts()).prompts.map(({ name }) => name)).toEqual(['greet', 'confidential']);
    expect((await client.readResource({ uri: 'file:///readme.txt' })).contents).toEqual([{ uri: 'file:///readme.txt', mimeType: 'text/plain', text: 'read me' }]);
    expect((await client.getPrompt({ name: 'greet', arguments: { who: 'bob' } })).messages).toHaveLength(1);
    expect((await client.complete({ ref: { type: 'ref/prompt', name: 'greet' }, argument: { name: 'who', value: 'b' } })).completion.values).toEqual(['bob']);
    expect(text(await client.callTool({ name: 'echo', arguments: { text: 'hi' } }))).toBe('hi');
    expect(text(await client.callTool({ name: 'big_integer', arguments: {} }))).toBe(bigInteger);
  });

  it('is told what it asks for that does not exist', async () => {
    await expect(client.readResource({ uri: 'file:///nowhere' })).rejects.toMatchObject({ code: -32602 });
  });

  it('reports progress to the request it belongs to', async () => {
    const runs = await Promise.all([2, 3].map(async (steps) => {
      const progress: number[] = [];
      await client.callTool({ name: 'slow', arguments: { steps, milliseconds: 20 } }, { onprogress: (one) => void progress.push(one.progress) });
      return progress;
    }));
    expect(runs).toEqual([[1, 2], [1, 2, 3]]);
  });

  it('logs only when asked to', async () => {
    expect(text(await client.callTool({ name: 'log', arguments: { count: 1 } }))).toBe('1 messages');
    expect(seen).toEqual([]);
    await client.callTool({ name: 'log', arguments: { count: 2 }, _meta: { 'io.modelcontextprotocol/logLevel': 'info' } });
    expect(seen.splice(0)).toEqual(['message 0', 'message 1']);
    await client.callTool({ name: 'log', arguments: { count: 1 }, _meta: { 'io.modelcontextprotocol/logLevel': 'error' } });
    expect(seen).toEqual([]);
  });

  it('asks the client through input that is required', async () => {
    expect(text(await client.callTool({ name: 'ask_model', arguments: { question: 'why' } }))).toContain('why');
    expect(text(await client.callTool({ name: 'ask_user', arguments: { question: 'what' } }))).toBe('accept: to what');
    expect(text(await client.callTool({ name: 'list_roots', arguments: {} }))).toBe('file:///root');
  });

  it('tells of changes to what is listened for', async () => {
    const updated: string[] = [];
    client.setNotificationHandler('notifications/resources/updated', ({ params }) => void updated.push(params.uri));
    expect(text(await client.callTool({ name: 'touch', arguments: { uri: 'file:///readme.txt' } }))).toBe('nobody subscribed');
    const subscription = await client.listen({ resourceSubscriptions: ['file:///readme.txt'], toolsListChanged: true });
    expect(subscription.honoredFilter).toEqual({ resourceSubscriptions: ['file:///readme.txt'], toolsListChanged: true });
    expect(text(await client.callTool({ name: 'touch', arguments: { uri: 'file:///readme.txt' } }))).toBe('announced');
    await expect.poll(() => updated).toEqual(['file:///readme.txt']);
    await subscription.close();
    await expect.poll(async () => text(await client.callTool({ name: 'touch', arguments: { uri: 'file:///readme.txt' } }))).toBe('nobody subscribed');
  });
});
