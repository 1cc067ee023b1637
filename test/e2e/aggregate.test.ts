import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callMessage, dial, namesIn, openSession, rawRequest, textIn } from '../support/gateway-requests.ts';
import { startUpstream } from '../support/gateway-upstreams.ts';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { askModern, modernRequest } from '../support/modern-requests.ts';
import type { TestIdentity } from '../support/pki.ts';

const policy = `
roles:
  analyst:
    grants:
      - { upstream: alpha, tools: [echo, add], resources: ["file:///readme.txt"], prompts: [greet] }
      - { upstream: beta, tools: [echo] }
  guest:
    grants: [{ upstream: beta, tools: [echo] }]
bindings:
  - { role: analyst, when: { organizationalUnit: analytics } }
  - { role: guest, when: { organizationalUnit: guests } }
`;

let gateway: TestGateway;
let agent: TestIdentity;
let guest: TestIdentity;
beforeAll(async () => {
  gateway = await startTestGateway({
    policy, aggregate: true,
    upstreams: await Promise.all([startUpstream('v2', { name: 'alpha' }), startUpstream('http', { name: 'beta' }), startUpstream('v2', { name: 'gamma' })]),
  });
  agent = gateway.agent();
  guest = gateway.agent('guest', { organizationalUnits: ['guests'] });
});
afterAll(() => gateway.close());

const ask = (method: string, params?: Readonly<Record<string, unknown>>, identity = agent) => askModern(gateway, identity, method, params);

describe('several upstreams offered as one at /mcp', () => {
  it('list under the name of each what its own policy allows', async () => {
    expect(gateway.url.pathname).toBe('/mcp');
    expect(namesIn((await ask('tools/list')).answer, 'tools').toSorted()).toEqual(['alpha__add', 'alpha__echo', 'beta__echo']);
    expect(namesIn((await ask('resources/list')).answer, 'resources')).toEqual(['alpha+file:///readme.txt']);
    expect(namesIn((await ask('prompts/list')).answer, 'prompts')).toEqual(['alpha__greet']);
    expect(namesIn((await ask('tools/list', {}, guest)).answer, 'tools')).toEqual(['beta__echo']);
  });

  it('are called by it, each with the tool of the same name as its own', async () => {
    expect(textIn((await ask('tools/call', { name: 'alpha__echo', arguments: { text: 'a' } })).answer)).toBe('a');
    expect(textIn((await ask('tools/call', { name: 'beta__echo', arguments: { text: 'b' } })).answer)).toBe('b');
    const [called] = gateway.evidence.events.filter(({ name, outcome }) => name === 'echo' && outcome === 'allowed').slice(-1);
    expect(called).toMatchObject({ upstream: 'beta', method: 'tools/call', agent: 'agent-7', address: expect.stringMatching(/^(?:::ffff:)?127\.0\.0\.1$/) });
    const read = await ask('resources/read', { uri: 'alpha+file:///readme.txt' });
    expect(read.answer.result).toMatchObject({ contents: [{ uri: 'alpha+file:///readme.txt', text: 'read me' }] });
    expect((await ask('prompts/get', { name: 'alpha__greet', arguments: { who: 'bob' } })).answer.result).toMatchObject({ messages: [{ content: { text: 'Greet bob' } }] });
  });

  it('refuse alike what is denied, what does not exist, and what belongs to no upstream', async () => {
    const names = ['alpha__delete_everything', 'alpha__nothing', 'gamma__echo', 'delta__echo', 'echo', ''];
    const bodies = await Promise.all(names.map(async (name) => (await ask('tools/call', { name, arguments: {} })).body));
    expect(new Set(bodies).size).toBe(1);
    expect(JSON.parse(bodies[0] ?? '')).toMatchObject({ error: { code: -32602, data: { code: 'ERR_MCP_DENIED' } } });
  });

  it('answer a legacy client too, in one session', async () => {
    const session = await openSession(gateway, agent);
    const listed = await session.post({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
    expect(namesIn(listed.answer, 'tools').toSorted()).toEqual(['alpha__add', 'alpha__echo', 'beta__echo']);
    expect(textIn((await session.post(callMessage(2, 'beta__echo', { text: 'b' }))).answer)).toBe('b');
    expect((await session.post(callMessage(3, 'gamma__echo', { text: 'c' }))).answer.error?.data).toEqual({ code: 'ERR_MCP_DENIED' });
  });

  it('leave a record of what no upstream gets to see', async () => {
    const session = await openSession(gateway, agent, { revision: '2025-03-26' });
    const before = gateway.evidence.events.length;
    const since = (): readonly unknown[] => gateway.evidence.events.slice(before).map(({ action, upstream, method, outcome, reason }) => [action, upstream, method, outcome, reason]);
    const batch = await session.post([callMessage(1, 'beta__echo', { text: 'b' }), callMessage(2, 'alpha__echo', { text: 'a' })]);
    expect(batch.body).toContain('ERR_MCP_UNTRANSLATABLE');
    await session.post({ jsonrpc: '2.0', id: 3, method: 'ping' });
    await rawRequest(gateway, agent, { ...modernRequest('notifications/cancelled'), body: { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1, _meta: { 'io.modelcontextprotocol/protocolVersion': '2026-07-28' } } } });
    expect(since()).toEqual([
      ['request.decided', 'mcp', 'tools/call', 'failed', 'ERR_MCP_UNTRANSLATABLE'], ['request.decided', 'mcp', 'tools/call', 'failed', 'ERR_MCP_UNTRANSLATABLE'],
      ['request.decided', 'mcp', 'ping', 'allowed', 'granted'],
      ['request.decided', 'mcp', 'notifications/cancelled', 'allowed', 'notForwarded'],
    ]);
  });

  it('leave one record of what an upstream answers, and that is its own', async () => {
    const before = gateway.evidence.events.length;
    await ask('tools/call', { name: 'alpha__echo', arguments: { text: 'a' } });
    await ask('tools/call', { name: 'alpha__denied', arguments: {} });
    expect(gateway.evidence.events.slice(before)).toMatchObject([{ upstream: 'alpha', name: 'echo', outcome: 'allowed' }, { upstream: 'alpha', name: 'denied', outcome: 'denied' }]);
  });

  it('acknowledge one subscription for all', async () => {
    const response = await dial(gateway, agent, modernRequest('subscriptions/listen', { notifications: { toolsListChanged: true, resourceSubscriptions: ['alpha+file:///readme.txt', 'alpha+file:///secret', 'beta+file:///x'] } }, { id: 's' }));
    const [chunk] = (await once(response, 'data')) as [Buffer];
    expect(JSON.parse(/data: (.*)/.exec(String(chunk))?.[1] ?? '')).toMatchObject({ method: 'notifications/subscriptions/acknowledged', params: { _meta: { 'io.modelcontextprotocol/subscriptionId': 's' } } });
    expect(String(chunk)).not.toContain('secret');
    response.destroy();
  });

  it('are not there for who has no grant on any', async () => {
    const stranger = gateway.agent('stranger', { organizationalUnits: ['nobody'] });
    expect((await ask('tools/list', {}, stranger)).answer.error?.data).toEqual({ code: 'ERR_MCP_DENIED' });
  });

  it('answer legacy clients where only those are served', async () => {
    const legacy = await startTestGateway({ policy, aggregate: true, eras: 'legacy', upstreams: [await startUpstream('v2', { name: 'alpha' })] });
    const session = await openSession(legacy, legacy.agent());
    expect(textIn((await session.post(callMessage(1, 'alpha__echo', { text: 'a' }))).answer)).toBe('a');
    expect((await askModern(legacy, legacy.agent(), 'tools/list')).status).toBe(400);
    await legacy.close();
  });

  it('say in what is put together which of them failed, to those who may use it', async () => {
    const failing = await startUpstream('http', { name: 'beta' });
    const partial = await startTestGateway({ policy, aggregate: true, upstreams: [await startUpstream('v2', { name: 'alpha' }), failing] });
    await failing.close();
    const { answer } = await askModern(partial, partial.agent(), 'tools/list');
    expect(namesIn(answer, 'tools').toSorted()).toEqual(['alpha__add', 'alpha__echo']);
    expect(answer.result?._meta).toMatchObject({ 'sallyport/unavailableUpstreams': ['beta'] });
    const called = await askModern(partial, partial.agent('guest', { organizationalUnits: ['guests'] }), 'tools/list');
    expect([called.status, called.answer.error?.data]).toEqual([502, { code: 'ERR_UPSTREAM_UNREACHABLE' }]);
    expect((await ask('tools/list')).answer.result?._meta).not.toHaveProperty('sallyport/unavailableUpstreams');
    await partial.close();
  });

  it('stay where they are, each on its own path', async () => {
    expect((await rawRequest(gateway, agent, modernRequest('tools/list', {}, { path: '/alpha/mcp' }))).status).toBe(200);
    expect((await rawRequest(gateway, agent, modernRequest('tools/list', {}, { path: '/delta/mcp' }))).status).toBe(404);
  });
});
