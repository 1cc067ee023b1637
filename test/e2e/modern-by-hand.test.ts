import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dial, jsonHeaders, namesIn, rawRequest, textIn } from '../support/gateway-requests.ts';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { askModern, envelope, modern, modernRequest } from '../support/modern-requests.ts';
import type { TestIdentity } from '../support/pki.ts';

let gateway: TestGateway;
let agent: TestIdentity;
beforeAll(async () => {
  gateway = await startTestGateway({ upstreams: ['v2'] });
  agent = gateway.agent();
});
afterAll(() => gateway.close());

describe('a modern request', () => {
  it('discovers what the MCP server offers, privately', async () => {
    const { status, answer, headers } = await askModern(gateway, agent, 'server/discover');
    expect(status).toBe(200);
    expect(answer.result).toMatchObject({ resultType: 'complete', supportedVersions: expect.arrayContaining([modern]), cacheScope: 'private' });
    expect(headers['cache-control']).toBe('no-store');
    expect(headers['mcp-session-id']).toBeUndefined();
  });

  it('lists what a call would be allowed, and calls it', async () => {
    const listed = await askModern(gateway, agent, 'tools/list');
    expect(namesIn(listed.answer, 'tools')).not.toContain('delete_everything');
    expect(listed.answer.result).toMatchObject({ cacheScope: 'private' });
    expect(textIn((await askModern(gateway, agent, 'tools/call', { name: 'echo', arguments: { text: 'über' } })).answer)).toBe('über');
  });

  it('is refused a denied tool exactly as one that does not exist', async () => {
    const [denied, unknown] = await Promise.all(['delete_everything', 'no_such_tool'].map((name) => askModern(gateway, agent, 'tools/call', { name, arguments: {} })));
    expect(denied?.status).toBe(200);
    expect(denied?.body).toBe(unknown?.body);
    expect(denied?.answer.error).toMatchObject({ code: -32602, message: 'not found or not permitted' });
  });

  it.each([
    ['initialize', {}], ['ping', {}], ['logging/setLevel', { level: 'info' }], ['resources/subscribe', { uri: 'file:///readme.txt' }], ['no/such', {}],
  ])('for %s is answered 404 with method not found', async (method, params) => {
    const { status, answer } = await askModern(gateway, agent, method, params);
    expect([status, answer.error?.code]).toStrictEqual([404, -32601]);
  });

  it.each<[string, Parameters<typeof askModern>[4], number]>([
    ['without MCP-Protocol-Version', { headers: { 'mcp-protocol-version': undefined } }, -32020],
    ['whose MCP-Protocol-Version is another', { headers: { 'mcp-protocol-version': '2025-11-25' } }, -32020],
    ['without Mcp-Method', { headers: { 'mcp-method': undefined } }, -32020],
    ['whose Mcp-Method is another', { headers: { 'mcp-method': 'tools/list' } }, -32020],
    ['whose Mcp-Method differs in case', { headers: { 'mcp-method': 'Tools/call' } }, -32020],
    ['without Mcp-Name', { headers: { 'mcp-name': undefined } }, -32020],
    ['whose Mcp-Name is another', { headers: { 'mcp-name': 'add' } }, -32020],
    ['whose Mcp-Name is no Base64', { headers: { 'mcp-name': '=?base64?ZWNobw?=' } }, -32020],
    ['of a revision that is not known', { meta: { 'io.modelcontextprotocol/protocolVersion': '2099-01-01' }, headers: { 'mcp-protocol-version': '2099-01-01' } }, -32022],
    ['of a legacy revision', { meta: { 'io.modelcontextprotocol/protocolVersion': '2025-11-25' }, headers: { 'mcp-protocol-version': '2025-11-25' } }, -32022],
    ['without clientCapabilities', { meta: { 'io.modelcontextprotocol/clientCapabilities': undefined } }, -32602],
    ['with clientCapabilities that are no object', { meta: { 'io.modelcontextprotocol/clientCapabilities': [] } }, -32602],
  ])('%s is answered 400, and not executed', async (_what, options, code) => {
    const before = gateway.upstream.received().length;
    const { status, answer } = await askModern(gateway, agent, 'tools/call', { name: 'echo', arguments: { text: 'x' } }, { ...options, id: 'seven' });
    expect([status, answer.error?.code, answer.id]).toStrictEqual([400, code, 'seven']);
    expect(gateway.upstream.received()).toHaveLength(before);
  });

  it('of a revision that is not known is told which are', async () => {
    const { answer } = await askModern(gateway, agent, 'tools/list', {}, { meta: { 'io.modelcontextprotocol/protocolVersion': '2099-01-01' }, headers: { 'mcp-protocol-version': '2099-01-01' } });
    expect(answer.error?.data).toStrictEqual({ code: 'ERR_MCP_REVISION_UNSUPPORTED', supported: [modern], requested: '2099-01-01' });
  });

  it('may say its name in Base64 and with spaces around it', async () => {
    const named = (name: string) => askModern(gateway, agent, 'tools/call', { name: 'echo', arguments: { text: 'ok' } }, { headers: { 'mcp-name': name } });
    expect(textIn((await named(`=?base64?${Buffer.from('echo').toString('base64')}?=`)).answer)).toBe('ok');
    expect(textIn((await named('  echo  ')).answer)).toBe('ok');
  });

  it('that only its header calls modern is not executed', async () => {
    const { status, answer } = await rawRequest(gateway, agent, {
      headers: [...jsonHeaders, ['mcp-protocol-version', modern], ['mcp-method', 'tools/call']], body: { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'echo', arguments: { text: 'x' } } },
    });
    expect([status, answer.error?.code]).toStrictEqual([400, -32602]);
  });

  it('comes alone: batches, responses and other HTTP methods have no place', async () => {
    const headers = [...jsonHeaders, ['mcp-protocol-version', modern] as const];
    const batch = await rawRequest(gateway, agent, { headers: jsonHeaders, body: [{ jsonrpc: '2.0', id: 1, method: 'tools/list', params: { _meta: envelope() } }] });
    const response = await rawRequest(gateway, agent, { headers, body: { jsonrpc: '2.0', id: 1, result: {} } });
    expect([batch.status, response.status]).toStrictEqual([400, 400]);
  });

  it('takes no session: its id is nothing to it', async () => {
    const raw = modernRequest('tools/list');
    expect((await rawRequest(gateway, agent, { ...raw, headers: [...(raw.headers ?? []), ['mcp-session-id', 'someone-elses']] })).status).toBe(200);
  });

  it('leaves an audit entry as every other', async () => {
    await askModern(gateway, agent, 'tools/call', { name: 'echo', arguments: { text: 'x' } });
    expect(gateway.evidence.events.at(-1)).toMatchObject({ action: 'request.decided', outcome: 'allowed', method: 'tools/call', name: 'echo' });
  });
});

describe('a subscription', () => {
  it('is cut down to what the principal may have, and says so first', async () => {
    const response = await dial(gateway, agent, modernRequest('subscriptions/listen', { notifications: { toolsListChanged: true, resourceSubscriptions: ['file:///readme.txt', 'file:///secret.txt'] } }, { id: 'sub-1' }));
    expect(response.headers['content-type']).toBe('text/event-stream');
    const [chunk] = (await once(response, 'data')) as [Buffer];
    const first = JSON.parse(/data: (.*)/.exec(String(chunk))?.[1] ?? '{}') as { method: string; params: { notifications: object; _meta: object } };
    expect(first.method).toBe('notifications/subscriptions/acknowledged');
    expect(first.params._meta).toMatchObject({ 'io.modelcontextprotocol/subscriptionId': 'sub-1' });
    expect(JSON.stringify(first.params.notifications)).not.toContain('secret');
    response.destroy();
  });
});

describe('a gateway of one era', () => {
  it('refuses the legacy era when it is modern', async () => {
    const strict = await startTestGateway({ upstreams: ['v2'], eras: 'modern' });
    const identity = strict.agent();
    const initialize = { jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'x', version: '1' } } };
    const answers = await Promise.all([
      rawRequest(strict, identity, { body: initialize }),
      rawRequest(strict, identity, { body: { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'echo', arguments: { text: 'x' } } } }),
      rawRequest(strict, identity, { method: 'GET', headers: [['accept', 'text/event-stream'], ['mcp-session-id', 'x']] }),
      askModern(strict, identity, 'tools/list'),
    ]);
    expect(answers.map(({ status }) => status)).toStrictEqual([400, 400, 405, 200]);
    expect(answers[0]?.answer.error).toMatchObject({ code: -32022, data: { supported: [modern], requested: '2025-11-25' } });
    await strict.close();
  });

  it('refuses the modern era when it is legacy', async () => {
    const strict = await startTestGateway({ upstreams: ['v2'], eras: 'legacy' });
    const { status, answer } = await askModern(strict, strict.agent(), 'server/discover');
    expect([status, answer.error?.code]).toStrictEqual([400, -32600]);
    await strict.close();
  });
});
