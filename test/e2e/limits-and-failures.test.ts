/** mcp.md rows 15, 17, 23 and what happens when something fails: caps, refusals, audit log away, upstream away, draining. */
import { afterEach, describe, expect, it } from 'vitest';
import { rawSocket, callMessage, eventually, jsonHeaders, namesIn, openSession, rawExchange, rawRequest, textIn } from '../support/gateway-requests.ts';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { handlerUpstream } from '../support/gateway-upstreams.ts';
import type { UpstreamKind } from '../support/gateway-upstreams.ts';

let gateway: TestGateway;
afterEach(() => gateway.close());

const codeIn = (answer: { answer: { error?: { data?: unknown } } }): unknown => (answer.answer.error?.data as { code?: string } | undefined)?.code;
const slow = (id: string) => callMessage(id, 'slow', { steps: 100, milliseconds: 50 }, { progressToken: id });

describe('an empty policy', () => {
  it.each<UpstreamKind>(['stdio', 'http', 'v1', 'v2'])('denies everything (%s)', async (kind) => {
    gateway = await startTestGateway({ upstreams: [kind], policy: 'roles: {}\nbindings: []\n' });
    const agent = gateway.agent();
    for (const message of [
      { jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'x', version: '1' } } },
      { jsonrpc: '2.0', id: 1, method: 'ping' }, { jsonrpc: '2.0', id: 1, method: 'tools/list' }, callMessage(1, 'echo', { text: 'x' }),
    ]) expect(codeIn(await rawRequest(gateway, agent, { body: message }))).toBe('ERR_MCP_DENIED');
    expect(gateway.upstream.received()).toEqual([]);
    expect(gateway.upstream.headers()).toEqual([]);
    expect(gateway.evidence.of('request.decided').map(({ reason }) => reason)).toEqual(['noRole', 'noRole', 'noRole', 'noRole']);
  });
});

describe('a resource URI that two readers could resolve differently', () => {
  it('satisfies no prefix rule', async () => {
    gateway = await startTestGateway({ policy: 'roles:\n  r: { grants: [{ upstream: "*", resources: ["file:///reports/**"] }] }\nbindings: [{ role: r, when: { organizationalUnit: analytics } }]\n' });
    const session = await openSession(gateway, gateway.agent());
    const before = gateway.upstream.received().length;
    for (const uri of ['file:///reports/../secret', 'file:///reports/%2e%2e/secret', 'file:///reports/a%2f..%2f..%2fsecret', 'file://user@/reports/annual', 'FILE:///reports/annual', 'file:///reports//annual', 'file:///reports/./annual', 'file:///reports\\..\\x']) {
      for (const method of ['resources/read', 'resources/subscribe']) {
        expect([uri, codeIn(await session.post({ jsonrpc: '2.0', id: 1, method, params: { uri } }))]).toEqual([uri, 'ERR_MCP_DENIED']);
      }
    }
    expect(gateway.upstream.received()).toHaveLength(before);
    expect((await session.post({ jsonrpc: '2.0', id: 2, method: 'resources/read', params: { uri: 'file:///reports/annual' } })).answer.result).toBeDefined();
  });
});

describe('a list that the server calls public', () => {
  it('is private to every cache', async () => {
    gateway = await startTestGateway({
      upstreams: [handlerUpstream((_request, response, body) => {
        const { id } = body as { id: unknown };
        response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'public, max-age=3600', etag: '"1"' });
        response.end(JSON.stringify({ jsonrpc: '2.0', id, result: { tools: [{ name: 'echo', inputSchema: {} }, { name: 'delete_everything', inputSchema: {} }], cacheScope: 'public', ttlMs: 10 } }));
      })],
    });
    const answer = await rawRequest(gateway, gateway.agent(), { body: { jsonrpc: '2.0', id: 1, method: 'tools/list' } });
    expect(namesIn(answer.answer, 'tools')).toEqual(['echo']);
    expect(answer.answer.result?.['cacheScope']).toBe('private');
    expect([answer.headers['cache-control'], answer.headers['etag']]).toEqual(['no-store', undefined]);
  });
});

describe('an in-process server that misbehaves', () => {
  it.each<[string, string, Parameters<typeof handlerUpstream>[0], [number, string]]>([
    ['sends HTML', 'ERR_UPSTREAM_INVALID', (_q, r) => r.writeHead(200, { 'content-type': 'text/html' }).end('<p>'), [502, 'ERR_UPSTREAM_INVALID']],
    ['sends no type', 'ERR_UPSTREAM_INVALID', (_q, r) => r.end('{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"delete_everything"}]}}'), [502, 'ERR_UPSTREAM_INVALID']],
    ['sends something that is not JSON', 'ERR_UPSTREAM_INVALID', (_q, r) => r.writeHead(200, { 'content-type': 'application/json' }).end('{'), [502, 'ERR_UPSTREAM_INVALID']],
    ['asks for a token', 'ERR_UPSTREAM_INVALID', (_q, r) => r.writeHead(401, { 'www-authenticate': 'Bearer' }).end(), [502, 'ERR_UPSTREAM_INVALID']],
    ['redirects', 'ERR_UPSTREAM_INVALID', (_q, r) => r.writeHead(302, { location: 'https://evil.example' }).end(), [502, 'ERR_UPSTREAM_INVALID']],
    ['throws', 'ERR_INTERNAL', () => { throw new Error('secret detail'); }, [500, 'ERR_INTERNAL']],
    ['rejects', 'ERR_INTERNAL', () => Promise.reject(new Error('secret detail')), [500, 'ERR_INTERNAL']],
    ['destroys the response', 'ERR_UPSTREAM_INVALID', (_q, r) => r.destroy(), [502, 'ERR_UPSTREAM_INVALID']],
    ['sends too much', 'ERR_UPSTREAM_TOO_LARGE', (_q, r) => r.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify('x'.repeat(2_000_000))), [502, 'ERR_UPSTREAM_TOO_LARGE']],
    ['answers as request and response in one', 'ERR_UPSTREAM_INVALID', (_q, r) => r.writeHead(200, { 'content-type': 'application/json' }).end('{"jsonrpc":"2.0","id":1,"method":"ping","result":{"tools":[{"name":"delete_everything"}]}}'), [502, 'ERR_UPSTREAM_INVALID']],
  ])('that %s is answered for, and nothing of it leaks', async (_what, _code, handler, expected) => {
    gateway = await startTestGateway({ upstreams: [handlerUpstream(handler)], limits: { answerBytes: 1_000_000 } });
    const answer = await rawRequest(gateway, gateway.agent(), { body: { jsonrpc: '2.0', id: 1, method: 'tools/list' } });
    expect([answer.status, codeIn(answer)]).toEqual(expected);
    expect(answer.answer.id).toBe(1);
    expect(answer.body).not.toMatch(/secret|delete_everything/);
    expect(answer.headers).not.toHaveProperty('www-authenticate');
    expect(gateway.evidence.of('request.decided')).toMatchObject([{ outcome: 'failed', reason: expected[1] }]);
  });
});

describe('caps for each principal', () => {
  it('bound sessions, whichever connections and certificates they come by, and tell when to come back', async () => {
    gateway = await startTestGateway({ limits: { sessionsPerPrincipal: 2 } });
    const sessions = [await openSession(gateway, gateway.agent()), await openSession(gateway, gateway.agent())];
    await expect(openSession(gateway, gateway.agent())).rejects.toThrow(/429.*ERR_LIMIT_SESSIONS/);
    await openSession(gateway, gateway.agent('another'));
    await sessions[0]?.end();
    await openSession(gateway, gateway.agent());
    const many = await Promise.allSettled(Array.from({ length: 6 }, () => openSession(gateway, gateway.agent('at-once'))));
    expect(many.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
  });

  it('bound streams and requests in flight, and give the places back', async () => {
    gateway = await startTestGateway({ limits: { streamsPerPrincipal: 1, requestsPerPrincipal: 2 } });
    const agent = gateway.agent();
    const [one, two] = [await openSession(gateway, agent), await openSession(gateway, agent)];
    const stream = await one.stream();
    const refused = await two.stream();
    expect([refused.status, refused.headers['retry-after']]).toEqual([429, '1']);
    const calls = [await one.stream({ body: slow('a') }), await one.stream({ body: slow('b') })];
    const third = await one.post(callMessage('c', 'echo', { text: 'x' }));
    expect([third.status, codeIn(third), third.headers['retry-after']]).toEqual([429, 'ERR_LIMIT_REQUESTS', '1']);
    for (const open of [stream, ...calls]) open.abandon();
    await eventually(() => gateway.evidence.of('request.decided').filter(({ name, outcome }) => name === 'slow' && outcome === 'failed').length === 2);
    expect(textIn((await one.post(callMessage('d', 'echo', { text: 'again' }))).answer)).toBe('again');
    expect((await two.stream()).status).toBe(200);
  });

  it('bound bodies in size and time', async () => {
    gateway = await startTestGateway({ limits: { bodyBytes: 10_000, bodyTimeoutMs: 200 } });
    const agent = gateway.agent();
    const announced = await rawExchange(gateway, agent, `POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: 10001\r\n\r\n`);
    expect(announced).toMatch(/^HTTP\/1\.1 413 [^]*connection: close/i);
    const chunked = await rawRequest(gateway, agent, { headers: [...jsonHeaders, ['transfer-encoding', 'chunked']], body: JSON.stringify(callMessage(1, 'echo', { text: 'x'.repeat(20_000) })) }).catch((error: unknown) => error);
    if (!(chunked instanceof Error)) expect((chunked as { status: number }).status).toBe(413);
    const late = await rawExchange(gateway, agent, `POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: 100\r\n\r\n{"json`);
    expect(late).toMatch(/^HTTP\/1\.1 408 [^]*ERR_HTTP_BODY_TIMEOUT/);
    expect(gateway.upstream.received()).toEqual([]);
    expect(gateway.evidence.of('request.refused').map(({ reason }) => reason)).toContain('ERR_HTTP_BODY_TIMEOUT');
  });
});

describe('while the audit log cannot be written', () => {
  it.each<UpstreamKind>(['stdio', 'http', 'v1', 'v2'])('nothing is allowed and nothing reaches the upstream (%s)', async (kind) => {
    gateway = await startTestGateway({ upstreams: [kind] });
    const session = await openSession(gateway, gateway.agent());
    const before = gateway.upstream.received().length;
    gateway.evidence.available = false;
    const refused = await session.post(callMessage(1, 'echo', { text: 'unrecorded' }));
    expect([refused.status, codeIn(refused), refused.headers['retry-after']]).toEqual([503, 'ERR_AUDIT_UNAVAILABLE', '1']);
    if (kind !== 'v2') expect((await session.stream()).status).toBe(503);
    expect(gateway.upstream.received()).toHaveLength(before);
    gateway.evidence.available = true;
    expect(textIn((await session.post(callMessage(2, 'echo', { text: 'recorded' }))).answer)).toBe('recorded');
  });

  it.each<UpstreamKind>(['stdio', 'http', 'v1', 'v2'])('an answer whose entry finds no place is not given (%s)', async (kind) => {
    gateway = await startTestGateway({ upstreams: [kind] });
    const session = await openSession(gateway, gateway.agent());
    gateway.evidence.full = true;
    const call = await session.post(callMessage(1, 'echo', { text: 'unrecorded' }));
    expect(call.body).not.toContain('unrecorded');
    expect(call.body).toContain('ERR_AUDIT_UNAVAILABLE');
    expect((await session.post('{')).status).toBe(503);
    expect((await session.post(callMessage(2, 'delete_everything'))).status).toBe(503);
    expect((await rawRequest(gateway, gateway.agent(), { path: '/nowhere', body: {} })).status).toBe(503);
    gateway.evidence.full = false;
    expect(textIn((await session.post(callMessage(3, 'echo', { text: 'again' }))).answer)).toBe('again');
  });
});

describe('a stdio child that ends', () => {
  it('answers what was asked with an error, ends the session and its streams', async () => {
    gateway = await startTestGateway({ upstreams: ['stdio'] });
    const session = await openSession(gateway, gateway.agent());
    const stream = await session.stream();
    const call = await session.stream({ body: slow('x') });
    await call.message(({ method }) => method === 'notifications/progress');
    process.kill(Number(gateway.upstream.sessions().at(-1)), 'SIGKILL');
    expect((await call.message(({ id }) => id === 'x')).error?.data).toEqual({ code: 'ERR_UPSTREAM_EXITED' });
    await stream.closed;
    expect((await session.post(callMessage('y', 'echo', { text: 'x' }))).status).toBe(404);
    expect(gateway.gateway.sessions.size).toBe(0);
  });
});

describe('DELETE', () => {
  it.each<UpstreamKind>(['stdio', 'http', 'v1'])('ends the open streams of the session on other connections (%s)', async (kind) => {
    gateway = await startTestGateway({ upstreams: [kind] });
    const session = await openSession(gateway, gateway.agent());
    const [stream, call] = [await session.stream(), await session.stream({ body: slow('x') })];
    await call.message(({ method }) => method === 'notifications/progress');
    expect((await session.end()).status).toBe(200);
    expect(await stream.closed).toBe('ended');
    await call.closed;
    expect(call.messages.find(({ id }) => id === 'x')?.error?.data).toEqual({ code: 'ERR_MCP_SESSION_UNKNOWN' });
    if (kind !== 'stdio') await eventually(() => gateway.upstream.sessions().length === 0);
    for (const again of [await session.post(callMessage(1, 'echo', { text: 'x' })), await session.end()]) expect(again.status).toBe(404);
  });
});

describe('a policy that is replaced', () => {
  it('holds for the next call, the next list and what open streams bring', async () => {
    gateway = await startTestGateway();
    const session = await openSession(gateway, gateway.agent());
    const { parsePolicy } = await import('../../src/policy/load.ts');
    gateway.gateway.gate.replacePolicy(parsePolicy('roles:\n  r: { grants: [{ upstream: "*", tools: [add] }] }\nbindings: [{ role: r, when: { organizationalUnit: analytics } }]\n'));
    expect(codeIn(await session.post(callMessage(1, 'echo', { text: 'x' })))).toBe('ERR_MCP_DENIED');
    expect(namesIn((await session.post({ jsonrpc: '2.0', id: 2, method: 'tools/list' })).answer, 'tools')).toEqual(['add']);
    gateway.gateway.gate.replacePolicy(parsePolicy('roles: {}\nbindings: []\n'));
    expect((await session.stream()).status).toBe(404);
  });
});

describe('draining', () => {
  it('lets running calls finish, takes no new ones and ends everything', async () => {
    gateway = await startTestGateway({ upstreams: ['stdio'] });
    const session = await openSession(gateway, gateway.agent());
    const begun = await rawSocket(gateway, gateway.agent('begun'));
    begun.write('POST /mcp HTTP/1.1\r\nHost: localhost\r\n');
    const get = await session.stream();
    const call = await session.stream({ body: callMessage('x', 'slow', { steps: 5, milliseconds: 40 }, { progressToken: 1 }) });
    await call.message(({ method }) => method === 'notifications/progress');
    const closing = gateway.gateway.close({ drainMs: 5_000 });
    const refused = new Promise<string>((resolve) => begun.once('data', (chunk: Buffer) => resolve(chunk.toString())).once('close', () => resolve('closed')));
    begun.write('Content-Length: 0\r\n\r\n');
    expect(await refused).toMatch(/^HTTP\/1\.1 503 [^]*connection: close[^]*ERR_DRAINING/i);
    expect(textIn(await call.message(({ id }) => id === 'x'))).toBe('5 steps');
    await closing;
    await get.closed;
    expect(gateway.gateway.sessions.size).toBe(0);
  });
});
