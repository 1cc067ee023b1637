import * as fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { decodeHeaderValue } from '../../src/mcp/header-value.ts';
import { RequestHeaders } from '../../src/upstream/http-request.ts';
import { startV2Http } from '../support/mcp-servers/v2.ts';
import { sendJson, UpstreamLab } from '../support/raw-http.ts';
import { allEventsOf, eventsOf, jsonOf, modern } from '../support/upstream-requests.ts';

const lab = new UpstreamLab();
afterEach(() => lab.end());

const ok = { jsonrpc: '2.0', id: 1, result: { resultType: 'complete' } };

describe('a modern request to an HTTP upstream', () => {
  it.each([
    ['tools/call', { name: 'query', arguments: {} }, 'query'],
    ['tools/call', { name: 'größe' }, '=?base64?Z3LDtsOfZQ==?='],
    ['tools/call', { name: ' padded' }, '=?base64?IHBhZGRlZA==?='],
    ['prompts/get', { name: 'greet' }, 'greet'],
    ['resources/read', { uri: 'file:///a' }, 'file:///a'],
    ['tasks/get', { taskId: 't1' }, 't1'],
    ['tasks/update', { taskId: 't1' }, 't1'],
    ['tasks/cancel', { taskId: 't1' }, 't1'],
    ['tools/list', { name: 'no' }, undefined],
    ['server/discover', {}, undefined],
  ])('%s %j repeats in its headers what its body says', async (method, params, name) => {
    const { upstream, received } = await lab.recording((_, response) => sendJson(response, 200, ok));
    await upstream.exchange(modern({ id: 1, method, params }));
    const { headers } = received[0] ?? expect.unreachable();
    expect([headers['mcp-protocol-version'], headers['mcp-method'], headers['mcp-name']]).toEqual(['2026-07-28', method, name]);
  });

  it('never carries a session or an event id, whatever the caller holds', async () => {
    const { upstream, received } = await lab.recording((_, response) => sendJson(response, 200, ok, { 'mcp-session-id': 'theirs' }));
    const answer = await upstream.exchange(modern({ id: 1, method: 'tools/list' }, { session: 'mine', lastEventId: '7' }));
    expect(answer.session).toBeUndefined();
    expect(Object.keys(received[0]?.headers ?? {}).filter((name) => name === 'mcp-session-id' || name === 'last-event-id')).toEqual([]);
  });

  it('passes Mcp-Param headers on as they are, and nothing configured can stand in for them', async () => {
    const { upstream, received } = await lab.recording((_, response) => sendJson(response, 200, ok));
    await upstream.exchange(modern({ id: 1, method: 'tools/call', params: { name: 'query' } }, { paramHeaders: { 'mcp-param-region': 'eu west', 'mcp-param-who': '=?base64?w7w=?=' } }));
    expect(received[0]?.headers).toMatchObject({ 'mcp-param-region': 'eu west', 'mcp-param-who': '=?base64?w7w=?=' });
    expect(() => lab.upstream('http://127.0.0.1:1/mcp', { headers: { 'Mcp-Param-Region': 'us' } })).toThrow(expect.objectContaining({ code: 'ERR_CONFIG_INVALID' }));
  });

  it.each([{ 'mcp-param-a': 'x\r\nauthorization: y' }, { 'mcp-param-a': 'ü' }, { 'mcp-param-': 'x' }, { authorization: 'x' }, { 'mcp-param-a b': 'x' }, { 'mcp-method': 'tools/list' }])('with %j instead of Mcp-Param headers is not sent', async (paramHeaders) => {
    const { upstream, received } = await lab.recording((_, response) => sendJson(response, 200, ok));
    await expect(upstream.exchange(modern({ id: 1, method: 'tools/call', params: { name: 'query' } }, { paramHeaders: paramHeaders as unknown as Record<string, string> }))).rejects.toMatchObject({ code: 'ERR_MCP_HEADER_MISMATCH' });
    expect(received).toEqual([]);
  });

  it('names any tool in a header that is one line of visible ASCII and means the same name', () => {
    const heads = new RequestHeaders('warehouse');
    const request = modern({ id: 1, method: 'tools/call' });
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 0x2ff }), { maxLength: 40 }).map((codes) => String.fromCharCode(...codes)), (name) => {
        const flat = heads.of({ ...request, messages: [{ kind: 'request', id: 1, method: 'tools/call', params: { name } }] }, undefined);
        const value = flat[flat.indexOf('mcp-name') + 1] ?? '';
        expect(value).toMatch(/^[\t\x20-\x7e]*$/);
        expect(decodeHeaderValue(value)).toBe(name);
      }),
      { numRuns: 100 },
    );
  });
});

describe('a modern answer', () => {
  const error = (id: unknown, code = -32601) => ({ jsonrpc: '2.0', id, error: { code, message: 'no' } });

  it.each([
    [404, 1], [400, 1], [400, null], [200, 1], [500, 1],
  ])('with status %i that is the error of request %j is carried on with its status', async (status, id) => {
    const { upstream } = await lab.recording((_, response) => sendJson(response, status, error(id)));
    const answer = await upstream.exchange(modern({ id: 1, method: 'no/such' }));
    expect([answer.kind, answer.status, jsonOf(answer).error['code']]).toEqual(['json', status, -32601]);
  });

  it.each<[string, number, unknown]>([
    ['the error of another request', 400, error(2)],
    ['the error of a request with the id as a text', 404, error('1')],
    ['a result with an error status', 404, { jsonrpc: '2.0', id: 1, result: {} }],
    ['JSON that is no JSON-RPC', 404, { error: 'not found' }],
  ])('that is %s is refused', async (_what, status, body) => {
    const { upstream } = await lab.recording((_, response) => sendJson(response, status, body));
    await expect(upstream.exchange(modern({ id: 1, method: 'tools/list' }))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID', facts: { status } });
  });

  it('that says nothing is one to a notification only', async () => {
    const { upstream } = await lab.recording((_, response) => response.writeHead(202).end());
    expect(await upstream.exchange(modern({ method: 'notifications/cancelled', params: { requestId: 1 } }))).toMatchObject({ kind: 'empty', status: 202 });
    await expect(upstream.exchange(modern({ id: 1, method: 'tools/list' }))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID', message: 'the upstream gave no answer to a request' });
  });
});

describe('a subscription stream', () => {
  it('waits for its head and its events as long as it takes, and calls go on beside it', async () => {
    const { upstream } = await lab.recording(({ message }, response) => {
      if (message?.method !== 'subscriptions/listen') {
        sendJson(response, 200, ok);
        return;
      }
      setTimeout(() => response.writeHead(200, { 'content-type': 'text/event-stream' }).end('data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged"}\n\n'), 1_100);
    }, { limits: { answerTimeoutMs: 100 } });
    const listening = upstream.exchange(modern({ id: 2, method: 'subscriptions/listen', params: { notifications: {} } }));
    await upstream.exchange(modern({ id: 1, method: 'tools/list' }));
    expect(await allEventsOf(await listening)).toHaveLength(1);
  });

  it('ends at the upstream when the client goes away', async () => {
    let closed = false;
    const { upstream } = await lab.recording((_, response) => {
      response.on('close', () => {
        closed = true;
      });
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
    });
    const controller = new AbortController();
    const events = eventsOf(await upstream.exchange(modern({ id: 2, method: 'subscriptions/listen', params: { notifications: {} } }, { signal: controller.signal })));
    await events.next();
    controller.abort();
    await expect.poll(() => closed).toBe(true);
  });
});

describe('an SDK v2 server', () => {
  it('is called, read and listened to in the modern era, and says 404 for a method it does not know', async () => {
    const server = await startV2Http();
    lab.onEnd(() => server.close());
    const { upstream } = lab.upstream(server.url.href);
    const text = async (request: ReturnType<typeof modern>): Promise<string> => {
      const answer = await upstream.exchange(request);
      return answer.kind === 'json' ? answer.text : answer.kind === 'stream' ? (await allEventsOf(answer)).map(({ data }) => data).join('\n') : '';
    };
    expect(await text(modern({ id: 1, method: 'server/discover' }))).toContain('"2026-07-28"');
    expect(await text(modern({ id: 2, method: 'tools/call', params: { name: 'echo', arguments: { text: 'hello' } } }))).toContain('hello');
    expect(await text(modern({ id: 3, method: 'resources/read', params: { uri: 'file:///reports/annual' } }))).toContain('report annual');
    expect(await upstream.exchange(modern({ id: 4, method: 'no/such' }))).toMatchObject({ kind: 'json', status: 404 });
    const controller = new AbortController();
    const events = eventsOf(await upstream.exchange(modern({ id: 5, method: 'subscriptions/listen', params: { notifications: { toolsListChanged: true } } }, { signal: controller.signal })));
    expect((await events.next()).value?.data).toContain('notifications/subscriptions/acknowledged');
    controller.abort();
  });
});
