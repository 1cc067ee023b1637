import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import type { ClientOptions, Transport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { toNodeHandler } from '@modelcontextprotocol/node';
import type { ServerNotifier } from '@modelcontextprotocol/server';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startHttpBridge } from '../../src/bridge/http-bridge.ts';
import { createIdentityFetch } from '../../src/bridge/identity-fetch.ts';
import type { IdentityFetch } from '../../src/bridge/identity-fetch.ts';
import { startStdioBridge } from '../../src/bridge/stdio-bridge.ts';
import type { StdioBridge } from '../../src/bridge/stdio-bridge.ts';
import { createV2Handler } from '../support/mcp-servers/v2.ts';
import { answerError, mcpHandler, startTestGateway } from './test-gateway.ts';
import type { Handler, TestGateway } from './test-gateway.ts';
import { createTestPki, writeIdentity } from './test-pki.ts';
import type { Issued } from './test-pki.ts';

let directory: string;
let agent: Issued;
let gateway: TestGateway;
let identityFetch: IdentityFetch;

beforeAll(async () => {
  const pki = await createTestPki();
  agent = await pki.issue({ name: 'agent-7' });
  directory = await mkdtemp(join(tmpdir(), 'modern-'));
  await writeIdentity(directory, pki, agent);
  gateway = await startTestGateway({ pki });
  identityFetch = createIdentityFetch({ identity: directory });
});
beforeEach(() => {
  gateway.seen.length = 0;
  gateway.verdicts.clear();
});
afterAll(async () => {
  identityFetch.close();
  await gateway.close();
  await rm(directory, { recursive: true, force: true });
});

const modes: readonly (readonly [string, NonNullable<ClientOptions['versionNegotiation']>])[] = [
  ['modern', { mode: { pin: '2026-07-28' } }],
  ['auto', { mode: 'auto' }],
  ['legacy', { mode: 'legacy' }],
];

/** The stdio bridge in this process, as the transport of a client. */
class BridgedStdio implements Transport {
  onmessage?: NonNullable<Transport['onmessage']>;
  onclose?: () => void;
  readonly #input = new PassThrough();
  readonly #output = new PassThrough();
  readonly #bridge = startStdioBridge({ url: gateway.url, fetch: identityFetch, input: this.#input, output: this.#output, notice: () => undefined });

  start(): Promise<void> {
    createInterface({ input: this.#output }).on('line', (line) => this.onmessage?.(JSON.parse(line) as Parameters<NonNullable<Transport['onmessage']>>[0]));
    return Promise.resolve();
  }

  send(message: object): Promise<void> {
    this.#input.write(`${JSON.stringify(message)}\n`);
    return Promise.resolve();
  }

  async close(): Promise<void> {
    this.#input.end();
    await this.#bridge.done;
    this.onclose?.();
  }
}

describe.each(modes)('the official v2 client, %s', (name, versionNegotiation) => {
  const tour = async (client: Client, notify: ServerNotifier): Promise<void> => {
    expect((await client.listTools()).tools.map((tool) => tool.name)).toContain('echo');
    const progress: number[] = [];
    const [slow, ...echoes] = await Promise.all([
      client.callTool({ name: 'slow', arguments: { steps: 2, milliseconds: 60 } }, { onprogress: (step) => progress.push(step.progress) }),
      ...['a', 'ü', 'c'].map((text) => client.callTool({ name: 'echo', arguments: { text } })),
    ]);
    expect([slow?.content, progress]).toEqual([[{ type: 'text', text: '2 steps' }], [1, 2]]);
    expect(echoes.map(({ content }) => content)).toEqual(['a', 'ü', 'c'].map((text) => [{ type: 'text', text }]));
    expect((await client.readResource({ uri: 'file:///readme.txt' })).contents).toMatchObject([{ text: 'read me' }]);
    await expect(client.callTool({ name: 'not_there', arguments: {} })).rejects.toMatchObject({ code: -32602 });
    const abort = new AbortController();
    const cancelled = client.callTool({ name: 'slow', arguments: { steps: 1_000, milliseconds: 20 } }, { signal: abort.signal, onprogress: () => abort.abort() });
    await expect(cancelled).rejects.toThrow();
    if (name === 'legacy') return;
    let changes = 0;
    client.setNotificationHandler('notifications/tools/list_changed', () => void (changes += 1));
    const subscription = await client.listen({ toolsListChanged: true });
    notify.toolsChanged();
    await expect.poll(() => changes).toBe(1);
    await subscription.close();
    expect(await subscription.closed).toBe('local');
    notify.toolsChanged();
    expect((await client.listTools()).tools.length).toBeGreaterThan(0);
    expect(changes).toBe(1);
  };
  const withServer = async (transport: () => Transport, work: (client: Client, notify: ServerNotifier) => Promise<void>): Promise<void> => {
    const handler = createV2Handler();
    gateway.handler = toNodeHandler(handler) as Handler;
    const client = new Client({ name: 'c', version: '1' }, { versionNegotiation });
    try {
      await client.connect(transport());
      expect(client.getNegotiatedProtocolVersion()).toBe(name === 'legacy' ? '2025-11-25' : '2026-07-28');
      await work(client, handler.notify);
    } finally {
      await client.close();
      await handler.close();
    }
  };

  it('goes through the stdio bridge', () => withServer(() => new BridgedStdio(), tour));

  it('goes through the loopback HTTP bridge', async () => {
    const bridge = await startHttpBridge({ url: gateway.url, fetch: identityFetch, notice: () => undefined });
    try {
      await withServer(() => new StreamableHTTPClientTransport(new URL(bridge.url)), tour);
    } finally {
      await bridge.close();
    }
  });
});

it('a client that asks for the modern era falls back to the legacy one where the gateway has only that', async () => {
  gateway.handler = mcpHandler();
  const args = [fileURLToPath(new URL('stdio-bridge-process.ts', import.meta.url)), gateway.url.href, directory];
  const client = new Client({ name: 'c', version: '1' }, { versionNegotiation: { mode: 'auto' } });
  await client.connect(new StdioClientTransport({ command: process.execPath, args, stderr: 'inherit' }));
  expect(client.getNegotiatedProtocolVersion()).toBe('2025-11-25');
  expect(await client.callTool({ name: 'echo', arguments: { text: 'old' } })).toMatchObject({ content: [{ text: 'old' }] });
  await client.close();
});

interface Seen {
  readonly method: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly message: { readonly id?: unknown; readonly method: string; readonly params?: Readonly<Record<string, unknown>> };
  readonly response: ServerResponse;
}

describe('the stdio bridge in the modern era, line by line', () => {
  const cleanups: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  });

  const json = (response: ServerResponse, status: number, value: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(typeof value === 'string' ? value : JSON.stringify(value));
  };
  const result = (id: unknown, value: Record<string, unknown> = {}): unknown => ({ jsonrpc: '2.0', id, result: { resultType: 'complete', ...value } });

  /** A gateway that does as told, and the bridge in front of it in this process. */
  const start = (answer: (seen: Seen) => void): { seen: Seen[]; received: string[]; notices: string[]; bridge: StdioBridge; send(value: unknown): void; end(): void } => {
    const seen: Seen[] = [];
    gateway.handler = async (request: IncomingMessage, response: ServerResponse) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const text = Buffer.concat(chunks).toString();
      const one: Seen = { method: request.method, headers: request.headers, message: text === '' ? { method: '' } : (JSON.parse(text) as Seen['message']), response };
      seen.push(one);
      answer(one);
    };
    const [input, output] = [new PassThrough(), new PassThrough()];
    const [received, notices]: [string[], string[]] = [[], []];
    output.on('data', (chunk: Buffer) => received.push(...chunk.toString().split('\n').slice(0, -1)));
    const bridge = startStdioBridge({ url: gateway.url, fetch: identityFetch, input, output, notice: ({ message }) => notices.push(message), backoff: { firstMs: 10, longestMs: 50 } });
    cleanups.push(async () => {
      input.end();
      output.destroy();
      await bridge.done;
    });
    return { seen, received, notices, bridge, send: (value) => void input.write(`${typeof value === 'string' ? value : JSON.stringify(value)}\n`), end: () => void input.end() };
  };
  const meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientInfo': { name: 'c', version: '1' }, 'io.modelcontextprotocol/clientCapabilities': {} };
  const ask = (id: unknown, method: string, params: Record<string, unknown> = {}): unknown => ({ jsonrpc: '2.0', id, method, params: { ...params, _meta: { ...meta, progressToken: 'p' } } });
  const region = { name: 'deploy', inputSchema: { type: 'object', properties: { region: { type: 'string', 'x-mcp-header': 'Region' }, count: { type: 'integer', 'x-mcp-header': 'Count' } } } };
  const parsed = (received: readonly string[]): unknown[] => received.map((line) => JSON.parse(line) as unknown);

  it.each([
    ['tools/list', {}, undefined],
    ['prompts/get', { name: 'grüß gott' }, '=?base64?Z3LDvMOfIGdvdHQ=?='],
    ['resources/read', { uri: 'file:///a b' }, 'file:///a b'],
    ['tasks/get', { taskId: 't-1' }, 't-1'],
    ['completion/complete', { name: 'no source of the header' }, undefined],
  ])('sends %s with the headers of its era and without a session', async (method, params, name) => {
    const { seen, received, send } = start(({ message, response }) => json(response, 200, result(message.id)));
    send(ask('x', method, params));
    await expect.poll(() => parsed(received)).toEqual([result('x')]);
    expect(seen).toHaveLength(1);
    expect(seen[0]?.headers).toMatchObject({ 'mcp-protocol-version': '2026-07-28', 'mcp-method': method, accept: 'application/json, text/event-stream' });
    expect([seen[0]?.headers['mcp-name'], seen[0]?.headers['mcp-session-id']]).toEqual([name, undefined]);
  });

  it('lists by itself what it has not seen, every page of it, and mirrors the arguments in headers', async () => {
    const { seen, received, send } = start(({ message, response }) => {
      if (message.method !== 'tools/list') json(response, 200, result(message.id));
      else json(response, 200, result(message.id, message.params?.['cursor'] === 'next' ? { tools: [region] } : { tools: [{ name: 'plain', inputSchema: { type: 'object' } }], nextCursor: 'next' }));
    });
    send(ask(1, 'tools/call', { name: 'deploy', arguments: { region: 'süd', count: 3 } }));
    await expect.poll(() => parsed(received)).toEqual([result(1)]);
    send(ask(2, 'tools/call', { name: 'plain', arguments: { region: 'x' } }));
    send(ask(3, 'tools/call', { name: 'absent', arguments: {} }));
    await expect.poll(() => received).toHaveLength(3);
    const methods = seen.map(({ message }) => [message.method, message.params?.['cursor'] ?? message.params?.['name']]);
    // One more look for the one that is not there.
    expect(methods).toEqual([['tools/list', undefined], ['tools/list', 'next'], ['tools/call', 'deploy'], ...methods.slice(3)]);
    expect(seen[0]?.message.params?.['_meta']).toEqual(meta);
    expect(seen[2]?.headers).toMatchObject({ 'mcp-name': 'deploy', 'mcp-param-region': `=?base64?${Buffer.from('süd').toString('base64')}?=`, 'mcp-param-count': '3' });
    expect(Object.keys(seen.find(({ message }) => message.params?.['name'] === 'plain')?.headers ?? {}).filter((header) => header.startsWith('mcp-param'))).toEqual([]);
    // None of it shows at the MCP client.
    expect(received.join('')).not.toContain('sallyport-tools');
  });

  it('learns from the lists that pass by, again after a change, and once more when headers and body disagree', async () => {
    let tools: unknown[] = [region];
    let refuse = 0;
    const { seen, received, send } = start(({ message, headers, response }) => {
      if (message.method === 'tools/list') return json(response, 200, result(message.id, { tools }));
      if (refuse > 0 && headers['mcp-param-zone'] === undefined) {
        refuse -= 1;
        return json(response, 400, { jsonrpc: '2.0', id: message.id, error: { code: -32020, message: 'mismatch' } });
      }
      json(response, 200, result(message.id));
    });
    const call = (id: number): unknown => ask(id, 'tools/call', { name: 'deploy', arguments: { region: 'eu', zone: 'b' } });
    send(ask(1, 'tools/list'));
    await expect.poll(() => received).toHaveLength(1);
    send(call(2));
    await expect.poll(() => received).toHaveLength(2);
    expect(seen.map(({ message }) => message.method)).toEqual(['tools/list', 'tools/call']);
    expect(seen[1]?.headers['mcp-param-region']).toBe('eu');
    tools = [{ name: 'deploy', inputSchema: { type: 'object', properties: { zone: { type: 'string', 'x-mcp-header': 'Zone' } } } }];
    refuse = 1;
    send(call(3));
    await expect.poll(() => parsed(received)).toMatchObject([{ id: 1 }, { id: 2 }, { id: 3, result: {} }]);
    expect(seen.slice(2).map(({ message, headers }) => [message.method, headers['mcp-param-zone']])).toEqual([['tools/call', undefined], ['tools/list', undefined], ['tools/call', 'b']]);
    // What goes on being refused is the client's to know.
    tools = [region];
    refuse = 2;
    send(ask(4, 'tools/list'));
    await expect.poll(() => received).toHaveLength(4);
    send(call(5));
    await expect.poll(() => parsed(received)[4]).toMatchObject({ id: 5, error: { code: -32020, message: 'mismatch' } });
    expect(refuse).toBe(0);
  });

  it('gives up the exchange when the client cancels, and says nothing more of it', async () => {
    let closed = false;
    const { seen, received, send } = start(({ message, response }) => {
      if (message.method !== 'slow') return json(response, 200, result(message.id));
      response.on('close', () => (closed = true));
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': on it\n\n');
    });
    send(ask('one', 'slow'));
    await expect.poll(() => seen).toHaveLength(1);
    send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'one' } });
    await expect.poll(() => closed).toBe(true);
    send(ask('two', 'tools/list'));
    await expect.poll(() => parsed(received)).toEqual([result('two')]);
    expect(seen.map(({ message }) => message.method)).toEqual(['slow', 'tools/list']);
  });

  it('carries a subscription for as long as it lasts, and ends with its input all the same', async () => {
    let stream: ServerResponse | undefined;
    let closed = false;
    const { received, bridge, send, end } = start(({ response }) => {
      stream = response;
      response.on('close', () => (closed = true));
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged"}\n\n: alive\n\n');
    });
    send(ask('listen:1', 'subscriptions/listen', { notifications: { toolsListChanged: true } }));
    await expect.poll(() => received).toHaveLength(1);
    stream?.write('data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n');
    await expect.poll(() => received).toHaveLength(2);
    end();
    expect(await bridge.done).toBe(0);
    await expect.poll(() => closed).toBe(true);
    expect(received).toHaveLength(2);
  });

  it('tells the client that a subscription was cut, and an ordinary request that it may have been carried out', async () => {
    const { received, send } = start(({ response }) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': open\n\n');
      setTimeout(() => response.destroy(), 20);
    });
    send(ask('s', 'subscriptions/listen'));
    send(ask('r', 'prompts/list'));
    await expect.poll(() => parsed(received).toSorted((a, b) => ((a as { id: string }).id < (b as { id: string }).id ? -1 : 1))).toMatchObject([
      { id: 'r', error: { code: -32003, message: expect.stringMatching(/ended before the answer; the request may have been carried out/), data: { code: 'ERR_BRIDGE_UNREACHABLE' } } },
      { id: 's', error: { code: -32003, message: expect.stringMatching(/that carried this subscription ended; subscribe again, and read again/), data: { code: 'ERR_BRIDGE_UNREACHABLE' } } },
    ]);
  });

  const unsupported = { code: -32022, message: 'Unsupported protocol version', data: { supported: ['2025-11-25'], requested: '2026-07-28' } };
  it.each([
    ['a 400 of its own', 400, { jsonrpc: '2.0', id: 'd', error: unsupported }, unsupported],
    ['a 400 that could not tell the id', 400, { jsonrpc: '2.0', id: null, error: unsupported }, unsupported],
    ['a 404 for the method', 404, { jsonrpc: '2.0', id: 'd', error: { code: -32601, message: 'Method not found' } }, { code: -32601, message: 'Method not found' }],
    ['a 400 of a legacy server', 400, { jsonrpc: '2.0', id: null, error: { code: -32000, message: 'Bad Request: Server not initialized' } }, { code: -32000, message: 'Bad Request: Server not initialized' }],
  ])('passes on %s as the answer to the request, and complains of nothing', async (_what, status, body, error) => {
    const { received, notices, send } = start(({ response }) => json(response, status, body));
    send(ask('d', 'server/discover'));
    await expect.poll(() => parsed(received)).toEqual([{ jsonrpc: '2.0', id: 'd', error }]);
    expect(notices).toEqual([]);
  });

  it('puts a limit, draining and a wrong path into words, keeping number and data', async () => {
    const answers: ((response: ServerResponse, id: unknown) => void)[] = [
      (response, id) => {
        response.setHeader('retry-after', '7');
        json(response, 429, { jsonrpc: '2.0', id, error: { code: -32002, message: 'too many calls', data: { code: 'ERR_LIMIT_RATE', more: 1 } } });
      },
      (response) => answerError(response, 503, 'ERR_DRAINING', 'shutting down', { 'retry-after': '1' }),
      (response) => json(response, 404, { error: { code: 'ERR_HTTP_PATH', message: 'not found' } }),
    ];
    const { received, notices, send } = start(({ message, response }) => answers.shift()?.(response, message.id));
    const host = gateway.url.host;
    for (const id of [1, 2, 3]) {
      send(ask(id, 'tools/list'));
      await expect.poll(() => received).toHaveLength(id);
    }
    expect(parsed(received)).toEqual([
      { jsonrpc: '2.0', id: 1, error: { code: -32002, message: `the gateway ${host} has reached a limit of this agent (too many calls); try again in 7 s`, data: { code: 'ERR_LIMIT_RATE', more: 1 } } },
      { jsonrpc: '2.0', id: 2, error: { code: -32001, message: `the gateway ${host} is shutting down; try again in 1 s, since it may be on its way back`, data: { code: 'ERR_DRAINING' } } },
      { jsonrpc: '2.0', id: 3, error: { code: -32600, message: `the gateway ${host} has no MCP endpoint at /mcp; it is /mcp for one upstream and /NAME/mcp for a named one`, data: { code: 'ERR_HTTP_PATH', reason: 'ERR_HTTP_PATH' } } },
    ]);
    expect(notices).toHaveLength(3);
  });

  it('says in words that policy grants nothing, at the first question only', async () => {
    const denied = { code: -32602, message: 'not found or not permitted', data: { code: 'ERR_MCP_DENIED' } };
    const { received, send } = start(({ message, response }) => json(response, 200, { jsonrpc: '2.0', id: message.id, error: denied }));
    send(ask(1, 'server/discover'));
    await expect.poll(() => parsed(received)).toMatchObject([{ id: 1, error: { code: -32001, message: expect.stringContaining('knows agent-7, but its policy grants it nothing at /mcp; ask its operator for a role that does') } }]);
    send(ask(2, 'prompts/get', { name: 'x' }));
    await expect.poll(() => parsed(received)[1]).toEqual({ jsonrpc: '2.0', id: 2, error: denied });
  });

  it('says in words that the identity is revoked, and ends with 3', async () => {
    const { received, bridge, send, end } = start(({ message, response }) => json(response, 200, result(message.id)));
    gateway.verdicts.set(agent.serial, 'ERR_PEER_REVOKED');
    for (const socket of gateway.sockets) socket.destroy();
    send(ask(1, 'server/discover'));
    await expect.poll(() => parsed(received)).toMatchObject([{ id: 1, error: { message: expect.stringContaining('was revoked; ask the operator'), data: { code: 'ERR_BRIDGE_REFUSED', reason: 'ERR_PEER_REVOKED' } } }]);
    end();
    expect(await bridge.done).toBe(3);
  });

  it('takes each message for what it says it is: both eras on one pipe', async () => {
    const { seen, received, send } = start(({ method, message, response }) => {
      if (method !== 'POST') return json(response, 405, '');
      if (message.method === 'initialize') response.setHeader('mcp-session-id', 's');
      json(response, 200, message.method === 'initialize' ? result(message.id, { protocolVersion: '2025-11-25' }) : result(message.id));
    });
    send(ask(1, 'server/discover'));
    await expect.poll(() => received).toHaveLength(1);
    send({ jsonrpc: '2.0', id: 2, method: 'initialize', params: { protocolVersion: '2025-11-25' } });
    await expect.poll(() => received).toHaveLength(2);
    send({ jsonrpc: '2.0', id: 3, method: 'tools/list' });
    send(ask(4, 'tools/list'));
    await expect.poll(() => received).toHaveLength(4);
    expect(Object.fromEntries(seen.map(({ message, headers }) => [message.id, [headers['mcp-session-id'], headers['mcp-protocol-version'], headers['mcp-method']]]))).toMatchObject({
      1: [undefined, '2026-07-28', 'server/discover'], 2: [undefined, undefined, undefined], 3: ['s', '2025-11-25', undefined], 4: [undefined, '2026-07-28', 'tools/list'],
    });
  });

  it('carries numbers and spacing as they were written', async () => {
    const { received, send } = start(({ response }) => json(response, 200, '{"jsonrpc": "2.0", "id": 12345678901234567890,\n "result": {"n": 98765432109876543210, "f": 1.10}}'));
    send(`{"jsonrpc":"2.0", "id":12345678901234567890,"method":"x","params":{"_meta":${JSON.stringify(meta)}}}`);
    await expect.poll(() => received).toEqual(['{"jsonrpc": "2.0", "id": 12345678901234567890,  "result": {"n": 98765432109876543210, "f": 1.10}}']);
  });
});

it('the loopback HTTP bridge passes modern headers of any token, statuses and bodies as they are', async () => {
  const bridge = await startHttpBridge({ url: gateway.url, fetch: identityFetch, notice: () => undefined });
  try {
    for (const [status, body] of [[400, '{"jsonrpc":"2.0","id":1,"error":{"code":-32020,"message":"mismatch"}}'], [404, '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"x"}}'], [202, '']] as const) {
      let headers: IncomingHttpHeaders = {};
      gateway.handler = (request, response) => {
        headers = request.headers;
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(body);
      };
      const sent = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': '=?base64?w7w=?=', "mcp-param-a.b'c~d": 'v', 'mcp-param-region': 'eu' };
      const answer = await fetch(bridge.url, { method: 'POST', headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...sent }, body: '{"jsonrpc":"2.0","id":1,"method":"tools/call"}' });
      expect([answer.status, await answer.text()]).toEqual([status, body]);
      expect(headers).toMatchObject(sent);
    }
  } finally {
    await bridge.close();
  }
});
