/** mcp.md rows 1, 6, 7, 14, 16: no way of asking gets a denied call executed, or tells it from an unknown one. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestGateway } from '../../support/gateway.ts';
import type { TestGateway } from '../../support/gateway.ts';
import { callMessage, jsonHeaders, namesIn, openSession, rawRequest, textIn } from '../../support/gateway-requests.ts';
import type { RawSession } from '../../support/gateway-requests.ts';
import type { UpstreamKind } from '../../support/gateway-upstreams.ts';
import type { TestIdentity } from '../../support/pki.ts';

describe.each<UpstreamKind>(['stdio', 'http', 'v1', 'v2'])('with a %s upstream', (kind) => {
  let gateway: TestGateway;
  let agent: TestIdentity;
  let session: RawSession;
  beforeAll(async () => {
    gateway = await startTestGateway({ upstreams: [kind] });
    agent = gateway.agent();
    session = await openSession(gateway, agent, { revision: '2025-03-26' });
  });
  afterAll(() => gateway.close());
  const executed = (tool: string): boolean => gateway.upstream.received().some((text) => text.includes(tool));

  it('a batch with a denied call is executed by no part', async () => {
    const before = gateway.upstream.received().length;
    const answer = await session.post([callMessage('a', 'echo', { text: 'rides along' }), callMessage('b', 'delete_everything')]);
    expect(answer.status).toBe(200);
    expect(answer.messages.map(({ id, error }) => [id, error?.data])).toEqual([['a', { code: 'ERR_MCP_BATCH_REFUSED' }], ['b', { code: 'ERR_MCP_DENIED' }]]);
    expect(gateway.upstream.received()).toHaveLength(before);
  });

  it('a batch of allowed calls is executed and every element recorded', async () => {
    const answer = await session.post([callMessage('c', 'echo', { text: 'one' }), callMessage('d', 'add', { a: 1, b: 2 })]);
    expect(answer.messages.map((message) => textIn(message)).toSorted()).toEqual(['3', 'one']);
    expect(gateway.evidence.of('request.decided').filter(({ name, outcome }) => outcome === 'allowed' && (name === 'echo' || name === 'add'))).toHaveLength(2);
  });

  it('a batch in a revision without batches is refused whole', async () => {
    const newer = await openSession(gateway, agent, { revision: '2025-06-18' });
    const before = gateway.upstream.received().length;
    const answer = await newer.post([callMessage('e', 'echo', { text: 'x' })]);
    expect([answer.status, answer.answer.error?.data]).toEqual([400, { code: 'ERR_MCP_BATCH' }]);
    expect(gateway.upstream.received()).toHaveLength(before);
    if (newer.id !== undefined) {
      // Leaving the header out does not change what the session agreed on.
      const dropped = await rawRequest(gateway, agent, { headers: [...jsonHeaders, ['mcp-session-id', newer.id]], body: [callMessage('f', 'echo', { text: 'x' })] });
      expect(dropped.status).toBe(400);
    }
  });

  it('a call without initialize and without session is decided all the same', async () => {
    const answer = await rawRequest(gateway, agent, { body: callMessage(1, 'delete_everything') });
    expect(answer.answer.error).toEqual({ code: -32602, message: 'not found or not permitted', data: { code: 'ERR_MCP_DENIED' } });
    expect(executed('delete_everything')).toBe(false);
  });

  it('what the list shows and what a call may do agree, tool by tool', async () => {
    const operator = await openSession(gateway, gateway.agent('ops-1', { organizationalUnits: ['platform'] }));
    const all = namesIn((await operator.post({ jsonrpc: '2.0', id: 1, method: 'tools/list' })).answer, 'tools');
    const shown = namesIn((await session.post({ jsonrpc: '2.0', id: 1, method: 'tools/list' })).answer, 'tools');
    expect(all).toContain('delete_everything');
    expect(shown).not.toContain('delete_everything');
    for (const name of all.filter((one) => !shown.includes(one))) {
      expect((await session.post(callMessage(`deny-${name}`, name))).answer.error?.data).toEqual({ code: 'ERR_MCP_DENIED' });
    }
    // Those that ask the client something wait for its answer.
    for (const name of shown.filter((one) => !/^(?:ask_|list_roots)/.test(one))) {
      const { error } = (await session.post(callMessage(`allow-${name}`, name, { value: 'refused' }))).answer;
      expect(error?.data).not.toEqual({ code: 'ERR_MCP_DENIED' });
    }
    const readable = namesIn((await session.post({ jsonrpc: '2.0', id: 2, method: 'resources/list' })).answer, 'resources');
    expect(readable.toSorted()).toEqual(['file:///readme.txt', 'file:///reports/annual', 'file:///reports/weekly']);
    expect((await session.post({ jsonrpc: '2.0', id: 3, method: 'resources/read', params: { uri: 'file:///reports/secret' } })).answer.error?.data).toEqual({ code: 'ERR_MCP_DENIED' });
    expect((await session.post({ jsonrpc: '2.0', id: 4, method: 'resources/read', params: { uri: 'file:///reports/annual' } })).answer.result?.['contents']).toMatchObject([{ text: 'report annual' }]);
    expect(namesIn((await session.post({ jsonrpc: '2.0', id: 5, method: 'prompts/list' })).answer, 'prompts')).toEqual(['greet']);
    expect((await session.post({ jsonrpc: '2.0', id: 6, method: 'prompts/get', params: { name: 'confidential' } })).answer.error?.data).toEqual({ code: 'ERR_MCP_DENIED' });
  });

  it.each(['Echo', 'echo ', 'ｅcho', 'ec\u200bho', 'e\u0441ho', 'delete_everythıng'])('the look-alike name %j is another tool', async (name) => {
    const answer = await session.post(callMessage('look', name, { text: 'x' }));
    expect(answer.answer.error?.data).toEqual({ code: 'ERR_MCP_DENIED' });
  });

  it.each([['a number', 7], ['an array', ['echo']], ['null', null], ['an object', { toString: 'echo' }]])('a name that is %s is refused', async (_what, name) => {
    const before = gateway.upstream.received().length;
    const answer = await session.post({ jsonrpc: '2.0', id: 9, method: 'tools/call', params: { name, arguments: {} } });
    expect([answer.status, answer.answer.id, answer.answer.error?.data]).toEqual([400, 9, { code: 'ERR_MCP_INVALID_REQUEST' }]);
    expect(gateway.upstream.received()).toHaveLength(before);
  });

  it('a denied tool, prompt, resource and an unknown one get one answer, and only the audit log knows which rule', async () => {
    const of = async (message: object) => {
      const { status, headers, body } = await session.post(message);
      return { status, body, type: headers['content-type'] };
    };
    for (const [denied, unknown] of [
      [callMessage(1, 'delete_everything'), callMessage(1, 'no_such_tool')],
      [{ jsonrpc: '2.0', id: 1, method: 'prompts/get', params: { name: 'confidential' } }, { jsonrpc: '2.0', id: 1, method: 'prompts/get', params: { name: 'nothing' } }],
      [{ jsonrpc: '2.0', id: 1, method: 'resources/read', params: { uri: 'file:///reports/secret' } }, { jsonrpc: '2.0', id: 1, method: 'resources/read', params: { uri: 'file:///nothing' } }],
    ] as const) expect(await of(denied)).toEqual(await of(unknown));
    expect(gateway.evidence.of('request.decided').findLast(({ name }) => name === 'delete_everything')).toMatchObject({ outcome: 'denied', reason: 'noGrant', agent: 'agent-7', method: 'tools/call' });
  });

  it('arguments outside the rule are refused before the server sees them, and inside it they pass', async () => {
    if (kind === 'v2') return;
    const refused = await session.post(callMessage(1, 'echo_number', { value: 101 }));
    expect(refused.answer.error).toEqual({ code: -32602, message: 'these arguments are not permitted', data: { code: 'ERR_MCP_ARGUMENTS' } });
    expect(executed('101')).toBe(false);
    expect(textIn((await session.post(callMessage(2, 'echo_number', { value: 100 }))).answer)).toBe('100');
    const entry = gateway.evidence.of('request.decided').findLast(({ name, outcome }) => name === 'echo_number' && outcome === 'denied');
    expect(entry).toMatchObject({ reason: 'argumentsRefused', argumentDigest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) });
    expect(JSON.stringify(entry)).not.toContain('101,');
  });

  it('a method outside the table is answered by the gateway', async () => {
    const before = gateway.upstream.received().length;
    for (const method of ['server/discover', 'tasks/update', 'tools/callx', 'Tools/call', 'rpc.discover', 'sampling/createMessage']) {
      expect((await session.post({ jsonrpc: '2.0', id: 1, method })).answer.error).toEqual({ code: -32601, message: 'method not found', data: { code: 'ERR_MCP_METHOD' } });
    }
    // A call without id is no notification of MCP.
    expect((await session.post({ jsonrpc: '2.0', method: 'tools/call', params: { name: 'delete_everything' } })).status).toBe(202);
    expect(gateway.upstream.received()).toHaveLength(before);
  });
});
