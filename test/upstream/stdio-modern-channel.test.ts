import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SallyportError } from '../../src/errors.ts';
import { defaultStdioLimits } from '../../src/upstream/stdio-limits.ts';
import type { StdioLimits } from '../../src/upstream/stdio-limits.ts';
import { ModernChannel } from '../../src/upstream/stdio-modern-channel.ts';
import type { UpstreamAnswer } from '../../src/upstream/upstream.ts';
import { allEventsOf, modern, post, recordingLog } from '../support/upstream-requests.ts';

interface Written {
  readonly id?: number | string;
  readonly method?: string;
  readonly params?: { readonly _meta?: { readonly progressToken?: number }; readonly requestId?: number };
  readonly error?: unknown;
}

/** A channel to a child that is only a list of what was written to it. */
const channelWith = (limits: Partial<StdioLimits> = {}, write?: () => Promise<void>) => {
  const written: Written[] = [];
  const pauses: boolean[] = [];
  const child = {
    pid: 1,
    write: (text: string): Promise<void> => {
      expect(text.endsWith('\n') && !text.slice(0, -1).includes('\n')).toBe(true);
      written.push(JSON.parse(text) as Written);
      return write?.() ?? Promise.resolve();
    },
    pause: (paused: boolean): void => void pauses.push(paused),
    end: (): Promise<void> => Promise.resolve(),
  };
  const log = recordingLog();
  const channel = new ModernChannel({ upstream: 'tools', child, limits: { ...defaultStdioLimits, ...limits }, log, onIdle: () => undefined });
  const says = (message: object): void => channel.receive(JSON.stringify({ jsonrpc: '2.0', ...message }));
  return { channel, written, pauses, log, says };
};

const call = (id: number | string, meta: object = {}) => {
  const { body } = modern({ id, method: 'tools/call', params: { name: 'x' } });
  const message = JSON.parse(body ?? '') as { params: { _meta: object } };
  return post({ ...message, params: { ...message.params, _meta: { ...message.params._meta, ...meta } } }, { era: 'modern' });
};

const listen = (id: number | string) => modern({ id, method: 'subscriptions/listen', params: { notifications: {} } });

const subscriptionId = 'io.modelcontextprotocol/subscriptionId';

describe('requests that share a child', () => {
  it('get what is theirs, whatever their ids and tokens and in whatever order it comes', async () => {
    const id = fc.oneof(fc.constantFrom<number | string>(1, '1', 2, '2', 'a'), fc.integer(), fc.string({ maxLength: 20 }));
    const request = fc.record({ id, token: fc.option(id, { nil: undefined }), reports: fc.nat({ max: 3 }), order: fc.integer() });
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 12 }), async (requests) => {
        const { channel, written, says } = channelWith();
        const answers = requests.map((one) => channel.post(call(one.id, one.token === undefined ? {} : { progressToken: one.token })));
        const ours = written.map((line, index) => ({ line, index, request: requests[index] }));
        expect(new Set(written.map((line) => line.id)).size).toBe(requests.length);
        for (const { line, index, request: one } of ours.toSorted((a, b) => (a.request?.order ?? 0) - (b.request?.order ?? 0))) {
          const progressToken = line.params?.['_meta']?.progressToken;
          expect(progressToken === undefined).toBe(one?.token === undefined);
          for (let progress = 0; progress < (one?.reports ?? 0); progress += 1) says({ method: 'notifications/progress', params: { progressToken, progress, index } });
          says({ result: { index }, id: line.id });
        }
        for (const [index, answer] of (await Promise.all(answers)).entries()) {
          const one = requests[index];
          const reports = one?.token === undefined ? 0 : one.reports;
          expect(answer.kind).toBe(reports > 0 ? 'stream' : 'json');
          const texts = answer.kind === 'json' ? [answer.text] : (await allEventsOf(answer)).map(({ data }) => data);
          expect(texts.map((text) => JSON.parse(text) as unknown)).toEqual([
            ...Array.from({ length: reports }, (_, progress) => ({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: one?.token, progress, index } })),
            { jsonrpc: '2.0', result: { index }, id: one?.id },
          ]);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('do not lose a call to a server that cancels it: servers end subscriptions only', async () => {
    const { channel, says } = channelWith();
    const answer = channel.post(call('a'));
    says({ method: 'notifications/cancelled', params: { requestId: 1 } });
    says({ id: 1, result: {} });
    expect(await answer).toMatchObject({ kind: 'json', text: '{"jsonrpc":"2.0","id":"a","result":{}}' });
  });

  it('share what does not say whose it is: the latest call gets it, and no subscription', async () => {
    const { channel, says } = channelWith();
    const [first, second] = [channel.post(call('a')), channel.post(call('b'))];
    const listening = channel.post(listen('l'));
    const foreign = { method: 'notifications/extension', params: { x: 1 } };
    says(foreign);
    says({ method: 'notifications/resources/updated', params: { uri: 'file:///x', _meta: { [subscriptionId]: 2 } } });
    says({ method: 'notifications/subscriptions/acknowledged', params: { notifications: {} } });
    for (const id of [1, 2]) says({ id, result: {} });
    says({ id: 3, result: { resultType: 'complete', _meta: { [subscriptionId]: 3, other: 3 } } });
    expect((await first).kind).toBe('json');
    expect((await allEventsOf(await second)).map(({ data }) => JSON.parse(data) as unknown)).toEqual([{ jsonrpc: '2.0', ...foreign }, { jsonrpc: '2.0', id: 'b', result: {} }]);
    expect((await allEventsOf(await listening)).map(({ data }) => JSON.parse(data) as unknown)).toEqual([
      { jsonrpc: '2.0', id: 'l', result: { resultType: 'complete', _meta: { [subscriptionId]: 'l', other: 3 } } },
    ]);
  });

  it('take no harm from answers nobody waits for, nor from lines that are no messages', async () => {
    const { channel, says, log } = channelWith();
    const answer = channel.post(call('a'));
    for (const id of [2, '1', 'sallyport-discover']) says({ id, result: {} });
    for (const line of ['{}', 'null', '"x"', '{"id":1}', '[]', '{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}']) channel.receive(line);
    says({ id: 1, error: { code: -32603, message: 'x' } });
    says({ id: 1, result: {} });
    expect(await answer).toMatchObject({ kind: 'json', status: 200, text: expect.stringContaining('"error"') as string });
    expect(log.entries.filter(({ level }) => level === 'warn')).toHaveLength(6);
    expect(log.entries.filter(({ message }) => message === 'upstream answered a request that is not in flight')).toHaveLength(4);
  });

  it('fail together when the child takes no more', async () => {
    const { channel } = channelWith({}, () => Promise.reject(new Error('EPIPE')));
    const answers = await Promise.allSettled([channel.post(call(1)), channel.post(call(2))]);
    for (const answer of answers) expect(answer).toMatchObject({ status: 'rejected', reason: { code: 'ERR_UPSTREAM_EXITED', message: 'the upstream takes no more input: ask again' } });
    expect(channel.ended).toBe(true);
    await expect(channel.post(call(3))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_EXITED' });
  });

  it('end with an error when the child dies, subscriptions too', async () => {
    const { channel, says } = channelWith();
    const answers: Promise<UpstreamAnswer>[] = [channel.post(call(1)), channel.post(listen('a'))];
    says({ method: 'notifications/subscriptions/acknowledged', params: { _meta: { [subscriptionId]: 2 }, notifications: {} } });
    channel.finish(new SallyportError('ERR_UPSTREAM_EXITED', 'it died'), 'fail');
    await expect(answers[0]).rejects.toThrow('it died');
    await expect(allEventsOf((await answers[1]) as UpstreamAnswer)).rejects.toThrow('it died');
  });
});

describe('a child that asks and does not read', () => {
  it('is refused so many times at once, and no more', async () => {
    const reading = Promise.withResolvers<void>();
    const { written, says } = channelWith({}, () => reading.promise);
    for (let id = 0; id < 100; id += 1) says({ id, method: 'sampling/createMessage' });
    expect(written).toHaveLength(64);
    expect(written[0]).toEqual({ jsonrpc: '2.0', id: 0, error: { code: -32601, message: 'method not found' } });
    reading.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    says({ id: 'again', method: 'ping' });
    expect(written.at(-1)).toMatchObject({ id: 'again' });
  });
});

describe('a consumer that does not read', () => {
  it('holds up the child until it reads or leaves', async () => {
    const { channel, says, pauses } = channelWith({ pendingBytes: 100 });
    const streams = [channel.post(listen(1)), channel.post(listen(2))];
    for (const id of [1, 2]) says({ method: 'notifications/tools/list_changed', params: { _meta: { [subscriptionId]: id }, padding: 'x'.repeat(200) } });
    expect(pauses).toEqual([true, true]);
    for (const stream of await Promise.all(streams)) if (stream.kind === 'stream') await stream.events[Symbol.asyncIterator]().return?.();
    // The second that left was the last in the way.
    expect(pauses).toEqual([true, true, true, false]);
  });
});
