/** mcp.md rows 4, 5, 10, 11, 12, 13, 18, 19: the head of a request decides nothing and carries nothing on. */
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestGateway } from '../../support/gateway.ts';
import type { TestGateway } from '../../support/gateway.ts';
import { callMessage, jsonHeaders, openSession, rawExchange, rawRequest, textIn } from '../../support/gateway-requests.ts';
import type { UpstreamKind } from '../../support/gateway-upstreams.ts';
import type { TestIdentity } from '../../support/pki.ts';

const denied = callMessage(1, 'delete_everything');
const listing = { jsonrpc: '2.0', id: 1, method: 'tools/list' };

describe.each<UpstreamKind>(['stdio', 'http', 'v1', 'v2'])('with a %s upstream', (kind) => {
  let gateway: TestGateway;
  let agent: TestIdentity;
  beforeAll(async () => {
    gateway = await startTestGateway({ upstreams: [kind], allowedOrigins: ['https://inspector.acme.internal'] });
    agent = gateway.agent();
  });
  afterAll(() => gateway.close());
  const reached = (): boolean => gateway.upstream.received().some((text) => text.includes('delete_everything'));

  it('Mcp-Method and Mcp-Name say what they like: the body is what is decided', async () => {
    const answer = await rawRequest(gateway, agent, { headers: [...jsonHeaders, ['mcp-method', 'tools/list'], ['mcp-name', 'echo']], body: denied });
    expect(answer.answer.error?.data).toEqual({ code: 'ERR_MCP_DENIED' });
    expect(reached()).toBe(false);
  });

  it('the same call is denied in the envelope of the modern era, with its header and without', async () => {
    const modern = { ...denied, params: { name: 'delete_everything', arguments: {}, _meta: { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} } } };
    const bare = await rawRequest(gateway, agent, { body: modern });
    expect([bare.status, bare.answer.error?.code]).toEqual([400, -32020]);
    const named = await rawRequest(gateway, agent, { headers: [...jsonHeaders, ['mcp-protocol-version', '2026-07-28'], ['mcp-method', 'tools/call'], ['mcp-name', 'delete_everything']], body: modern });
    expect([named.status, named.answer.error?.data]).toEqual([200, { code: 'ERR_MCP_DENIED' }]);
    expect(reached()).toBe(false);
  });

  it('headers that claim an identity, a route or a credential do not reach the MCP server', async () => {
    const claims: readonly (readonly [string, string])[] = [
      ['authorization', 'Bearer stolen'], ['proxy-authorization', 'Basic x'], ['cookie', 'a=b'], ['x-forwarded-for', '10.0.0.1'], ['x-forwarded-client-cert', 'Hash=1'], ['forwarded', 'for=x'],
      ['x-ssl-client-verify', 'SUCCESS'], ['ssl-client-cert', 'x'], ['x-amzn-mtls-clientcert', 'x'], ['x-client-dn', 'CN=root'], ['x-real-ip', '1.1.1.1'],
      ['x-sallyport-agent', 'root'], ['x-original-url', '/admin'], ['te', 'trailers'], ['connection', 'keep-alive, x-drop'], ['x-drop', '1'],
    ];
    // Which eras it speaks is asked once, with the first request, and not by the client.
    await rawRequest(gateway, agent, { body: listing });
    const before = gateway.upstream.headers().length;
    const answer = await rawRequest(gateway, agent, { headers: [...jsonHeaders, ...claims], body: { ...(kind === 'stdio' ? { jsonrpc: '2.0', id: 'init', method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'x', version: '1' } } } : listing) } });
    expect([200, 400]).toContain(answer.status);
    const arrived = gateway.upstream.headers().slice(before);
    if (kind !== 'stdio') expect(arrived).toHaveLength(1);
    for (const headers of arrived) for (const [name] of claims) if (name !== 'connection') expect(headers).not.toHaveProperty([name]);
    expect(JSON.stringify(arrived)).not.toContain('stolen');
  });

  it.each(['client-cert', 'client-cert-chain'])('%s from a peer that is no proxy is refused', async (name) => {
    const before = gateway.upstream.headers().length;
    const answer = await rawRequest(gateway, agent, { headers: [...jsonHeaders, [name, ':AAAA:']], body: listing });
    expect([answer.status, answer.answer.error?.data]).toEqual([400, { code: 'ERR_HTTP_CLIENT_CERT' }]);
    expect(gateway.upstream.headers().length).toBe(before);
  });

  it.each(['x-http-method-override', 'x-http-method', 'x-method-override'])('%s is refused', async (name) => {
    const answer = await rawRequest(gateway, agent, { headers: [...jsonHeaders, [name, 'DELETE']], body: listing });
    expect([answer.status, answer.answer.error?.data]).toEqual([400, { code: 'ERR_HTTP_HEADER' }]);
  });

  it.each(['mcp-session-id', 'mcp-protocol-version', 'content-type', 'authorization', 'origin', 'last-event-id', 'mcp-method', 'mcp-name'])('%s given twice is refused', async (name) => {
    const value = name === 'content-type' ? 'application/json' : name === 'mcp-protocol-version' ? '2025-06-18' : 'x';
    const octets = ['POST /mcp HTTP/1.1', `Host: localhost:${gateway.port}`, 'Accept: application/json, text/event-stream', ...(name === 'content-type' ? [] : ['Content-Type: application/json']),
      `${name}: ${value}`, `${name.toUpperCase()}: ${value}`, 'Content-Length: 46', '', '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'].join('\r\n');
    const received = await rawExchange(gateway, agent, octets, { until: /\}$/ });
    expect(received).toMatch(/^HTTP\/1\.1 400 /);
    expect(received).toContain('ERR_HTTP_HEADER');
  });

  it.each<[string, readonly (readonly [string, string])[], Uint8Array | string]>([
    ['gzip', [['content-type', 'application/json'], ['content-encoding', 'gzip']], gzipSync(JSON.stringify(denied))],
    ['deflate claimed for plain text', [['content-type', 'application/json'], ['content-encoding', 'deflate']], JSON.stringify(listing)],
    ['a list of codings', [['content-type', 'application/json'], ['content-encoding', 'identity, gzip']], gzipSync(JSON.stringify(denied))],
    ['UTF-16', [['content-type', 'application/json; charset=utf-16']], Buffer.from(JSON.stringify(denied), 'utf16le')],
    ['UTF-7', [['content-type', 'application/json; charset=utf-7']], JSON.stringify(listing)],
    ['text', [['content-type', 'text/plain']], JSON.stringify(listing)],
    ['JSON of another kind', [['content-type', 'application/json-rpc']], JSON.stringify(listing)],
    ['a form', [['content-type', 'application/x-www-form-urlencoded']], 'a=b'],
    ['no type', [], JSON.stringify(listing)],
  ])('%s as body is 415', async (_what, headers, body) => {
    const before = gateway.upstream.received().length;
    const answer = await rawRequest(gateway, agent, { headers: [['accept', 'application/json, text/event-stream'], ...headers], body });
    expect([answer.status, answer.answer.error?.data]).toEqual([415, { code: 'ERR_HTTP_MEDIA_TYPE' }]);
    expect(gateway.upstream.received()).toHaveLength(before);
  });

  it.each(['evil.example', 'localhost.evil.example', 'localhost@evil.example', 'localhost:80x', '127.0.0.2', '[::1]'])('Host %s is 403', async (host) => {
    const answer = await rawRequest(gateway, agent, { headers: [['host', host], ...jsonHeaders], body: listing });
    expect([answer.status, answer.answer.error?.data]).toEqual([403, { code: 'ERR_HTTP_HOST' }]);
    expect(answer.headers['www-authenticate']).toBeUndefined();
  });

  it('an Origin passes only when it is listed, whatever the method', async () => {
    for (const origin of ['https://evil.example', 'null', 'https://inspector.acme.internal.evil.example', 'https://INSPECTOR.acme.internal', 'http://inspector.acme.internal']) {
      for (const method of ['POST', 'GET', 'DELETE', 'OPTIONS']) {
        const answer = await rawRequest(gateway, agent, { method, headers: [...jsonHeaders, ['origin', origin]], ...(method === 'POST' ? { body: listing } : {}) });
        expect([answer.status, answer.answer.error?.data]).toEqual([403, { code: 'ERR_HTTP_ORIGIN' }]);
        expect(answer.headers['access-control-allow-origin']).toBeUndefined();
      }
    }
    expect((await rawRequest(gateway, agent, { headers: [...jsonHeaders, ['origin', 'https://inspector.acme.internal']], body: denied })).status).toBe(200);
  });

  it('only one path is served', async () => {
    for (const path of ['/', '/mcp/', '/mcp?x=1', '/MCP', '/%6dcp', '//mcp', '/mcp/../mcp', '/healthz', '/main/mcp/x', 'https://localhost/mcp', '*']) {
      const answer = await rawRequest(gateway, agent, { path, body: listing });
      expect([path, answer.status]).toEqual([path, 404]);
    }
    expect(gateway.evidence.events.at(-1)).toMatchObject({ action: 'request.refused', reason: 'ERR_HTTP_PATH', agent: 'agent-7' });
  });

  it('no other method, upgrade or tunnel', async () => {
    for (const method of ['PUT', 'PATCH', 'OPTIONS', 'HEAD', 'PROPFIND']) expect((await rawRequest(gateway, agent, { method })).status).toBe(405);
    const upgrade = await rawExchange(gateway, agent, `GET /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n`);
    expect(upgrade).toMatch(/^HTTP\/1\.1 400 /);
    expect(await rawExchange(gateway, agent, 'CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n')).toBe('');
  });

  it.each<[string, string]>([
    ['length and chunks', 'POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n'],
    ['two lengths', 'POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n'],
    ['a length with a sign', 'POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: +2\r\n\r\n{}'],
    ['an odd transfer coding', 'POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'],
    ['a space before the colon', 'POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length : 2\r\n\r\n{}'],
    ['a folded header', 'POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n Content-Length: 2\r\n\r\n{}'],
    ['a bare line feed in a chunk', 'POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n'],
    ['no host', 'POST /mcp HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}'],
  ])('a request with %s gets no second reading', async (_what, octets) => {
    const before = gateway.upstream.received().length;
    const received = await rawExchange(gateway, agent, octets, { timeoutMs: 1_000 });
    expect(received).toMatch(/^HTTP\/1\.1 400 /);
    expect(received.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(gateway.upstream.received()).toHaveLength(before);
  });

  it('what stands behind a refused body is not read as a request', async () => {
    const smuggled = `POST /mcp HTTP/1.1\r\nHost: localhost:${gateway.port}\r\n\r\n`;
    const received = await rawExchange(gateway, agent,
      `POST /mcp HTTP/1.1\r\nHost: localhost:${gateway.port}\r\nContent-Type: text/plain\r\nAccept: application/json, text/event-stream\r\nContent-Length: ${smuggled.length + 50}\r\n\r\n${smuggled}`, { timeoutMs: 800 });
    expect(received.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(received).toContain('HTTP/1.1 415');
    expect(received.toLowerCase()).toContain('connection: close');
  });

  it('chunks that carry a proper message work', async () => {
    const session = await openSession(gateway, agent);
    const answer = await rawRequest(gateway, agent, { headers: [...session.headers, ['transfer-encoding', 'chunked']], body: callMessage(5, 'echo', { text: 'in chunks' }) });
    expect(textIn(answer.answer)).toBe('in chunks');
  });
});
