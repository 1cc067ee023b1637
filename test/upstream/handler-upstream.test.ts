/** MCP servers in this process, driven by requests of our own making. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { createHandlerUpstream } from '../../src/upstream/handler-upstream.ts';
import type { HandlerUpstreamOptions } from '../../src/upstream/handler-upstream.ts';
import type { Upstream } from '../../src/upstream/upstream.ts';
import { createV1Handler } from '../support/mcp-servers/v1-http.ts';
import { createV2ModernHandler } from '../support/mcp-servers/v2-modern.ts';
import { createV2NodeHandler } from '../support/mcp-servers/v2.ts';
import { allEventsOf, call, eventsOf, get, initialize, jsonOf, modern, notification, post, recordingLog, remove } from '../support/upstream-requests.ts';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

type Handler = (request: IncomingMessage, response: ServerResponse, body?: unknown) => unknown;

const upstreamOf = (handler: Handler, options: Partial<HandlerUpstreamOptions> = {}): Upstream => {
  const upstream = createHandlerUpstream({ name: 'inside', handler, log: recordingLog(), ...options });
  closers.push(() => upstream.close());
  return upstream;
};

const lastOf = async (answer: Awaited<ReturnType<Upstream['exchange']>>): Promise<unknown> => (answer.kind === 'json' ? jsonOf(answer) : JSON.parse((await allEventsOf(answer)).at(-1)?.data ?? ''));

describe('which eras a handler speaks', () => {
  it('is found out by asking it', async () => {
    const v1 = createV1Handler();
    const v2 = createV2NodeHandler();
    const v2Modern = createV2ModernHandler();
    closers.push(() => v1.close(), () => v2.close(), () => v2Modern.close());
    expect(await upstreamOf(v1.handle).eras()).toEqual(['legacy']);
    expect(await upstreamOf(v2.handle as Handler).eras()).toEqual(['modern', 'legacy']);
    expect(await upstreamOf(v2Modern.handle).eras()).toEqual(['modern']);
    // The session that was opened for the question is ended.
    expect(v1.sessions()).toEqual([]);
  });

  it('may be stated', async () => {
    expect(await upstreamOf(() => undefined, { era: 'modern' }).eras()).toEqual(['modern']);
  });

  it('stays open while the handler fails', async () => {
    const upstream = upstreamOf(() => {
      throw new Error('not yet');
    });
    await expect(upstream.eras()).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID', message: 'the in-process MCP server failed: see its own log' });
  });
});

describe('a v1 handler', () => {
  it('is initialized, called, listened to and ended', async () => {
    const handler = createV1Handler();
    closers.push(() => handler.close());
    const upstream = upstreamOf(handler.handle, { authInfo: (principal, roles) => ({ token: '', clientId: principal.id, scopes: [...roles] }) });
    const initialized = await upstream.exchange(initialize());
    const { session } = initialized;
    expect(await lastOf(initialized)).toMatchObject({ result: { serverInfo: { name: 'v1-fixture' } } });
    expect((await upstream.exchange(post(notification('notifications/initialized'), { session }))).status).toBe(202);
    const leaving = new AbortController();
    const stream = eventsOf(await upstream.exchange(get({ session, signal: leaving.signal })));
    const whoami = await lastOf(await upstream.exchange(post(call(1, 'whoami'), { session })));
    expect(JSON.stringify(whoami)).toContain('cn:agent-7');
    await lastOf(await upstream.exchange(post({ jsonrpc: '2.0', id: 2, method: 'resources/subscribe', params: { uri: 'file:///readme.txt' } }, { session })));
    await lastOf(await upstream.exchange(post(call(3, 'touch', { uri: 'file:///readme.txt' }), { session })));
    expect((await stream.next()).value?.data).toContain('notifications/resources/updated');
    const events = (await allEventsOf(await upstream.exchange(post(call(4, 'slow', { steps: 2, milliseconds: 1 }, { progressToken: 'p' }), { session })))).map(({ data }) => data);
    expect(events.filter((data) => data.includes('notifications/progress'))).toHaveLength(2);
    leaving.abort();
    await expect(stream.next()).rejects.toThrow();
    expect((await upstream.exchange(remove({ session }))).status).toBe(200);
    await expect(upstream.exchange(post(call(5, 'whoami'), { session }))).rejects.toMatchObject({ code: 'ERR_MCP_SESSION_UNKNOWN' });
  });
});

describe('a modern handler', () => {
  it('is called, listened to and cancelled', async () => {
    const handler = createV2ModernHandler();
    closers.push(() => handler.close());
    const upstream = upstreamOf(handler.handle);
    expect(await lastOf(await upstream.exchange(modern({ id: 1, method: 'tools/call', params: { name: 'echo', arguments: { text: 'hi' } } })))).toMatchObject({ id: 1, result: { resultType: 'complete', content: [{ text: 'hi' }] } });
    expect(await upstream.exchange(modern({ id: 2, method: 'nothing/known' }))).toMatchObject({ kind: 'json', status: 404 });
    const leaving = new AbortController();
    const stream = eventsOf(await upstream.exchange(modern({ id: 'l', method: 'subscriptions/listen', params: { notifications: { toolsListChanged: true } } }, { signal: leaving.signal })));
    expect((await stream.next()).value?.data).toContain('notifications/subscriptions/acknowledged');
    handler.notify.toolsChanged();
    expect((await stream.next()).value?.data).toContain('notifications/tools/list_changed');
    leaving.abort();
    const cancelling = new AbortController();
    const waiting = upstream.exchange(modern({ id: 3, method: 'tools/call', params: { name: 'wait', arguments: {} } }, { signal: cancelling.signal }));
    setTimeout(() => cancelling.abort(), 50);
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
    await expect.poll(() => handler.cancelled()).toBe(1);
  });
});

describe('answers that cannot be used', () => {
  const answering = (status: number, type: string, body: string): Handler => (_request, response) => {
    response.writeHead(status, { 'content-type': type });
    response.end(body);
  };
  it.each([
    ['a page', 200, 'text/html', '<html>', 'ERR_UPSTREAM_INVALID'],
    ['a challenge', 401, 'application/json', '{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}', 'ERR_UPSTREAM_INVALID'],
    ['a redirect', 302, 'text/plain', '', 'ERR_UPSTREAM_INVALID'],
    ['an error without words', 500, 'text/plain', '', 'ERR_UPSTREAM_INVALID'],
    ['too much', 200, 'application/json', `{"jsonrpc":"2.0","id":1,"result":"${'x'.repeat(200)}"}`, 'ERR_UPSTREAM_TOO_LARGE'],
  ])('are refused: %s', async (_name, status, type, body, code) => {
    await expect(upstreamOf(answering(status, type, body), { limits: { answerBytes: 100 } }).exchange(post(call(1, 'echo')))).rejects.toMatchObject({ code });
  });

  it('end with the upstream', async () => {
    const upstream = upstreamOf(() => undefined);
    const waiting = upstream.exchange(post(call(1, 'echo')));
    await upstream.close();
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_DRAINING' });
    expect(await upstream.healthy()).toBe(false);
    await expect(upstream.exchange(post(call(2, 'echo')))).rejects.toMatchObject({ code: 'ERR_DRAINING' });
  });
});
