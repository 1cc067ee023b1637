/** Cursors, request states and task ids: what a client is given comes back from it alone, for what it was given. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parsePolicy } from '../../src/policy/load.ts';
import { openSession } from '../support/gateway-requests.ts';
import type { Answered, RawAnswer } from '../support/gateway-requests.ts';
import { handlerUpstream } from '../support/gateway-upstreams.ts';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { scripted } from '../support/mcp-servers/scripted.ts';
import type { Scripted } from '../support/mcp-servers/scripted.ts';
import { askModern } from '../support/modern-requests.ts';
import type { TestIdentity } from '../support/pki.ts';

const policy = (...tools: readonly string[]): string => `
roles:
  builder: { grants: [{ upstream: "*", tools: ${JSON.stringify(tools)}, prompts: [greet], resources: ["file:///open/**"] }] }
bindings: [{ role: builder, when: { organizationalUnit: analytics } }]
`;
const tasksExtension = { extensions: { 'io.modelcontextprotocol/tasks': {} } };
const relatedTask = 'io.modelcontextprotocol/related-task';
const content = [{ type: 'text', text: 'built' }, { type: 'resource_link', uri: 'file:///closed/a', name: 'a' }, { type: 'resource', resource: { uri: 'file:///open/b', text: 'b' } }];
const kept = [content[0], content[2]];
const upstreamTask = 'upstream-task-1';

let server: Scripted;
let gateway: TestGateway;
let mine: TestIdentity;
let theirs: TestIdentity;

beforeAll(async () => {
  const task = { taskId: upstreamTask, status: 'working', createdAt: '2026-11-01T00:00:00Z', lastUpdatedAt: '2026-11-01T00:00:00Z' };
  const isModern = (params: Record<string, unknown>): boolean => JSON.stringify(params._meta ?? {}).includes('protocolVersion');
  server = scripted({
    'tools/list': ({ params }) => ({ result: { tools: [{ name: 'build', inputSchema: { type: 'object' } }, { name: 'destroy', inputSchema: { type: 'object' } }], ...(params.cursor === undefined ? { nextCursor: 'upstream-cursor-2' } : {}) } }),
    'tools/call': ({ params }) => {
      if (params.name === 'deploy') {
        if (params.requestState === undefined) return { result: { resultType: 'input_required', inputRequests: { sure: { method: 'elicitation/create', params: { message: 'Sure?', requestedSchema: { type: 'object', properties: {} } } } }, requestState: 'upstream-state-1' } };
        return { result: { resultType: 'complete', content: [{ type: 'text', text: `resumed from ${String(params.requestState)}` }] } };
      }
      if (isModern(params)) return { result: { resultType: 'task', ...task, ttlMs: null } };
      return params.task === undefined ? { result: { content } } : { result: { task: { ...task, ttl: null }, _meta: { [relatedTask]: { taskId: upstreamTask } } } };
    },
    'tasks/get': ({ params }) => {
      if (params.taskId !== upstreamTask) return { error: { code: -32602, message: `no task ${String(params.taskId)}` } };
      return { result: { ...task, status: 'completed', ...(isModern(params) ? { resultType: 'complete', result: { content } } : {}) } };
    },
    'tasks/result': ({ params }) => ({
      before: [{ method: 'notifications/tasks/status', params: { ...task, status: 'completed' } }, { method: 'notifications/tasks/status', params: { ...task, taskId: 'of-another' } }],
      result: { content, _meta: { [relatedTask]: { taskId: params.taskId } } },
    }),
    'tasks/cancel': ({ params }) => (isModern(params) ? { result: { resultType: 'complete' } } : { error: { code: -32602, message: `Cannot cancel task ${String(params.taskId)}: it has ended` } }),
    'tasks/update': () => ({ result: { resultType: 'complete' } }),
    'tasks/list': () => ({ result: { tasks: [task, { ...task, taskId: 'of-another' }], nextCursor: 'tasks-2' } }),
    'prompts/get': () => ({ result: { messages: content.map((block) => ({ role: 'user', content: block })) } }),
  });
  gateway = await startTestGateway({ policy: policy('build', 'deploy'), upstreams: [handlerUpstream(server.handler)] });
  mine = gateway.agent();
  theirs = gateway.agent('agent-8');
});
afterAll(() => gateway.close());

const unsealed = /upstream-(cursor|state|task)/;
const codeOf = ({ answer }: RawAnswer): unknown => (answer.error?.data as { code?: unknown } | undefined)?.code;
const lastAsked = () => server.requests.at(-1);

describe.each(['legacy', 'modern'] as const)('in the %s era', (era) => {
  /** One request of an agent, in its own session where there are sessions. */
  const ask = async (identity: TestIdentity, method: string, params: Record<string, unknown> = {}): Promise<RawAnswer> =>
    era === 'modern' ? askModern(gateway, identity, method, params, { capabilities: tasksExtension }) : (await openSession(gateway, identity)).post({ jsonrpc: '2.0', id: 1, method, params });
  const resultOf = async (...args: Parameters<typeof ask>): Promise<Record<string, unknown>> => {
    const answer = await ask(...args);
    expect(answer.body).not.toMatch(unsealed);
    return answer.answer.result ?? {};
  };

  it('the next page is for whom the last one was for', async () => {
    const { nextCursor } = await resultOf(mine, 'tools/list');
    expect(await resultOf(mine, 'tools/list', { cursor: nextCursor })).not.toHaveProperty('nextCursor');
    expect(lastAsked()?.params.cursor).toBe('upstream-cursor-2');
    const before = server.requests.length;
    const refused = [await ask(theirs, 'tools/list', { cursor: nextCursor }), await ask(mine, 'prompts/list', { cursor: nextCursor }), await ask(mine, 'tools/list', { cursor: 'upstream-cursor-2' }), await ask(mine, 'tools/list', { cursor: 7 })];
    expect(refused.map((answer) => [answer.status, codeOf(answer), answer.answer.error?.code])).toStrictEqual(refused.map(() => [200, 'ERR_MCP_CURSOR', -32602]));
    expect(server.requests.slice(before).filter(({ method }) => method.endsWith('/list'))).toStrictEqual([]);
    expect(gateway.evidence.events.at(-1)).toMatchObject({ action: 'request.decided', outcome: 'denied', method: 'tools/list', reason: 'ERR_MCP_CURSOR' });
  });

  it('a task is its owner\'s, under one id, and its result shows no more than its tool\'s', async () => {
    const make = async (): Promise<unknown> => {
      const result = await resultOf(mine, 'tools/call', { name: 'build', arguments: {}, ...(era === 'legacy' ? { task: { ttl: 60_000 } } : {}) });
      return era === 'legacy' ? (result.task as { taskId: unknown }).taskId : result.taskId;
    };
    const taskId = await make();
    expect(await make()).toBe(taskId);
    const got = await resultOf(mine, 'tasks/get', { taskId });
    expect(got).toMatchObject({ taskId, status: 'completed', ...(era === 'modern' ? { result: { content: kept } } : {}) });
    expect(lastAsked()?.params.taskId).toBe(upstreamTask);
    if (era === 'modern') expect(lastAsked()?.headers['mcp-name']).toBe(upstreamTask);
    const before = server.requests.filter(({ method }) => method.startsWith('tasks/')).length;
    const refused = [await ask(theirs, 'tasks/get', { taskId }), await ask(mine, 'tasks/get', { taskId: upstreamTask }), await ask(mine, 'tasks/get', { taskId: 'garbage' }), await ask(theirs, 'tasks/cancel', { taskId }), await ask(mine, 'tasks/cancel', {})];
    expect(new Set(refused.map(({ status, body }) => `${status} ${body}`))).toStrictEqual(new Set(['200 {"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"task not found","data":{"code":"ERR_MCP_TASK_UNKNOWN"}}}']));
    gateway.gateway.gate.replacePolicy(parsePolicy(policy('deploy')));
    try {
      expect((await ask(mine, 'tasks/get', { taskId })).body).toBe(refused[0]?.body);
      expect(gateway.evidence.events.at(-1)).toMatchObject({ method: 'tasks/get', name: 'build', reason: 'noGrant' });
    } finally {
      gateway.gateway.gate.replacePolicy(parsePolicy(policy('build', 'deploy')));
    }
    expect(server.requests.filter(({ method }) => method.startsWith('tasks/'))).toHaveLength(before);
  });
});

describe('in the modern era', () => {
  const ask = (identity: TestIdentity, method: string, params: Record<string, unknown>, capabilities: object = {}) => askModern(gateway, identity, method, params, { capabilities });

  it('a request goes on where it stopped, for the same principal and tool', async () => {
    const first = await ask(mine, 'tools/call', { name: 'deploy', arguments: { to: 'test' } }, { elicitation: {} });
    expect(first.body).not.toMatch(unsealed);
    const { requestState } = first.answer.result ?? {};
    const retry = { name: 'deploy', arguments: { to: 'prod' }, inputResponses: { sure: { action: 'accept' } }, requestState };
    expect((await ask(mine, 'tools/call', retry)).answer.result).toMatchObject({ content: [{ text: 'resumed from upstream-state-1' }] });
    const before = server.requests.length;
    const refused = [await ask(theirs, 'tools/call', retry), await ask(mine, 'tools/call', { ...retry, name: 'build' }), await ask(mine, 'tools/call', { ...retry, requestState: 'upstream-state-1' }), await ask(mine, 'prompts/get', { name: 'greet', requestState })];
    expect(refused.map((answer) => [answer.status, codeOf(answer)])).toStrictEqual(refused.map(() => [200, 'ERR_MCP_STATE']));
    gateway.clock.offsetMs += 3_600_001;
    expect(codeOf(await ask(mine, 'tools/call', retry))).toBe('ERR_MCP_STATE');
    gateway.clock.offsetMs = 0;
    gateway.gateway.gate.replacePolicy(parsePolicy(policy('build')));
    expect(codeOf(await ask(mine, 'tools/call', retry))).toBe('ERR_MCP_DENIED');
    gateway.gateway.gate.replacePolicy(parsePolicy(policy('build', 'deploy')));
    expect(server.requests).toHaveLength(before);
  });

  it('tasks are for clients that say they know them', async () => {
    const { status, answer } = await ask(mine, 'tasks/get', { taskId: 'whatever' });
    expect([status, answer.error?.code, answer.error?.data]).toStrictEqual([400, -32021, { code: 'ERR_MCP_CAPABILITY', requiredCapabilities: { extensions: { 'io.modelcontextprotocol/tasks': {} } } }]);
  });

  it.each(['tasks/result', 'tasks/list'])('%s does not exist', async (method) => {
    const { status, answer } = await ask(mine, method, { taskId: 'x' }, tasksExtension);
    expect([status, answer.error?.code]).toStrictEqual([404, -32601]);
  });
});

describe('through the aggregate endpoint', () => {
  it('tasks and states find their way back to the upstream they are from', async () => {
    const second = scripted({ 'tools/call': () => ({ result: { resultType: 'task', taskId: upstreamTask, status: 'working' } }), 'tasks/get': ({ params }) => ({ result: { resultType: 'complete', taskId: params.taskId, status: 'of the second' } }) });
    const all = await startTestGateway({ policy: policy('build', 'deploy'), aggregate: true, upstreams: [handlerUpstream(server.handler, 'a'), handlerUpstream(second.handler, 'b')] });
    try {
      const agent = all.agent();
      const ask = async (method: string, params: Record<string, unknown>): Promise<Record<string, unknown>> => {
        const answer = await askModern(all, agent, method, params, { capabilities: { elicitation: {}, ...tasksExtension }, path: '/mcp' });
        return answer.answer.result ?? { refused: codeOf(answer) };
      };
      const [a, b] = [await ask('tools/call', { name: 'a__build', arguments: {} }), await ask('tools/call', { name: 'b__build', arguments: {} })];
      expect(a.taskId).not.toBe(b.taskId);
      expect(await ask('tasks/get', { taskId: a.taskId })).toMatchObject({ taskId: a.taskId, status: 'completed' });
      expect(await ask('tasks/get', { taskId: b.taskId })).toMatchObject({ taskId: b.taskId, status: 'of the second' });
      expect(await ask('tasks/get', { taskId: upstreamTask })).toStrictEqual({ refused: 'ERR_MCP_TASK_UNKNOWN' });
      const { requestState } = await ask('tools/call', { name: 'a__deploy', arguments: {} });
      expect(await ask('tools/call', { name: 'a__deploy', arguments: {}, requestState, inputResponses: {} })).toMatchObject({ content: [{ text: 'resumed from upstream-state-1' }] });
      expect(await ask('tools/call', { name: 'b__deploy', arguments: {}, requestState, inputResponses: {} })).toStrictEqual({ refused: 'ERR_MCP_STATE' });
    } finally {
      await all.close();
    }
  });
});

describe('in the legacy era', () => {
  it('a result tells of its own task alone, and a list shows own tasks alone', async () => {
    const session = await openSession(gateway, mine);
    const post = async (method: string, params: object): Promise<readonly Answered[]> => (await session.post({ jsonrpc: '2.0', id: 1, method, params })).messages;
    const [created] = await post('tools/call', { name: 'build', arguments: {}, task: {} });
    const taskId = String((created?.result?.task as { taskId?: string } | undefined)?.taskId);
    expect(created?.result?._meta).toStrictEqual({ [relatedTask]: { taskId } });
    const [note, result, ...more] = await post('tasks/result', { taskId });
    expect([note?.method, note?.params?.taskId, more]).toStrictEqual(['notifications/tasks/status', taskId, []]);
    expect(result?.result).toStrictEqual({ content: kept, _meta: { [relatedTask]: { taskId } } });
    const [listed] = await post('tasks/list', {});
    expect(listed?.result?.tasks).toMatchObject([{ taskId }]);
    const [second] = await post('tasks/list', { cursor: listed?.result?.nextCursor });
    expect(second?.result?.tasks).toHaveLength(1);
    expect(server.requests.at(-1)?.params.cursor).toBe('tasks-2');
    const [failed] = await post('tasks/cancel', { taskId });
    expect(failed?.error).toStrictEqual({ code: -32602, message: `Cannot cancel task ${taskId}: it has ended` });
    const others = await openSession(gateway, theirs);
    expect((await others.post({ jsonrpc: '2.0', id: 1, method: 'tasks/list' })).answer.result?.tasks).toStrictEqual([]);
  });

  it('links in prompts and results follow the resources that are granted', async () => {
    const session = await openSession(gateway, mine);
    const { answer } = await session.post({ jsonrpc: '2.0', id: 1, method: 'prompts/get', params: { name: 'greet' } });
    expect(answer.result?.messages).toStrictEqual(kept.map((block) => ({ role: 'user', content: block })));
    expect((await session.post({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'build' } })).answer.result?.content).toStrictEqual(kept);
  });
});
