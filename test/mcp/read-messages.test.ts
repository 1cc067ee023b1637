import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SallyportError } from '../../src/errors.ts';
import { maxBatch, readMessages } from '../../src/mcp/read-messages.ts';

const read = (body: unknown) => readMessages(Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)));
const refusal = (code: string, facts: Record<string, unknown> = {}) => expect.objectContaining({ code, facts: expect.objectContaining(facts) });

const request = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'echo', arguments: { text: 'hi' } } };

describe('messages of MCP', () => {
  test('a request, a notification and both kinds of response are told apart', () => {
    expect(read(request).messages).toStrictEqual([{ kind: 'request', id: 1, method: 'tools/call', params: request.params }]);
    expect(read({ jsonrpc: '2.0', method: 'notifications/initialized' }).messages).toStrictEqual([{ kind: 'notification', method: 'notifications/initialized', params: undefined }]);
    expect(read({ jsonrpc: '2.0', id: 'a', result: { roots: [] } }).messages).toStrictEqual([{ kind: 'response', id: 'a', result: { roots: [] }, error: undefined }]);
    expect(read({ jsonrpc: '2.0', id: 0, error: { code: -1, message: 'no', data: [1] } }).messages).toStrictEqual([
      { kind: 'response', id: 0, result: undefined, error: { code: -1, message: 'no', data: [1] } },
    ]);
  });

  test('the text is kept as it came, and the parsed body is what the messages refer to', () => {
    const text = '{ "jsonrpc":"2.0", "id":1, "method":"tools/call", "params":{"name":"echo","arguments":{"n":12345678901234567890}} }';
    const result = read(text);
    expect(result.text).toBe(text);
    expect(result.batch).toBe(false);
    expect(result.exactNumbers).toBe(false);
    const [message] = result.messages;
    expect(message?.kind === 'request' && message.params).toBe((result.value as typeof request).params);
    expect(read(request).exactNumbers).toBe(true);
  });

  test('a batch gives its messages in order', () => {
    const result = read([request, { jsonrpc: '2.0', method: 'notifications/initialized' }, { ...request, id: '1' }]);
    expect(result.batch).toBe(true);
    expect(result.messages.map(({ kind }) => kind)).toStrictEqual(['request', 'notification', 'request']);
  });

  test('a request and a response may have one id in a batch, since each side counts its own', () => {
    expect(read([request, { jsonrpc: '2.0', id: 1, result: {} }]).messages).toHaveLength(2);
  });

  test(`a batch of ${maxBatch} is read and one more is refused`, () => {
    const batch = (length: number) => Array.from({ length }, (_, id) => ({ ...request, id }));
    expect(read(batch(maxBatch)).messages).toHaveLength(maxBatch);
    expect(() => read(batch(maxBatch + 1))).toThrow(refusal('ERR_MCP_BATCH'));
  });

  test('user data keeps names that differ in case only', () => {
    expect(read({ ...request, params: { name: 'echo', arguments: { Name: 1, name: 2, NAME: 3 } } }).messages).toHaveLength(1);
  });
});

describe('what is refused', () => {
  test.each<[string, unknown]>([
    ['a string', '"x"'], ['null', 'null'], ['an empty batch', []], ['a batch in a batch', [[request]]], ['a number in a batch', [request, 1]],
    ['no jsonrpc', { id: 1, method: 'ping' }], ['jsonrpc 1.0', { ...request, jsonrpc: '1.0' }], ['jsonrpc as a number', { ...request, jsonrpc: 2 }],
    ['id null', { ...request, id: null }], ['a fractional id', { ...request, id: 1.5 }], ['an unsafe id', '{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}'], ['an object as id', { ...request, id: {} }], ['true as id', { ...request, id: true }], ['an id of 257 characters', { ...request, id: 'x'.repeat(257) }],
    ['no method and no id', { jsonrpc: '2.0' }], ['method and result', { ...request, result: {} }], ['an empty method', { ...request, method: '' }], ['a method that is a list', { ...request, method: ['tools/list', 'tools/call'] }], ['a method that is null', { ...request, method: null }], ['a method of 257 characters', { ...request, method: 'x'.repeat(257) }],
    ['params as a list', { ...request, params: ['echo'] }], ['params null', { ...request, params: null }], ['_meta that is no object', { ...request, params: { _meta: [] } }], ['ref that is no object', { ...request, params: { ref: 'x' } }],
    ['result and error', { jsonrpc: '2.0', id: 1, result: {}, error: { code: 1, message: '' } }], ['neither result nor error', { jsonrpc: '2.0', id: 1 }], ['a response without an id', { jsonrpc: '2.0', result: {} }], ['a result that is a list', { jsonrpc: '2.0', id: 1, result: [] }],
    ['an error without a code', { jsonrpc: '2.0', id: 1, error: { message: 'x' } }], ['an error with a fractional code', { jsonrpc: '2.0', id: 1, error: { code: 1.5, message: 'x' } }], ['an error without a message', { jsonrpc: '2.0', id: 1, error: { code: 1 } }],
    ['an unknown member', { ...request, extra: 1 }], ['Method in capitals', { ...request, Method: 'tools/list' }], ['PARAMS in capitals', { ...request, PARAMS: {} }],
    ['Name beside name', { ...request, params: { Name: 'denied', name: 'echo' } }], ['Arguments instead of arguments', { ...request, params: { name: 'echo', Arguments: {} } }], ['the long s in arguments', { ...request, params: { name: 'echo', 'argument\u017f': {} } }], ['ProgressToken in _meta', { ...request, params: { _meta: { ProgressToken: 1 } } }], ['URI in a reference', { ...request, params: { ref: { type: 'ref/resource', URI: 'x' } } }], ['Tasks in capabilities', { ...request, params: { capabilities: { Tasks: {} } } }],
    ['two requests with one id', [request, request]],
  ])('%s is ERR_MCP_INVALID_REQUEST', (_name, body) => {
    expect(() => read(body)).toThrow(refusal('ERR_MCP_INVALID_REQUEST'));
  });

  test('the error knows the id when there is one to answer to', () => {
    expect(() => read({ ...request, id: 'call-7', extra: 1 })).toThrow(refusal('ERR_MCP_INVALID_REQUEST', { id: 'call-7' }));
    expect(() => read({ ...request, id: null })).toThrow(expect.objectContaining({ facts: {} }));
    expect(() => read([{ ...request, extra: 1 }])).toThrow(expect.objectContaining({ facts: { member: 'extra' } }));
  });

  test('any JSON is either read or refused with a code', () => {
    const member = fc.oneof(fc.constantFrom('2.0', 1, null, {}, [], 'tools/call', { name: 'x' }), fc.jsonValue({ maxDepth: 2 }));
    const message = fc.record({ jsonrpc: fc.constantFrom('2.0', '2.0', '1.0'), id: member, method: member, params: member, result: member, error: member }, { requiredKeys: [] });
    fc.assert(
      fc.property(fc.oneof(message, fc.array(message, { maxLength: 3 }), fc.jsonValue()), (body) => {
        try {
          expect(read(JSON.stringify(body)).messages.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(SallyportError);
        }
      }),
      { numRuns: 300 },
    );
  });
});
