import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { SallyportError } from '../../src/errors.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import type { StdioUpstreamOptions } from '../../src/upstream/stdio.ts';
import type { Upstream, UpstreamRequest } from '../../src/upstream/upstream.ts';
import { allEventsOf, call, eventsOf, get, initialize, isRunning, jsonOf, notification, post, principalNamed, recordingLog, remove } from '../support/upstream-requests.ts';

const fixture = (name: string): string => fileURLToPath(new URL(`../support/stdio-fixtures/${name}.ts`, import.meta.url));

const open: Upstream[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((upstream) => upstream.close()));
});

const start = (script = 'scripted-server', options: Partial<StdioUpstreamOptions> = {}): { upstream: Upstream; log: ReturnType<typeof recordingLog> } => {
  const log = recordingLog();
  const upstream = createStdioUpstream({ name: 'tools', command: process.execPath, args: [fixture(script)], clock: systemClock, randomness: systemRandomness, log, ...options });
  open.push(upstream);
  return { upstream, log };
};

const session = async (upstream: Upstream, options: Partial<UpstreamRequest> = {}): Promise<string> => {
  const answer = await upstream.exchange(initialize(options));
  expect(answer.session).toMatch(/^[\w-]{22}$/u);
  return answer.session ?? '';
};

const gone = async (pid: number): Promise<void> => {
  while (isRunning(pid)) await delay(10);
};

describe('a session', () => {
  it('starts with initialize, which is answered as JSON with a session id', async () => {
    const { upstream } = start();
    const answer = await upstream.exchange(initialize());
    expect(answer).toMatchObject({ kind: 'json', status: 200 });
    expect(jsonOf(answer).result).toMatchObject({ protocolVersion: '2025-11-25' });
  });

  it('has a child of its own, whoever opened it', async () => {
    const { upstream } = start();
    const pids = await Promise.all(
      ['agent-7', 'agent-7', 'agent-8'].map(async (name) => {
        const principal = principalNamed(name);
        const id = await session(upstream, { principal });
        return jsonOf(await upstream.exchange(post(call(1, 'environment'), { session: id, principal }))).result['pid'];
      }),
    );
    expect(new Set(pids).size).toBe(3);
  });

  it('is unknown to another principal', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const stranger = { session: id, principal: principalNamed('agent-8') };
    for (const request of [post(call(1, 'raw'), stranger), get(stranger), remove(stranger)]) {
      await expect(upstream.exchange(request)).rejects.toMatchObject({ code: 'ERR_MCP_SESSION_UNKNOWN' });
    }
    expect((await upstream.exchange(post(call(1, 'raw'), { session: id }))).kind).toBe('json');
  });

  it('is required for everything but initialize', async () => {
    const { upstream } = start();
    for (const request of [post(call(1, 'raw')), post(notification('notifications/initialized')), get(), remove()]) {
      await expect(upstream.exchange(request)).rejects.toMatchObject({ code: 'ERR_MCP_SESSION_REQUIRED' });
    }
  });

  it('is initialized once', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    await expect(upstream.exchange(initialize({ session: id }))).rejects.toMatchObject({ code: 'ERR_MCP_ALREADY_INITIALIZED' });
  });

  it('does not begin in a batch', async () => {
    const { upstream } = start();
    const body = `[${initialize().body ?? ''},${JSON.stringify(call(1, 'raw'))}]`;
    await expect(upstream.exchange(post(body))).rejects.toMatchObject({ code: 'ERR_MCP_INVALID_REQUEST' });
  });

  it('ends with DELETE, and its child with it', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const pid = Number(jsonOf(await upstream.exchange(post(call(1, 'environment'), { session: id }))).result['pid']);
    expect(await upstream.exchange(remove({ session: id }))).toEqual({ kind: 'empty', status: 200 });
    expect(isRunning(pid)).toBe(false);
    await expect(upstream.exchange(post(call(2, 'raw'), { session: id }))).rejects.toMatchObject({ code: 'ERR_MCP_SESSION_UNKNOWN' });
  });

  it('is refused beyond the limit, and allowed again when one has ended', async () => {
    const { upstream } = start('scripted-server', { limits: { sessions: 1 } });
    const id = await session(upstream);
    await expect(upstream.exchange(initialize())).rejects.toMatchObject({ code: 'ERR_LIMIT_SESSIONS' });
    await upstream.endSession(id);
    await session(upstream);
  });

  it('is none when the server refuses to initialize', async () => {
    const { upstream, log } = start('refuses-to-initialize');
    const answer = await upstream.exchange(initialize());
    expect(jsonOf(answer).error).toMatchObject({ code: -32602 });
    expect(answer.session).toBeUndefined();
    const pid = Number(log.entries.find((entry) => entry.message === 'upstream process started')?.facts['pid']);
    await gone(pid);
  });

  it('is none when its peer went away before it was answered', async () => {
    const { upstream, log } = start();
    const controller = new AbortController();
    const answer = upstream.exchange(initialize({ signal: controller.signal }));
    controller.abort();
    await expect(answer).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
    const pid = Number(log.entries.find((entry) => entry.message === 'upstream process started')?.facts['pid']);
    await gone(pid);
  });
});

describe('a POST', () => {
  it('of notifications and responses only is accepted without content', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    expect(await upstream.exchange(post(notification('notifications/initialized'), { session: id }))).toEqual({ kind: 'empty', status: 202 });
  });

  it('is answered with the very line the server wrote', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const answer = await upstream.exchange(post(call(1, 'big'), { session: id }));
    expect(answer).toEqual({ kind: 'json', status: 200, text: '{"jsonrpc":"2.0",  "id":1,"result":{"n":12345678901234567890}}' });
  });

  it('reaches the server as one line, every value as it was written', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const body = '{\n "jsonrpc": "2.0",\r\n "id": "a",\n "method": "tools/call",\n "params": {"name": "raw", "arguments": {"n": 12345678901234567890, "f": 1.10}}\n}';
    const answer = await upstream.exchange(post(body, { session: id }));
    expect(jsonOf(answer).result['raw']).toBe(body.replaceAll(/[\r\n]+/gu, ' '));
  });

  it('cannot bring a second message to a server that ends lines at U+2028', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const hidden = `x\u2028${JSON.stringify(call(9, 'exit'))}\u2028`;
    const answer = await upstream.exchange(post(call(1, 'raw', { message: hidden }), { session: id }));
    const raw = String(jsonOf(answer).result['raw']);
    expect(raw).not.toMatch(/[\u0085\u2028\u2029]/u);
    expect(JSON.parse(raw)).toEqual(call(1, 'raw', { message: hidden }));
  });

  it('is refused when an id of the session is in flight already', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const first = upstream.exchange(post(call(1, 'slow'), { session: id }));
    await expect(upstream.exchange(post(call(1, 'raw'), { session: id }))).rejects.toMatchObject({ code: 'ERR_MCP_INVALID_REQUEST' });
    // A string is another id than a number.
    expect((await upstream.exchange(post(call('1', 'raw'), { session: id }))).kind).toBe('json');
    expect(jsonOf(await first).result).toEqual({ slow: true });
    expect((await upstream.exchange(post(call(1, 'raw'), { session: id }))).kind).toBe('json');
  });

  it('is refused when one batch uses an id twice', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const body = JSON.stringify([call(1, 'raw'), call(1, 'raw')]);
    await expect(upstream.exchange({ ...post(call(1, 'raw')), session: id, body, messages: [...post(call(1, 'raw')).messages, ...post(call(1, 'raw')).messages] })).rejects.toMatchObject({
      code: 'ERR_MCP_INVALID_REQUEST',
    });
  });

  it('is refused when its text holds other messages than were decided', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const body = JSON.stringify([call(1, 'raw'), call(2, 'raw')]);
    await expect(upstream.exchange({ ...post(call(1, 'raw')), session: id, body })).rejects.toMatchObject({ code: 'ERR_MCP_INVALID_REQUEST' });
  });

  it('that is a batch is answered as a stream that ends with the last response', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const answer = await upstream.exchange(post([call(1, 'slow', { ms: 50 }), notification('notifications/initialized'), call(2, 'big')], { session: id }));
    const events = await allEventsOf(answer);
    expect(events.map((event) => event.data)).toEqual(['{"jsonrpc":"2.0",  "id":2,"result":{"n":12345678901234567890}}', '{"jsonrpc":"2.0","id":1,"result":{"slow":true}}']);
  });

  it('is answered as a stream when something else comes before the response', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const answer = await upstream.exchange(post(call(1, 'progress', {}, { progressToken: 'p' }), { session: id }));
    const events = await allEventsOf(answer);
    expect(events.map((event) => (JSON.parse(event.data) as { params?: { progress?: number } }).params?.progress)).toEqual([1, 2, 3, undefined]);
    expect(events.map((event) => event.id)).toEqual(['1-1', '1-2', '1-3', '1-4']);
  });

  it('of revision 2025-11-25 has a stream that starts with an id and no data', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const answer = await upstream.exchange(post(call(1, 'log'), { session: id, protocolVersion: '2025-11-25' }));
    const [first, ...others] = await allEventsOf(answer);
    expect(first).toEqual({ id: '1-1', event: undefined, data: '', retry: undefined });
    expect(others).toHaveLength(2);
  });

  it('gets the progress of its own token, whatever else is in flight', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const first = upstream.exchange(post(call(1, 'slow', { ms: 150 }), { session: id }));
    const second = upstream.exchange(post(call(2, 'progress', {}, { progressToken: 7 }), { session: id }));
    const third = upstream.exchange(post(call(3, 'slow', { ms: 150 }), { session: id }));
    expect(await allEventsOf(await second)).toHaveLength(4);
    expect((await first).kind).toBe('json');
    expect((await third).kind).toBe('json');
  });

  it('that takes long is answered with a stream, so that its peer can resume', async () => {
    const { upstream } = start('scripted-server', { limits: { openStreamAfterMs: 20 } });
    const id = await session(upstream);
    const answer = await upstream.exchange(post(call(1, 'slow', { ms: 200 }), { session: id, protocolVersion: '2025-11-25' }));
    expect((await allEventsOf(answer)).map((event) => event.data)).toEqual(['', '{"jsonrpc":"2.0","id":1,"result":{"slow":true}}']);
  });

  it('ends without a response when it was cancelled', async () => {
    const { upstream } = start('scripted-server', { limits: { cancelGraceMs: 20 } });
    const id = await session(upstream);
    const pending = upstream.exchange(post(call(1, 'never'), { session: id }));
    await upstream.exchange(post(notification('notifications/cancelled', { requestId: 1 }), { session: id }));
    expect(await allEventsOf(await pending)).toEqual([]);
    // The id is free again.
    expect((await upstream.exchange(post(call(1, 'raw'), { session: id }))).kind).toBe('json');
  });

  it('of the gateway itself takes nothing but its response, however long that takes', async () => {
    const { upstream } = start('scripted-server', { limits: { openStreamAfterMs: 20 } });
    const id = await session(upstream);
    const asked = upstream.exchange(post(call(1, 'ask'), { session: id, own: false }));
    const own = upstream.exchange(post(call('own', 'slow', { ms: 200 }), { session: id, own: true }));
    const logging = upstream.exchange(post(call(2, 'changed'), { session: id, own: true }));
    const events = eventsOf(await asked);
    const seen = [(await events.next()).value, (await events.next()).value].map((event) => (JSON.parse(event?.data ?? '{}') as { method?: string }).method);
    expect(seen.toSorted()).toEqual(['notifications/tools/list_changed', 'roots/list']);
    expect(await own).toMatchObject({ kind: 'json', text: '{"jsonrpc":"2.0","id":"own","result":{"slow":true}}' });
    expect((await logging).kind).toBe('json');
  });

  it('is refused beyond the limit of requests in flight', async () => {
    const { upstream } = start('scripted-server', { limits: { requestsInFlight: 1 } });
    const id = await session(upstream);
    const first = upstream.exchange(post(call(1, 'slow'), { session: id }));
    await expect(upstream.exchange(post(call(2, 'raw'), { session: id }))).rejects.toMatchObject({ code: 'ERR_LIMIT_REQUESTS' });
    await first;
  });
});

describe('a request of the server', () => {
  it('travels on the stream of the call it came from, and its answer goes back once', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const events = eventsOf(await upstream.exchange(post(call(1, 'ask'), { session: id })));
    expect(JSON.parse((await events.next()).value?.data ?? '')).toEqual({ jsonrpc: '2.0', id: 'ask-1', method: 'roots/list' });
    const response = '{"jsonrpc":"2.0","id":"ask-1","result":{"roots":[],"n":12345678901234567890}}';
    expect(await upstream.exchange(post(response, { session: id }))).toEqual({ kind: 'empty', status: 202 });
    expect(JSON.parse((await events.next()).value?.data ?? '')).toMatchObject({ id: 1, result: { answered: response } });
    expect((await events.next()).done).toBe(true);
    await expect(upstream.exchange(post(response, { session: id }))).rejects.toMatchObject({ code: 'ERR_MCP_UNSOLICITED' });
  });

  it('cannot be answered before it is asked, nor from another session', async () => {
    const { upstream } = start();
    const [mine, other] = [await session(upstream), await session(upstream)];
    const events = eventsOf(await upstream.exchange(post(call(1, 'ask'), { session: mine })));
    await events.next();
    const response = { jsonrpc: '2.0', id: 'ask-1', result: { roots: [] } };
    await expect(upstream.exchange(post(response, { session: other }))).rejects.toMatchObject({ code: 'ERR_MCP_UNSOLICITED' });
    const twice = { ...post(response, { session: mine }), body: JSON.stringify([response, response]) };
    await expect(upstream.exchange({ ...twice, messages: [...twice.messages, ...twice.messages] })).rejects.toMatchObject({ code: 'ERR_MCP_UNSOLICITED' });
    expect((await upstream.exchange(post(response, { session: mine }))).status).toBe(202);
  });
});

describe('the GET stream', () => {
  it('is open once at a time', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const controller = new AbortController();
    const first = await upstream.exchange(get({ session: id, signal: controller.signal }));
    expect(first.kind).toBe('stream');
    expect(await upstream.exchange(get({ session: id }))).toEqual({ kind: 'empty', status: 409 });
    controller.abort();
    expect((await upstream.exchange(get({ session: id }))).kind).toBe('stream');
  });

  it('carries what concerns the session, not the call that happens to run', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const events = eventsOf(await upstream.exchange(get({ session: id })));
    expect((await upstream.exchange(post(call(1, 'changed'), { session: id }))).kind).toBe('json');
    expect((await events.next()).value).toMatchObject({ id: '0-1', data: '{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}' });
  });

  it('gives what came while nobody listened, up to the bound', async () => {
    const { upstream, log } = start('scripted-server', { limits: { eventsPerStream: 3 } });
    const id = await session(upstream);
    // The caller goes away, so what follows has nowhere to go but the GET stream.
    const controller = new AbortController();
    const flood = upstream.exchange(post(call(1, 'flood', { count: 5 }), { session: id, signal: controller.signal }));
    controller.abort();
    await expect(flood).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
    await expect.poll(() => log.entries.some((entry) => entry.facts['text'] === 'flooded')).toBe(true);
    await upstream.exchange(post(call(2, 'raw'), { session: id }));
    const events = eventsOf(await upstream.exchange(get({ session: id })));
    const numbers: unknown[] = [];
    for (let index = 0; index < 3; index += 1) {
      const { value } = await events.next();
      numbers.push((JSON.parse(value?.data ?? '') as { params: { number: number } }).params.number);
    }
    expect(numbers).toEqual([2, 3, 4]);
  });
});

describe('resumption', () => {
  const dropped = async (upstream: Upstream, id: string, name: string, args: object): Promise<string> => {
    const controller = new AbortController();
    const answer = await upstream.exchange(post(call(1, name, args), { session: id, protocolVersion: '2025-11-25', signal: controller.signal }));
    const first = await eventsOf(answer).next();
    controller.abort();
    return first.value?.id ?? '';
  };

  it('brings the response of a request whose peer went away, because a disconnect is no cancellation', async () => {
    const { upstream } = start('scripted-server', { limits: { openStreamAfterMs: 10 } });
    const id = await session(upstream);
    const last = await dropped(upstream, id, 'slow', { ms: 150 });
    const resumed = await upstream.exchange(get({ session: id, lastEventId: last }));
    expect((await allEventsOf(resumed)).map((event) => event.data)).toEqual(['{"jsonrpc":"2.0","id":1,"result":{"slow":true}}']);
  });

  it('replays what has ended meanwhile, from any event that was sent', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    await allEventsOf(await upstream.exchange(post(call(1, 'progress', {}, { progressToken: 1 }), { session: id })));
    for (const [lastEventId, count] of [['1-0', 4], ['1-2', 2], ['1-4', 0]] as const) {
      expect(await allEventsOf(await upstream.exchange(get({ session: id, lastEventId })))).toHaveLength(count);
    }
  });

  it('is refused for an event that this session never sent', async () => {
    const { upstream } = start();
    const [mine, other] = [await session(upstream), await session(upstream)];
    await allEventsOf(await upstream.exchange(post(call(1, 'log'), { session: mine })));
    for (const [session, lastEventId] of [[mine, '1-3'], [mine, '2-1'], [mine, 'x'], [mine, '1--1'], [mine, '01-1'], [other, '1-1']] as const) {
      await expect(upstream.exchange(get({ session, lastEventId }))).rejects.toMatchObject({ code: 'ERR_MCP_EVENT_ID' });
    }
  });

  it('takes the stream over from a connection that is still thought to be open', async () => {
    const { upstream } = start('scripted-server', { limits: { openStreamAfterMs: 10 } });
    const id = await session(upstream);
    const old = eventsOf(await upstream.exchange(post(call(1, 'slow', { ms: 200 }), { session: id, protocolVersion: '2025-11-25' })));
    const first = await old.next();
    const resumed = await upstream.exchange(get({ session: id, lastEventId: first.value?.id }));
    expect((await old.next()).done).toBe(true);
    expect(await allEventsOf(resumed)).toHaveLength(1);
  });

  it('forgets the oldest ended streams beyond the bound', async () => {
    const { upstream } = start('scripted-server', { limits: { endedStreams: 2 } });
    const id = await session(upstream);
    for (const number of [1, 2, 3]) await allEventsOf(await upstream.exchange(post(call(number, 'log'), { session: id })));
    await expect(upstream.exchange(get({ session: id, lastEventId: '1-1' }))).rejects.toMatchObject({ code: 'ERR_MCP_EVENT_ID' });
    expect(await allEventsOf(await upstream.exchange(get({ session: id, lastEventId: '2-1' })))).toHaveLength(1);
  });
});

describe('what a server writes', () => {
  it('is dropped when it is not JSON-RPC, not UTF-8, too long or nobody asked for it', async () => {
    const { upstream, log } = start('scripted-server', { limits: { lineBytes: 100_000 } });
    const id = await session(upstream);
    const answer = await upstream.exchange(post(call(1, 'noise'), { session: id }));
    expect(jsonOf(answer).result).toEqual({ noise: 'over' });
    const warnings = log.entries.filter((entry) => entry.level === 'warn').map((entry) => [entry.message, entry.facts['reason']]);
    expect(warnings).toEqual([
      ['upstream wrote a line that is not JSON-RPC', undefined],
      ['upstream wrote a line that is not JSON-RPC', undefined],
      ['upstream wrote a line that is not JSON-RPC', undefined],
      ['upstream wrote a line that was dropped', 'encoding'],
      ['upstream wrote a line that was dropped', 'tooLong'],
    ]);
    // Nothing a server writes gets into the log by way of a message.
    expect(JSON.stringify(log.entries)).not.toContain('listening');
  });

  it('may be a batch, whose messages are routed one by one, as they were written', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const events = await allEventsOf(await upstream.exchange(post(call(1, 'batch'), { session: id })));
    expect(events.map((event) => event.data)).toEqual(['{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1}}', '{"jsonrpc":"2.0","id":1,"result":{"n":1e400}}']);
  });

  it('waits in the server when its consumer is slow', async () => {
    const { upstream, log } = start('scripted-server', { limits: { pendingBytes: 10_000 } });
    const id = await session(upstream);
    const answer = await upstream.exchange(post(call(1, 'flood', { count: 2000 }), { session: id }));
    await expect.poll(() => log.entries.some((entry) => String(entry.facts['text']).startsWith('blocked after')), { timeout: 5000 }).toBe(true);
    expect(await allEventsOf(answer)).toHaveLength(2001);
  });

  it('to stderr is logged, cut and limited in number', async () => {
    const { upstream, log } = start('scripted-server', { limits: { stderrLineBytes: 20, stderrLinesPerMinute: 10 } });
    const id = await session(upstream);
    await upstream.exchange(post(call(1, 'stderr'), { session: id }));
    await upstream.endSession(id);
    const lines = log.entries.filter((entry) => entry.message === 'upstream wrote to stderr');
    expect(lines.length).toBeGreaterThanOrEqual(10);
    expect(lines.length).toBeLessThanOrEqual(20);
    expect(lines[0]).toEqual({ level: 'info', facts: { upstream: 'tools', text: 'line 0 yyyyyyyyyyyyy', cut: true }, message: 'upstream wrote to stderr' });
    const more = log.entries.filter((entry) => entry.message === 'upstream wrote more to stderr than is logged');
    expect(lines.length + more.reduce((sum, entry) => sum + Number(entry.facts['lines']), 0)).toBe(50);
  });
});

describe('a server that reads slowly', () => {
  it('holds requests back until it reads again', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    const deaf = upstream.exchange(post(call(0, 'deaf', { ms: 300 }), { session: id }));
    const big = 'x'.repeat(300_000);
    const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => upstream.exchange(post(call(index + 1, 'raw', { big }), { session: id }))));
    expect(answers.map((answer) => jsonOf(answer).id)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
    expect(jsonOf(await deaf).result).toEqual({ listening: true });
  });
});

describe('the end of a server', () => {
  it('fails what is in flight, ends the streams and the session', async () => {
    const { upstream, log } = start();
    const id = await session(upstream);
    const getEvents = eventsOf(await upstream.exchange(get({ session: id })));
    const streaming = eventsOf(await upstream.exchange(post(call(1, 'ask'), { session: id })));
    await streaming.next();
    const pending = upstream.exchange(post(call(2, 'slow', { ms: 60_000 }), { session: id }));
    const last = upstream.exchange(post(call(3, 'exit'), { session: id }));
    await expect(last).rejects.toMatchObject({ code: 'ERR_UPSTREAM_EXITED', facts: { exitCode: 3 } });
    await expect(pending).rejects.toThrow(/ended \(exit code 3\): see what it wrote to stderr in the log, then initialize a new session$/u);
    await expect(streaming.next()).rejects.toMatchObject({ code: 'ERR_UPSTREAM_EXITED' });
    expect((await getEvents.next()).done).toBe(true);
    await expect(upstream.exchange(post(call(4, 'raw'), { session: id }))).rejects.toMatchObject({ code: 'ERR_MCP_SESSION_UNKNOWN' });
    expect(log.entries.find((entry) => entry.message === 'upstream process exited')?.facts).toMatchObject({ upstream: 'tools', code: 3 });
    expect((await upstream.exchange(initialize())).kind).toBe('json');
  });

  it('by a signal is named', async () => {
    const { upstream } = start();
    const id = await session(upstream);
    await expect(upstream.exchange(post(call(1, 'crash'), { session: id }))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_EXITED', facts: { signal: 'SIGSEGV' } });
  });

  it('before it answered initialize is told apart from one that cannot be started', async () => {
    const { upstream, log } = start('dies-at-start');
    await expect(upstream.exchange(initialize())).rejects.toMatchObject({ code: 'ERR_UPSTREAM_EXITED', facts: { exitCode: 7 } });
    expect(log.entries.map((entry) => entry.facts['text'])).toContain('Error: no API key configured');
  });

  it('is brought about when it closes its stdin, because it cannot be spoken to any more', async () => {
    const { upstream } = start('scripted-server', { args: [fixture('scripted-server'), '--stay'] });
    const id = await session(upstream);
    const pid = Number(jsonOf(await upstream.exchange(post(call(1, 'environment'), { session: id }))).result['pid']);
    const first = upstream.exchange(post(call(2, 'closeStdin'), { session: id }));
    first.catch(() => undefined);
    await delay(100);
    await expect(upstream.exchange(post(call(3, 'raw'), { session: id }))).rejects.toBeInstanceOf(SallyportError);
    await expect(first).rejects.toMatchObject({ code: 'ERR_UPSTREAM_EXITED' });
    await gone(pid);
  });

  it('is insisted on, with everything it started', async () => {
    const { upstream } = start('stubborn-tree', { limits: { killAfterMs: 100 } });
    const answer = await upstream.exchange(initialize());
    const pids = jsonOf(answer).result['pids'] as number[];
    expect(pids.map(isRunning)).toEqual([true, true]);
    await upstream.close();
    await Promise.all(pids.map(gone));
  });

  it('takes down what it left behind', async () => {
    const { upstream } = start('leaves-child');
    const answer = await upstream.exchange(initialize());
    const [pid = 0] = jsonOf(answer).result['pids'] as number[];
    await expect(upstream.exchange(post({ jsonrpc: '2.0', id: 1, method: 'ping' }, { session: answer.session }))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_EXITED' });
    await gone(pid);
  });

  it('cuts streams at once, before the process is gone', async () => {
    const { upstream } = start('stubborn-tree', { limits: { killAfterMs: 1000 } });
    const id = (await upstream.exchange(initialize())).session ?? '';
    const events = eventsOf(await upstream.exchange(get({ session: id })));
    let processGone = false;
    const ending = upstream.endSession(id).then(() => {
      processGone = true;
    });
    expect((await events.next()).done).toBe(true);
    expect(processGone).toBe(false);
    await ending;
  });
});

describe('the process', () => {
  it('sees a few variables of the gateway and the configured ones, nothing else', async () => {
    process.env['SALLYPORT_PASSPHRASE'] = 'secret';
    try {
      const { upstream } = start('scripted-server', { env: { API_URL: 'https://x.example' } });
      const id = await session(upstream);
      const { environment } = jsonOf(await upstream.exchange(post(call(1, 'environment'), { session: id }))).result as { environment: Record<string, string> };
      expect(environment).toMatchObject({ API_URL: 'https://x.example', PATH: process.env['PATH'] });
      expect(environment).not.toHaveProperty('SALLYPORT_PASSPHRASE');
      expect(environment).not.toHaveProperty('NODE_OPTIONS');
    } finally {
      delete process.env['SALLYPORT_PASSPHRASE'];
    }
  });

  it('that does not exist is named, and the upstream is not healthy', async () => {
    const { upstream } = start('', { command: 'no-such-mcp-server' });
    expect(await upstream.healthy()).toBe(false);
    await expect(upstream.exchange(initialize())).rejects.toMatchObject({
      code: 'ERR_UPSTREAM_UNREACHABLE',
      message: 'the command "no-such-mcp-server" of the upstream was not found: install it, or give its full path in sallyport.yaml',
    });
  });

  it('whose working directory does not exist is not started', async () => {
    const { upstream } = start('scripted-server', { cwd: '/nowhere/at/all' });
    await expect(upstream.exchange(initialize())).rejects.toMatchObject({
      code: 'ERR_UPSTREAM_UNREACHABLE', facts: { cwd: '/nowhere/at/all', reason: 'ENOENT' },
      message: 'the working directory "/nowhere/at/all" of the upstream cannot be used: create it, or correct cwd in sallyport.yaml',
    });
    expect(await upstream.healthy()).toBe(false);
  });

  it('can be started no more once the upstream is closed', async () => {
    const { upstream, log } = start();
    expect(await upstream.healthy()).toBe(true);
    const starting = upstream.exchange(initialize());
    starting.catch(() => undefined);
    await upstream.close();
    await expect(starting).rejects.toBeInstanceOf(SallyportError);
    await expect(upstream.exchange(initialize())).rejects.toMatchObject({ code: 'ERR_DRAINING' });
    expect(await upstream.healthy()).toBe(false);
    for (const entry of log.entries.filter((candidate) => candidate.message === 'upstream process started')) expect(isRunning(Number(entry.facts['pid']))).toBe(false);
  });
});
