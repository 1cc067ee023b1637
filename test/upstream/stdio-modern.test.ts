import { fileURLToPath } from 'node:url';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import type { StdioUpstreamOptions } from '../../src/upstream/stdio.ts';
import type { Upstream, UpstreamRequest } from '../../src/upstream/upstream.ts';
import { v2StdioCommand } from '../support/mcp-servers/v2-stdio.ts';
import { allEventsOf, eventsOf, initialize, isRunning, jsonOf, modern, notification, post, principalNamed, recordingLog } from '../support/upstream-requests.ts';

const fixture = (name: string): string => fileURLToPath(new URL(`../support/stdio-fixtures/${name}.ts`, import.meta.url));

const open: Upstream[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((upstream) => upstream.close()));
});

const start = (options: Partial<StdioUpstreamOptions> = {}): { upstream: Upstream; log: ReturnType<typeof recordingLog> } => {
  const log = recordingLog();
  const upstream = createStdioUpstream({ name: 'tools', command: process.execPath, args: [fixture('modern-server')], era: 'modern', clock: systemClock, randomness: systemRandomness, log, ...options });
  open.push(upstream);
  return { upstream, log };
};

/** For tests that leave nothing behind: a child takes its time to start. */
const shared = start().upstream;
open.splice(0);
afterAll(() => shared.close());

const envelope = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} };

const tool = (id: number | string, name: string, { args = {}, meta = {}, ...options }: Partial<UpstreamRequest> & { readonly args?: object; readonly meta?: object } = {}): UpstreamRequest =>
  post({ jsonrpc: '2.0', id, method: 'tools/call', params: { name, arguments: args, _meta: { ...envelope, ...meta } } }, { era: 'modern', protocolVersion: '2026-07-28', ...options });

const listen = (id: number | string, options: Partial<UpstreamRequest> = {}): UpstreamRequest => modern({ id, method: 'subscriptions/listen', params: { notifications: { toolsListChanged: true } } }, options);

const pidOf = async (upstream: Upstream, options: Partial<UpstreamRequest> = {}): Promise<number> => Number(jsonOf(await upstream.exchange(tool(1, 'pid', options))).result['pid']);

const gone = async (pid: number): Promise<void> => {
  while (isRunning(pid)) await delay(10);
};

describe('the child of modern requests', () => {
  it('is one for each principal, for all its requests, and never shared', async () => {
    const { upstream } = start();
    const [one, two] = [{ principal: principalNamed('agent-7') }, { principal: principalNamed('agent-8') }];
    const pids = await Promise.all([pidOf(upstream, one), pidOf(upstream, one), pidOf(upstream, two)]);
    expect(pids[0]).toBe(pids[1]);
    expect(pids[0]).not.toBe(pids[2]);
    expect(await pidOf(upstream, two)).toBe(pids[2]);
  });

  it('ends with its principal, at once, and is started again for its next request', async () => {
    const { upstream } = start();
    const stranger = { principal: principalNamed('agent-8') };
    const [pid, other] = await Promise.all([pidOf(upstream), pidOf(upstream, stranger)]);
    const events = eventsOf(await upstream.exchange(listen(1)));
    await events.next();
    const pending = upstream.exchange(tool(2, 'never'));
    await upstream.exchange(tool(3, 'raw'));
    const ending = upstream.endPrincipal('cn:agent-7');
    await expect(pending).rejects.toMatchObject({ code: 'ERR_UPSTREAM_EXITED' });
    expect((await events.next()).done).toBe(true);
    await ending;
    expect(isRunning(pid)).toBe(false);
    expect(isRunning(other)).toBe(true);
    expect(await pidOf(upstream)).not.toBe(pid);
  });

  it('ends when it was idle for long enough, but not while a stream listens', async () => {
    const { upstream, log } = start({ limits: { idleMs: 50, cancelGraceMs: 10 } });
    const controller = new AbortController();
    const events = eventsOf(await upstream.exchange(listen(1, { signal: controller.signal })));
    await events.next();
    const pid = await pidOf(upstream);
    await delay(150);
    expect(isRunning(pid)).toBe(true);
    controller.abort();
    await gone(pid);
    await expect.poll(() => log.entries.map(({ level, message }) => ({ level, message }))).toContainEqual({ level: 'debug', message: 'upstream process ended' });
    expect(await pidOf(upstream)).not.toBe(pid);
  });

  it('counts like a session, and gives way to another while it is idle', async () => {
    const { upstream } = start({ limits: { sessions: 1 } });
    const pid = await pidOf(upstream);
    const other = { principal: principalNamed('agent-8') };
    const otherPid = await pidOf(upstream, other);
    await gone(pid);
    const pending = upstream.exchange(tool(2, 'never', other));
    pending.catch(() => undefined);
    await expect(upstream.exchange(tool(1, 'pid'))).rejects.toMatchObject({ code: 'ERR_LIMIT_SESSIONS' });
    await expect(upstream.exchange(initialize())).rejects.toMatchObject({ code: 'ERR_LIMIT_SESSIONS' });
    expect(isRunning(otherPid)).toBe(true);
  });

  it('ends with the upstream, also while it starts', async () => {
    const { upstream, log } = start();
    const starting = upstream.exchange(tool(1, 'raw'));
    starting.catch(() => undefined);
    await delay(5);
    await upstream.close();
    await expect(starting).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_(?:DRAINING|UPSTREAM_EXITED)$/u) as string });
    await expect(upstream.exchange(tool(2, 'raw'))).rejects.toMatchObject({ code: 'ERR_DRAINING' });
    for (const { facts } of log.entries.filter(({ message }) => message === 'upstream process started')) expect(isRunning(Number(facts['pid']))).toBe(false);
  });
});

describe('a modern request', () => {
  it('keeps its own id and answer beside another of the same id', async () => {
    const upstream = shared;
    const held = [upstream.exchange(tool(1, 'hold')), upstream.exchange(tool(1, 'hold')), upstream.exchange(tool('1', 'hold'))];
    await upstream.exchange(tool(1, 'release'));
    const answers = (await Promise.all(held)).map(jsonOf);
    expect(answers.map(({ id }) => id)).toEqual([1, 1, '1']);
    expect(new Set(answers.map(({ result }) => result['released'])).size).toBe(3);
    // The first that was sent had the lowest of our ids.
    const ours = answers.map(({ result }) => Number(result['released']));
    expect(ours).toEqual(ours.toSorted((a, b) => a - b));
  });

  it('reaches the server as it was written but for its id, and so does the answer', async () => {
    const upstream = shared;
    const written = (id: string): string =>
      `{\n "method": "tools/call", "jsonrpc":"2.0", "params": {"name":"raw", "_meta": ${JSON.stringify(envelope)}, "arguments": {"id": 7, "n": 12345678901234567890, "f": 1.10}},\n "id" : ${id} }`;
    const answer = jsonOf(await upstream.exchange(post(written('"a\\u0062"'), { era: 'modern' })));
    expect(answer.id).toBe('ab');
    const raw = String(answer.result['raw']);
    expect(raw).toBe(written(String((JSON.parse(raw) as { id: number }).id)).replaceAll('\n', ' '));
    expect(await upstream.exchange(tool(9, 'big'))).toEqual({ kind: 'json', status: 200, text: '{"jsonrpc":"2.0",  "result":{"resultType":"complete","n":12345678901234567890,"id":"mine"},"id":9}' });
  });

  it('gets its progress under its own token, exactly as it was given', async () => {
    const upstream = shared;
    const [text, number] = await Promise.all([upstream.exchange(tool(1, 'progress', { meta: { progressToken: '7' } })), upstream.exchange(tool(1, 'progress', { meta: { progressToken: 7 } }))]);
    const tokens = async (answer: typeof text): Promise<unknown[]> => (await allEventsOf(answer)).map(({ data }) => (JSON.parse(data) as { params?: { progressToken?: unknown } }).params?.progressToken);
    expect(await tokens(text)).toEqual(['7', undefined]);
    expect(await tokens(number)).toEqual([7, undefined]);
    // Without a token there is nobody to report to.
    expect((await upstream.exchange(tool(1, 'progress'))).kind).toBe('json');
  });

  it('gets log messages only when it asked for them', async () => {
    const upstream = shared;
    const meta = { 'io.modelcontextprotocol/logLevel': 'debug' };
    const never = upstream.exchange(tool(1, 'never'));
    never.catch(() => undefined);
    expect((await upstream.exchange(tool(2, 'log'))).kind).toBe('json');
    const events = await allEventsOf(await upstream.exchange(tool(3, 'log', { meta })));
    expect(events.map(({ data }) => JSON.parse(data) as object)).toEqual([
      { jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'working' } },
      { jsonrpc: '2.0', id: 3, result: { resultType: 'complete' } },
    ]);
    // The one that asked is not the one that logs: stdio does not tell, and the other must not get it.
    const controller = new AbortController();
    const asked = upstream.exchange(tool(4, 'never', { meta, signal: controller.signal }));
    expect((await upstream.exchange(tool(5, 'log'))).kind).toBe('json');
    expect((await asked).kind).toBe('stream');
    controller.abort();
  });

  it('that the server answers with an error has the HTTP status of the modern revision', async () => {
    const statuses = [[-32601, 404], [-32020, 400], [-32021, 400], [-32022, 400], [-32600, 400], [-32700, 400], [-32602, 200], [-32603, 200], [1, 200]] as const;
    for (const [code, status] of statuses) {
      const answer = await shared.exchange(tool('x', 'fail', { args: { code } }));
      expect(answer).toMatchObject({ kind: 'json', status });
      expect(jsonOf(answer)).toMatchObject({ id: 'x', error: { code } });
    }
  });

  it('that is given up is cancelled with the id the server knows, and forgotten after a while', async () => {
    const { upstream } = start({ limits: { cancelGraceMs: 20, requestsInFlight: 2 } });
    const controller = new AbortController();
    const pending = upstream.exchange(tool('mine', 'never', { signal: controller.signal }));
    await upstream.exchange(tool(1, 'raw'));
    controller.abort();
    await expect(pending).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
    const { cancelled } = jsonOf(await upstream.exchange(tool(2, 'cancelled'))).result;
    expect(cancelled).toEqual([{ requestId: 1, reason: 'the client closed the request', _meta: { ...envelope } }]);
    await delay(60);
    const answers = await Promise.all([upstream.exchange(tool(3, 'raw')), upstream.exchange(tool(3, 'raw'))]);
    expect(answers.map(({ kind }) => kind)).toEqual(['json', 'json']);
  });

  it('is refused beyond the limit of requests in flight, those given up a moment ago included', async () => {
    const { upstream } = start({ limits: { requestsInFlight: 1 } });
    const controller = new AbortController();
    await upstream.exchange(tool(1, 'raw'));
    const pending = upstream.exchange(tool(1, 'never', { signal: controller.signal }));
    await expect(upstream.exchange(tool(2, 'raw'))).rejects.toMatchObject({ code: 'ERR_LIMIT_REQUESTS' });
    controller.abort();
    await expect(pending).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
    await expect(upstream.exchange(tool(2, 'raw'))).rejects.toMatchObject({ code: 'ERR_LIMIT_REQUESTS' });
  });

  it('that was given up before it was sent is not sent', async () => {
    const { upstream, log } = start();
    await expect(upstream.exchange(tool(1, 'raw', { signal: AbortSignal.abort() }))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
    expect(log.entries).toEqual([]);
  });

  it('is one message, and neither a response nor a notification has anywhere to go', async () => {
    const upstream = shared;
    const options = { era: 'modern' as const };
    await expect(upstream.exchange(post('{"jsonrpc":"2.0","id":1,"result":{}}', options))).rejects.toMatchObject({ code: 'ERR_MCP_UNSOLICITED' });
    expect(await upstream.exchange(post(notification('notifications/cancelled', { requestId: 1 }), options))).toEqual({ kind: 'empty', status: 202 });
    const two = tool(1, 'raw');
    await expect(upstream.exchange({ ...two, messages: [...two.messages, ...two.messages] })).rejects.toMatchObject({ code: 'ERR_MCP_INVALID_REQUEST' });
    await expect(upstream.exchange({ ...two, body: tool(2, 'raw').body })).rejects.toMatchObject({ code: 'ERR_MCP_INVALID_REQUEST' });
  });

  it('holds the server back while its stream is not read', async () => {
    const { upstream } = start({ limits: { pendingBytes: 4_000 } });
    const answer = await upstream.exchange(tool(1, 'flood', { meta: { progressToken: 1 } }));
    const events = eventsOf(answer);
    await events.next();
    const waiting = upstream.exchange(tool(2, 'raw'));
    expect(await Promise.race([waiting.then(() => 'answered'), delay(50).then(() => 'held back')])).toBe('held back');
    await events.return?.();
    expect((await waiting).kind).toBe('json');
  });
});

describe('a question of a modern server', () => {
  it('is refused, since its protocol revision has no such thing', async () => {
    const { upstream, log } = start();
    const answer = await upstream.exchange(tool(1, 'ask'));
    expect(jsonOf(answer).result['answered']).toEqual({ code: -32601, message: 'method not found' });
    expect(log.entries.find(({ level }) => level === 'warn')).toMatchObject({ message: 'upstream asked the client in a way its protocol revision has not', facts: { upstream: 'tools', method: 'roots/list' } });
  });
});

describe('subscriptions/listen', () => {
  const parsed = (data: string): object => JSON.parse(data) as object;
  const id = 'io.modelcontextprotocol/subscriptionId';

  it('is a stream of what carries its id, which is the client’s again', async () => {
    const upstream = shared;
    const streams = [eventsOf(await upstream.exchange(listen(1))), eventsOf(await upstream.exchange(listen('1')))];
    expect((await upstream.exchange(tool(1, 'change'))).kind).toBe('json');
    for (const [index, events] of streams.entries()) {
      const _meta = { [id]: [1, '1'][index] };
      expect(parsed((await events.next()).value?.data ?? '')).toEqual({ jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params: { _meta, notifications: { toolsListChanged: true } } });
      expect(parsed((await events.next()).value?.data ?? '')).toEqual({ jsonrpc: '2.0', method: 'notifications/tools/list_changed', params: { _meta } });
    }
    await upstream.exchange(tool(1, 'endListens'));
  });

  it('ends with the server’s result, or without one when the server cancels it', async () => {
    const upstream = shared;
    const result = await upstream.exchange(listen('a'));
    await upstream.exchange(tool(1, 'endListens', { args: { how: 'result' } }));
    expect((await allEventsOf(result)).map(({ data }) => parsed(data)).at(-1)).toEqual({ jsonrpc: '2.0', id: 'a', result: { resultType: 'complete', _meta: { [id]: 'a' } } });
    const cancelled = await upstream.exchange(listen('b'));
    await upstream.exchange(tool(1, 'endListens'));
    expect(await allEventsOf(cancelled)).toHaveLength(1);
  });

  it('is cancelled at the server when its client goes away', async () => {
    const { upstream } = start();
    const controller = new AbortController();
    const events = eventsOf(await upstream.exchange(listen(5, { signal: controller.signal })));
    await events.next();
    controller.abort();
    expect((await events.next()).done).toBe(true);
    const left = eventsOf(await upstream.exchange(listen(5)));
    await left.return?.();
    const { cancelled } = jsonOf(await upstream.exchange(tool(6, 'cancelled'))).result as { cancelled: { requestId: number }[] };
    expect(cancelled.map(({ requestId }) => requestId)).toEqual([1, 2]);
  });
});

describe('the official v2 server', () => {
  it('serves ids, progress, subscriptions and what is given up side by side', async () => {
    const { upstream } = start({ ...v2StdioCommand, era: 'both' });
    const call = (number: number): Promise<unknown> =>
      upstream.exchange(tool(1, 'add', { args: { a: number, b: 1 } })).then((answer) => jsonOf(answer).result['structuredContent']);
    const controller = new AbortController();
    // What it was asked first must not make it a server of the legacy era, however it ends.
    const discover = modern({ id: 1, method: 'server/discover' });
    expect(jsonOf(await upstream.exchange(discover)).result).toMatchObject({ supportedVersions: ['2026-07-28'] });
    const givenUp = new AbortController();
    const discovering = upstream.exchange({ ...discover, signal: givenUp.signal });
    discovering.catch(() => undefined);
    await nextTurn();
    givenUp.abort();
    const listening = eventsOf(await upstream.exchange(listen('l', { signal: controller.signal })));
    expect(JSON.parse((await listening.next()).value?.data ?? '')).toMatchObject({ params: { _meta: { 'io.modelcontextprotocol/subscriptionId': 'l' } } });
    expect(await Promise.all([call(1), call(2), call(3)])).toEqual([{ sum: 2 }, { sum: 3 }, { sum: 4 }]);
    const slow = await upstream.exchange(tool(1, 'slow', { args: { steps: 2, milliseconds: 5 }, meta: { progressToken: 'p' } }));
    expect((await allEventsOf(slow)).map(({ data }) => JSON.parse(data) as object)).toMatchObject([{ params: { progressToken: 'p', progress: 1 } }, { params: { progressToken: 'p', progress: 2 } }, { id: 1 }]);
    const unknown = await upstream.exchange(modern({ id: 'u', method: 'no/such' }));
    expect(unknown).toMatchObject({ kind: 'json', status: 404 });
    const aborted = upstream.exchange(tool(9, 'slow', { args: { steps: 100, milliseconds: 50 }, signal: controller.signal }));
    await delay(20);
    controller.abort();
    await expect(aborted).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
    expect((await listening.next()).done).toBe(true);
    expect(await call(4)).toEqual({ sum: 5 });
  });
});

describe('stderr of a server', () => {
  it('is logged without its secrets', async () => {
    const { upstream, log } = start({ env: { API_TOKEN: 'a plain looking secret' } });
    await upstream.exchange(tool(1, 'stderr'));
    const lines = (): unknown[] => log.entries.filter(({ message }) => message === 'upstream wrote to stderr').map(({ facts }) => facts['text']);
    await expect.poll(lines).toEqual(['calling with Authorization: [redacted]', 'using [redacted] now']);
  });
});
