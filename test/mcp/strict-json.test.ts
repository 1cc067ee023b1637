import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { codeOf, SallyportError } from '../../src/errors.ts';
import { parseStrictJson, readStrictJson } from '../../src/mcp/strict-json.ts';

const parse = (text: string): unknown => parseStrictJson(Buffer.from(text, 'utf8'));

const codeFor = (bytes: Uint8Array, maxDepth?: number): string => {
  try {
    parseStrictJson(bytes, maxDepth === undefined ? {} : { maxDepth });
  } catch (error) {
    expect(error).toBeInstanceOf(SallyportError);
    return codeOf(error);
  }
  return 'accepted';
};

describe('texts that are JSON for everyone', () => {
  test.each([
    '{}', '[]', 'null', '0', '"x"', ' {"a" : [1, -0.5e3, true] }\r\n',
    '{"a":{"x":1},"b":{"x":2}}', '{"a:b":"c:d","{":"}","[":"]"}', '{"q":"\\"","b":"\\\\","c":"\\\\\\""}',
    '{"toString":1,"valueOf":2,"hasOwnProperty":3}', '{"1":1,"01":2}', '{"":0}', '{"Name":1,"name":2}',
    '{"emoji":"😀","escaped":"\\ud83d\\ude00","nul in a value":"\\u0000"}', '{"separators":"\u2028\u2029"}',
  ])('%s is parsed as JSON.parse does', (text) => {
    expect(parse(text)).toStrictEqual(JSON.parse(text));
  });

  test('the text comes back as it was sent', () => {
    const text = ' {"n": 12345678901234567890} ';
    expect(readStrictJson(Buffer.from(text)).text).toBe(text);
  });

  test('a view into a larger buffer is read at its own offset', () => {
    expect(parseStrictJson(Buffer.from('xx{"a":1}yy').subarray(2, 9))).toStrictEqual({ a: 1 });
  });
});

describe('what is not JSON in UTF-8', () => {
  test.each([
    ['an empty body', ''], ['white space', ' \n'], ['two values', '{}{}'], ['a trailing comma', '{"a":1,}'], ['a comment', '{}//x'],
    ['a single-quoted string', "{'a':1}"], ['a bare name', '{a:1}'], ['NaN', 'NaN'], ['a hexadecimal number', '0x10'], ['a leading zero', '01'], ['a plus sign', '+1'],
    ['a raw line end in a string', '"a\nb"'], ['a raw NUL in a name', '{"a\0":1}'], ['an open string', '{"a":"b'], ['an open object', '{"a":1'], ['a stray quote', '{"a":"b""}'],
    ['a byte order mark inside', '{"a":\ufeff1}'],
  ])('%s is ERR_MCP_PARSE', (_name, text) => {
    expect(codeFor(Buffer.from(text))).toBe('ERR_MCP_PARSE');
  });

  test.each([
    ['a byte order mark', [0xef, 0xbb, 0xbf, 0x7b, 0x7d]],
    ['UTF-16', [0xff, 0xfe, 0x7b, 0x00, 0x7d, 0x00]],
    ['a stray continuation octet', [0x22, 0x80, 0x22]],
    ['an overlong quote', [0x22, 0xc0, 0xa2, 0x22]],
    ['a surrogate in UTF-8', [0x22, 0xed, 0xa0, 0x80, 0x22]],
    ['a cut sequence', [0x22, 0xf0, 0x9f, 0x98, 0x22]],
    ['a code point beyond Unicode', [0x22, 0xf4, 0x90, 0x80, 0x80, 0x22]],
  ])('%s is ERR_MCP_PARSE', (_name, octets) => {
    expect(codeFor(Uint8Array.from(octets))).toBe('ERR_MCP_PARSE');
  });

  test('the refusal does not quote the body', () => {
    expect(() => parse('{"password":"hunter2" oops')).toThrow(new SallyportError('ERR_MCP_PARSE', 'the body is not JSON'));
  });
});

describe('JSON that parsers disagree about (mcp.md row 2)', () => {
  test.each([
    ['a name twice', '{"a":1,"a":2}'], ['a name twice with equal values', '{"a":1,"a":1}'], ['a name twice, once escaped', '{"a":1,"\\u0061":1}'],
    ['a name twice in an array element', '[{"a":{"b":[{"c":1,"c":2}]}}]'], ['a name twice whose first value is an object', '{"a":{"x":1,"y":2},"a":1}'],
    ['a name twice around colons in strings', '{"a":":::","b":":","a":":"}'], ['an integer-like name twice', '{"1":1,"1":2}'],
    ['the empty name twice', '{"":1,"":2}'], ['white space before the colon', '{"a" \n:1,"a"\t:2}'],
    ['__proto__', '{"__proto__":{"admin":true}}'], ['__proto__ escaped', '{"\\u005f_proto__":{}}'], ['__proto__ twice', '{"__proto__":1,"__proto__":2}'],
    ['constructor', '{"a":[{"constructor":{"prototype":{}}}]}'], ['prototype', '{"prototype":0}'],
    ['NUL in a name', '{"name\\u0000":1}'], ['a lone high surrogate', '{"a":"\\ud800"}'], ['a lone low surrogate', '["\\udc00"]'], ['a lone surrogate as the whole body', '"\\ud800"'],
    ['surrogates in the wrong order', '"\\udc00\\ud800"'], ['a lone surrogate in a name', '{"\\ud83dx":1}'], ['a surrogate with a raw character between', '"\\ud83d \\ude00"'],
  ])('%s is ERR_MCP_INVALID_REQUEST', (_name, text) => {
    expect(() => JSON.parse(text) as unknown).not.toThrow();
    expect(codeFor(Buffer.from(text))).toBe('ERR_MCP_INVALID_REQUEST');
  });

  test('the log learns which name came twice', () => {
    expect(() => parse('{"x":{"ok":1},"y":[{"tw\\u0069ce":1,"b":"}","twice":2}]}')).toThrow(expect.objectContaining({ facts: { member: 'twice' } }));
  });
});

describe('depth', () => {
  const nested = (depth: number): Uint8Array => Buffer.from('['.repeat(depth) + ']'.repeat(depth));

  test('64 levels are read and 65 are not', () => {
    expect(codeFor(nested(64))).toBe('accepted');
    expect(codeFor(nested(65))).toBe('ERR_MCP_INVALID_REQUEST');
    expect(codeFor(Buffer.from('{"a":'.repeat(65) + '1' + '}'.repeat(65)))).toBe('ERR_MCP_INVALID_REQUEST');
  });

  test('brackets in strings and side by side do not count', () => {
    expect(codeFor(Buffer.from(`["${'['.repeat(100)}","\\"${'{'.repeat(100)}",${'[],'.repeat(100)}0]`))).toBe('accepted');
  });

  test('a million open brackets are refused without being built', () => {
    expect(codeFor(Buffer.from('['.repeat(1_000_000)))).toBe('ERR_MCP_INVALID_REQUEST');
  });

  test('the bound can be set', () => {
    expect(codeFor(nested(3), 3)).toBe('accepted');
    expect(codeFor(nested(4), 3)).toBe('ERR_MCP_INVALID_REQUEST');
  });
});

describe('any input', () => {
  test('octets are either refused with a code or parsed as JSON.parse does', () => {
    const fragments = fc.array(fc.constantFrom('{', '}', '[', ']', ':', ',', '"', '\\', 'a', '"a"', '"a":', '1', 'null', ' ', '\\u0000', '\\ud800', 'é', '\0', '"\\""'), { maxLength: 24 });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 64 }), fragments.map((parts) => Uint8Array.from(Buffer.from(parts.join(''))))), (bytes) => {
        const code = codeFor(bytes);
        if (code !== 'accepted') return;
        expect(parseStrictJson(bytes)).toStrictEqual(JSON.parse(Buffer.from(bytes).toString('utf8')));
      }),
      { numRuns: 300 },
    );
  });

  test('what JSON.stringify writes is accepted, reserved names aside', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), fc.nat(3), (text, indent) => {
        const pretty = JSON.stringify(JSON.parse(text), null, indent);
        fc.pre(!/__proto__|constructor|prototype/.test(pretty));
        expect(parse(pretty)).toStrictEqual(JSON.parse(pretty));
      }),
      { numRuns: 300 },
    );
  });

  test('a member repeated anywhere is always found', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ minLength: 1 }), fc.json({ maxDepth: 2 }), { minKeys: 1, maxKeys: 6 }), fc.nat(), (members, pick) => {
        const entries = Object.entries(members);
        const repeated = entries[pick % entries.length] ?? ['', ''];
        const text = `{${[...entries, repeated].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(',')}}`;
        expect(codeFor(Buffer.from(text))).toBe('ERR_MCP_INVALID_REQUEST');
      }),
      { numRuns: 200 },
    );
  });
});
