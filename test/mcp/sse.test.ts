import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeSseComment, encodeSseEvent, SseDecoder } from '../../src/mcp/sse.ts';
import type { SseEvent } from '../../src/upstream/upstream.ts';

const decode = (text: string | Uint8Array, maxEventBytes = 1000): SseEvent[] => new SseDecoder({ maxEventBytes }).push(typeof text === 'string' ? Buffer.from(text) : text);
const event = (fields: Partial<SseEvent>): SseEvent => ({ id: undefined, event: undefined, data: '', retry: undefined, ...fields });

describe('reading a stream', () => {
  test.each<[string, string, SseEvent[]]>([
    ['one event', 'data: {}\n\n', [event({ data: '{}' })]],
    ['all fields', 'event: message\nid: 7\nretry: 500\ndata: x\n\n', [event({ event: 'message', id: '7', retry: 500, data: 'x' })]],
    ['data of several lines', 'data: a\ndata\ndata:b\n\n', [event({ data: 'a\n\nb' })]],
    ['line ends of all kinds', 'data: a\r\n\r\ndata: b\r\rdata: c\n\n', [event({ data: 'a' }), event({ data: 'b' }), event({ data: 'c' })]],
    ['mixed line ends in one event', 'data: a\rdata: b\r\ndata: c\n\n', [event({ data: 'a\nb\nc' })]],
    ['only one space after the colon is taken', 'data:  a\n\ndata:\tb\n\n', [event({ data: ' a' }), event({ data: '\tb' })]],
    ['a colon in the value', 'data: a:b: c\n\n', [event({ data: 'a:b: c' })]],
    ['comments and unknown fields', ': hi\nfoo: bar\nDATA: no\n data: no\ndata: a\n:\n\n', [event({ data: 'a' })]],
    ['a byte order mark at the start', '\ufeffdata: a\n\n', [event({ data: 'a' })]],
    ['a second byte order mark', 'data: a\n\n\ufeffdata: b\n\n', [event({ data: 'a' })]],
    ['an id with NUL', 'id: a\0b\ndata: x\n\n', [event({ data: 'x' })]],
    ['an event name with NUL', 'event: a\0b\ndata: x\n\n', [event({ data: 'x' })]],
    ['an empty id', 'id\ndata: x\n\n', [event({ id: '', data: 'x' })]],
    ['a retry that is no number', 'retry: 1s\ndata: x\n\nretry: -1\ndata: y\n\n', [event({ data: 'x' }), event({ data: 'y' })]],
    ['an id that only primes resumption', 'id: 1\ndata: \n\n', [event({ id: '1' })]],
    ['a bare retry', 'retry: 10\n\n', [event({ retry: 10 })]],
    ['an event name without data', 'event: x\n\n', []],
    ['empty lines', '\n\n\r\n\r', []],
    ['an event that has not ended', 'data: a\n\ndata: b\n', [event({ data: 'a' })]],
    ['text beyond ASCII', 'data: żółć 😀\n\n', [event({ data: 'żółć 😀' })]],
    ['separators that are no line ends', 'data: a\u2028b\u0085c\u000bd\n\n', [event({ data: 'a\u2028b\u0085c\u000bd' })]],
  ])('%s', (_name, text, events) => {
    expect(decode(text)).toStrictEqual(events);
  });

  test('an id belongs to its own event only', () => {
    expect(decode('id: 1\ndata: a\n\ndata: b\n\n')).toStrictEqual([event({ id: '1', data: 'a' }), event({ data: 'b' })]);
  });

  test('an event of the bound is read and one octet more is ERR_UPSTREAM_TOO_LARGE, line end or not', () => {
    const refusal = expect.objectContaining({ code: 'ERR_UPSTREAM_TOO_LARGE', facts: { maxEventBytes: 20 } });
    expect(decode(`data: ${'x'.repeat(12)}\n\ndata: ${'x'.repeat(12)}\n\n`, 20)).toHaveLength(2);
    expect(() => decode(`data: ${'x'.repeat(13)}\n\n`, 20)).toThrow(refusal);
    expect(() => decode('x'.repeat(21), 20)).toThrow(refusal);
    expect(() => decode('data: x\n'.repeat(3), 20)).toThrow(refusal);
    expect(() => decode('event: x\n: comment in an event\n', 20)).toThrow(refusal);
  });

  test('comments between events never add up', () => {
    expect(decode(`${': ping\n'.repeat(100)}data: x\n\n`, 20)).toStrictEqual([event({ data: 'x' })]);
  });

  test('octets that are not UTF-8 are ERR_UPSTREAM_INVALID', () => {
    expect(() => decode(Uint8Array.from([0x64, 0x61, 0x74, 0x61, 0x3a, 0xff, 0x0a, 0x0a]))).toThrow(expect.objectContaining({ code: 'ERR_UPSTREAM_INVALID' }));
  });

  test('a buffer that is used again does not change what was read', () => {
    const decoder = new SseDecoder({ maxEventBytes: 100 });
    const buffer = Buffer.from('data: ab');
    decoder.push(buffer);
    buffer.fill('x');
    expect(decoder.push(Buffer.from('c\n\n'))).toStrictEqual([event({ data: 'abc' })]);
  });

  test('a large event may come octet by octet', () => {
    const bytes = Buffer.from(`data: ${'é'.repeat(100_000)}\n\ndata: b\n\n`);
    const decoder = new SseDecoder({ maxEventBytes: 1_000_000 });
    const events = Array.from(bytes, (_, index) => decoder.push(bytes.subarray(index, index + 1))).flat();
    expect(events).toStrictEqual([event({ data: 'é'.repeat(100_000) }), event({ data: 'b' })]);
  });

  test('however a stream is cut, it gives the same events', () => {
    const line = fc.oneof(fc.constantFrom('', '', 'data: a', 'data', 'id: 1', 'event: e', 'retry: 5', ': c', '\ufeffdata: b', 'data: é😀'), fc.string({ maxLength: 8 }));
    const stream = fc.array(fc.tuple(line, fc.constantFrom('\n', '\r', '\r\n', '\n\n')), { maxLength: 20 }).map((lines) => Buffer.from(lines.flat().join('')));
    fc.assert(
      fc.property(stream, fc.array(fc.nat(200), { maxLength: 10 }), (bytes, cuts) => {
        const decoder = new SseDecoder({ maxEventBytes: 10_000 });
        const events: SseEvent[] = [];
        let start = 0;
        for (const cut of [...cuts.filter((one) => one < bytes.length).toSorted((a, b) => a - b), bytes.length]) {
          events.push(...decoder.push(bytes.subarray(start, cut)));
          start = cut;
        }
        expect(events).toStrictEqual(decode(bytes, 10_000));
      }),
      { numRuns: 300 },
    );
  });
});

describe('writing events', () => {
  test('the fields are written in a fixed order', () => {
    expect(encodeSseEvent({ id: '1', event: 'message', retry: 5, data: '{}' })).toBe('event: message\nid: 1\nretry: 5\ndata: {}\n\n');
    expect(encodeSseEvent(event({ retry: 5 }))).toBe('retry: 5\n\n');
    expect(encodeSseEvent(event({ id: '1' }))).toBe('id: 1\ndata: \n\n');
  });

  test('data with line ends cannot end the event or start a field', () => {
    expect(encodeSseEvent(event({ data: 'a\n\nevent: x\r\nid: 9\rdata: z' }))).toBe('data: a\ndata: \ndata: event: x\ndata: id: 9\ndata: data: z\n\n');
  });

  test.each(['a\nb', 'a\rb', 'a\0b'])('an id, a name or a comment %j is a TypeError', (text) => {
    expect(() => encodeSseEvent(event({ id: text, data: 'x' }))).toThrow(TypeError);
    expect(() => encodeSseEvent(event({ event: text, data: 'x' }))).toThrow(TypeError);
    expect(() => encodeSseComment(text)).toThrow(TypeError);
  });

  test('a comment is no event', () => {
    expect(decode(encodeSseComment('keep-alive'))).toStrictEqual([]);
  });

  test('what is written is read back, line ends as one kind', () => {
    const oneLine = fc.string({ minLength: 1, maxLength: 12, unit: 'grapheme' }).filter((text) => !/[\r\n\0]/.test(text));
    const any = fc.record({ id: fc.option(oneLine, { nil: undefined }), event: fc.option(oneLine, { nil: undefined }), data: fc.oneof(fc.string({ unit: 'grapheme' }), fc.array(fc.constantFrom('a', '\n', '\r', 'data: ', ' ')).map((parts) => parts.join(''))), retry: fc.option(fc.nat(100_000), { nil: undefined }) });
    fc.assert(
      fc.property(any, (given) => {
        const [read, ...more] = decode(`${encodeSseEvent(given)}data: next\n\n`, 100_000);
        expect(more).toStrictEqual([event({ data: 'next' })]);
        const bare = given.data === '' && given.id === undefined && given.retry !== undefined;
        expect(read).toStrictEqual({ ...given, data: bare ? '' : given.data.replace(/\r\n?/g, '\n') });
      }),
      { numRuns: 300 },
    );
  });
});
