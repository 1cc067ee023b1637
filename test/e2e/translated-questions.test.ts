/** What an MCP server asks its client, and tells of, across the eras and through the whole gateway. */
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema, ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createIdentityFetch } from '../../src/bridge/index.ts';
import { createHttpUpstream } from '../../src/upstream/http.ts';
import { bridgeIdentity, startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { quietLog, startUpstream } from '../support/gateway-upstreams.ts';
import { startV2Modern } from '../support/mcp-servers/v2-modern.ts';
import type { V2Modern } from '../support/mcp-servers/v2-modern.ts';
import { askModern } from '../support/modern-requests.ts';
import type { TestIdentity } from '../support/pki.ts';

const text = (result: unknown): string | undefined => (result as { content?: { text?: string }[] }).content?.[0]?.text;

let gateway: TestGateway;
let modern: V2Modern;
let operator: TestIdentity;
const closers: (() => unknown)[] = [];
beforeAll(async () => {
  modern = await startV2Modern();
  gateway = await startTestGateway({
    upstreams: [
      ...(await Promise.all((['http', 'v1'] as const).map((kind) => startUpstream(kind, { name: kind })))),
      { kind: 'other', upstream: createHttpUpstream({ name: 'modern', url: modern.url, log: quietLog }), received: () => [], headers: () => [], sessions: () => [], close: () => modern.close() },
    ],
  });
  operator = gateway.agent('ops-1', { organizationalUnits: ['platform'] });
});
afterAll(async () => {
  for (const close of closers.toReversed()) await close();
  await gateway.close();
});

const fetchAs = (agent: TestIdentity): ReturnType<typeof createIdentityFetch> => {
  const fetch = createIdentityFetch({ identity: bridgeIdentity(gateway.pki, agent) });
  closers.push(() => fetch.close());
  return fetch;
};

describe.each(['http', 'v1'])('a modern client at the legacy server %s', (name) => {
  it('is asked what the server wants to know, and hears what it listens for', async () => {
    const client = new ClientV2({ name: 'asked', version: '1' }, { capabilities: { sampling: {}, elicitation: {}, roots: {} }, versionNegotiation: { mode: { pin: '2026-07-28' } } });
    client.setRequestHandler('sampling/createMessage', () => ({ role: 'assistant', model: 'm', content: { type: 'text', text: 'sampled' } }));
    client.setRequestHandler('elicitation/create', ({ params }) => ({ action: 'accept', content: { answer: `to ${params.message}` } }));
    client.setRequestHandler('roots/list', () => ({ roots: [{ uri: 'file:///root' }] }));
    const updated: string[] = [];
    client.setNotificationHandler('notifications/resources/updated', ({ params }) => void updated.push(params.uri));
    await client.connect(new TransportV2(new URL(`/${name}/mcp`, gateway.url), { fetch: fetchAs(gateway.agent(`asked-at-${name}`)) }));
    closers.push(() => client.close());
    expect(text(await client.callTool({ name: 'ask_model', arguments: { question: '?' } }))).toBe('sampled');
    expect(text(await client.callTool({ name: 'ask_user', arguments: { question: 'what' } }))).toBe('accept: to what');
    expect(text(await client.callTool({ name: 'list_roots', arguments: {} }))).toBe('file:///root');
    const listening = await client.listen({ resourceSubscriptions: ['file:///readme.txt', 'file:///reports/secret'], toolsListChanged: true });
    // What may not be read is not listened for.
    expect(listening.honoredFilter).toEqual({ toolsListChanged: true, resourceSubscriptions: ['file:///readme.txt'] });
    await client.callTool({ name: 'touch', arguments: { uri: 'file:///readme.txt' } });
    await expect.poll(() => updated).toEqual(['file:///readme.txt']);
    await listening.close();
  });
});

it('nobody answers the questions of another', async () => {
  const [asked, thief] = [gateway.agent('asked'), gateway.agent('thief')];
  const call = { name: 'ask_user', arguments: { question: 'what' } };
  const capabilities = { elicitation: {} };
  const first = await askModern(gateway, asked, 'tools/call', call, { capabilities });
  const { requestState } = first.answer.result as { requestState: string };
  expect(first.answer.result).toMatchObject({ resultType: 'input_required', inputRequests: { 'input-1': { method: 'elicitation/create', params: { message: 'what' } } } });
  const retry = { ...call, requestState, inputResponses: { 'input-1': { action: 'accept', content: { answer: 'mine' } } } };
  expect((await askModern(gateway, thief, 'tools/call', retry, { capabilities })).answer.error).toMatchObject({ code: -32602, data: { code: 'ERR_MCP_STATE' } });
  expect(text((await askModern(gateway, asked, 'tools/call', retry, { capabilities })).answer.result)).toBe('accept: mine');
});

describe('a legacy client at a modern server', () => {
  it('is asked what the server wants to know, hears what it subscribed to, and loses its session with its certificate', async () => {
    const client = new Client({ name: 'legacy', version: '1' }, { capabilities: { sampling: {}, elicitation: {}, roots: {} } });
    client.setRequestHandler(CreateMessageRequestSchema, () => ({ role: 'assistant', model: 'm', content: { type: 'text', text: 'sampled' } }));
    client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { answer: 'yes' } }));
    client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: 'file:///root' }] }));
    const updated: string[] = [];
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => void updated.push(params.uri));
    await client.connect(new StreamableHTTPClientTransport(new URL('/modern/mcp', gateway.url), { fetch: fetchAs(operator) }) as Transport);
    closers.push(() => client.close());
    expect(JSON.parse(text(await client.callTool({ name: 'ask_all', arguments: {} })) ?? '')).toEqual([{ answer: 'yes' }, { type: 'text', text: 'sampled' }, [{ uri: 'file:///root' }]]);
    expect(text(await client.callTool({ name: 'rounds', arguments: { count: 2 } }))).toBe('2 rounds');
    expect(text(await client.callTool({ name: 'region', arguments: { region: 'eu' } }))).toBe('eu');
    await client.subscribeResource({ uri: 'file:///readme.txt' });
    modern.notify.resourceUpdated('file:///readme.txt');
    await expect.poll(() => updated).toEqual(['file:///readme.txt']);
    expect(gateway.gateway.sessions.size).toBe(1);
    gateway.revoke(operator);
    await expect.poll(() => gateway.gateway.sessions.size).toBe(0);
    await expect(client.callTool({ name: 'region', arguments: { region: 'eu' } })).rejects.toThrow();
  });
});
