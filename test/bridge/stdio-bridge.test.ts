import { Client as ClientV2 } from '@modelcontextprotocol/client';
import { StdioClientTransport as StdioV2 } from '@modelcontextprotocol/client/stdio';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createIdentityFetch } from '../../src/bridge/identity-fetch.ts';
import type { IdentityFetch } from '../../src/bridge/identity-fetch.ts';
import { startStdioBridge } from '../../src/bridge/stdio-bridge.ts';
import type { StdioBridge } from '../../src/bridge/stdio-bridge.ts';
import { answerError, mcpHandler, startTestGateway } from './test-gateway.ts';
import type { Handler, TestGateway } from './test-gateway.ts';
import { createTestPki, swapIdentity, writeIdentity } from './test-pki.ts';
import type { Issued, TestPki } from './test-pki.ts';

let pki: TestPki;
let agent: Issued;
let directory: string;
let gateway: TestGateway;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  pki = await createTestPki();
  agent = await pki.issue({ name: 'agent-7' });
});
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'stdio-'));
  await writeIdentity(directory, pki, agent);
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  await gateway.close();
  await rm(directory, { recursive: true, force: true });
});

const start = async (handler?: Handler): Promise<void> => {
  gateway = await startTestGateway({ pki, ...(handler === undefined ? {} : { handler }) });
};

interface Lines {
  readonly bridge: StdioBridge;
  readonly fetch: IdentityFetch;
  readonly received: string[];
  readonly notices: string[];
  send(text: string): void;
  end(): void;
}

/** The bridge in this process, line by line. */
const lines = (options: { drainMs?: number } = {}): Lines => {
  const input = new PassThrough();
  const output = new PassThrough();
  const received: string[] = [];
  const notices: string[] = [];
  let rest = '';
  output.on('data', (chunk: Buffer) => {
    const parts = (rest + chunk.toString()).split('\n');
    rest = parts.pop() ?? '';
    received.push(...parts);
  });
  const identityFetch = createIdentityFetch({ identity: directory, pollMs: 50, connectTimeoutMs: 2_000 });
  const bridge = startStdioBridge({ url: gateway.url, fetch: identityFetch, input, output, notice: ({ message }) => notices.push(message), backoff: { firstMs: 10, longestMs: 100 }, ...options });
  cleanups.push(async () => {
    input.end();
    output.destroy();
    await bridge.done;
    identityFetch.close();
  });
  return { bridge, fetch: identityFetch, received, notices, send: (text) => void input.write(`${text}\n`), end: () => void input.end() };
};

const initialize = '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}';
const initialized = '{"jsonrpc":"2.0","method":"notifications/initialized"}';
const echo = (id: string | number, text: string): string => JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'echo', arguments: { text } } });

describe('the stdio bridge as a process', () => {
  const spawn = (): { transport: StdioClientTransport; stderr: () => string } => {
    const transport = new StdioClientTransport({ command: process.execPath, args: [fileURLToPath(new URL('stdio-bridge-process.ts', import.meta.url)), gateway.url.href, directory], stderr: 'pipe' });
    let text = '';
    transport.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()));
    return { transport, stderr: () => text };
  };

  it('carries the SDK v1 client, keeps its session through a renewal and ends it at the end', async () => {
    await start();
    const { transport } = spawn();
    const client = new Client({ name: 'c', version: '1' });
    await client.connect(transport);
    expect((await client.listTools()).tools).toHaveLength(2);
    const renewed = await pki.issue({ name: 'agent-7' });
    await swapIdentity(directory, renewed);
    await expect.poll(async () => {
      await client.callTool({ name: 'echo', arguments: { text: 'x' } });
      return gateway.seen.at(-1)?.serial;
    }).toBe(renewed.serial);
    expect(new Set(gateway.seen.map(({ session }) => session).filter((session) => session !== undefined)).size).toBe(1);
    await client.close();
    expect(gateway.seen.at(-1)?.method).toBe('DELETE');
  });

  it('carries the SDK v2 client', async () => {
    await start();
    const client = new ClientV2({ name: 'c', version: '1' });
    await client.connect(new StdioV2({ command: process.execPath, args: [fileURLToPath(new URL('stdio-bridge-process.ts', import.meta.url)), gateway.url.href, directory], stderr: 'ignore' }));
    expect(await client.callTool({ name: 'echo', arguments: { text: 'two' } })).toMatchObject({ content: [{ text: 'two' }] });
    await client.close();
  });

  it('tells any client in words that the identity was revoked, at initialize and in mid-session', async () => {
    await start();
    const first = spawn();
    const client = new Client({ name: 'c', version: '1' });
    await client.connect(first.transport);
    await client.listTools();
    const waiting = client.callTool({ name: 'wait', arguments: { ms: 10_000 } });
    waiting.catch(() => undefined);
    await expect.poll(() => gateway.seen.length).toBeGreaterThanOrEqual(5);
    gateway.revoke(agent.serial);
    const words = `the gateway localhost:${gateway.port} refused this identity: the certificate of agent-7 (serial ${agent.serial.replace(/^(00)+/, '')}) was revoked; ask the operator of the gateway for a new one (sallyport issue, or a token for sallyport enroll)`;
    await expect(waiting).rejects.toMatchObject({ code: -32001, message: expect.stringContaining(words), data: { code: 'ERR_BRIDGE_REFUSED', reason: 'ERR_PEER_REVOKED' } });
    await expect(client.listTools()).rejects.toMatchObject({ code: -32001, message: expect.stringContaining(words) });
    await expect.poll(first.stderr).toBe(`sallyport: ${words}\n`);
    await client.close();

    const second = spawn();
    await expect(new Client({ name: 'c', version: '1' }).connect(second.transport)).rejects.toMatchObject({ code: -32001, message: expect.stringContaining(words), data: { code: 'ERR_BRIDGE_REFUSED', reason: 'ERR_PEER_REVOKED' } });
    await second.transport.close();
  });
});

describe('the stdio bridge, line by line', () => {
  it('carries numbers, spacing and ids as they were written', async () => {
    const bodies: string[] = [];
    await start(async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      bodies.push(Buffer.concat(chunks).toString());
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"jsonrpc": "2.0",\n "id": 12345678901234567890,\r\n "result": {"n": 98765432109876543210, "f": 1.10}}');
    });
    const { send, received } = lines();
    const text = '{"jsonrpc":"2.0", "id":12345678901234567890,"method":"x","params":{"n":98765432109876543210,"f":1.10}}';
    send(text);
    await expect.poll(() => received).toEqual(['{"jsonrpc": "2.0",  "id": 12345678901234567890,  "result": {"n": 98765432109876543210, "f": 1.10}}']);
    expect(bodies).toEqual([text]);
  });

  it('begins a lost session again with the client\'s own handshake and repeats what was refused', async () => {
    const sessions = new Map<string, StreamableHTTPServerTransport>();
    await start(mcpHandler({ sessions }));
    const { send, received, notices } = lines();
    send(initialize);
    send(initialized);
    send(echo(1, 'before'));
    await expect.poll(() => received).toHaveLength(2);
    for (const transport of sessions.values()) await transport.close();
    sessions.clear();
    send(echo(2, 'after'));
    send(echo('three', 'too'));
    await expect.poll(() => received.slice(2).map((line) => (JSON.parse(line) as { id: unknown }).id).toSorted()).toEqual([2, 'three']);
    expect(received.filter((line) => line.includes('"id":0'))).toHaveLength(1);
    expect(received.every((line) => !line.includes('error'))).toBe(true);
    expect(sessions.size).toBe(1);
    expect(notices).toEqual([`the gateway localhost:${gateway.port} does not know the session any more; beginning a new one`]);
  });

  it('resumes a request\'s stream that was cut after an event id', async () => {
    const resumed: unknown[] = [];
    await start((request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (request.method === 'POST') {
        response.write('id: e1\nretry: 10\ndata:\n\n');
        setTimeout(() => response.destroy(), 20);
      } else {
        resumed.push(request.headers['last-event-id']);
        response.end('id: e2\ndata: {"jsonrpc":"2.0","id":1,\ndata: "result":{}}\n\n');
      }
    });
    const { send, received } = lines();
    send(echo(1, 'x'));
    await expect.poll(() => received).toEqual(['{"jsonrpc":"2.0","id":1, "result":{}}']);
    expect(resumed).toEqual(['e1']);
  });

  it('says that a request may have been carried out when its connection ended and cannot be resumed', async () => {
    await start((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': open\n\n');
      setTimeout(() => response.destroy(), 20);
    });
    const { send, received } = lines();
    send(echo(1, 'x'));
    await expect.poll(() => received.map((line) => JSON.parse(line) as unknown)).toEqual([
      { jsonrpc: '2.0', id: 1, error: { code: -32003, message: `the connection to the gateway localhost:${gateway.port} ended before the answer; the request may have been carried out, so look before you repeat it`, data: { code: 'ERR_BRIDGE_UNREACHABLE', reason: 'ECONNRESET' } } },
    ]);
  });

  it('carries what the gateway sends unasked and reopens that stream with the last event id', async () => {
    const asked: unknown[] = [];
    const mcp = mcpHandler();
    await start((request, response) => {
      if (request.method !== 'GET') return mcp(request, response);
      asked.push(request.headers['last-event-id']);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const note = (n: number): string => `id: g${n}\ndata: {"jsonrpc":"2.0","method":"notifications/message","params":{"n":${n}}}\n\n`;
      if (asked.length === 1) response.end(note(1));
      else if (asked.length === 2) response.write(note(2));
    });
    const { send, received } = lines();
    send(initialize);
    send(initialized);
    await expect.poll(() => received.slice(1)).toEqual(['{"jsonrpc":"2.0","method":"notifications/message","params":{"n":1}}', '{"jsonrpc":"2.0","method":"notifications/message","params":{"n":2}}']);
    expect(asked).toEqual([undefined, 'g1']);
  });

  it('answers limits and busy gateways in words, and passes on JSON-RPC errors for the request', async () => {
    let count = 0;
    await start((_request, response) => {
      count += 1;
      if (count === 1) return answerError(response, 429, 'ERR_LIMIT_REQUESTS', 'too many requests in flight', { 'retry-after': '1' });
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end('{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"own words"}}');
    });
    const { send, received } = lines();
    send(echo(1, 'x'));
    await expect.poll(() => received.map((line) => JSON.parse(line) as unknown)).toEqual([
      { jsonrpc: '2.0', id: 1, error: { code: -32002, message: `the gateway localhost:${gateway.port} has reached a limit of this agent (too many requests in flight); try again in 1 s`, data: { code: 'ERR_LIMIT_REQUESTS', reason: 'ERR_LIMIT_REQUESTS' } } },
    ]);
    send(echo(2, 'x'));
    await expect.poll(() => received[1]).toBe('{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"own words"}}');
  });

  it('drops what is no JSON-RPC message and goes on', async () => {
    await start();
    const { send, received, notices } = lines();
    send('not json');
    send(initialize);
    await expect.poll(() => received).toHaveLength(1);
    expect(notices).toEqual(['the MCP client sent something that is not a JSON-RPC message; it was dropped']);
  });

  it('answers what is in flight when the input ends, and ends with 0', async () => {
    await start();
    const { bridge, send, end, received } = lines();
    send(initialize);
    send(initialized);
    send(echo(1, 'last'));
    end();
    expect(await bridge.done).toBe(0);
    expect(received).toHaveLength(2);
    expect(gateway.seen.at(-1)?.method).toBe('DELETE');
  });

  it('ends with 3 when the identity was refused and with 1 when the gateway was never reached', async () => {
    await start();
    gateway.verdicts.set(agent.serial, 'ERR_PEER_REVOKED');
    const refused = lines();
    refused.send(initialize);
    refused.end();
    expect(await refused.bridge.done).toBe(3);
    await gateway.close();
    const unreachable = lines();
    unreachable.send(initialize);
    unreachable.end();
    expect(await unreachable.bridge.done).toBe(1);
    expect(JSON.parse(unreachable.received[0] ?? '')).toMatchObject({ id: 0, error: { code: -32003, message: `the gateway localhost:${gateway.port} cannot be reached: nothing listens there; start it with sallyport serve, or check host and port` } });
    await start();
  });
});
