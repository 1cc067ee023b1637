import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SallyportError } from '../../src/errors.ts';
import { parseLossless } from '../../src/mcp/lossless-json.ts';
import { checkParamHeaders, paramHeadersOf, scanParamHeaders } from '../../src/mcp/param-headers.ts';

const schemaOf = (properties: Record<string, unknown>): object => ({ type: 'object', properties });

const declaredOf = (properties: Record<string, unknown>) => scanParamHeaders(schemaOf(properties)) ?? expect.fail('the schema is valid');

const region = declaredOf({ region: { type: 'string', 'x-mcp-header': 'Region' } });
const count = declaredOf({ count: { type: 'integer', 'x-mcp-header': 'Count' } });

describe('which headers a schema asks for', () => {
  it('finds annotated properties at any depth of properties', () => {
    const schema = schemaOf({
      region: { type: 'string', 'x-mcp-header': 'Region' },
      plain: { type: 'string' },
      tenant: schemaOf({ id: { type: 'integer', 'x-mcp-header': 'Tenant-Id' }, live: { type: 'boolean', 'x-mcp-header': 'Live' } }),
    });
    expect(scanParamHeaders(schema)).toEqual([
      { path: ['region'], header: 'mcp-param-region', type: 'string' },
      { path: ['tenant', 'id'], header: 'mcp-param-tenant-id', type: 'integer' },
      { path: ['tenant', 'live'], header: 'mcp-param-live', type: 'boolean' },
    ]);
  });

  it.each([[undefined], [null], [true], ['text'], [{}], [{ properties: null }], [{ properties: { a: true } }]])('finds none in %j', (schema) => {
    expect(scanParamHeaders(schema)).toEqual([]);
  });

  it('keeps a number, whose headers an official MCP server checks though the specification has none', () => {
    expect(declaredOf({ ratio: { type: 'number', 'x-mcp-header': 'Ratio' } })).toEqual([{ path: ['ratio'], header: 'mcp-param-ratio', type: 'number' }]);
  });

  const annotated = { type: 'string', 'x-mcp-header': 'Here' };
  it.each([
    ['at the root', { ...annotated, properties: {} }],
    ['that is empty', schemaOf({ a: { type: 'string', 'x-mcp-header': '' } })],
    ['that is no text', schemaOf({ a: { type: 'string', 'x-mcp-header': 1 } })],
    ['with a blank', schemaOf({ a: { type: 'string', 'x-mcp-header': 'My Region' } })],
    ['with a line break', schemaOf({ a: { type: 'string', 'x-mcp-header': 'a\r\nx: y' } })],
    ['with a colon', schemaOf({ a: { type: 'string', 'x-mcp-header': 'a:b' } })],
    ['beyond ASCII', schemaOf({ a: { type: 'string', 'x-mcp-header': 'Région' } })],
    ['on an object', schemaOf({ a: { type: 'object', 'x-mcp-header': 'A' } })],
    ['on an array', schemaOf({ a: { type: 'array', 'x-mcp-header': 'A' } })],
    ['without a type', schemaOf({ a: { 'x-mcp-header': 'A' } })],
    ['with several types', schemaOf({ a: { type: ['string', 'null'], 'x-mcp-header': 'A' } })],
    ['twice, but for case', schemaOf({ a: { type: 'string', 'x-mcp-header': 'Region' }, b: { type: 'string', 'x-mcp-header': 'REGION' } })],
    ['in items', schemaOf({ a: { type: 'array', items: annotated } })],
    ['in items of several schemas', schemaOf({ a: { type: 'array', items: [annotated] } })],
    ['in properties under items', schemaOf({ a: { type: 'array', items: schemaOf({ b: annotated }) } })],
    ['in oneOf', { ...schemaOf({}), oneOf: [schemaOf({ a: annotated })] }],
    ['in not', { ...schemaOf({}), not: schemaOf({ a: annotated }) }],
    ['in if', { ...schemaOf({}), if: schemaOf({ a: annotated }) }],
    ['in $defs', { ...schemaOf({}), $defs: { a: annotated } }],
    ['in patternProperties', { ...schemaOf({}), patternProperties: { '^a': annotated } }],
    ['in additionalProperties', { ...schemaOf({}), additionalProperties: annotated }],
  ])('refuses an annotation %s', (_, schema) => {
    expect(scanParamHeaders(schema)).toBeUndefined();
  });

  it('does not take a property that is called x-mcp-header for an annotation', () => {
    expect(scanParamHeaders(schemaOf({ 'x-mcp-header': { type: 'string' } }))).toEqual([]);
    expect(scanParamHeaders({ ...schemaOf({}), examples: [annotated] })).toEqual([]);
  });

  it('follows 64 levels and no further', () => {
    const nested = (levels: number): object => (levels === 0 ? annotated : schemaOf({ a: nested(levels - 1) }));
    expect(scanParamHeaders(nested(64))).toHaveLength(1);
    expect(scanParamHeaders(nested(65))).toBeUndefined();
    expect(scanParamHeaders(JSON.parse(`${'{"properties":{"a":'.repeat(20_000)}1${'}}'.repeat(20_000)}`))).toBeUndefined();
  });

  it('takes 64 headers and no more', () => {
    const many = (size: number): object => schemaOf(Object.fromEntries(Array.from({ length: size }, (_, at) => [`a${at}`, { type: 'string', 'x-mcp-header': `H${at}` }])));
    expect(scanParamHeaders(many(64))).toHaveLength(64);
    expect(scanParamHeaders(many(65))).toBeUndefined();
  });
});

describe('the headers of a call', () => {
  it.each([
    ['eu-west-1', 'eu-west-1'],
    ['', '=?base64??='],
    [' padded ', '=?base64?IHBhZGRlZCA=?='],
    ['Zürich', '=?base64?WsO8cmljaA==?='],
    ['=?base64?eA==?=', '=?base64?PT9iYXNlNjQ/ZUE9PT89?='],
    [true, 'true'],
    [42, '42'],
    [-0.5, '-0.5'],
    [9_007_199_254_740_991, '9007199254740991'],
  ])('write %j as %s', (value, header) => {
    expect(paramHeadersOf(region, { region: value })).toEqual({ 'mcp-param-region': header });
  });

  it.each([[{}], [{ region: null }], [{ region: {} }], [{ region: ['a'] }], [{ region: 9_007_199_254_740_992 }], [undefined], ['text']])('leave out what has no header form in %j', (args) => {
    expect(paramHeadersOf(region, args)).toEqual({});
  });

  it('write a number that was read without loss as its value', () => {
    expect(paramHeadersOf(count, parseLossless('{"count":42.0}'))).toEqual({ 'mcp-param-count': '42' });
    expect(paramHeadersOf(count, parseLossless('{"count":12345678901234567890}'))).toEqual({});
  });

  it('look at own properties only', () => {
    const declared = declaredOf({ constructor: schemaOf({ name: { type: 'string', 'x-mcp-header': 'Name' } }) });
    expect(paramHeadersOf(declared, {})).toEqual({});
    expect(() => checkParamHeaders(declared, {}, {})).not.toThrow();
  });
});

describe('headers and arguments', () => {
  const refused = (declared: typeof region, args: unknown, headers: Record<string, string>): string => {
    try {
      checkParamHeaders(declared, args, headers);
    } catch (error) {
      if (error instanceof SallyportError && error.code === 'ERR_MCP_HEADER_MISMATCH') return error.message;
      throw error;
    }
    return 'agree';
  };

  it.each([
    [region, { region: 'a' }, { 'mcp-param-region': 'a' }],
    [region, { region: 'a' }, { 'mcp-param-region': '=?base64?YQ==?=' }],
    [region, { region: 'Zürich' }, { 'mcp-param-region': '=?base64?WsO8cmljaA==?=' }],
    [region, {}, {}],
    [region, {}, { 'mcp-param-region': 'a' }],
    [region, { region: null }, { 'mcp-param-region': 'a' }],
    [region, { region: 'a' }, { 'mcp-param-region': 'a', 'mcp-param-other': 'b' }],
    [region, { region: {} }, {}],
    [count, { count: 42 }, { 'mcp-param-count': '42' }],
    [count, { count: 42 }, { 'mcp-param-count': '42.0' }],
    [count, { count: 'many' }, { 'mcp-param-count': 'many' }],
    [count, { count: 9_007_199_254_740_992 }, {}],
    [declaredOf({ ratio: { type: 'number', 'x-mcp-header': 'Ratio' } }), { ratio: 0.5 }, {}],
  ])('agree: %j with %j and %j', (declared, args, headers) => {
    expect(refused(declared, args, headers)).toBe('agree');
  });

  it.each([
    [region, { region: 'a' }, {}, 'the header mcp-param-region is missing: send it with the value of the argument'],
    [region, { region: 'a' }, { 'mcp-param-region': 'b' }, 'the header mcp-param-region differs from the argument of the call: send the same value in both'],
    [region, { region: '42' }, { 'mcp-param-region': '42.0' }, 'the header mcp-param-region differs from the argument of the call: send the same value in both'],
    [region, { region: 'a' }, { 'mcp-param-region': '=?base64?YQ?=' }, 'the header mcp-param-region is not well encoded: send visible ASCII, or =?base64?…?= of UTF-8'],
    [region, { region: 'a' }, { 'mcp-param-region': '=?base64?YR==?=' }, 'the header mcp-param-region is not well encoded: send visible ASCII, or =?base64?…?= of UTF-8'],
    [region, { region: {} }, { 'mcp-param-region': 'a' }, 'the header mcp-param-region differs from the argument of the call: send the same value in both'],
    [count, { count: 26 }, { 'mcp-param-count': '0x1a' }, 'the header mcp-param-count differs from the argument of the call: send the same value in both'],
    [count, { count: 1000 }, { 'mcp-param-count': '1e3' }, 'the header mcp-param-count differs from the argument of the call: send the same value in both'],
    [count, { count: 9_007_199_254_740_992 }, { 'mcp-param-count': '9007199254740993' }, 'the header mcp-param-count differs from the argument of the call: send the same value in both'],
    [declaredOf({ ratio: { type: 'number', 'x-mcp-header': 'Ratio' } }), { ratio: 0.5 }, { 'mcp-param-ratio': '0.6' }, 'the header mcp-param-ratio differs from the argument of the call: send the same value in both'],
  ])('disagree: %j with %j and %j', (declared, args, headers, message) => {
    expect(refused(declared, args, headers)).toBe(message);
  });

  it('agree whenever one was made from the other', () => {
    const declared = declaredOf({ a: { type: 'string', 'x-mcp-header': 'A' }, b: schemaOf({ c: { type: 'integer', 'x-mcp-header': 'C' } }), d: { type: 'boolean', 'x-mcp-header': 'D' } });
    const args = fc.record({ a: fc.option(fc.string({ unit: 'grapheme' })), b: fc.option(fc.record({ c: fc.oneof(fc.integer(), fc.double(), fc.maxSafeInteger()) })), d: fc.boolean() }, { requiredKeys: [] });
    fc.assert(fc.property(args, (given) => {
      checkParamHeaders(declared, given, paramHeadersOf(declared, given));
    }), { numRuns: 200 });
  });

  it('are read from any JSON without a crash', () => {
    fc.assert(fc.property(fc.jsonValue(), fc.jsonValue(), (schema, args) => {
      paramHeadersOf(scanParamHeaders(schema) ?? [], args);
    }), { numRuns: 200 });
  });
});
