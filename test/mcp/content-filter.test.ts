import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { withoutHiddenResources } from '../../src/mcp/content-filter.ts';

const mayShow = (uri: string): boolean => !uri.includes('secret');
const text = { type: 'text', text: 'file:///secret is only named here' };
const link = (name: string) => ({ type: 'resource_link', uri: `file:///${name}`, name });
const embedded = (name: string) => ({ type: 'resource', resource: { uri: `file:///${name}`, text: 'x' } });
const result = (content: unknown) => ({ content });
const filter = (value: Record<string, unknown>) => withoutHiddenResources(value, mayShow);

describe('content', () => {
  test('loses links to hidden resources and hidden resources themselves, and nothing else', () => {
    expect(filter({ ...result([text, link('secret'), embedded('open'), embedded('secret'), link('open')]), isError: false, structuredContent: { uri: 'file:///secret' } })).toStrictEqual({
      ...result([text, embedded('open'), link('open')]), isError: false, structuredContent: { uri: 'file:///secret' },
    });
  });

  test('that has nothing else is an empty list', () => {
    expect(filter(result([link('secret')]))).toStrictEqual(result([]));
  });

  test('whose resource has no proper URI cannot be judged, and goes', () => {
    expect(filter(result([{ type: 'resource_link' }, { type: 'resource_link', uri: ['file:///open'] }, { type: 'resource' }, { type: 'resource', resource: null }, { type: 'resource', resource: { text: 'x' } }]))).toStrictEqual(result([]));
  });

  test('that is one block where a list belongs is looked at like a list', () => {
    expect(filter(result(link('secret')))).toStrictEqual(result([]));
    expect(filter(result(embedded('secret')))).toStrictEqual(result([]));
    const open = result(link('open'));
    expect(filter(open)).toBe(open);
  });

  test('of a task that is done is looked into, and no deeper', () => {
    expect(filter({ taskId: 't', status: 'completed', result: result([link('secret'), text]) })).toStrictEqual({ taskId: 't', status: 'completed', result: result([text]) });
    const deep = { result: { result: result([link('secret')]) } };
    expect(filter(deep)).toBe(deep);
  });

  test('comes back as the same object when nothing is hidden, whatever it is', () => {
    for (const value of [result([text, link('open')]), result('text'), result([null, 7, [], {}]), { messages: 'x' }, { messages: [null, { role: 'user' }] }, { inputRequests: [] }, { inputRequests: { a: null, b: { params: 7 } } }]) expect(filter(value)).toBe(value);
    fc.assert(fc.property(fc.dictionary(fc.constantFrom('content', 'messages', 'inputRequests', 'result', 'x'), fc.jsonValue()), (value) => withoutHiddenResources(value, () => true) === value || /resource/.test(JSON.stringify(value))), { numRuns: 100 });
  });
});

describe('messages', () => {
  const message = (content: unknown) => ({ role: 'user', content });

  test('of a prompt go with the one block they have', () => {
    expect(filter({ description: 'd', messages: [message(text), message(embedded('secret')), message(embedded('open'))] })).toStrictEqual({ description: 'd', messages: [message(text), message(embedded('open'))] });
  });

  test('with several blocks keep the others', () => {
    expect(filter({ messages: [message([link('secret'), text])] })).toStrictEqual({ messages: [message([text])] });
  });

  test('with results of tools are looked into, up to a depth', () => {
    const toolResult = (content: readonly unknown[]): unknown => ({ type: 'tool_result', toolUseId: '1', content });
    expect(filter({ messages: [message([toolResult([link('secret'), text])])] })).toStrictEqual({ messages: [message([toolResult([text])])] });
    let nested: unknown = text;
    for (let depth = 0; depth < 100_000; depth += 1) nested = toolResult([nested]);
    expect(() => filter({ messages: [message([nested])] })).not.toThrow();
  });

  test('that a server wants sampled inside of a result are looked into', () => {
    const sampling = (...blocks: readonly unknown[]) => ({ method: 'sampling/createMessage', params: { messages: blocks.map(message), maxTokens: 5 } });
    expect(filter({ resultType: 'input_required', inputRequests: { a: sampling(text, embedded('secret')), b: { method: 'roots/list' } } })).toStrictEqual({ resultType: 'input_required', inputRequests: { a: sampling(text), b: { method: 'roots/list' } } });
  });
});
