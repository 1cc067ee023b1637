/** The official SDK clients, given nothing but the bridge's fetch, do all that MCP has through the gateway. */
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import {
  CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema, LoggingMessageNotificationSchema, ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createIdentityFetch } from '../../src/bridge/index.ts';
import { bridgeIdentity, startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { eventually, openSession } from '../support/gateway-requests.ts';
import { everythingUpstream } from '../support/gateway-upstreams.ts';
import type { UpstreamKind } from '../support/gateway-upstreams.ts';

const firstText = (result: unknown): string | undefined => (result as { content?: readonly { text?: string }[] }).content?.[0]?.text;

describe.each<UpstreamKind>(['stdio', 'http', 'v1'])('the v1 client with a %s upstream', (kind) => {
  let gateway: TestGateway;
  let client: Client;
  let transport: StreamableHTTPClientTransport;
  const logged: unknown[] = [];
  const updated: string[] = [];
  beforeAll(async () => {
    gateway = await startTestGateway({ upstreams: [kind] });
    client = new Client({ name: 'tour', version: '1' }, { capabilities: { sampling: {}, elicitation: {}, roots: {} } });
    client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => ({ role: 'assistant', model: 'test', content: { type: 'text', text: `sampled ${JSON.stringify(params.messages[0]?.content)}` } }));
    client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { answer: 'forty-two' } }));
    client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: 'file:///home' }] }));
    client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void logged.push(params.data));
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => void updated.push(params.uri));
    transport = new StreamableHTTPClientTransport(gateway.url, { fetch: createIdentityFetch({ identity: bridgeIdentity(gateway.pki, gateway.agent()) }) });
    await client.connect(transport as Transport);
  });
  afterAll(async () => {
    await client.close();
    await gateway.close();
  });

  it('lists what the principal may use', async () => {
    expect((await client.listTools()).tools.map(({ name }) => name)).not.toContain('delete_everything');
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain('echo');
    expect((await client.listResources()).resources.map(({ uri }) => uri)).not.toContain('file:///reports/secret');
    // Some of what it expands to may be read.
    expect((await client.listResourceTemplates()).resourceTemplates.map(({ uriTemplate }) => uriTemplate)).toEqual(['file:///reports/{name}']);
    expect((await client.listPrompts()).prompts.map(({ name }) => name)).toEqual(['greet']);
  });

  it('calls a tool with progress', async () => {
    const progress: number[] = [];
    const result = await client.callTool({ name: 'slow', arguments: { steps: 3, milliseconds: 100 } }, undefined, { onprogress: (one) => void progress.push(one.progress) });
    expect([firstText(result), progress]).toEqual(['3 steps', [1, 2, 3]]);
  });

  it('answers sampling, elicitation and roots', async () => {
    expect(firstText(await client.callTool({ name: 'ask_model', arguments: { question: 'why' } }))).toContain('why');
    expect(firstText(await client.callTool({ name: 'ask_user', arguments: { question: 'what' } }))).toBe('accept: forty-two');
    expect(firstText(await client.callTool({ name: 'list_roots', arguments: {} }))).toBe('file:///home');
  });

  it('sets a log level and receives log messages', async () => {
    await client.setLoggingLevel('info');
    await client.callTool({ name: 'log', arguments: { count: 2 } });
    await eventually(() => logged.length >= 2);
    expect(logged).toEqual(['message 0', 'message 1']);
  });

  it('completes what it has a grant for', async () => {
    const { completion } = await client.complete({ ref: { type: 'ref/prompt', name: 'greet' }, argument: { name: 'who', value: 'a' } });
    expect(completion.values).toEqual(['alice']);
    await expect(client.complete({ ref: { type: 'ref/prompt', name: 'confidential' }, argument: { name: 'who', value: 'a' } })).rejects.toMatchObject({ code: -32602 });
  });

  it('reads, subscribes and is told of updates, of its own resources only', async () => {
    expect((await client.readResource({ uri: 'file:///readme.txt' })).contents).toMatchObject([{ text: 'read me' }]);
    await client.subscribeResource({ uri: 'file:///readme.txt' });
    expect(firstText(await client.callTool({ name: 'touch', arguments: { uri: 'file:///readme.txt' } }))).toBe('announced');
    await eventually(() => updated.includes('file:///readme.txt'));
    await expect(client.subscribeResource({ uri: 'file:///reports/secret' })).rejects.toMatchObject({ code: -32602 });
    await client.unsubscribeResource({ uri: 'file:///readme.txt' });
  });

  it('gets a prompt, and neither a denied tool nor a denied prompt', async () => {
    expect((await client.getPrompt({ name: 'greet', arguments: { who: 'bob' } })).messages[0]?.content).toEqual({ type: 'text', text: 'Greet bob' });
    await expect(client.getPrompt({ name: 'confidential' })).rejects.toMatchObject({ code: -32602 });
    await expect(client.callTool({ name: 'delete_everything', arguments: {} })).rejects.toMatchObject({ code: -32602 });
  });

  it('tells an in-process tool who calls', async () => {
    const who = JSON.parse(firstText(await client.callTool({ name: 'whoami', arguments: {} })) ?? 'null') as { clientId?: string; scopes?: string[]; extra?: { roles?: string[] } } | null;
    if (kind === 'v1') expect(who).toMatchObject({ clientId: 'spiffe://test.internal/agent/agent-7', scopes: ['analyst'], extra: { roles: ['analyst'], principal: { commonName: 'agent-7' } } });
    else expect(who).toBeNull();
  });

  it('cancels a call, which ends it at the server and leaves nothing in flight', async () => {
    const abort = new AbortController();
    const call = client.callTool({ name: 'slow', arguments: { steps: 400, milliseconds: 25 } }, undefined, { signal: abort.signal, onprogress: () => abort.abort() });
    await expect(call).rejects.toThrow();
    await eventually(() => gateway.upstream.received().some((text) => text.includes('notifications/cancelled')));
    expect(firstText(await client.callTool({ name: 'echo', arguments: { text: 'on' } }))).toBe('on');
  });

  it('ends its session', async () => {
    await transport.terminateSession();
    await eventually(() => gateway.gateway.sessions.size === 0);
    if (kind !== 'stdio') await eventually(() => gateway.upstream.sessions().length === 0);
  });

  it('left one entry for each message, with duration and digest', () => {
    const entry = gateway.evidence.of('request.decided').find(({ name }) => name === 'slow');
    expect(entry).toMatchObject({
      outcome: 'allowed', reason: 'granted', agent: 'agent-7', method: 'tools/call', roles: ['analyst'], rule: expect.stringContaining('roles.analyst.grants[0].tools'), upstream: 'main',
      durationMs: expect.any(Number), argumentDigest: expect.stringMatching(/^sha256:/), session: expect.stringMatching(/^[0-9a-f]{16}$/),
    });
  });
});

describe.each<UpstreamKind>(['http', 'v1', 'v2'])('the v2 client, in a legacy revision, with a %s upstream', (kind) => {
  it('initializes, lists, calls with progress and reads', async () => {
    const gateway = await startTestGateway({ upstreams: [kind] });
    const client = new ClientV2({ name: 'tour', version: '2' });
    try {
      await client.connect(new TransportV2(gateway.url, { fetch: createIdentityFetch({ identity: bridgeIdentity(gateway.pki, gateway.agent()) }) }));
      const names = (await client.listTools()).tools.map(({ name }) => name);
      expect(names).toContain('echo');
      expect(names).not.toContain('delete_everything');
      const progress: number[] = [];
      const result = await client.callTool({ name: 'slow', arguments: { steps: 2, milliseconds: 100 } }, { onprogress: (one) => void progress.push(one.progress) });
      expect([firstText(result), progress]).toEqual(['2 steps', [1, 2]]);
      expect((await client.readResource({ uri: 'file:///readme.txt' })).contents).toMatchObject([{ text: 'read me' }]);
      await expect(client.callTool({ name: 'delete_everything', arguments: {} })).rejects.toMatchObject({ code: -32602 });
    } finally {
      await client.close();
      await gateway.close();
    }
  });
});

describe('the reference server over stdio', () => {
  it('is used by two principals with what each may do', async () => {
    const gateway = await startTestGateway({ upstreams: [everythingUpstream()] });
    try {
      const [analyst, operator] = [gateway.agent('a'), gateway.agent('o', { organizationalUnits: ['platform'] })];
      const of = async (identity: typeof analyst): Promise<[string[], string | undefined]> => {
        const client = new Client({ name: 'two', version: '1' });
        await client.connect(new StreamableHTTPClientTransport(gateway.url, { fetch: createIdentityFetch({ identity: bridgeIdentity(gateway.pki, identity) }) }) as Transport);
        const names = (await client.listTools()).tools.map(({ name }) => name);
        const text = firstText(await client.callTool({ name: 'echo', arguments: { message: 'hi' } }));
        await client.close();
        return [names, text];
      };
      const [few, all] = await Promise.all([of(analyst), of(operator)]);
      expect(few).toEqual([['echo'], 'Echo: hi']);
      expect(all[0].length).toBeGreaterThan(5);
    } finally {
      await gateway.close();
    }
  });
});

describe('a stream that broke off', () => {
  it.each<UpstreamKind>(['stdio', 'http', 'v1'])('is gone on with by its owner, filtered as before (%s)', async (kind) => {
    const gateway = await startTestGateway({ upstreams: [kind] });
    try {
      const session = await openSession(gateway, gateway.agent());
      const first = await session.stream({ body: { jsonrpc: '2.0', id: 'x', method: 'tools/call', params: { name: 'slow', arguments: { steps: 4, milliseconds: 40 }, _meta: { progressToken: 1 } } } });
      await first.message(({ method }) => method === 'notifications/progress');
      const last = first.events.findLast(({ id }) => id !== undefined)?.id;
      first.abandon();
      const resumed = await session.stream({ lastEventId: last ?? '' });
      expect((await resumed.message(({ id }) => id === 'x')).result).toMatchObject({ content: [{ text: '4 steps' }] });
    } finally {
      await gateway.close();
    }
  });
});
