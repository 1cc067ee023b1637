import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launcher, ServedPort } from '../support/served-port.ts';
import type { Running, Serving } from '../support/served-port.ts';

let port: ServedPort;
let elsewhere: ServedPort;
let gateway: Serving;
let url: string;
beforeAll(async () => {
  [port, elsewhere] = await Promise.all([ServedPort.make(), ServedPort.make()]);
  await port.issue('agent-7', '--ou', 'analytics');
  await port.issue('nobody', '--ou', 'visitors');
  await port.issue('revoked', '--ou', 'analytics');
  await port.issue('late', '--ou', 'analytics', '--ttl', '1s');
  await port.place.json('revoke', 'revoked', '--reason', 'keyCompromise');
  await elsewhere.issue('stranger', '--ou', 'analytics');
  gateway = await port.serve();
  url = `${gateway.url}/mcp`;
});
afterAll(async () => {
  await port.close();
  await elsewhere.close();
});

interface Bridged {
  readonly client: Client;
  stderr(): string;
  close(): Promise<void>;
}

/** The bridge as an MCP client starts it. */
const bridge = async (identity: string, to = url): Promise<Bridged> => {
  const transport = new StdioClientTransport({ command: process.execPath, args: [launcher, 'connect', to, '--identity', identity], stderr: 'pipe' });
  let said = '';
  transport.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const client = new Client({ name: 'test', version: '1.0.0' });
  try {
    await client.connect(transport);
  } catch (error) {
    await client.close();
    throw error;
  }
  return { client, stderr: () => said, close: () => client.close() };
};

describe('connect over stdio, driven by the official client', () => {
  it('carries calls, progress and concurrent requests', async () => {
    const { client, close } = await bridge(port.path('agent-7'));
    expect((await client.listTools()).tools.map(({ name }) => name).toSorted()).toEqual(['echo', 'slow']);
    const progress: number[] = [];
    const [slow, ...echoes] = await Promise.all([
      client.callTool({
        name: 'slow',
        // The official client drops a progress note that arrives in one piece with the result.
        arguments: { steps: 3, milliseconds: 150 },
      }, undefined, { onprogress: (step) => progress.push(step.progress) }),
      ...['a', 'b', 'c'].map((text) => client.callTool({ name: 'echo', arguments: { text } })),
    ]);
    expect(slow.content).toEqual([{ type: 'text', text: '3 steps' }]);
    expect(progress).toEqual([1, 2, 3]);
    expect(echoes.map(({ content }) => content)).toEqual(['a', 'b', 'c'].map((text) => [{ type: 'text', text }]));
    await close();
  });

  it.each([
    ['a revoked certificate', () => port.path('revoked'), () => url, /refused this identity: the certificate of revoked \(serial [0-9a-f]{38}\) was revoked; ask the operator of the gateway for a new one/],
    ['an expired certificate', () => port.path('late'), () => url, /the certificate of late expired at .*; ask the operator of the gateway for a new one/],
    ['an agent without a role', () => port.path('nobody'), () => url, /knows nobody, but its policy grants it nothing at \/mcp; ask its operator for a role that does/],
    ['an identity of another CA', () => elsewhere.path('stranger'), () => url, /the certificate of the gateway localhost:\d+ does not come from the CA of this identity; check the address/],
    ['a host name the gateway is not', () => port.path('agent-7'), () => url.replace('localhost', '127.0.0.1'), /the certificate of the gateway 127\.0\.0\.1:\d+ is not for 127\.0\.0\.1 \(it is for DNS:localhost\); use a name it is for/],
    ['a port where nothing listens', () => port.path('agent-7'), () => 'https://localhost:9/mcp', /nothing listens there; start it with sallyport serve, or check host and port/],
  ])('says what is wrong with %s', async (_what, identity, to, words) => {
    await expect(bridge(identity(), to())).rejects.toThrow(words);
  });

  it.each([
    ['a directory that is no identity', ['--identity', 'nowhere'], 1, /^error ERR_BRIDGE_IDENTITY: .*nowhere/],
    ['an address that is not https', ['http://localhost/mcp', '--identity', 'agent-7'], 2, /^error ERR_USAGE: http:\/\/localhost\/mcp is not an https address: give the MCP endpoint/],
    ['a port that is none', ['--identity', 'agent-7', '--http', '70000'], 2, /^error ERR_USAGE: .*a port is a number up to 65535/],
  ])('ends at once with %s', async (_what, args, code, words) => {
    expect(await port.place.run('connect', ...args)).toMatchObject({ code, stdout: '', stderr: expect.stringMatching(words) });
  });
});

describe('connect --http', () => {
  let http: Running;
  let address: string;
  let secret: string;
  beforeAll(async () => {
    http = port.start(['connect', url, '--identity', 'agent-7', '--http', '--json']);
    ({ url: address } = JSON.parse(await http.firstLine()) as { url: string });
    secret = new URL(address).pathname.split('/')[1] ?? '';
  });

  /** As curl sends it: no header but these. */
  const post = (to: string, headers: Record<string, string> = {}, method = 'POST'): Promise<{ status: number; body: string }> =>
    new Promise((resolve, reject) => {
      const sent = request(to, { method, agent: false, headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers } }, (response) => {
        let body = '';
        response.on('data', (chunk: Buffer) => (body += chunk.toString()));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      });
      sent.on('error', reject);
      sent.end(initialize);
    });
  const initialize = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'curl', version: '8' } } });

  it('listens on loopback with 256 bits of secret in the path', () => {
    expect(address).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/[\w-]{43}\/mcp$/);
  });

  it('carries the official client', async () => {
    const client = new Client({ name: 'test', version: '1.0.0' });
    await client.connect(new StreamableHTTPClientTransport(new URL(address)) as Parameters<Client['connect']>[0]);
    expect((await client.callTool({ name: 'echo', arguments: { text: 'over loopback' } })).content).toEqual([{ type: 'text', text: 'over loopback' }]);
    await client.close();
  });

  it('answers whoever has the address, and no page of a browser, no other name, no guess', async () => {
    expect((await post(address)).status).toBe(200);
    const guess = address.replace(secret, 'A'.repeat(43));
    for (const [what, answered, status, code] of [
      ['an Origin', post(address, { origin: 'https://evil.example' }), 403, 'ERR_HTTP_ORIGIN'],
      ['an Origin of loopback', post(address, { origin: `http://localhost:${new URL(address).port}` }), 403, 'ERR_HTTP_ORIGIN'],
      ['a rebound name', post(address, { host: 'evil.example' }), 403, 'ERR_HTTP_HOST'],
      ['a wrong secret', post(guess), 404, 'ERR_HTTP_PATH'],
      ['no secret', post(address.replace(`/${secret}`, '')), 404, 'ERR_HTTP_PATH'],
      ['another method', post(address, {}, 'PUT'), 405, 'ERR_HTTP_METHOD'],
      ['a form', post(address, { 'content-type': 'text/plain' }), 415, 'ERR_HTTP_MEDIA_TYPE'],
    ] as const) {
      const answer = await answered;
      expect({ what, status: answer.status, code: /"code":"(ERR_\w+)"/.exec(answer.body)?.[1] }).toEqual({ what, status, code });
      expect(answer.body).not.toContain(secret);
    }
  });

  it('explains a revocation in its answer', async () => {
    await port.issue('passing', '--ou', 'analytics');
    const passing = port.start(['connect', url, '--identity', 'passing', '--http', '--json']);
    const { url: at } = JSON.parse(await passing.firstLine()) as { url: string };
    expect((await post(at)).status).toBe(200);
    await port.place.json('revoke', 'passing', '--reason', 'keyCompromise');
    expect(await post(at)).toMatchObject({ status: 502, body: expect.stringContaining('was revoked; ask the operator of the gateway for a new one') });
    expect(await passing.stop()).toBe(0);
  });

  it('ends with 0 at SIGTERM, and the secret is in nothing it logged', async () => {
    expect(await http.stop()).toBe(0);
    expect(http.stderr).not.toContain(secret);
  });
});

describe('what was written meanwhile', () => {
  it('holds no private key', async () => {
    const key = (await readFile(port.path('agent-7', 'key.pem'), 'utf8')).split('\n')[1] ?? 'unread';
    expect(gateway.running.stderr).not.toContain(key);
    expect((await port.place.run('audit', 'export')).stdout).not.toContain(key);
  });
});
