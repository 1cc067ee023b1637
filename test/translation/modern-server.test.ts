/** What legacy requests become at a modern MCP server, message by message. */
import { describe, expect, it } from 'vitest';
import { SallyportError } from '../../src/errors.ts';
import type { Upstream, UpstreamAnswer, UpstreamRequest } from '../../src/upstream/upstream.ts';
import { eventsOf, get, initialize, jsonOf, modern, notification, post, principalNamed, remove } from '../support/upstream-requests.ts';
import { failure, last, next, result, ScriptedUpstream, spoken, translate } from './scripted-upstream.ts';
import type { Script, Spoken } from './scripted-upstream.ts';

const capabilities = { tools: { listChanged: true }, logging: {}, resources: { subscribe: true }, tasks: {}, extensions: { 'io.modelcontextprotocol/tasks': {} } };

const modernServer = (script: Script = () => undefined): ScriptedUpstream =>
  new ScriptedUpstream('modern', async (asked) => {
    const own = await script(asked);
    if (own !== undefined) return own;
    return asked.method === 'server/discover'
      ? result(asked.id, { resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities, instructions: 'read this', ttlMs: 0, cacheScope: 'private', _meta: { 'io.modelcontextprotocol/serverInfo': { name: 'scripted', version: '1' } } })
      : undefined;
  });

interface Opened {
  readonly server: ScriptedUpstream;
  readonly upstream: Upstream;
  readonly session: string | undefined;
  post(message: object, options?: Partial<UpstreamRequest>): Promise<UpstreamAnswer>;
}

const open = async (script?: Script, { client = {}, limits = {} }: { client?: object; limits?: Parameters<typeof translate>[1] } = {}): Promise<Opened> => {
  const server = modernServer(script);
  const upstream = translate(server, limits);
  const { session } = await upstream.exchange(post({ jsonrpc: '2.0', id: 0, method: 'initialize', params: { protocolVersion: '2025-06-18', capabilities: client, clientInfo: { name: 'old', version: '1' } } }));
  return { server, upstream, session, post: (message, options) => upstream.exchange(post({ jsonrpc: '2.0', ...message }, { session, ...options })) };
};

const tool = (id: number | string, name = 'tool', args: object = {}) => ({ id, method: 'tools/call', params: { name, arguments: args } });

describe('initialize', () => {
  it('is server/discover, and makes a session of our own', async () => {
    const server = modernServer();
    const upstream = translate(server);
    const answer = await upstream.exchange(post({ jsonrpc: '2.0', id: 'i', method: 'initialize', params: { protocolVersion: '2025-03-26', capabilities: { roots: { listChanged: true }, tasks: {} }, clientInfo: { name: 'old', version: '1' } } }));
    expect(answer.session).toMatch(/^[\w-]{32}$/u);
    expect(jsonOf(answer)).toEqual({
      jsonrpc: '2.0', id: 'i',
      result: { protocolVersion: '2025-03-26', capabilities: { tools: { listChanged: true }, logging: {}, resources: { subscribe: true } }, serverInfo: { name: 'scripted', version: '1' }, instructions: 'read this' },
    });
    expect(server.asked[0]?.params).toEqual({ _meta: { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientInfo': { name: 'old', version: '1' }, 'io.modelcontextprotocol/clientCapabilities': { roots: {} } } });
    expect(server.asked[0]?.request).toMatchObject({ era: 'modern', session: undefined, protocolVersion: '2026-07-28', method: 'POST' });
  });

  it.each([['1999-01-01', '2025-11-25'], ['2026-07-28', '2025-11-25'], ['2024-11-05', '2024-11-05']])('that names %s agrees on %s', async (asked, agreed) => {
    const answer = await translate(modernServer()).exchange(post({ jsonrpc: '2.0', id: 0, method: 'initialize', params: { protocolVersion: asked, capabilities: {}, clientInfo: { name: 'old', version: '1' } } }));
    expect(jsonOf(answer).result['protocolVersion']).toBe(agreed);
  });

  it('fails as the server does, and without a session', async () => {
    const answer = await translate(modernServer(({ id, method }) => (method === 'server/discover' ? failure(id, -32022, 400) : undefined))).exchange(initialize());
    expect([answer.session, answer.status, jsonOf(answer).error['code']]).toEqual([undefined, 200, -32603]);
    await expect(translate(modernServer(() => ({ kind: 'empty', status: 202 }))).exchange(initialize())).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID' });
  });

  it('is needed before anything else, once, and by the same principal', async () => {
    const { upstream, session } = await open();
    await expect(upstream.exchange(post({ jsonrpc: '2.0', ...tool(1) }))).rejects.toMatchObject({ code: 'ERR_MCP_SESSION_REQUIRED' });
    await expect(upstream.exchange(get())).rejects.toMatchObject({ code: 'ERR_MCP_SESSION_REQUIRED' });
    await expect(upstream.exchange(initialize({ session }))).rejects.toMatchObject({ code: 'ERR_MCP_ALREADY_INITIALIZED' });
    await expect(upstream.exchange(post({ jsonrpc: '2.0', id: 1, method: 'ping' }, { session, principal: principalNamed('agent-8') }))).rejects.toMatchObject({ code: 'ERR_MCP_SESSION_UNKNOWN' });
    await expect(translate(modernServer(), { sessions: 0 }).exchange(initialize())).rejects.toMatchObject({ code: 'ERR_LIMIT_SESSIONS' });
  });
});

describe('the session', () => {
  it('ends by DELETE, by its end, by the end of its principal and at the end', async () => {
    const { server, upstream, session, post: send } = await open();
    expect(await upstream.exchange(remove({ session }))).toEqual({ kind: 'empty', status: 200 });
    await expect(send({ id: 1, method: 'ping' })).rejects.toMatchObject({ code: 'ERR_MCP_SESSION_UNKNOWN' });
    for (const end of [(one: string) => upstream.endSession(one), () => upstream.endPrincipal('cn:agent-7')]) {
      const again = (await upstream.exchange(initialize())).session;
      await end(again ?? '');
      await expect(upstream.exchange(post({ jsonrpc: '2.0', id: 1, method: 'ping' }, { session: again }))).rejects.toMatchObject({ code: 'ERR_MCP_SESSION_UNKNOWN' });
    }
    // A session of ours is nothing the server could end.
    await upstream.endSession(session ?? '');
    expect(server.endedSessions).toEqual([]);
    await upstream.close();
    await expect(upstream.exchange(initialize())).rejects.toMatchObject({ code: 'ERR_DRAINING' });
  });

  it('answers by itself what the modern era has no word for', async () => {
    const { post: send, server } = await open();
    expect(jsonOf(await send({ id: 1, method: 'ping' })).result).toEqual({});
    expect((await send({ method: 'notifications/initialized' })).status).toBe(202);
    expect((await send({ method: 'notifications/roots/list_changed' })).status).toBe(202);
    expect(jsonOf(await send({ id: 2, method: 'logging/setLevel', params: { level: 'loud' } })).error['code']).toBe(-32602);
    expect(jsonOf(await send({ id: 3, method: 'logging/setLevel', params: { level: 'error' } })).result).toEqual({});
    expect(server.asked).toHaveLength(1);
    await send(tool(4));
    expect(server.of('tools/call')[0]?.params).toMatchObject({ _meta: { 'io.modelcontextprotocol/logLevel': 'error' } });
    const quiet = await open(({ id, method }) => (method === 'server/discover' ? result(id, { capabilities: {} }) : undefined));
    expect(jsonOf(await quiet.post({ id: 1, method: 'logging/setLevel', params: { level: 'error' } })).error['code']).toBe(-32601);
    expect(jsonOf(await quiet.post({ id: 1, method: 'resources/subscribe', params: { uri: 'x:y' } })).error['code']).toBe(-32601);
    expect(await quiet.upstream.exchange(get({ session: quiet.session }))).toEqual({ kind: 'empty', status: 405 });
  });

  it('refuses what cannot be translated', async () => {
    const { upstream, session, post: send } = await open();
    await expect(send({ id: 1, method: 'tasks/list' })).rejects.toMatchObject({ code: 'ERR_MCP_UNTRANSLATABLE' });
    await expect(send({ id: 1, method: 'tools/call', params: { name: 't', task: {} } })).rejects.toMatchObject({ code: 'ERR_MCP_UNTRANSLATABLE' });
    await expect(upstream.exchange(post(`[${JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' })}]`, { session }))).rejects.toMatchObject({ code: 'ERR_MCP_UNTRANSLATABLE' });
    await expect(upstream.exchange(get({ session, lastEventId: '1' }))).rejects.toMatchObject({ code: 'ERR_MCP_EVENT_ID' });
    await expect(send({ id: 'question-1', result: {} })).rejects.toMatchObject({ code: 'ERR_MCP_UNSOLICITED' });
  });
});

describe('a request', () => {
  it('gains the envelope; its answer loses what the legacy era does not know, and keeps the rest', async () => {
    const { post: send, server } = await open(({ id, method }) =>
      method === 'tools/list' ? result(id, { resultType: 'complete', ttlMs: 5, cacheScope: 'public', tools: [{ name: 't', more: 1 }], extra: [2], _meta: { 'io.modelcontextprotocol/serverInfo': { name: 's', version: '1' }, own: 3 } }) : undefined);
    expect(jsonOf(await send({ id: 'x', method: 'tools/list', params: { cursor: 'c', _meta: { progressToken: 'p', trace: 't' } } }))).toEqual({ jsonrpc: '2.0', id: 'x', result: { tools: [{ name: 't', more: 1 }], extra: [2], _meta: { own: 3 } } });
    expect(server.of('tools/list')[0]?.params).toEqual({
      cursor: 'c',
      _meta: { progressToken: 'p', trace: 't', 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientInfo': { name: 'old', version: '1' }, 'io.modelcontextprotocol/clientCapabilities': {} },
    });
  });

  it('keeps every digit in both directions', async () => {
    const { upstream, server, session } = await open(({ id, method }) => (method === 'tools/call' ? { kind: 'json', status: 200, text: `{"jsonrpc":"2.0","id":"${id}","result":{"resultType":"complete","content":[],"structuredContent":{"n":12345678901234567890}}}` } : undefined));
    const answer = await upstream.exchange(post('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"n":98765432109876543210}}}', { session }));
    expect(server.of('tools/call')[0]?.request.body).toContain('"arguments":{"n":98765432109876543210}');
    expect((answer as { text: string }).text).toBe('{"jsonrpc":"2.0","id":1,"result":{"content":[],"structuredContent":{"n":12345678901234567890}}}');
  });

  it.each([[-32020, 400, -32603], [-32021, 400, -32602], [-32022, 400, -32603], [-32602, 200, -32602], [-32601, 404, -32601]])('that fails with %i, HTTP %i, fails with %i', async (code, status, expected) => {
    const { post: send } = await open(({ id, method }) => (method === 'prompts/get' ? failure(id, code, status, { more: 1 }) : undefined));
    const answer = await send({ id: 1, method: 'prompts/get', params: { name: 'p' } });
    expect([answer.status, jsonOf(answer).error]).toMatchObject([200, { code: expected, data: { more: 1 } }]);
  });

  it('is sent with the headers its tool wants, and again when the tool has changed since', async () => {
    let header = 'Region';
    const { post: send, server } = await open(({ id, method, request }) => {
      if (method === 'tools/list') return result(id, { resultType: 'complete', tools: [{ name: 'tool', inputSchema: { type: 'object', properties: { r: { type: 'string', 'x-mcp-header': header } } } }] });
      return method === 'tools/call' && request.paramHeaders?.[`mcp-param-${header.toLowerCase()}`] === undefined ? failure(id, -32020, 400) : undefined;
    });
    expect(jsonOf(await send(tool(1, 'tool', { r: 'eu' }))).result).toEqual({});
    header = 'Zone';
    expect(jsonOf(await send(tool(2, 'tool', { r: 'eu' }))).result).toEqual({});
    expect(server.of('tools/call').map(({ request }) => request.paramHeaders)).toEqual([{ 'mcp-param-region': 'eu' }, { 'mcp-param-region': 'eu' }, { 'mcp-param-zone': 'eu' }]);
    expect(server.of('tools/list')).toHaveLength(2);
  });

  it('is answered by its response, whether or not its stream ends, and fails without one', async () => {
    const streams: Spoken[] = [];
    const { post: send, server } = await open(({ id, method, params, request }) => {
      if (method !== 'tools/call') return undefined;
      const stream = spoken(request.signal);
      streams.push(stream);
      stream.say({ method: 'notifications/progress', params: { progressToken: 'p', progress: 1 } });
      stream.say({ method: 'notifications/resources/updated', params: { uri: 'x:y' } });
      if (params['name'] === 'tool') stream.say({ id, result: { resultType: 'complete' } });
      else stream.end();
      return stream.answer;
    });
    const events = eventsOf(await send(tool(1)));
    expect([await next(events), await next(events)]).toEqual([{ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 'p', progress: 1 } }, { jsonrpc: '2.0', id: 1, result: {} }]);
    expect((await events.next()).done).toBe(true);
    await expect.poll(() => streams[0]?.left(), { timeout: 3_000 }).toBe(true);
    const silent = eventsOf(await send(tool(2, 'silent')));
    await next(silent);
    await expect(silent.next()).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID' });
    expect(server.of('tools/call')).toHaveLength(2);
  });

  it('of an id that is in flight is refused, and its cancellation ends it', async () => {
    const stream: Spoken[] = [];
    const { post: send, server } = await open(({ method, request }) => {
      if (method !== 'tools/call') return undefined;
      const one = spoken(request.signal);
      stream.push(one);
      return one.answer;
    });
    const waiting = send(tool(1));
    await expect.poll(() => server.of('tools/call')).toHaveLength(1);
    await expect(send(tool(1))).rejects.toMatchObject({ code: 'ERR_MCP_INVALID_REQUEST' });
    expect((await send(notification('notifications/cancelled', { requestId: 1 }))).status).toBe(202);
    const answer = await waiting;
    expect(answer.kind === 'stream' && (await eventsOf(answer).next()).done).toBe(true);
    await expect.poll(() => stream[0]?.left()).toBe(true);
    const leaving = new AbortController();
    const abandoned = send(tool(1), { signal: leaving.signal });
    await expect.poll(() => server.of('tools/call')).toHaveLength(2);
    leaving.abort();
    await expect(abandoned).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
    await expect.poll(() => stream[1]?.left()).toBe(true);
  });
});

describe('input that is required', () => {
  const required = (id: unknown, inputRequests?: object, requestState?: string): UpstreamAnswer => result(id, { resultType: 'input_required', ...(inputRequests === undefined ? {} : { inputRequests }), ...(requestState === undefined ? {} : { requestState }) });
  const elicitation = { method: 'elicitation/create', params: { message: 'm', requestedSchema: { type: 'object' } } };

  it('is asked of the client on the stream of its request, and goes back with the state', async () => {
    const { post: send, server } = await open(({ id, method, params }) => (method === 'tools/call' && params['inputResponses'] === undefined ? required(id, { a: elicitation, b: { method: 'roots/list' } }, 'state') : undefined), { client: { elicitation: {}, roots: {} } });
    const events = eventsOf(await send(tool('t')));
    const [first, second] = [await next(events), await next(events)];
    expect([first, second]).toMatchObject([elicitation, { method: 'roots/list' }]);
    expect((await send({ id: second['id'], result: { roots: [] } })).status).toBe(202);
    expect((await send({ id: first['id'], result: { action: 'accept', content: { n: 1 } } })).status).toBe(202);
    expect(await next(events)).toEqual({ jsonrpc: '2.0', id: 't', result: {} });
    const [, retry] = server.of('tools/call');
    expect(retry?.params).toMatchObject({ name: 'tool', inputResponses: { a: { action: 'accept', content: { n: 1 } }, b: { roots: [] } }, requestState: 'state' });
    expect(retry?.id).not.toBe(server.of('tools/call')[0]?.id);
    await expect(send({ id: first['id'], result: {} })).rejects.toMatchObject({ code: 'ERR_MCP_UNSOLICITED' });
  });

  it('is a URL with an id for those who want one', async () => {
    const { post: send, upstream } = await open(({ id, method }) => (method === 'tools/call' ? required(id, { a: { method: 'elicitation/create', params: { mode: 'url', url: 'https://x', message: 'm' } } }) : undefined), { client: { elicitation: { url: {} } } });
    expect(await next(eventsOf(await send(tool('t'))))).toMatchObject({ params: { mode: 'url', elicitationId: expect.stringMatching(/^[\w-]{22}$/u) as string } });
    await upstream.close();
  });

  it('that the client cannot or will not give fails the request as its method does', async () => {
    const script: Script = ({ id, method }) => (method === 'tools/call' || method === 'prompts/get' ? required(id, { a: elicitation }) : undefined);
    const unable = await open(script);
    expect(jsonOf(await unable.post(tool(1))).result).toEqual({ content: [{ type: 'text', text: 'the MCP server needs input (elicitation/create), but the MCP client did not declare the capability elicitation' }], isError: true });
    expect(jsonOf(await unable.post({ id: 2, method: 'prompts/get', params: { name: 'p' } })).error['code']).toBe(-32603);
    const unwilling = await open(script, { client: { elicitation: {} } });
    const events = eventsOf(await unwilling.post(tool(1)));
    await unwilling.post({ id: (await next(events))['id'], error: { code: -1, message: 'not now' } });
    expect(await next(events)).toMatchObject({ id: 1, result: { isError: true, content: [{ text: 'the input that tools/call needs could not be had: not now' }] } });
    const absent = await open(script, { client: { elicitation: {} }, limits: { parkedMs: 20 } });
    const silence = eventsOf(await absent.post(tool(1)));
    const question = await next(silence);
    expect(await next(silence)).toMatchObject({ method: 'notifications/cancelled', params: { requestId: question['id'] } });
    expect(await next(silence)).toMatchObject({ result: { content: [{ text: 'the input that tools/call needs could not be had: the MCP client did not answer in time' }] } });
  });

  it('without questions is asked for again a little later, and not for ever', async () => {
    let rounds = 0;
    const { post: send } = await open(({ id, method }) => (method === 'tools/call' && (rounds += 1) < 9 ? required(id, undefined, String(rounds)) : undefined), { limits: { rounds: 1 } });
    expect(await last(await send(tool(1)))).toMatchObject({ result: { isError: true, content: [{ text: 'the MCP server still required input for tools/call after 1 rounds' }] } });
    expect(rounds).toBe(2);
  });

  it.each([
    ['of an unknown kind', 'tools/call', { resultType: 'input_required', inputRequests: { a: { method: 'tasks/list' } } }],
    ['of which nothing is said', 'tools/call', { resultType: 'input_required' }],
    ['where none may be', 'tools/list', { resultType: 'input_required', inputRequests: { a: elicitation } }],
    ['in a result nobody knows', 'tools/call', { resultType: 'later' }],
  ])('%s is an invalid answer', async (_name, asked, given) => {
    const { post: send } = await open(({ id, method }) => (method === asked ? result(id, given) : undefined), { client: { elicitation: {} } });
    await expect(send({ id: 1, method: asked, params: { name: 't' } })).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID' });
  });
});

describe('the GET stream', () => {
  const listening = (streams: Spoken[], honoured: (asked: Record<string, unknown>) => object = (asked) => asked): Script => ({ method, params, request }) => {
    if (method !== 'subscriptions/listen') return undefined;
    const stream = spoken(request.signal);
    streams.push(stream);
    stream.say({ method: 'notifications/subscriptions/acknowledged', params: { notifications: honoured(params['notifications'] as Record<string, unknown>), _meta: { 'io.modelcontextprotocol/subscriptionId': 'x' } } });
    return stream.answer;
  };
  const changed = { method: 'notifications/tools/list_changed', params: { _meta: { 'io.modelcontextprotocol/subscriptionId': 'x' } } };
  const updated = (uri: string) => ({ method: 'notifications/resources/updated', params: { uri, _meta: { 'io.modelcontextprotocol/subscriptionId': 'x', own: 1 } } });

  it('brings what a listen stream brings, without its id, and is the only one', async () => {
    const streams: Spoken[] = [];
    const { upstream, server, session } = await open(listening(streams));
    const leaving = new AbortController();
    const events = eventsOf(await upstream.exchange(get({ session, signal: leaving.signal })));
    expect(await upstream.exchange(get({ session }))).toEqual({ kind: 'empty', status: 409 });
    await expect.poll(() => streams).toHaveLength(1);
    expect(server.of('subscriptions/listen')[0]?.params).toMatchObject({ notifications: { toolsListChanged: true } });
    streams[0]?.say(changed);
    streams[0]?.say({ method: 'notifications/message', params: { level: 'info', data: 1 } });
    streams[0]?.say(updated('x:a'));
    expect(await next(events)).toEqual({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' });
    expect(await next(events)).toEqual({ jsonrpc: '2.0', method: 'notifications/resources/updated', params: { uri: 'x:a', _meta: { own: 1 } } });
    leaving.abort();
    await expect.poll(() => streams[0]?.left()).toBe(true);
    const again = await upstream.exchange(get({ session }));
    expect(again.kind).toBe('stream');
    await upstream.close();
  });

  it('goes over to a new listen stream without a gap and without telling anything twice', async () => {
    const streams: Spoken[] = [];
    const { upstream, session, post: send } = await open(listening(streams));
    const events = eventsOf(await upstream.exchange(get({ session })));
    await expect.poll(() => streams).toHaveLength(1);
    expect(jsonOf(await send({ id: 1, method: 'resources/subscribe', params: { uri: 'x:a' } })).result).toEqual({});
    expect(streams).toHaveLength(2);
    expect(streams[0]?.left()).toBe(false);
    // Both bring it, and the old one what the new one began too late for.
    streams[0]?.say(changed);
    streams[1]?.say(changed);
    streams[0]?.say(updated('x:late'));
    streams[1]?.say(updated('x:a'));
    const told = [await next(events), await next(events), await next(events)].map(({ method, params }) => [method, (params as { uri?: string } | undefined)?.uri]);
    expect(told.filter(([method]) => method === 'notifications/tools/list_changed')).toHaveLength(1);
    expect(told.map(([, uri]) => uri)).toEqual(expect.arrayContaining(['x:late', 'x:a']) as unknown);
    await expect.poll(() => streams[0]?.left()).toBe(true);
    expect(jsonOf(await send({ id: 2, method: 'resources/unsubscribe', params: { uri: 'x:a' } })).result).toEqual({});
    expect(streams).toHaveLength(3);
    await upstream.close();
  });

  it('is opened again when the server ends it, but not when nothing was agreed to', async () => {
    const streams: Spoken[] = [];
    const { upstream, session } = await open(listening(streams));
    await upstream.exchange(get({ session }));
    await expect.poll(() => streams).toHaveLength(1);
    streams[0]?.end();
    await expect.poll(() => streams.length, { timeout: 3_000 }).toBe(2);
    await upstream.close();
  });

  it('says which resources cannot be followed, and bounds how many can', async () => {
    const streams: Spoken[] = [];
    const { upstream, session, post: send } = await open(listening(streams, () => ({ toolsListChanged: true })), { limits: { resourceSubscriptions: 1 } });
    const subscribe = (uri: string) => ({ id: 1, method: 'resources/subscribe', params: { uri } });
    await upstream.exchange(get({ session }));
    expect(jsonOf(await send(subscribe('x:a'))).error).toMatchObject({ code: -32602, message: 'the MCP server does not tell of changes of this resource' });
    await upstream.close();
    // Without a GET stream it is only remembered.
    const early = await open(listening(streams), { limits: { resourceSubscriptions: 1 } });
    expect(jsonOf(await early.post(subscribe('x:a'))).result).toEqual({});
    expect(jsonOf(await early.post(subscribe('x:a'))).result).toEqual({});
    expect(jsonOf(await early.post(subscribe('x:b'))).error['code']).toBe(-32602);
    await early.upstream.exchange(get({ session: early.session }));
    await expect.poll(() => early.server.of('subscriptions/listen')[0]?.params['notifications']).toMatchObject({ resourceSubscriptions: ['x:a'] });
    await early.upstream.close();
  });

  it('does not mind a server that does not listen', async () => {
    const { upstream, session, post: send } = await open(({ method }) => {
      if (method === 'subscriptions/listen') throw new SallyportError('ERR_UPSTREAM_UNREACHABLE', 'not now');
      return undefined;
    });
    expect((await upstream.exchange(get({ session }))).kind).toBe('stream');
    expect(jsonOf(await send({ id: 1, method: 'resources/subscribe', params: { uri: 'x:a' } })).error).toMatchObject({ code: -32602, message: 'not now' });
    await upstream.close();
  });
});

it('carries modern requests straight through', async () => {
  const server = modernServer();
  const request = modern({ id: 1, method: 'tools/list' });
  const upstream = translate(server);
  await upstream.exchange(request);
  expect(await upstream.headerless?.()).toBe(false);
  expect(server.asked[0]?.request).toBe(request);
});
