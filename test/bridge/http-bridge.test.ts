import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import type { OutgoingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startHttpBridge } from '../../src/bridge/http-bridge.ts';
import type { HttpBridge } from '../../src/bridge/http-bridge.ts';
import { createIdentityFetch } from '../../src/bridge/identity-fetch.ts';
import type { IdentityFetch } from '../../src/bridge/identity-fetch.ts';
import { mcpHandler, startTestGateway } from './test-gateway.ts';
import type { TestGateway } from './test-gateway.ts';
import { createTestPki, writeIdentity } from './test-pki.ts';
import type { Issued } from './test-pki.ts';

let directory: string;
let agent: Issued;
let gateway: TestGateway;
let bridge: HttpBridge;
let identityFetch: IdentityFetch;
const notices: string[] = [];

beforeAll(async () => {
  const pki = await createTestPki();
  agent = await pki.issue({ name: 'agent-7' });
  directory = await mkdtemp(join(tmpdir(), 'http-'));
  await writeIdentity(directory, pki, agent);
  gateway = await startTestGateway({ pki });
  identityFetch = createIdentityFetch({ identity: directory });
  bridge = await startHttpBridge({ url: gateway.url, fetch: identityFetch, notice: ({ message }) => notices.push(message), maxBodyBytes: 10_000 });
});
beforeEach(() => {
  gateway.seen.length = 0;
  gateway.handler = mcpHandler();
});
afterAll(async () => {
  await bridge.close();
  identityFetch.close();
  await gateway.close();
  await rm(directory, { recursive: true, force: true });
});

interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string;
}

const ask = ({ method = 'POST', path = new URL(bridge.url).pathname, headers = {}, body = '{"jsonrpc":"2.0","id":7,"method":"ping"}' }: Asked): Promise<{ status: number; headers: Record<string, unknown>; body: string }> =>
  new Promise((resolve, reject) => {
    const all = method === 'POST' ? { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers } : headers;
    const request = httpRequest({ host: '127.0.0.1', port: bridge.port, method, path, headers: all, agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }));
    });
    request.on('error', reject);
    request.end(method === 'POST' ? body : undefined);
  });

describe('the loopback HTTP bridge', () => {
  it('carries an SDK client that knows nothing of certificates', async () => {
    const client = new Client({ name: 'c', version: '1' });
    const transport = new StreamableHTTPClientTransport(new URL(bridge.url));
    await client.connect(transport as Parameters<Client['connect']>[0]);
    expect(await client.callTool({ name: 'echo', arguments: { text: 'plain' } })).toMatchObject({ content: [{ text: 'plain' }] });
    await transport.terminateSession();
    await client.close();
    expect(new Set(gateway.seen.map(({ method }) => method))).toEqual(new Set(['POST', 'GET', 'DELETE']));
  });

  it('has an address with 32 octets of secret, which another launch does not share', async () => {
    expect(bridge.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/[A-Za-z0-9_-]{43}\/mcp$/);
    const other = await startHttpBridge({ url: gateway.url, fetch: identityFetch, notice: () => undefined });
    expect(new URL(other.url).pathname).not.toBe(new URL(bridge.url).pathname);
    await other.close();
  });

  const refusals: [what: string, asked: () => Asked, status: number, code: string][] = [
    ['another Host', () => ({ headers: { host: 'evil.example' } }), 403, 'ERR_HTTP_HOST'],
    ['the right Host without the port', () => ({ headers: { host: 'localhost' } }), 403, 'ERR_HTTP_HOST'],
    ['the Origin of another site', () => ({ headers: { origin: 'https://evil.example' } }), 403, 'ERR_HTTP_ORIGIN'],
    ['the Origin of another port', () => ({ headers: { origin: `http://127.0.0.1:${bridge.port ^ 1}` } }), 403, 'ERR_HTTP_ORIGIN'],
    ['an Origin under another name of this machine', () => ({ headers: { origin: `http://localhost:${bridge.port}` } }), 403, 'ERR_HTTP_ORIGIN'],
    ['an opaque Origin', () => ({ headers: { origin: 'null' } }), 403, 'ERR_HTTP_ORIGIN'],
    ['no secret', () => ({ path: '/mcp' }), 404, 'ERR_HTTP_PATH'],
    ['another secret', () => ({ path: `/${'A'.repeat(43)}/mcp` }), 404, 'ERR_HTTP_PATH'],
    ['a query behind the secret', () => ({ path: `${new URL(bridge.url).pathname}?x` }), 404, 'ERR_HTTP_PATH'],
    ['another method', () => ({ method: 'PUT' }), 405, 'ERR_HTTP_METHOD'],
    ['a preflight', () => ({ method: 'OPTIONS' }), 405, 'ERR_HTTP_METHOD'],
    ['a form', () => ({ headers: { 'content-type': 'text/plain' } }), 415, 'ERR_HTTP_MEDIA_TYPE'],
    ['a compressed body', () => ({ headers: { 'content-encoding': 'gzip' } }), 415, 'ERR_HTTP_MEDIA_TYPE'],
    ['a repeated session header', () => ({ headers: { 'mcp-session-id': ['a', 'b'] } }), 400, 'ERR_HTTP_HEADER'],
    ['a body that is too large', () => ({ body: `"${'x'.repeat(20_000)}"` }), 413, 'ERR_HTTP_BODY_TOO_LARGE'],
  ];
  it('takes its own Origin from whoever knows the secret, and from nobody else', async () => {
    const headers = { origin: `http://127.0.0.1:${bridge.port}` };
    await ask({ headers });
    expect(gateway.seen).toHaveLength(1);
    expect((await ask({ headers, path: '/mcp' })).status).toBe(404);
    expect(gateway.seen).toHaveLength(1);
  });

  for (const [what, asked, status, code] of refusals) {
    it(`refuses ${what} and sends nothing to the gateway`, async () => {
      const answer = await ask(asked());
      expect(answer.status).toBe(status);
      expect(JSON.parse(answer.body)).toMatchObject({ error: { data: { code } } });
      expect(answer.headers['access-control-allow-origin']).toBeUndefined();
      expect(gateway.seen).toEqual([]);
    });
  }

  it('rebuilds requests and answers from the headers MCP knows', async () => {
    let forwarded: Record<string, unknown> = {};
    gateway.handler = (request, response) => {
      forwarded = request.headers;
      response.writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': 's', 'set-cookie': 'a=b', 'access-control-allow-origin': '*' });
      response.end('{}');
    };
    const answer = await ask({ headers: { authorization: 'Bearer x', cookie: 'c', 'x-forwarded-for': '1.2.3.4', 'client-cert': ':x:', 'mcp-session-id': 'own', 'mcp-protocol-version': '2025-11-25' } });
    expect(answer.headers).toMatchObject({ 'mcp-session-id': 's', 'cache-control': 'no-store' });
    expect(answer.headers['set-cookie'] ?? answer.headers['access-control-allow-origin']).toBeUndefined();
    expect(Object.keys(forwarded).toSorted()).toEqual(['accept', 'connection', 'content-length', 'content-type', 'host', 'mcp-protocol-version', 'mcp-session-id']);
    expect(forwarded['host']).toBe(`localhost:${gateway.port}`);
  });

  it('streams events as they come and lets go of the gateway when the client does', async () => {
    let released = false;
    gateway.handler = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
      response.on('close', () => (released = true));
    };
    const response = await fetch(bridge.url, { headers: { accept: 'text/event-stream' } });
    const reader = response.body?.getReader();
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('data: 1\n\n');
    await reader?.cancel();
    await expect.poll(() => released).toBe(true);
  });

  it('says which port is taken', async () => {
    await expect(startHttpBridge({ url: gateway.url, fetch: identityFetch, notice: () => undefined, port: bridge.port })).rejects.toMatchObject({
      code: 'ERR_LISTEN_ADDRESS',
      message: `port ${bridge.port} on 127.0.0.1 cannot be listened on; give another (--http PORT, or http.port where a file has it), or none to have one chosen`,
    });
  });

  it('tells the client in words why the gateway refuses', async () => {
    gateway.revoke(agent.serial);
    const answer = await ask({});
    expect(answer.status).toBe(502);
    expect(JSON.parse(answer.body)).toMatchObject({ id: 7, error: { code: -32001, message: expect.stringContaining('was revoked; ask the operator'), data: { code: 'ERR_BRIDGE_REFUSED', reason: 'ERR_PEER_REVOKED' } } });
    expect(notices.at(-1)).toContain('was revoked');
  });
});
