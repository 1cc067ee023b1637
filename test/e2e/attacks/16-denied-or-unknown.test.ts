/** mcp.md row 16: whatever is asked for, in either era, a denied thing is answered as one that does not exist. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSession } from '../../support/gateway-requests.ts';
import type { RawAnswer, RawSession } from '../../support/gateway-requests.ts';
import { startTestGateway } from '../../support/gateway.ts';
import type { TestGateway } from '../../support/gateway.ts';
import { askModern } from '../../support/modern-requests.ts';
import type { TestIdentity } from '../../support/pki.ts';

const argument = { name: 'who', value: 'a' };
const prompt = (name: string) => ({ ref: { type: 'ref/prompt', name }, argument });
const resource = (uri: string) => ({ ref: { type: 'ref/resource', uri }, argument });

/** Method, and two params: of what is there and denied, and of what is not there. */
const pairs: readonly (readonly [string, Record<string, unknown>, Record<string, unknown>])[] = [
  ['tools/call', { name: 'delete_everything', arguments: {} }, { name: 'no_such_tool', arguments: {} }],
  ['prompts/get', { name: 'confidential' }, { name: 'nothing' }],
  ['resources/read', { uri: 'file:///reports/secret' }, { uri: 'file:///reports/nothing' }],
  ['completion/complete', prompt('confidential'), prompt('nothing')],
  ['completion/complete', resource('file:///reports/secret'), resource('file:///reports/nothing')],
  ['completion/complete', resource('file:///secrets/{name}'), resource('file:///nothing/{name}')],
];
const legacyPairs: typeof pairs = [
  ...pairs,
  ['resources/subscribe', { uri: 'file:///reports/secret' }, { uri: 'file:///reports/nothing' }],
  ['resources/unsubscribe', { uri: 'file:///reports/secret' }, { uri: 'file:///reports/nothing' }],
];

/** All that a client gets to see but the time of day. */
const seen = ({ status, headers: { date: _date, ...headers }, body }: RawAnswer) => ({ status, headers, body });

describe.each([['legacy', 'v1', legacyPairs], ['modern', 'v2', pairs]] as const)('in the %s era', (era, kind, asked) => {
  let gateway: TestGateway;
  let agent: TestIdentity;
  let session: RawSession | undefined;
  beforeAll(async () => {
    gateway = await startTestGateway({ upstreams: [kind] });
    agent = gateway.agent();
    session = era === 'legacy' ? await openSession(gateway, agent) : undefined;
  });
  afterAll(() => gateway.close());
  const ask = (method: string, params: Record<string, unknown>): Promise<RawAnswer> =>
    session === undefined ? askModern(gateway, agent, method, params, { capabilities: { extensions: { 'io.modelcontextprotocol/tasks': {} } } }) : session.post({ jsonrpc: '2.0', id: 1, method, params });

  it.each(asked)('%s of %j is answered as of %j', async (method, denied, unknown) => {
    const before = gateway.upstream.received().length;
    const answers = [await ask(method, denied), await ask(method, unknown)];
    expect(seen(answers[0] as RawAnswer)).toStrictEqual(seen(answers[1] as RawAnswer));
    expect(answers[0]?.answer.error).toStrictEqual({ code: -32602, message: 'not found or not permitted', data: { code: 'ERR_MCP_DENIED' } });
    expect(gateway.upstream.received()).toHaveLength(before);
    expect(gateway.evidence.of('request.decided').slice(-2)).toMatchObject([{ method, outcome: 'denied' }, { method, outcome: 'denied' }]);
  });
});
