/** mcp.md rows 1 to 7, 14, 15, 17, 20 and 23 for revision 2026-07-28, before a server of that era and before one of the other. */
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dial, jsonHeaders, namesIn, rawRequest, textIn } from '../../support/gateway-requests.ts';
import { startTestGateway } from '../../support/gateway.ts';
import type { TestGateway } from '../../support/gateway.ts';
import type { UpstreamKind } from '../../support/gateway-upstreams.ts';
import { askModern, envelope, modern, modernRequest } from '../../support/modern-requests.ts';
import type { TestIdentity } from '../../support/pki.ts';

const meta = JSON.stringify(envelope());

describe.each<UpstreamKind>(['http', 'v2'])('with a %s upstream', (kind) => {
  let gateway: TestGateway;
  let agent: TestIdentity;
  beforeAll(async () => {
    gateway = await startTestGateway({ upstreams: [kind] });
    agent = gateway.agent();
    await askModern(gateway, agent, 'server/discover');
  });
  afterAll(() => gateway.close());
  const raw = (text: string, headers: Readonly<Record<string, string>> = {}) =>
    rawRequest(gateway, agent, { headers: [...jsonHeaders, ...Object.entries({ 'mcp-protocol-version': modern, 'mcp-method': 'tools/call', 'mcp-name': 'echo', ...headers })], body: text });
  const call = (params: string): string => `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${params}}`;
  const reached = (text: string): boolean => gateway.upstream.received().some((received) => received.includes(text));

  it.each([
    ['a batch', `[${call(`{"name":"echo","arguments":{},"_meta":${meta}}`)}]`],
    ['an envelope twice', call(`{"name":"echo","_meta":${meta},"_meta":${meta}}`)],
    ['a revision twice in its envelope', call(`{"name":"echo","_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25",${meta.slice(1)}}`)],
    ['a revision in another case beside it', call(`{"name":"echo","_meta":{"IO.modelcontextprotocol/protocolVersion":"2025-11-25",${meta.slice(1)}}`)],
    ['a name twice', call(`{"name":"echo","name":"delete_everything","_meta":${meta}}`)],
    ['a name in another case', call(`{"name":"echo","Name":"delete_everything","_meta":${meta}}`)],
    ['a request state twice', call(`{"name":"echo","requestState":"a","requestState":"b","_meta":${meta}}`)],
    ['a name that is no text', call(`{"name":["delete_everything"],"_meta":${meta}}`)],
    ['params that are a list', call('["delete_everything"]')],
  ])('%s is refused before anyone acts on it', async (_what, text) => {
    const before = gateway.upstream.received().length;
    expect((await raw(text)).status).toBe(400);
    expect(gateway.upstream.received()).toHaveLength(before);
    expect(gateway.evidence.events.at(-1)).toMatchObject({ outcome: 'denied' });
  });

  it('no header makes a denied call another one', async () => {
    const denied = { name: 'delete_everything', arguments: {} };
    for (const headers of [{ 'mcp-name': 'echo' }, { 'mcp-method': 'tools/list' }, { 'mcp-method': 'server/discover', 'mcp-name': undefined }, {}]) await askModern(gateway, agent, 'tools/call', denied, { headers });
    // Without the envelope it is a legacy call, and denied by the same policy.
    const dropped = await rawRequest(gateway, agent, { body: { jsonrpc: '2.0', id: 1, method: 'tools/call', params: denied } });
    expect(dropped.answer.error?.data).toEqual({ code: 'ERR_MCP_DENIED' });
    expect(reached('delete_everything')).toBe(false);
  });

  it.each(['Delete_everything', 'delete_everything ', 'delete\u200b_everything', 'dеlete_everything', 'ECHO', 'echo\u0000', 'ｅcho'])('the name %j is none of those granted', async (name) => {
    const { status, answer } = await askModern(gateway, agent, 'tools/call', { name, arguments: { text: 'x' } });
    expect(status === 400 || answer.error?.code === -32602).toBe(true);
  });

  it.each(['file:///reports/../secret', 'file:///reports/%2e%2e/secret', 'file:///reports%2fannual', 'FILE:///readme.txt', 'file://localhost/readme.txt', 'file:///./readme.txt', 'file:///readme.txt#x', 'file:///secret'])('the resource %s is not read', async (uri) => {
    expect((await askModern(gateway, agent, 'resources/read', { uri })).answer.error?.data).toEqual({ code: 'ERR_MCP_DENIED' });
  });

  it('what is listed can be called, and nothing else', async () => {
    const listed = namesIn((await askModern(gateway, agent, 'tools/list')).answer, 'tools');
    for (const name of ['echo', 'whoami', 'delete_everything', 'no_such_tool']) {
      const { answer } = await askModern(gateway, agent, 'tools/call', { name, arguments: { text: 'x' } });
      const isDenied = JSON.stringify(answer.error?.data ?? {}).includes('ERR_MCP_DENIED');
      expect([name, isDenied]).toEqual([name, !listed.includes(name)]);
    }
  });

  it('big integers keep every digit on the way back', async () => {
    expect((await askModern(gateway, agent, 'tools/call', { name: 'big_integer', arguments: {} })).body).toContain('12345678901234567890');
  });

  it('a rule about numbers is not satisfied by one that two readers read differently', async () => {
    const text = call(`{"name":"echo_number","arguments":{"value":100.00000000000000001},"_meta":${meta}}`);
    expect((await raw(text, { 'mcp-name': 'echo_number' })).answer.error?.data).toEqual({ code: 'ERR_MCP_ARGUMENTS' });
  });

  it('every list is private, whatever the server says of it', async () => {
    for (const method of ['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'server/discover']) {
      const { answer, headers } = await askModern(gateway, agent, method);
      expect([method, (answer.result as { cacheScope?: string } | undefined)?.cacheScope, headers['cache-control']]).toEqual([method, 'private', 'no-store']);
    }
  });

  it('a revoked certificate loses its listening stream at once, and its next request', async () => {
    const doomed = gateway.agent('agent-9');
    const response = await dial(gateway, doomed, modernRequest('subscriptions/listen', { notifications: { toolsListChanged: true } }));
    await once(response, 'data');
    const cut = new Promise((resolve) => response.once('error', resolve));
    gateway.revoke(doomed);
    await cut;
    // Refused at the handshake, in words, before the request is looked at.
    const refused = await askModern(gateway, doomed, 'tools/call', { name: 'echo', arguments: { text: 'x' } }).then(({ status }) => status, () => 'cut');
    expect([403, 'cut']).toContain(refused);
    expect(textIn((await askModern(gateway, agent, 'tools/call', { name: 'echo', arguments: { text: 'still here' } })).answer)).toBe('still here');
  });

  it('a body that is too large is answered 413', async () => {
    const { status } = await askModern(gateway, agent, 'tools/call', { name: 'echo', arguments: { text: 'x'.repeat(5 * 1024 * 1024) } });
    expect(status).toBe(413);
  });
});
