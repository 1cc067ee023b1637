import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { clientCapabilitiesKey, relatedTaskKey, tasksExtension } from '../../src/mcp/envelope.ts';
import { readMessages } from '../../src/mcp/read-messages.ts';
import type { Era } from '../../src/mcp/revisions.ts';
import { SealedValues } from '../../src/mcp/sealed-values.ts';
import type { Side } from '../../src/mcp/sealed-values.ts';
import { Sealer } from '../../src/mcp/sealing.ts';
import type { Action } from '../../src/policy/decision.ts';
import { systemRandomness } from '../../src/system.ts';

const newValues = (stateLifetimeMs?: number) => {
  const clock = { ms: 1_000_000, now: () => new Date(clock.ms) };
  const sealer = new Sealer({ key: systemRandomness.bytes(32), randomness: systemRandomness });
  return { clock, sealer, values: new SealedValues({ sealer, clock, ...(stateLifetimeMs === undefined ? {} : { stateLifetimeMs }) }) };
};
const { values } = newValues();
const sideOf = (principalId: string, upstream = 'files', allows: (action: Action) => boolean = () => true): Side => ({ principalId, upstream, allows });
const mine = sideOf('cn:agent-7');
const others: readonly [string, Side][] = [['another principal', sideOf('cn:thief')], ['another upstream', sideOf('cn:agent-7', 'other')]];

const read = (value: unknown) => readMessages(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
const request = (method: string, params?: object) => ({ jsonrpc: '2.0', id: 1, method, ...(params === undefined ? {} : { params }) });
const open = (value: unknown, side: Side = mine, era: Era = 'legacy', from = values) => from.open(read(value), { ...side, era });
const paramsOf = (opened: ReturnType<typeof open>) => opened.messages.map((message) => (message.kind === 'response' ? message.result : message.params));
const invalid = expect.objectContaining({ code: 'ERR_UPSTREAM_INVALID' });
/** What readers of its parts must agree on. */
const expectOne = (opened: ReturnType<typeof open>) => {
  expect(JSON.parse(opened.text)).toStrictEqual(opened.value);
  expect(opened.messages).toStrictEqual(read(opened.text).messages);
};
const texts = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }), fc.constantFrom('', '\ud800', '\0', '=?base64?eA==?='));

describe('cursors', () => {
  const lists = ['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'tasks/list'];
  const seal = (method: string, nextCursor: unknown, side = mine) => values.result({ method, params: {} }, { tasks: [], nextCursor, x: 1 }, side).nextCursor;

  test('come back as they were, whatever stands in them, and everything else stays', () => {
    fc.assert(
      fc.property(fc.constantFrom(...lists), texts, fc.jsonValue(), (method, cursor, other) => {
        const sealed = seal(method, cursor);
        expect(sealed).toMatch(/^[A-Za-z0-9_-]{38,}$/);
        const given = { jsonrpc: '2.0', id: 1, method, params: { cursor: sealed, other } };
        const opened = values.open({ ...read(request(method, { cursor: sealed })), value: given, text: JSON.stringify(given) }, { ...mine, era: 'modern' });
        expect(JSON.parse(opened.text)).toStrictEqual(JSON.parse(JSON.stringify({ ...given, params: { cursor, other } })));
        expect(opened.value).toStrictEqual({ ...given, params: { cursor, other } });
      }),
      { numRuns: 100 },
    );
  });

  test('keep every number and every member of the request as it was given', () => {
    const sealed = String(seal('tools/list', 'page 2'));
    const opened = open(`{"id":1,"params":{"_meta":{"n":12345678901234567890,"f":1.0},"cursor":"${sealed}","z":[-0]},"jsonrpc":"2.0","method":"tools/list"}`);
    expect(opened.text).toBe('{"id":1,"params":{"_meta":{"n":12345678901234567890,"f":1.0},"cursor":"page 2","z":[-0]},"jsonrpc":"2.0","method":"tools/list"}');
    expect(opened.findings).toStrictEqual([undefined]);
    expectOne(opened);
  });

  test('of one page are the same, so that a client sees a circle', () => {
    expect(seal('tools/list', 'x')).toBe(seal('tools/list', 'x'));
    expect(seal('tools/list', 'x')).not.toBe(seal('tools/list', 'y'));
  });

  test.each(others)('do not open for %s', (_who, side) => {
    expect(open(request('tools/list', { cursor: seal('tools/list', 'x') }), side).findings).toStrictEqual([{ refused: 'ERR_MCP_CURSOR' }]);
  });

  test('do not open for another list, nor as anything else', () => {
    const cursor = seal('tools/list', 'x');
    expect(open(request('prompts/list', { cursor })).findings).toStrictEqual([{ refused: 'ERR_MCP_CURSOR' }]);
    expect(open(request('tasks/get', { taskId: cursor })).findings).toStrictEqual([{ refused: 'ERR_MCP_TASK_UNKNOWN' }]);
    expect(open(request('tools/call', { name: 'echo', requestState: cursor })).findings).toStrictEqual([{ refused: 'ERR_MCP_STATE' }]);
  });

  test('that are none, or no text, are refused', () => {
    fc.assert(fc.property(fc.oneof(fc.jsonValue(), texts, fc.base64String()), (cursor) => {
      expect(values.open({ ...read(request('tools/list')), messages: [{ kind: 'request', id: 1, method: 'tools/list', params: { cursor } }] }, { ...mine, era: 'legacy' }).findings).toStrictEqual([{ refused: 'ERR_MCP_CURSOR' }]);
    }), { numRuns: 200 });
  });

  test('are left alone where MCP has none, and where a server says null', () => {
    const call = request('tools/call', { name: 'echo', cursor: 'x' });
    const given = read(call);
    expect(values.open(given, { ...mine, era: 'legacy' })).toBe(given);
    const result = { content: [], nextCursor: 'x' };
    expect(values.result({ method: 'tools/call', params: { name: 'echo' } }, result, mine)).toBe(result);
    expect(seal('tools/list', null)).toBeNull();
    expect(() => seal('tools/list', 7)).toThrow(invalid);
  });

  test('each of a batch is opened by itself', () => {
    const cursor = seal('tools/list', 'x');
    const opened = open([request('tools/list', { cursor }), { jsonrpc: '2.0', method: 'notifications/initialized' }, { ...request('prompts/list', { cursor }), id: 2 }]);
    expect(opened.findings).toStrictEqual([undefined, undefined, { refused: 'ERR_MCP_CURSOR' }]);
    expect(paramsOf(opened)).toStrictEqual([{ cursor: 'x' }, undefined, { cursor }]);
    expectOne(opened);
  });
});

describe('request states', () => {
  const call = { method: 'tools/call', params: { name: 'deploy', arguments: { to: 'prod' } } };
  const seal = (requestState: unknown, of: { method: string; params: Record<string, unknown> } = call, from = values) => from.result(of, { resultType: 'input_required', inputRequests: {}, requestState }, mine).requestState;
  const retry = (requestState: unknown, method = 'tools/call', params: object = { name: 'deploy' }) => request(method, { ...params, inputResponses: {}, requestState });

  test('come back as they were, with other arguments too', () => {
    fc.assert(fc.property(texts, fc.array(fc.double({ noNaN: true })), (state, to) => {
      const opened = open(retry(seal(state)), mine, 'modern');
      expect(paramsOf(opened)).toStrictEqual([{ name: 'deploy', inputResponses: {}, requestState: state }]);
      expect(opened.findings).toStrictEqual([undefined]);
      const changed = open(retry(seal(state), 'tools/call', { name: 'deploy', arguments: { to } }), mine, 'modern');
      expect(JSON.parse(changed.text)).toStrictEqual(changed.value);
    }), { numRuns: 50 });
  });

  test.each(others)('do not open for %s', (_who, side) => {
    expect(open(retry(seal('s')), side, 'modern').findings).toStrictEqual([{ refused: 'ERR_MCP_STATE' }]);
  });

  test.each<[string, object]>([['tools/call', { name: 'destroy' }], ['tools/call', { name: ['deploy'] }], ['tools/call', {}], ['prompts/get', { name: 'deploy' }], ['resources/read', { uri: 'deploy' }], ['tools/list', {}]])('do not open for %s %j', (method, params) => {
    expect(open(retry(seal('s'), method, params), mine, 'modern').findings).toStrictEqual([{ refused: 'ERR_MCP_STATE' }]);
  });

  test.each<[string, Record<string, unknown>]>([['resources/read', { uri: 'file:///a' }], ['prompts/get', { name: 'greet' }]])('of %s belong to what it names', (method, params) => {
    const state = seal('s', { method, params });
    expect(open(retry(state, method, params), mine, 'modern').findings).toStrictEqual([undefined]);
    expect(open(retry(state, method, Object.fromEntries(Object.keys(params).map((name) => [name, 'other']))), mine, 'modern').findings).toStrictEqual([{ refused: 'ERR_MCP_STATE' }]);
  });

  test('run out', () => {
    const own = newValues(5_000);
    const state = seal('s', call, own.values);
    own.clock.ms += 5_000;
    expect(open(retry(state), mine, 'modern', own.values).findings).toStrictEqual([undefined]);
    own.clock.ms += 1;
    expect(open(retry(state), mine, 'modern', own.values).findings).toStrictEqual([{ refused: 'ERR_MCP_STATE' }]);
  });

  test('do not show their value, nor that it is the same', () => {
    expect(seal('s')).not.toBe(seal('s'));
  });

  test('any changed letter closes them', () => {
    const state = String(seal('s'));
    for (let index = 0; index < state.length; index += 7) {
      const changed = state.slice(0, index) + (state[index] === 'A' ? 'B' : 'A') + state.slice(index + 1);
      expect(open(retry(changed), mine, 'modern').findings).toStrictEqual([{ refused: 'ERR_MCP_STATE' }]);
    }
  });

  test('that are no text are refused in requests, and an error of the server in results', () => {
    for (const state of [null, 7, {}, [], true]) {
      expect(open(retry(state), mine, 'modern').findings).toStrictEqual([{ refused: 'ERR_MCP_STATE' }]);
      expect(() => seal(state)).toThrow(invalid);
    }
  });
});

describe('tasks', () => {
  const create = (taskId: unknown, { name = 'build', side = mine, from = values, meta = {} } = {}) => from.result({ method: 'tools/call', params: { name, _meta: meta } }, { resultType: 'task', taskId, status: 'working' }, side).taskId;
  const declared = { _meta: { [clientCapabilitiesKey]: { extensions: { [tasksExtension]: {} } } } };

  test('of both eras leave sealed, and the same task has always the same id', () => {
    const legacy = values.result({ method: 'tools/call', params: { name: 'build', task: {} } }, { task: { taskId: 'T1', status: 'working', ttl: 12 }, _meta: { [relatedTaskKey]: { taskId: 'T1' } } }, mine);
    expect(legacy).toStrictEqual({ task: { taskId: create('T1'), status: 'working', ttl: 12 }, _meta: { [relatedTaskKey]: { taskId: create('T1') } } });
    expect(create('upstream-id')).not.toContain('upstream-id');
    expect(create('T1')).not.toBe(create('T1', { side: sideOf('cn:thief') }));
  });

  test.each(['tasks/get', 'tasks/result', 'tasks/update', 'tasks/cancel'])('%s goes on with the upstream\'s id, and the gate learns the tool', (method) => {
    const opened = open(request(method, { taskId: create('T2'), ...declared }), mine, 'modern');
    expect(paramsOf(opened)).toStrictEqual([{ taskId: 'T2', ...declared }]);
    expect(opened.findings).toStrictEqual([{ tools: ['build'] }]);
    expectOne(opened);
  });

  test.each(others)('are unknown to %s', (_who, side) => {
    expect(open(request('tasks/get', { taskId: create('T2') }), side).findings).toStrictEqual([{ refused: 'ERR_MCP_TASK_UNKNOWN' }]);
  });

  test('that were not given out are unknown, the upstream\'s own id first of all', () => {
    create('T2');
    for (const taskId of ['T2', '', 'x'.repeat(80), 7, null, {}, undefined]) expect(open(request('tasks/result', { taskId })).findings).toStrictEqual([{ refused: 'ERR_MCP_TASK_UNKNOWN' }]);
    fc.assert(fc.property(fc.oneof(texts, fc.uint8Array({ maxLength: 90 }).map((bytes) => Buffer.from(bytes).toString('base64url'))), (taskId) => {
      expect(values.open({ ...read(request('tasks/get')), messages: [{ kind: 'request', id: 1, method: 'tasks/get', params: { taskId } }] }, { ...mine, era: 'legacy' }).findings).toStrictEqual([{ refused: 'ERR_MCP_TASK_UNKNOWN' }]);
    }), { numRuns: 100 });
  });

  test('need the client capability in the modern era, and no id is looked at without', () => {
    for (const taskId of [create('T2'), 'garbage']) {
      expect(() => open(request('tasks/get', { taskId }), mine, 'modern')).toThrow(expect.objectContaining({ code: 'ERR_MCP_CAPABILITY', facts: { id: 1, requiredCapabilities: ['extensions/io.modelcontextprotocol/tasks'] } }));
    }
  });

  test('do not exist on an upstream that announces none', () => {
    const own = newValues().values;
    own.noteCapabilities('files', 'initialize', { capabilities: {} });
    expect(open(request('tasks/get', { taskId: 'x' }), mine, 'legacy', own).findings).toStrictEqual([{ refused: 'ERR_MCP_METHOD' }]);
    expect(open(request('tasks/get', { taskId: 'x', ...declared }), mine, 'modern', own).findings).toStrictEqual([{ refused: 'ERR_MCP_TASK_UNKNOWN' }]);
    own.noteCapabilities('files', 'initialize', { capabilities: { tasks: {} } });
    own.noteCapabilities('files', 'initialize', { capabilities: {} });
    expect(open(request('tasks/get', { taskId: 'x' }), mine, 'legacy', own).findings).toStrictEqual([{ refused: 'ERR_MCP_TASK_UNKNOWN' }]);
  });

  test('are answered with the id the client knows', () => {
    const taskId = create('T3');
    open(request('tasks/get', { taskId }));
    const asked = { method: 'tasks/get', params: { taskId: 'T3' } };
    const result = { content: [], _meta: { [relatedTaskKey]: { taskId: 'T3' } } };
    expect(values.result(asked, { taskId: 'T3', status: 'completed', resultType: 'complete', result }, mine)).toStrictEqual({ taskId, status: 'completed', resultType: 'complete', result: { content: [], _meta: { [relatedTaskKey]: { taskId } } } });
    expect(values.result({ ...asked, method: 'tasks/result' }, result, mine)).toStrictEqual({ content: [], _meta: { [relatedTaskKey]: { taskId } } });
    const done = { resultType: 'complete' };
    expect(values.result({ ...asked, method: 'tasks/cancel' }, done, mine)).toBe(done);
    expect(() => values.result(asked, { taskId: 'T4' }, mine)).toThrow(invalid);
  });

  test('open after a restart with the key, and are answered with their id', () => {
    const { sealer, clock, values: first } = newValues();
    const taskId = create('T5', { from: first });
    const second = new SealedValues({ sealer, clock });
    expect(open(request('tasks/get', { taskId }), mine, 'legacy', second).findings).toStrictEqual([{ tools: ['build'] }]);
    expect(second.result({ method: 'tasks/get', params: { taskId: 'T5' } }, { taskId: 'T5' }, mine)).toStrictEqual({ taskId });
  });

  test('whose id a server uses again need both tools', () => {
    const first = create('7', { name: 'build' });
    create('7', { name: 'destroy' });
    expect(open(request('tasks/get', { taskId: first })).findings).toStrictEqual([{ tools: ['build', 'destroy'] }]);
  });

  test('are listed to their owner alone, and only while their tool is allowed', () => {
    const own = newValues().values;
    const [a, b] = [create('A', { from: own }), create('B', { from: own, name: 'destroy' })];
    create('C', { from: own, side: sideOf('cn:thief') });
    const list = (side: Side) => own.result({ method: 'tasks/list', params: {} }, { tasks: ['A', 'B', 'C', 'D', 7].map((taskId) => ({ taskId, status: 'working' })) }, side).tasks;
    expect(list(mine)).toStrictEqual([{ taskId: a, status: 'working' }, { taskId: b, status: 'working' }]);
    expect(list({ ...mine, allows: (action) => action.kind === 'tool' && action.name === 'build' && action.arguments === undefined })).toStrictEqual([{ taskId: a, status: 'working' }]);
    expect(list(sideOf('cn:nobody'))).toStrictEqual([]);
    expect(() => own.result({ method: 'tasks/list', params: {} }, {}, mine)).toThrow(invalid);
  });

  test('are remembered for their list up to a bound, the oldest forgotten first, and open all the same', () => {
    const own = newValues().values;
    const first = create('0', { from: own });
    for (let index = 1; index <= 1_000; index += 1) create(String(index), { from: own });
    const listed = own.result({ method: 'tasks/list', params: {} }, { tasks: [{ taskId: '0' }, { taskId: '1' }] }, mine).tasks as readonly unknown[];
    expect(listed).toHaveLength(1);
    expect(open(request('tasks/get', { taskId: first }), mine, 'legacy', own).findings).toStrictEqual([{ tools: ['build'] }]);
  });

  test.each<[string, unknown, Record<string, unknown>]>([['tools/call', undefined, { name: 'build' }], ['tools/call', 7, { name: 'build' }], ['tools/call', 'T', {}], ['tools/list', 'T', {}], ['prompts/get', 'T', { name: 'greet' }]])('%s that makes the task %j of %j is an error of the server', (method, taskId, params) => {
    expect(() => values.result({ method, params }, { resultType: 'task', taskId }, mine)).toThrow(invalid);
  });

  test('are named in errors by the client\'s id', () => {
    const taskId = String(create('T6'));
    const asked = { method: 'tasks/get', params: { taskId: 'T6' } };
    expect(values.error(asked, { code: -32602, message: 'Task not found: T6', data: { taskId: 'T6' } }, mine)).toStrictEqual({ code: -32602, message: `Task not found: ${taskId}` });
    const error = { code: -32602, message: 'no', data: { x: 1 } };
    expect(values.error(asked, error, mine)).toBe(error);
    expect(values.error(undefined, error, mine)).toBe(error);
  });

  test('report their progress under the token of the call that made them', () => {
    create('T7', { meta: { progressToken: 'p7' } });
    expect([values.hasProgress(mine, 'p7'), values.hasProgress(mine, 'p8'), values.hasProgress(sideOf('cn:thief'), 'p7')]).toStrictEqual([true, false, false]);
  });

  test.each(['notifications/tasks', 'notifications/tasks/status'])('%s reaches the owner alone, while the tool is allowed', (method) => {
    const taskId = create('T8');
    const result = { content: [], _meta: { [relatedTaskKey]: { taskId: 'T8' }, x: 1 } };
    expect(values.fromServer(method, { taskId: 'T8', status: 'completed', result }, mine)).toStrictEqual({ taskId, status: 'completed', result: { content: [], _meta: { [relatedTaskKey]: { taskId }, x: 1 } } });
    expect(values.fromServer(method, { taskId: 'T9' }, mine)).toBeUndefined();
    expect(values.fromServer(method, { taskId: 'T8' }, sideOf('cn:thief'))).toBeUndefined();
    expect(values.fromServer(method, { taskId: 'T8' }, { ...mine, allows: () => false })).toBeUndefined();
  });

  test('that a subscription asks for are opened where they are the principal\'s and allowed', () => {
    const [a, b] = [create('A', {}), create('B', { name: 'destroy' })];
    const theirs = create('C', { side: sideOf('cn:thief') });
    const listen = request('subscriptions/listen', { notifications: { toolsListChanged: true, taskIds: [a, b, theirs, 'A', 7] } });
    const opened = open(listen, { ...mine, allows: (action) => action.kind === 'tool' && action.name === 'build' }, 'modern');
    expect(paramsOf(opened)).toStrictEqual([{ notifications: { toolsListChanged: true, taskIds: ['A', 7] } }]);
    expect(values.fromServer('notifications/subscriptions/acknowledged', { notifications: { taskIds: ['A', 'Z'] } }, mine)).toStrictEqual({ notifications: { taskIds: [a] } });
  });

  test('that any message says it belongs to are opened and sealed, and not named when nobody knows them', () => {
    const taskId = create('T10');
    const meta = (id: unknown) => ({ _meta: { [relatedTaskKey]: { taskId: id }, progressToken: 4 } });
    expect(paramsOf(open({ jsonrpc: '2.0', id: 5, result: { action: 'accept', ...meta(taskId) } }))).toStrictEqual([{ action: 'accept', ...meta('T10') }]);
    expect(paramsOf(open({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1, ...meta(taskId) } }))).toStrictEqual([{ requestId: 1, ...meta('T10') }]);
    expect(open({ jsonrpc: '2.0', id: 5, result: meta('T10') }).findings).toStrictEqual([{ refused: 'ERR_MCP_TASK_UNKNOWN' }]);
    expect(values.fromServer('elicitation/create', { message: 'm', ...meta('T10') }, mine)).toStrictEqual({ message: 'm', ...meta(taskId) });
    expect(values.fromServer('elicitation/create', meta('T11'), mine)).toStrictEqual({ _meta: { progressToken: 4 } });
  });
});

describe('a result whose request is not known any more', () => {
  test('loses what could only be sealed to it', () => {
    expect(values.result(undefined, { tools: [], nextCursor: 'x', requestState: 's', resultType: 'input_required' }, mine)).toStrictEqual({ tools: [], resultType: 'input_required' });
    expect(() => values.result(undefined, { resultType: 'task', taskId: 'x' }, mine)).toThrow(invalid);
    expect(() => values.result(undefined, { task: { taskId: 'x' } }, mine)).toThrow(invalid);
  });

  test('names no task but one that the principal may still have', () => {
    const { values: own } = newValues();
    const { taskId: text } = own.result({ method: 'tools/call', params: { name: 'echo' } }, { resultType: 'task', taskId: 'upstream-1' }, mine);
    const late = { taskId: 'upstream-1', status: 'completed', result: { content: [], _meta: { [relatedTaskKey]: { taskId: 'upstream-1' } } } };
    expect(own.result(undefined, late, mine)).toStrictEqual({ ...late, taskId: text, result: { content: [], _meta: { [relatedTaskKey]: { taskId: text } } } });
    for (const side of [sideOf('cn:agent-7', 'files', () => false), ...others.map(([, other]) => other)]) expect(() => own.result(undefined, late, side)).toThrow(invalid);
    expect(() => own.result(undefined, { taskId: 7 }, mine)).toThrow(invalid);
  });

  test('is refused when it makes a task whose id is too long to be remembered', () => {
    const make = (length: number) => newValues().values.result({ method: 'tools/call', params: { name: 'echo' } }, { resultType: 'task', taskId: 'x'.repeat(length) }, mine);
    expect(make(1_024).resultType).toBe('task');
    expect(() => make(1_025)).toThrow(invalid);
  });
});

test('messages without sealed values come back as they are', () => {
  for (const value of [request('tools/call', { name: 'echo', arguments: { cursor: 'x', requestState: 's', taskId: 't' } }), request('tools/list'), request('tools/list', { _meta: {} }), { jsonrpc: '2.0', id: 1, error: { code: 1, message: 'x' } }]) {
    const given = read(value);
    expect(values.open(given, { ...mine, era: 'modern' })).toBe(given);
  }
});
