import { describe, expect, it } from 'vitest';
import { SallyportError } from '../../src/errors.ts';
import { EventLog, parseEventId } from '../../src/upstream/event-log.ts';
import { EventQueue } from '../../src/upstream/event-queue.ts';
import type { SseEvent } from '../../src/upstream/upstream.ts';

const event = (data: string): SseEvent => ({ id: undefined, event: undefined, data, retry: undefined });
const failure = new SallyportError('ERR_UPSTREAM_EXITED', 'ended');

const queue = (pendingBytes = 10): { queue: EventQueue; pressure: boolean[]; left: () => number } => {
  const pressure: boolean[] = [];
  let left = 0;
  const made = new EventQueue({
    pendingBytes,
    onPressure: (paused) => pressure.push(paused),
    onLeft: () => {
      left += 1;
    },
  });
  return { queue: made, pressure, left: () => left };
};

const collect = async (events: AsyncIterable<SseEvent>): Promise<string[]> => {
  const data: string[] = [];
  for await (const { data: text } of events) data.push(text);
  return data;
};

describe('an event queue', () => {
  it('gives events in order, those before and those after the consumer asks', async () => {
    const { queue: events } = queue();
    events.push(event('a'));
    const collected = collect(events);
    events.push(event('b'));
    await Promise.resolve();
    events.push(event('c'));
    events.end();
    expect(await collected).toEqual(['a', 'b', 'c']);
  });

  it('asks to pause above the bound and to go on at half of it', async () => {
    const { queue: events, pressure } = queue(10);
    for (let index = 0; index < 5; index += 1) events.push(event('xx'));
    expect(pressure).toEqual([]);
    events.push(event('x'));
    expect(pressure).toEqual([true]);
    await events.next();
    await events.next();
    expect(pressure).toEqual([true]);
    await events.next();
    expect(pressure).toEqual([true, false]);
  });

  it('delivers what waits before it fails', async () => {
    const { queue: events } = queue();
    events.push(event('a'));
    events.end(failure);
    expect((await events.next()).value?.data).toBe('a');
    await expect(events.next()).rejects.toBe(failure);
    expect((await events.next()).done).toBe(true);
  });

  it('fails a consumer that is waiting', async () => {
    const { queue: events } = queue();
    const next = events.next();
    events.end(failure);
    await expect(next).rejects.toBe(failure);
  });

  it('drops everything and takes the pressure away when its consumer leaves, and says so once', async () => {
    const { queue: events, pressure, left } = queue(1);
    events.push(event('abc'));
    await events.return();
    await events.return();
    events.push(event('d'));
    events.end(failure);
    expect(left()).toBe(1);
    expect(pressure).toEqual([true, false]);
    expect((await events.next()).done).toBe(true);
  });

  it('does not report a consumer that leaves after the end', async () => {
    const { queue: events, left } = queue();
    events.end();
    await events.return();
    expect(left()).toBe(0);
  });

  it('has one consumer, which asks for one event at a time', async () => {
    const { queue: events } = queue();
    const first = events.next();
    await expect(events.next()).rejects.toBeInstanceOf(TypeError);
    events.end();
    await first;
  });
});

const log = (options: Partial<ConstructorParameters<typeof EventLog>[0]> = {}): EventLog =>
  new EventLog({ stream: 4, maxEvents: 3, maxBytes: 100, pendingBytes: 1000, onPressure: () => undefined, ...options });
const signal = (): AbortSignal => new AbortController().signal;

describe('an event log', () => {
  it('keeps the latest events within both bounds, the last one whatever its size', async () => {
    const few = log();
    for (const data of ['a', 'b', 'c', 'd']) few.append(data);
    few.end();
    expect(await collect(few.resume(0, signal()))).toEqual(['b', 'c', 'd']);
    const small = log({ maxBytes: 3 });
    for (const data of ['aa', 'bb', 'cccccc']) small.append(data);
    small.end();
    expect(small.bytes).toBe(6);
    expect(await collect(small.resume(0, signal()))).toEqual(['cccccc']);
  });

  it('gives a consumer without an event id only what no consumer was there for', async () => {
    const events = log();
    events.append('queued');
    const first = new AbortController();
    events.attach(first.signal);
    events.append('seen by the first');
    first.abort();
    expect(events.attached).toBe(false);
    events.append('missed');
    const second = events.attach(signal());
    events.append('live');
    events.end();
    expect(await collect(second)).toEqual(['missed', 'live']);
  });

  it('knows the events it sent, and the start', () => {
    const events = log();
    events.append('a');
    expect([-1, 0, 1, 2].map((number) => events.knows(number))).toEqual([false, true, true, false]);
  });

  it('does not attach a consumer that has gone already', () => {
    const events = log();
    const controller = new AbortController();
    controller.abort();
    events.attach(controller.signal);
    expect(events.attached).toBe(false);
  });

  it('names its events so that they can be found again', () => {
    expect(parseEventId('4-12')).toEqual({ stream: 4, number: 12 });
    for (const id of ['', '4', '4-', '-1', '4-1-1', '4-01', '4-1 ', '+4-1', '4-1e3', '9'.repeat(16) + '-1']) expect(parseEventId(id)).toBeUndefined();
  });
});
