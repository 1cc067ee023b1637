/** What one upstream answers is under its own name at the aggregate endpoint, however it is written. */
import { describe, expect, it } from 'vitest';
import { AggregateUpstream } from '../../../src/gateway/aggregate/aggregate-upstream.ts';
import type { UpstreamAnswer, UpstreamRequest } from '../../../src/upstream/upstream.ts';

const link = '{"type":"resource_link","uri":"other+file:///a","name":"a"}';

const answered = async (answer: UpstreamAnswer): Promise<string> => {
  const member = { name: 'files', offersTo: () => true, exchange: async () => answer };
  const upstream = new AggregateUpstream({ name: 'all', members: new Map([['files', member]]), serverInfo: { name: 's', version: '1' }, onMemberFailure: () => undefined });
  const params = { name: 'files__read', arguments: {} };
  const request = { era: 'modern', method: 'POST', body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params }), messages: [{ kind: 'request', id: 1, method: 'tools/call', params }], signal: new AbortController().signal };
  const given = await upstream.exchange(request as unknown as UpstreamRequest);
  if (given.kind === 'json') return given.text;
  let text = '';
  if (given.kind === 'stream') for await (const { data } of given.events) text += data;
  return text;
};

const json = (text: string): UpstreamAnswer => ({ kind: 'json', status: 200, text });
const response = (result: string): string => `{"jsonrpc":"2.0","id":1,"result":${result}}`;

describe('a link of one upstream never looks like one of another', () => {
  it.each([
    ['in content', `{"content":[${link}]}`],
    ['with an escape in the name of its member', `{"content":[${link.replace('"uri"', '"u\\u0072i"')}]}`],
    ['as one block', `{"content":${link}}`],
    ['in the result of a tool', `{"content":[{"type":"tool_result","content":[${link}]}]}`],
    ['in a question to the client', `{"resultType":"input_required","inputRequests":{"q":{"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":${link}}]}}}}`],
  ])('%s', async (_where, result) => {
    const text = await answered(json(response(result)));
    expect(text).toContain('"files+other+file:///a"');
    expect(text).not.toContain('"other+file:///a"');
  });
});

it('a task of one upstream is its own when its id is written with an escape', async () => {
  const event = { id: undefined, event: undefined, retry: undefined, data: response('{"resultType":"task","task\\u0049d":"other__t"}') };
  const events = (async function* () {
    yield event;
  })();
  expect(JSON.parse(await answered({ kind: 'stream', status: 200, events }))).toMatchObject({ result: { taskId: 'files__other__t' } });
});

it.each([
  ['a batch', `[${response(`{"content":[${link}]}`)}]`],
  ['what is nested beyond the stack', response(`{"content":[${link}],"n":1.50,"x":${'['.repeat(20_000)}${']'.repeat(20_000)}}`)],
])('%s is no answer', async (_what, text) => {
  await expect(answered(json(text))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID', facts: { upstream: 'files' } });
});

it('one upstream that says what cannot be read does not silence the others', async () => {
  const eventOf = (data: string) => ({ id: undefined, event: undefined, retry: undefined, data });
  const memberOf = (name: string, ...said: readonly string[]) => {
    const events = (async function* () {
      yield eventOf('{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true}}}');
      for (const data of said) yield eventOf(data);
    })();
    return [name, { name, offersTo: () => true, exchange: async (): Promise<UpstreamAnswer> => ({ kind: 'stream', status: 200, events }) }] as const;
  };
  const changed = '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}';
  const deep = `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"n":1.50,"x":${'['.repeat(20_000)}${']'.repeat(20_000)}}}`;
  const upstream = new AggregateUpstream({ name: 'all', members: new Map([memberOf('a', deep, changed), memberOf('b', changed, changed)]), serverInfo: { name: 's', version: '1' }, onMemberFailure: () => undefined });
  const params = { notifications: { toolsListChanged: true } };
  const request = { era: 'modern', method: 'POST', body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'subscriptions/listen', params }), messages: [{ kind: 'request', id: 1, method: 'subscriptions/listen', params }], signal: new AbortController().signal };
  const given = await upstream.exchange(request as unknown as UpstreamRequest);
  const methods: unknown[] = [];
  if (given.kind === 'stream') for await (const { data } of given.events) methods.push((JSON.parse(data) as { method?: unknown }).method);
  expect(methods).toEqual(['notifications/subscriptions/acknowledged', 'notifications/tools/list_changed', 'notifications/tools/list_changed', undefined]);
});
