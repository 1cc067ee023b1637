/** What modern requests become at a legacy MCP server, message by message. */
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { gatewayInfo } from '../../src/upstream/gateway-info.ts';
import { SallyportError } from '../../src/errors.ts';
import type { UpstreamAnswer, UpstreamRequest } from '../../src/upstream/upstream.ts';
import { eventsOf, jsonOf, modern, notification, post, principalNamed } from '../support/upstream-requests.ts';
import { failure, last, next, result, ScriptedUpstream, spoken, translate } from './scripted-upstream.ts';
import type { Script, Spoken } from './scripted-upstream.ts';

const legacy = (script: Script = () => undefined): ScriptedUpstream => new ScriptedUpstream('legacy', script);

const asking = (capabilities: object, message: { id: number | string; method: string; params?: Record<string, unknown> }, options: Partial<UpstreamRequest> = {}): UpstreamRequest =>
  post({ jsonrpc: '2.0', ...message, params: { ...message.params, _meta: { ...(message.params?.['_meta'] as object | undefined), 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': capabilities } } }, { era: 'modern', protocolVersion: '2026-07-28', ...options });

const callOf = (params: Record<string, unknown> = {}, id: number | string = 1) => ({ id, method: 'tools/call', params: { name: 'tool', arguments: {}, ...params } });

const everything = { sampling: {}, elicitation: {}, roots: {} };

describe('the session', () => {
  it('is initialized once with what the client declared, and used under ids of our own', async () => {
    const server = legacy();
    const upstream = translate(server);
    const declared = { elicitation: { form: {} }, roots: { listChanged: true }, extensions: { 'io.modelcontextprotocol/tasks': {} } };
    await Promise.all([upstream.exchange(asking(declared, callOf({}, 'a'))), upstream.exchange(asking(declared, callOf({}, 'a')))]);
    expect(server.of('initialize').map(({ params }) => params)).toEqual([{ protocolVersion: '2025-11-25', capabilities: { elicitation: { form: {} }, roots: {} }, clientInfo: gatewayInfo() }]);
    expect(server.of('notifications/initialized')).toHaveLength(1);
    const calls = server.of('tools/call');
    expect(calls.map(({ request }) => [request.session, request.protocolVersion, request.era])).toEqual([['s1', '2025-11-25', 'legacy'], ['s1', '2025-11-25', 'legacy']]);
    expect(new Set(calls.map(({ id }) => id)).size).toBe(2);
    await upstream.close();
    expect(server.endedSessions).toEqual(['s1']);
  });

  it('is another one for another principal, and for a client that declares something else', async () => {
    const server = legacy();
    const upstream = translate(server);
    await upstream.exchange(asking({}, callOf()));
    await upstream.exchange(asking({ roots: {} }, callOf()));
    await upstream.exchange(asking({}, callOf(), { principal: principalNamed('agent-8') }));
    expect(server.of('initialize')).toHaveLength(3);
    await upstream.endPrincipal('cn:agent-7');
    expect(server.endedSessions).toHaveLength(2);
    await upstream.close();
    expect(server.endedSessions).toHaveLength(3);
  });

  it('is begun again when the server does not know it any more, and the request sent again', async () => {
    let lost = 0;
    const server = legacy(({ method }) => {
      if (method === 'tools/call' && (lost += 1) === 2) throw new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'gone');
      return undefined;
    });
    const upstream = translate(server);
    await upstream.exchange(asking({}, callOf()));
    expect(jsonOf(await upstream.exchange(asking({}, callOf({}, 2))))).toMatchObject({ id: 2, result: { resultType: 'complete' } });
    expect(server.of('initialize')).toHaveLength(2);
    expect(server.of('tools/call')).toHaveLength(3);
  });

  it('is not begun again for a request that may have been carried out', async () => {
    const server = legacy(({ method }) => {
      if (method === 'tools/call') throw new SallyportError('ERR_UPSTREAM_EXITED', 'the child died');
      return undefined;
    });
    await expect(translate(server).exchange(asking({}, callOf()))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_EXITED' });
    expect(server.of('tools/call')).toHaveLength(1);
  });

  it.each([
    ['an error', failure(1, -32602)],
    ['a revision nobody knows', result(1, { protocolVersion: '1999-01-01', capabilities: {} })],
    ['a modern revision', result(1, { protocolVersion: '2026-07-28', capabilities: {} })],
  ])('is refused with %s', async (_name, answer) => {
    const upstream = translate(legacy(({ method }) => (method === 'initialize' ? answer : undefined)));
    await expect(upstream.exchange(asking({}, callOf()))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID', message: 'the MCP server could not be initialized: see its own log' });
  });

  it('that does not get as far as notifications/initialized is ended', async () => {
    const server = legacy(({ method }) => {
      if (method === 'notifications/initialized') throw new SallyportError('ERR_UPSTREAM_INVALID', 'no');
      return undefined;
    });
    await expect(translate(server).exchange(asking({}, callOf()))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID', message: 'no' });
    expect(server.endedSessions).toEqual(['s1']);
  });

  it('makes room for the next by ending what is idle, but nothing that is in use', async () => {
    const server = legacy(({ method, params }) => (method === 'tools/call' && params['name'] === 'long' ? spoken().answer : undefined));
    const upstream = translate(server, { sessionsPerPrincipal: 2, openStreamAfterMs: 1 });
    await upstream.exchange(asking({ a: {} }, callOf()));
    await upstream.exchange(asking({ b: {} }, callOf({ name: 'long' })));
    await upstream.exchange(asking({ c: {} }, callOf()));
    expect(server.endedSessions).toHaveLength(1);
    await upstream.exchange(asking({ c: {} }, callOf({ name: 'long' })));
    await expect(upstream.exchange(asking({ d: {} }, callOf()))).rejects.toMatchObject({ code: 'ERR_LIMIT_SESSIONS' });
    await upstream.close();
  });

  it('ends when it was idle for long', async () => {
    const server = legacy();
    const upstream = translate(server, { sessionIdleMs: 20 });
    await upstream.exchange(asking({}, callOf()));
    await expect.poll(() => server.endedSessions).toEqual(['s1']);
    await upstream.close();
  });
});

describe('a request', () => {
  it('loses its envelope and nothing else; its answer gains what the modern era wants', async () => {
    const server = legacy(({ id, method }) => (method === 'tools/list' ? result(id, { tools: [{ name: 't', inputSchema: { type: 'object' }, execution: { taskSupport: 'optional' }, other: 1 }], nextCursor: 'n', _meta: { own: true } }) : undefined));
    const upstream = translate(server);
    const answer = jsonOf(await upstream.exchange(asking({}, { id: 'x', method: 'tools/list', params: { cursor: 'c', unknown: [1], _meta: { trace: 't', progressToken: 'p' } } })));
    expect(server.of('tools/list')[0]?.params).toEqual({ cursor: 'c', unknown: [1], _meta: { trace: 't', progressToken: server.of('tools/list')[0]?.id } });
    expect(answer).toEqual({
      jsonrpc: '2.0', id: 'x',
      result: { tools: [{ name: 't', inputSchema: { type: 'object' }, other: 1 }], nextCursor: 'n', resultType: 'complete', ttlMs: 0, cacheScope: 'private', _meta: { own: true, 'io.modelcontextprotocol/serverInfo': { name: 'scripted', version: '1' } } },
    });
  });

  it('keeps every digit in both directions', async () => {
    const bodies: (string | undefined)[] = [];
    const server = legacy(({ id, method, request }) => {
      if (method !== 'tools/call') return undefined;
      bodies.push(request.body);
      return { kind: 'json', status: 200, text: `{"jsonrpc":"2.0","id":${id},"result":{"content":[],"structuredContent":{"n":12345678901234567890,"m":1.50}}}` };
    });
    const request = post('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"n":98765432109876543210},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}', { era: 'modern' });
    const answer = await translate(server).exchange(request);
    expect(bodies[0]).toContain('"arguments":{"n":98765432109876543210}');
    expect(answer).toMatchObject({ kind: 'json' });
    expect((answer as { text: string }).text).toContain('{"n":12345678901234567890,"m":1.50}');
  });

  it.each([[-32002, -32602, 200], [-32601, -32601, 404], [-32603, -32603, 200], [-32042, -32042, 200]])('fails with %i as %i, HTTP %i', async (given, expected, status) => {
    const answer = await translate(legacy(({ id, method }) => (method === 'resources/read' ? failure(id, given) : undefined))).exchange(asking({}, { id: 1, method: 'resources/read', params: { uri: 'x:y' } }));
    expect([answer.status, jsonOf(answer).error['code']]).toEqual([status, expected]);
  });

  it('is refused when the legacy era has no word for it', async () => {
    const upstream = translate(legacy());
    await expect(upstream.exchange(asking({}, { id: 1, method: 'tasks/get', params: { taskId: 't' } }))).rejects.toMatchObject({ code: 'ERR_MCP_UNTRANSLATABLE' });
    expect(await upstream.exchange(modern({ method: 'notifications/cancelled', params: { requestId: 1 } }))).toEqual({ kind: 'empty', status: 202 });
  });

  it('fails when its stream ends without a response, and goes on where a resumable one broke off', async () => {
    const streams: Spoken[] = [];
    const server = legacy(({ id, method }) => {
      if (method !== 'tools/call' && method !== 'GET') return undefined;
      if (method === 'GET' && streams.length === 0) return { kind: 'empty', status: 405 };
      const stream = spoken();
      streams.push(stream);
      if (method === 'GET') stream.say({ id: server.of('tools/call')[1]?.id, result: { content: [] } });
      else if (streams.length === 2) stream.say({ method: 'notifications/message', params: { level: 'info', data: 1 } }, `event-${id}`);
      stream.end();
      return stream.answer;
    });
    const upstream = translate(server);
    await expect(upstream.exchange(asking({}, callOf()))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID' });
    expect(await last(await upstream.exchange(asking({}, callOf({}, 2))))).toMatchObject({ id: 2, result: { resultType: 'complete' } });
    const id = server.of('tools/call')[1]?.id;
    expect(server.of('GET').at(-1)?.request.lastEventId).toBe(`event-${id}`);
  });

  it('fails when what comes is no JSON-RPC, even on a stream that could be resumed', async () => {
    const stream = spoken();
    const server = legacy(({ method }) => (method === 'tools/call' ? { ...stream.answer, events: (async function* () {
      yield { id: '1', event: undefined, data: '[1]', retry: undefined };
    })() } as UpstreamAnswer : undefined));
    await expect(translate(server).exchange(asking({}, callOf()))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID', message: 'the MCP server sent something that is not JSON-RPC' });
  });

  it('gets its own progress and its own answer, however many share the session and in whatever order they come', async () => {
    const orders = fc.integer({ min: 1, max: 6 }).chain((count) => fc.shuffledSubarray(Array.from({ length: count * 2 }, (_, index) => index), { minLength: count * 2 }).map((order) => ({ count, order })));
    await fc.assert(fc.asyncProperty(orders, async ({ count, order }) => {
      const streams: Spoken[] = [];
      const server = legacy(({ method }) => {
        if (method !== 'tools/call') return undefined;
        const stream = spoken();
        streams.push(stream);
        return stream.answer;
      });
      const upstream = translate(server);
      const answers = Array.from({ length: count }, (_, index) => upstream.exchange(asking({}, callOf({ arguments: { index }, _meta: { progressToken: 'same' } }, 'same'))));
      await expect.poll(() => server.of('tools/call'), { interval: 1 }).toHaveLength(count);
      const calls = server.of('tools/call').map(({ id, params }) => ({ id, token: (params['_meta'] as { progressToken: number }).progressToken, index: (params['arguments'] as { index: number }).index }));
      for (const step of order) {
        const call = calls[step % count];
        // Whatever stream it comes on, its token says whose it is.
        if (step < count) streams[(step + 1) % count]?.say({ method: 'notifications/progress', params: { progressToken: call?.token, progress: call?.index } });
      }
      await sleep(1);
      for (const step of order) if (step >= count) streams[step % count]?.say({ id: calls[step % count]?.id, result: { index: calls[step % count]?.index } });
      for (const stream of streams) stream.end();
      for (const [index, answer] of answers.entries()) {
        const events = eventsOf(await answer);
        expect(await next(events)).toEqual({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 'same', progress: index } });
        expect(await next(events)).toMatchObject({ id: 'same', result: { index } });
      }
    }), { numRuns: 25 });
  });

  it('is taken back at the server when the client goes away', async () => {
    const stream = spoken();
    const server = legacy(({ method }) => (method === 'tools/call' ? stream.answer : undefined));
    const upstream = translate(server);
    const leaving = new AbortController();
    const answer = upstream.exchange(asking({}, callOf(), { signal: leaving.signal }));
    await expect.poll(() => server.of('tools/call')).toHaveLength(1);
    leaving.abort();
    await expect(answer).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
    await expect.poll(() => server.of('notifications/cancelled').map(({ params }) => params['requestId'])).toEqual([server.of('tools/call')[0]?.id]);
  });
});

describe('log messages', () => {
  it('go to requests that want them, and the server is told once how much is wanted', async () => {
    const server = legacy(({ id, method }) => {
      if (method === 'initialize') return result(id, { protocolVersion: '2025-06-18', capabilities: { logging: {} }, serverInfo: { name: 's', version: '1' } }, 's1');
      if (method !== 'tools/call') return undefined;
      const stream = spoken();
      for (const level of ['debug', 'warning', 'emergency', 'unheard-of']) stream.say({ method: 'notifications/message', params: { level, data: level } });
      stream.say({ id, result: {} });
      stream.end();
      return stream.answer;
    });
    const upstream = translate(server);
    const heard = async (level?: string): Promise<unknown[]> => {
      const answer = await upstream.exchange(asking({}, callOf(level === undefined ? {} : { _meta: { 'io.modelcontextprotocol/logLevel': level } })));
      if (answer.kind !== 'stream') return [];
      const levels: unknown[] = [];
      for await (const { data } of answer.events) levels.push((JSON.parse(data) as { params?: { level: string } }).params?.level);
      return levels.filter((one) => one !== undefined);
    };
    expect(await heard()).toEqual([]);
    expect(await heard('warning')).toEqual(['warning', 'emergency']);
    expect(await heard('warning')).toEqual(['warning', 'emergency']);
    expect(await heard('debug')).toEqual(['debug', 'warning', 'emergency']);
    expect(server.of('logging/setLevel').map(({ params }) => params)).toEqual([{ level: 'warning' }, { level: 'debug' }]);
  });
});

describe('a question of the server', () => {
  interface Parking {
    readonly server: ScriptedUpstream;
    readonly upstream: ReturnType<typeof translate>;
    readonly stream: Spoken;
  }
  const parking = (limits: Parameters<typeof translate>[1] = {}): Parking => {
    const stream = spoken();
    const server = legacy(({ method }) => (method === 'tools/call' ? stream.answer : undefined));
    return { server, upstream: translate(server, limits), stream };
  };
  const askUser = (id: number | string) => ({ id, method: 'elicitation/create', params: { message: `question ${id}`, requestedSchema: { type: 'object' } } });
  const inputOf = (message: Record<string, unknown>) => message['result'] as { resultType: string; inputRequests: Record<string, { method: string; params?: { message: string } }>; requestState: string };

  it('parks the call; several at once go into one result, and the retry goes on with the answers', async () => {
    const { server, upstream, stream } = parking();
    const first = upstream.exchange(asking(everything, callOf()));
    stream.say(askUser('q1'));
    stream.say({ id: 7, method: 'roots/list' });
    const input = inputOf(await last(await first));
    expect(input).toMatchObject({ resultType: 'input_required', inputRequests: { 'input-1': { method: 'elicitation/create', params: { message: 'question q1' } }, 'input-2': { method: 'roots/list' } } });
    const retry = upstream.exchange(asking(everything, callOf({ requestState: input.requestState, inputResponses: { 'input-1': { action: 'accept', content: { n: 1 } }, 'input-2': { roots: [] } } }, 2)));
    await expect.poll(() => server.responses).toHaveLength(2);
    expect(server.responses).toEqual([{ jsonrpc: '2.0', id: 'q1', result: { action: 'accept', content: { n: 1 } } }, { jsonrpc: '2.0', id: 7, result: { roots: [] } }]);
    stream.say({ id: server.of('tools/call')[0]?.id, result: { content: [] } });
    stream.end();
    expect(await last(await retry)).toMatchObject({ id: 2, result: { resultType: 'complete', content: [] } });
    expect(server.of('tools/call')).toHaveLength(1);
  });

  it('is asked again when the retry leaves it out, and with it what came meanwhile', async () => {
    const { upstream, stream, server } = parking();
    const first = upstream.exchange(asking(everything, callOf()));
    stream.say(askUser('q1'));
    const input = inputOf(await last(await first));
    stream.say(askUser('q2'));
    const again = inputOf(await last(await upstream.exchange(asking(everything, callOf({ requestState: input.requestState, inputResponses: { 'input-1': { method: 'x', result: {} } } })))));
    expect(Object.values(again.inputRequests).map(({ params }) => params?.message)).toEqual(['question q1', 'question q2']);
    expect(again.requestState).not.toBe(input.requestState);
    expect(server.responses).toEqual([]);
    await upstream.close();
  });

  it('that the server takes back is not asked', async () => {
    const { upstream, stream } = parking({ gatherMs: 50 });
    const first = upstream.exchange(asking(everything, callOf()));
    stream.say(askUser('q1'));
    stream.say(askUser('q2'));
    stream.say({ method: 'notifications/cancelled', params: { requestId: 'q1' } });
    expect(Object.values(inputOf(await last(await first)).inputRequests).map(({ params }) => params?.message)).toEqual(['question q2']);
    await upstream.close();
  });

  it('that was answered is not asked again with one that comes at the same time', async () => {
    const stream = spoken();
    const slow = Promise.withResolvers<undefined>();
    const server = legacy(({ id, method }) => {
      if (method === 'initialize') return result(id, { protocolVersion: '2025-11-25', capabilities: { logging: {} }, serverInfo: { name: 's', version: '1' } }, 's1');
      if (method === 'logging/setLevel') return slow.promise;
      return method === 'tools/call' ? stream.answer : undefined;
    });
    const upstream = translate(server);
    const first = upstream.exchange(asking(everything, callOf()));
    stream.say(askUser('q1'));
    const input = inputOf(await last(await first));
    const retry = upstream.exchange(asking(everything, callOf({ requestState: input.requestState, inputResponses: { 'input-1': { action: 'decline' } }, _meta: { 'io.modelcontextprotocol/logLevel': 'info' } })));
    stream.say(askUser('q2'));
    expect(Object.values(inputOf(await last(await retry)).inputRequests).map(({ params }) => params?.message)).toEqual(['question q2']);
    slow.resolve(undefined);
    await expect.poll(() => server.responses).toMatchObject([{ id: 'q1', result: { action: 'decline' } }]);
    await upstream.close();
  });

  it('fails its call when the server has ended the session meanwhile, or asks too much', async () => {
    let gone = false;
    const stream = spoken();
    const server = legacy(({ method }) => {
      if (gone) throw new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'gone');
      return method === 'tools/call' ? stream.answer : undefined;
    });
    const upstream = translate(server);
    const first = upstream.exchange(asking(everything, callOf()));
    for (let index = 0; index <= 64; index += 1) stream.say(askUser(index));
    const { requestState, inputRequests } = inputOf(await last(await first));
    expect(Object.keys(inputRequests)).toHaveLength(64);
    expect(server.responses).toMatchObject([{ id: 64, error: { code: -32601 } }]);
    gone = true;
    await expect(upstream.exchange(asking(everything, callOf({ requestState, inputResponses: { 'input-1': { action: 'decline' } } })))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_EXITED' });
  });

  it('is answered once, by its principal, for the same thing', async () => {
    const { upstream, stream } = parking();
    const first = upstream.exchange(asking(everything, callOf()));
    stream.say(askUser('q1'));
    const { requestState } = inputOf(await last(await first));
    const refused = { code: 'ERR_MCP_STATE' };
    await expect(upstream.exchange(asking(everything, callOf({ requestState }), { principal: principalNamed('agent-8') }))).rejects.toMatchObject(refused);
    await expect(upstream.exchange(asking(everything, callOf({ requestState, name: 'other' })))).rejects.toMatchObject(refused);
    await expect(upstream.exchange(asking(everything, callOf({ requestState, arguments: { more: 1 } })))).rejects.toMatchObject(refused);
    await expect(upstream.exchange(asking(everything, { id: 1, method: 'prompts/get', params: { name: 'tool', requestState } }))).rejects.toMatchObject(refused);
    await expect(upstream.exchange(asking(everything, callOf({ requestState: 'guessed' })))).rejects.toMatchObject(refused);
    const retry = upstream.exchange(asking(everything, callOf({ requestState, inputResponses: { 'input-1': { action: 'decline' } } })));
    await expect(upstream.exchange(asking(everything, callOf({ requestState })))).rejects.toMatchObject(refused);
    await upstream.close();
    await expect(retry).rejects.toMatchObject({ code: 'ERR_DRAINING' });
  });

  it('expires: the server is told, and the retry comes too late', async () => {
    const { upstream, stream, server } = parking({ parkedMs: 30 });
    const first = upstream.exchange(asking(everything, callOf()));
    stream.say(askUser('q1'));
    const { requestState } = inputOf(await last(await first));
    await expect.poll(() => server.of('notifications/cancelled')).toHaveLength(1);
    expect(server.responses).toMatchObject([{ id: 'q1', error: { code: -32603, message: 'the MCP client did not answer in time' } }]);
    await expect(upstream.exchange(asking(everything, callOf({ requestState })))).rejects.toMatchObject({ code: 'ERR_MCP_STATE' });
  });

  it('is refused beyond what one principal may have waiting', async () => {
    const { upstream, stream, server } = parking({ parkedPerPrincipal: 0 });
    const first = upstream.exchange(asking(everything, callOf()));
    stream.say(askUser('q1'));
    await expect.poll(() => server.responses).toMatchObject([{ id: 'q1', error: { code: -32603 } }]);
    stream.say({ id: server.of('tools/call')[0]?.id, result: {} });
    expect(await last(await first)).toMatchObject({ result: { resultType: 'complete' } });
  });

  it.each([
    ['sampling that was not declared', { elicitation: {} }, { id: 'q', method: 'sampling/createMessage', params: { messages: [], maxTokens: 1 } }],
    ['tools in sampling that were not declared', { sampling: {} }, { id: 'q', method: 'sampling/createMessage', params: { messages: [], maxTokens: 1, tools: [] } }],
    ['a URL, with forms declared', { elicitation: {} }, { id: 'q', method: 'elicitation/create', params: { mode: 'url', url: 'https://x', message: 'm' } }],
    ['a form, with URLs declared', { elicitation: { url: {} } }, askUser('q')],
    ['a task', everything, { id: 'q', method: 'elicitation/create', params: { message: 'm', task: {} } }],
    ['something unheard of', everything, { id: 'q', method: 'tasks/list' }],
  ])('is refused: %s', async (_name, declared, question) => {
    const { upstream, stream, server } = parking();
    const answer = upstream.exchange(asking(declared, callOf()));
    stream.say(question);
    await expect.poll(() => server.responses).toMatchObject([{ id: 'q', error: { code: -32601 } }]);
    stream.say({ id: server.of('tools/call')[0]?.id, result: {} });
    expect(await last(await answer)).toMatchObject({ result: { resultType: 'complete' } });
  });

  it('is answered by ourselves when it is a ping', async () => {
    const { upstream, stream, server } = parking();
    const answer = upstream.exchange(asking({}, callOf()));
    stream.say({ id: 'p', method: 'ping' });
    await expect.poll(() => server.responses).toEqual([{ jsonrpc: '2.0', id: 'p', result: {} }]);
    await upstream.close();
    await expect(answer).rejects.toMatchObject({ code: 'ERR_DRAINING' });
  });
});

describe('listening', () => {
  const listening = (notifications: object, options: Partial<UpstreamRequest> = {}): UpstreamRequest => asking({}, { id: 'l', method: 'subscriptions/listen', params: { notifications } }, options);
  const capabilities = { tools: { listChanged: true }, prompts: {}, resources: { subscribe: true, listChanged: true } };
  const server = (get: () => Spoken | undefined, subscribe: (uri: unknown) => boolean = () => true): ScriptedUpstream =>
    legacy(({ id, method, params }) => {
      if (method === 'initialize') return result(id, { protocolVersion: '2025-11-25', capabilities, serverInfo: { name: 's', version: '1' } }, 's1');
      if (method === 'GET') return get()?.answer;
      return method === 'resources/subscribe' && !subscribe(params['uri']) ? failure(id, -32602) : undefined;
    });

  it('is acknowledged first with what can be had, and brings nothing else', async () => {
    const stream = spoken();
    const scripted = server(() => stream, (uri) => uri !== 'x:refused');
    const upstream = translate(scripted);
    const leaving = new AbortController();
    const events = eventsOf(await upstream.exchange(listening({ toolsListChanged: true, promptsListChanged: true, resourceSubscriptions: ['x:a', 'x:a', 'x:refused'] }, { signal: leaving.signal })));
    expect(await next(events)).toEqual({
      jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged',
      params: { notifications: { toolsListChanged: true, resourceSubscriptions: ['x:a'] }, _meta: { 'io.modelcontextprotocol/subscriptionId': 'l' } },
    });
    stream.say({ method: 'notifications/prompts/list_changed' });
    stream.say({ method: 'notifications/resources/list_changed' });
    stream.say({ method: 'notifications/resources/updated', params: { uri: 'x:other' } });
    stream.say({ method: 'notifications/resources/updated', params: { uri: 'x:a', title: 't', _meta: { own: 1 } } });
    stream.say({ method: 'notifications/tools/list_changed' });
    expect(await next(events)).toMatchObject({ method: 'notifications/resources/updated', params: { uri: 'x:a', title: 't', _meta: { own: 1, 'io.modelcontextprotocol/subscriptionId': 'l' } } });
    expect(await next(events)).toMatchObject({ method: 'notifications/tools/list_changed', params: { _meta: { 'io.modelcontextprotocol/subscriptionId': 'l' } } });
    leaving.abort();
    await expect.poll(() => scripted.of('resources/unsubscribe').map(({ params }) => params)).toEqual([{ uri: 'x:a' }]);
    await upstream.close();
  });

  it('subscribes once for several, and unsubscribes after the last', async () => {
    const stream = spoken();
    const scripted = server(() => stream);
    const upstream = translate(scripted);
    const leaving = [new AbortController(), new AbortController()];
    for (const { signal } of leaving) await next(eventsOf(await upstream.exchange(listening({ resourceSubscriptions: ['x:a'] }, { signal }))));
    expect(scripted.of('resources/subscribe')).toHaveLength(1);
    leaving[0]?.abort();
    await sleep(10);
    expect(scripted.of('resources/unsubscribe')).toHaveLength(0);
    leaving[1]?.abort();
    await expect.poll(() => scripted.of('resources/unsubscribe')).toHaveLength(1);
    await next(eventsOf(await upstream.exchange(listening({ resourceSubscriptions: ['x:a'] }))));
    expect(scripted.of('resources/subscribe')).toHaveLength(2);
    await upstream.close();
  });

  it('ends with its result at the end, and at once when nothing can come', async () => {
    const stream = spoken();
    const upstream = translate(server(() => stream));
    const events = eventsOf(await upstream.exchange(listening({ toolsListChanged: true })));
    await next(events);
    await upstream.close();
    expect(await next(events)).toEqual({ jsonrpc: '2.0', id: 'l', result: { resultType: 'complete', _meta: { 'io.modelcontextprotocol/subscriptionId': 'l', 'io.modelcontextprotocol/serverInfo': { name: 's', version: '1' } } } });
    expect((await events.next()).done).toBe(true);
    const silent = translate(server(() => undefined));
    const nothing = eventsOf(await silent.exchange(listening({ toolsListChanged: true, resourceSubscriptions: ['x:a'] })));
    expect(await next(nothing)).toMatchObject({ params: { notifications: {} } });
    expect(await next(nothing)).toMatchObject({ id: 'l', result: { resultType: 'complete' } });
    expect(jsonOf(await silent.exchange(asking({}, { id: 1, method: 'server/discover' }))).result).toEqual({
      resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities: { tools: {}, prompts: {}, resources: {} }, ttlMs: 0, cacheScope: 'private', _meta: { 'io.modelcontextprotocol/serverInfo': { name: 's', version: '1' } },
    });
    await silent.close();
  });

  it('shares its stream with questions that belong to no request, which go to the latest that can be asked', async () => {
    const stream = spoken();
    const scripted = legacy(({ id, method }) => {
      if (method === 'initialize') return result(id, { protocolVersion: '2025-11-25', capabilities, serverInfo: { name: 's', version: '1' } }, 's1');
      if (method === 'GET') return stream.answer;
      return method === 'tools/call' || method === 'tools/list' ? spoken().answer : undefined;
    });
    const upstream = translate(scripted);
    await next(eventsOf(await upstream.exchange(asking({ roots: {} }, { id: 'l', method: 'subscriptions/listen', params: { notifications: { toolsListChanged: true } } }))));
    stream.say({ id: 'early', method: 'roots/list' });
    await expect.poll(() => scripted.responses).toMatchObject([{ id: 'early', error: { code: -32601 } }]);
    const called = upstream.exchange(asking({ roots: {} }, callOf()));
    const listed = upstream.exchange(asking({ roots: {} }, { id: 2, method: 'tools/list', params: { _meta: { 'io.modelcontextprotocol/logLevel': 'error' } } }));
    await expect.poll(() => scripted.of('tools/list')).toHaveLength(1);
    stream.say({ id: 'late', method: 'roots/list' });
    // What was logged outside of any request goes the same way.
    stream.say({ method: 'notifications/message', params: { level: 'error', data: 'unasked' } });
    expect(await last(await called)).toMatchObject({ result: { resultType: 'input_required', inputRequests: { 'input-1': { method: 'roots/list' } } } });
    expect(await next(eventsOf(await listed))).toMatchObject({ method: 'notifications/message', params: { data: 'unasked' } });
    await upstream.close();
  });

  it('ends when the server has ended the session', async () => {
    let gone = false;
    const streams: Spoken[] = [];
    const scripted = server(() => {
      if (gone) throw new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'gone');
      const stream = spoken();
      streams.push(stream);
      return stream;
    });
    const upstream = translate(scripted);
    const events = eventsOf(await upstream.exchange(listening({ toolsListChanged: true })));
    await next(events);
    gone = true;
    streams[0]?.end();
    expect((await events.next()).done).toBe(true);
    gone = false;
    await upstream.exchange(asking({}, callOf()));
    expect(scripted.of('initialize')).toHaveLength(2);
    await upstream.close();
  });
});

it('carries requests of the era the server speaks straight through', async () => {
  const server = legacy();
  const upstream = translate(server);
  const request = post({ jsonrpc: '2.0', id: 1, method: 'tools/list' }, { session: 'theirs' });
  await upstream.exchange(request);
  await upstream.exchange(post(notification('notifications/initialized'), { session: 'theirs' }));
  expect(server.asked.map((one) => one.request)[0]).toBe(request);
  expect([await upstream.eras(), await upstream.headerless?.()]).toEqual([['legacy', 'modern'], true]);
  await upstream.endSession('theirs');
  expect(server.endedSessions).toEqual(['theirs']);
});
