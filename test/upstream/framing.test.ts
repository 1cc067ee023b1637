import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readChildLine } from '../../src/upstream/child-message.ts';
import { splitBatch, toOneLine } from '../../src/upstream/json-text.ts';
import { LineReader } from '../../src/upstream/line-reader.ts';

const read = (chunks: readonly Uint8Array[], maxBytes = 1000): { lines: string[]; dropped: [string, number][] } => {
  const lines: string[] = [];
  const dropped: [string, number][] = [];
  const reader = new LineReader({ maxBytes, onLine: (line) => lines.push(line), onDropped: (reason, bytes) => dropped.push([reason, bytes]) });
  for (const chunk of chunks) reader.push(Buffer.from(chunk));
  reader.end();
  return { lines, dropped };
};

const cut = (bytes: Buffer, at: readonly number[]): Buffer[] => {
  const places = [0, ...at.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end));
};

describe('the line reader', () => {
  it('gives the same lines however the input is cut', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }).map((text) => text.replaceAll(/[\r\n]/gu, ''))), fc.array(fc.nat()), (texts, places) => {
        const whole = Buffer.from(texts.map((text) => `${text}\n`).join(''));
        const expected = texts.map((text) => Buffer.from(text).toString()).filter((text) => text !== '');
        expect(read(cut(whole, places), 10_000)).toEqual({ lines: expected, dropped: [] });
      }),
      { numRuns: 200 },
    );
  });

  it('takes a line of exactly the bound and drops one that is an octet longer, wherever it is cut', () => {
    const input = Buffer.from(`${'a'.repeat(10)}\n${'b'.repeat(11)}\nc\n`);
    for (let place = 0; place <= input.length; place += 1) expect(read(cut(input, [place]), 10)).toEqual({ lines: ['a'.repeat(10), 'c'], dropped: [['tooLong', 11]] });
  });

  it('never holds more than the bound of a line that does not end', () => {
    const { lines, dropped } = read([...Array.from({ length: 50 }, () => Buffer.alloc(100, 'x')), Buffer.from('\nok\n')], 100);
    expect({ lines, dropped }).toEqual({ lines: ['ok'], dropped: [['tooLong', 5000]] });
  });

  it('drops what is not UTF-8 instead of mending it', () => {
    expect(read([Buffer.from([0x22, 0xff, 0x22, 0x0a]), Buffer.from('ok\r\n')])).toEqual({ lines: ['ok'], dropped: [['encoding', 3]] });
  });
});

const spaced = fc.tuple(fc.json(), fc.constantFrom(undefined, 1, '\t')).map(([text, indent]) => JSON.stringify(JSON.parse(text), undefined, indent));

describe('one line of JSON', () => {
  it('has no character that any line reader ends a line at, and means the same', () => {
    const lines = fc.tuple(spaced, fc.string({ unit: fc.constantFrom('\u0085', '\u2028', '\u2029', 'a', '"', '\\') })).map(([text, key]) => `{${JSON.stringify(key)}:\r\n${text}\n}`);
    fc.assert(
      fc.property(lines, (text) => {
        const line = toOneLine(text);
        // Vertical tab, form feed and U+001C to U+001E cannot occur raw in JSON.
        expect(line).not.toMatch(/[\n\r\u0085\u2028\u2029]/u);
        expect(JSON.parse(line)).toEqual(JSON.parse(text));
      }),
      { numRuns: 300 },
    );
  });

  it('keeps numbers as they were written', () => {
    expect(toOneLine('{\n"a": 12345678901234567890,\n"b": 1.10e+400}')).toBe('{ "a": 12345678901234567890, "b": 1.10e+400}');
  });
});

describe('a batch', () => {
  it('is split into the texts of its elements', () => {
    fc.assert(
      fc.property(fc.array(spaced), fc.constantFrom(',', ' ,\n', '\t, '), (texts, comma) => {
        expect(splitBatch(` [ ${texts.join(comma)} ] `)).toEqual(texts);
      }),
      { numRuns: 300 },
    );
  });

  it('that is none is its own only text', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
        const text = JSON.stringify(value);
        expect(splitBatch(text)).toEqual([text]);
      }),
      { numRuns: 100 },
    );
  });

  it('is not split at brackets, commas and quotes inside strings', () => {
    expect(splitBatch(String.raw`["],[",{"a\"]":"\\"},[1,[2,3]]]`)).toEqual([String.raw`"],["`, String.raw`{"a\"]":"\\"}`, '[1,[2,3]]']);
  });
});

describe('a line of a child', () => {
  it('is never thrown at, whatever it holds', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), fc.constantFrom('[]', '[[]]', 'null', '{"id":{}}', '{"id":1}', '{"method":1,"id":1}')), (line) => {
        const messages = readChildLine(line);
        expect(messages === undefined || messages.length > 0).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it.each([
    ['{"jsonrpc":"2.0","id":1,"result":{}}', 'response'],
    ['{"jsonrpc":"2.0","id":"a","error":{"code":1,"message":"x"}}', 'response'],
    ['{"jsonrpc":"2.0","id":1,"method":"ping"}', 'request'],
    ['{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3}}', 'notification'],
  ])('%s is a %s', (line, kind) => {
    expect(readChildLine(line)).toMatchObject([{ kind, text: line }]);
  });

  it.each(['{"jsonrpc":"2.0","id":null,"result":{}}', '{"jsonrpc":"2.0","id":1}', '{"jsonrpc":"2.0","id":null,"method":"ping"}', '[]', '7', '[{"method":"a"},7]'])('%s is no message', (line) => {
    expect(readChildLine(line)).toBeUndefined();
  });
});
