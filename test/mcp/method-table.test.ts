import { describe, expect, test } from 'vitest';
import { actionsOf, classifyServerMessage, clientMethods, referenceOf, resultFilterOf, serverMethods } from '../../src/mcp/method-table.ts';
import type { JsonRpcMessage } from '../../src/mcp/message.ts';
import type { Era } from '../../src/mcp/revisions.ts';

const request = (method: string, params?: Record<string, unknown>): JsonRpcMessage => ({ kind: 'request', id: 1, method, params });
const notification = (method: string, params?: Record<string, unknown>): JsonRpcMessage => ({ kind: 'notification', method, params });
const gate = (message: JsonRpcMessage) => actionsOf('files', message);
const gatedOn = (action: Record<string, unknown>) => ({ kind: 'actions', actions: [{ upstream: 'files', ...action }] });
const refusal = expect.objectContaining({ code: 'ERR_MCP_INVALID_REQUEST' });

describe('what an MCP client sends', () => {
  test.each<[string, Record<string, unknown> | undefined, Record<string, unknown>]>([
    ['initialize', { protocolVersion: '2025-11-25' }, { kind: 'connect' }],
    ['ping', undefined, { kind: 'connect' }],
    ['tools/list', { cursor: 'x' }, { kind: 'connect' }],
    ['prompts/list', undefined, { kind: 'connect' }],
    ['resources/list', undefined, { kind: 'connect' }],
    ['resources/templates/list', undefined, { kind: 'connect' }],
    ['tools/call', { name: 'echo', arguments: { a: 1 } }, { kind: 'tool', name: 'echo', arguments: { a: 1 } }],
    ['prompts/get', { name: 'greet', arguments: {} }, { kind: 'prompt', name: 'greet' }],
    ['resources/read', { uri: 'file:///a' }, { kind: 'resource', uri: 'file:///a' }],
    ['resources/subscribe', { uri: 'file:///a/../b' }, { kind: 'resource', uri: 'file:///a/../b' }],
    ['resources/unsubscribe', { uri: 'file:///a' }, { kind: 'resource', uri: 'file:///a' }],
    ['logging/setLevel', { level: 'debug' }, { kind: 'logging' }],
    ['completion/complete', { ref: { type: 'ref/prompt', name: 'greet' }, argument: { name: 'who', value: 'a' } }, { kind: 'prompt', name: 'greet' }],
    ['completion/complete', { ref: { type: 'ref/resource', uri: 'file:///{path}' }, argument: { name: 'path', value: 'a' } }, { kind: 'resourceTemplate', uriTemplate: 'file:///{path}' }],
    ['completion/complete', { ref: { type: 'ref/resource', uri: 'file:///a' }, argument: { name: 'path', value: 'a' } }, { kind: 'resource', uri: 'file:///a' }],
  ])('%s %j is gated on %j', (method, params, action) => {
    expect(gate(request(method, params))).toStrictEqual(gatedOn(action));
  });

  test('a call without arguments is decided with none, not as "some call"', () => {
    expect(gate(request('tools/call', { name: 'echo' }))).toStrictEqual(gatedOn({ kind: 'tool', name: 'echo', arguments: {} }));
  });

  test('names are taken code point by code point (mcp.md row 14)', () => {
    for (const name of ['Echo', 'echo ', 'ｅcho', 'e\u0301cho', 'echo\0']) expect(gate(request('tools/call', { name }))).toStrictEqual(gatedOn({ kind: 'tool', name, arguments: {} }));
  });

  test.each<[string, Record<string, unknown> | undefined]>([
    ['tools/call', undefined], ['tools/call', { name: ['echo'] }], ['tools/call', { name: { toString: 'echo' } }], ['tools/call', { name: null }], ['tools/call', { name: 'echo', arguments: [] }], ['tools/call', { name: 'echo', arguments: null }], ['tools/call', { name: 'echo', arguments: 'x' }],
    ['prompts/get', { name: 7 }], ['resources/read', {}], ['resources/read', { uri: ['file:///a'] }], ['resources/subscribe', { uri: null }], ['resources/unsubscribe', undefined],
    ['logging/setLevel', { level: 'loud' }], ['logging/setLevel', { level: 3 }],
    ['completion/complete', undefined], ['completion/complete', { ref: { type: 'ref/prompt', name: 'x' } }], ['completion/complete', { ref: { type: 'ref/tool', name: 'x' }, argument: { name: 'a', value: '' } }], ['completion/complete', { ref: { type: 'ref/resource', name: 'x' }, argument: { name: 'a', value: '' } }], ['completion/complete', { ref: { type: 'ref/prompt', name: 'x' }, argument: { name: 'a', value: 1 } }],
  ])('%s %j is invalid, and the error knows the id', (method, params) => {
    expect(() => gate(request(method, params))).toThrow(expect.objectContaining({ code: 'ERR_MCP_INVALID_REQUEST', facts: { id: 1, method } }));
  });

  test.each(['tools/Call', 'TOOLS/CALL', 'tools/call ', 'tools//call', 'tools', 'rpc.discover', 'tasks', 'tasks/update', 'sampling/createMessage', 'elicitation/create', 'roots/list', 'server/discover', 'subscriptions/listen', 'constructor', '__proto__', 'notifications/initialized', 'notifications/message', ''])(
    'the request %s is unknown',
    (method) => {
      expect(gate(request(method, {}))).toStrictEqual({ kind: 'unknown' });
    },
  );

  test('a request sent as a notification is unknown, since some servers would execute it', () => {
    for (const [method, rule] of clientMethods) {
      if (rule.kind === 'request') expect(gate(notification(method, { name: 'echo', uri: 'x' }))).toStrictEqual({ kind: 'unknown' });
    }
  });

  test('notifications need a connection, and a reference where they have one', () => {
    expect(gate(notification('notifications/initialized'))).toStrictEqual(gatedOn({ kind: 'connect' }));
    expect(gate(notification('notifications/roots/list_changed'))).toStrictEqual(gatedOn({ kind: 'connect' }));
    expect(gate(notification('notifications/cancelled', { requestId: 4 }))).toStrictEqual(gatedOn({ kind: 'connect' }));
    expect(gate(notification('notifications/progress', { progressToken: 't', progress: 1 }))).toStrictEqual(gatedOn({ kind: 'connect' }));
    expect(() => gate(notification('notifications/cancelled', {}))).toThrow(refusal);
    expect(() => gate(notification('notifications/progress', { progressToken: {} }))).toThrow(refusal);
    expect(gate(notification('notifications/tools/list_changed'))).toStrictEqual({ kind: 'unknown' });
  });

  test('what a notification refers to can be asked', () => {
    expect(referenceOf(notification('notifications/cancelled', { requestId: 4 }))).toStrictEqual({ member: 'requestId', id: 4 });
    expect(referenceOf(notification('notifications/progress', { progressToken: 'p' }))).toStrictEqual({ member: 'progressToken', id: 'p' });
    expect(referenceOf(notification('notifications/initialized'))).toBeUndefined();
    expect(referenceOf(request('ping'))).toBeUndefined();
  });

  test('a response passes, since only its session knows whether it was asked for', () => {
    expect(gate({ kind: 'response', id: 1, result: {}, error: undefined })).toStrictEqual({ kind: 'pass' });
  });

  test('methods of the legacy era are unknown in the modern one', () => {
    expect(actionsOf('files', request('initialize'), 'modern')).toStrictEqual({ kind: 'unknown' });
    expect(actionsOf('files', request('tools/list'), 'modern')).toStrictEqual(gatedOn({ kind: 'connect' }));
  });

  test('a call may ask for a task instead of a result', () => {
    expect(gate(request('tools/call', { name: 'echo', task: { ttl: 60 } }))).toStrictEqual(gatedOn({ kind: 'tool', name: 'echo', arguments: {} }));
  });

  describe('about a task', () => {
    const tool = { kind: 'tool', upstream: 'files', name: 'echo' };
    const found = { tools: ['echo'] };

    test.each<[string, readonly Era[]]>([['tasks/get', ['legacy', 'modern']], ['tasks/cancel', ['legacy', 'modern']], ['tasks/result', ['legacy']], ['tasks/update', ['modern']]])('%s in %j asks for some call of its tool, and does not exist elsewhere', (method, eras) => {
      for (const era of ['legacy', 'modern'] as const) {
        expect(actionsOf('files', request(method, { taskId: 'x' }), era, found)).toStrictEqual(eras.includes(era) ? { kind: 'actions', actions: [tool], deniedAs: 'ERR_MCP_TASK_UNKNOWN' } : { kind: 'unknown' });
      }
    });

    test('nothing is let through whose task was not looked for', () => {
      expect(gate(request('tasks/get', { taskId: 'x' }))).toStrictEqual({ kind: 'refused', code: 'ERR_MCP_TASK_UNKNOWN' });
    });

    test('an id that two requests had needs both', () => {
      expect(actionsOf('files', request('tasks/get'), 'legacy', { tools: [...found.tools, 'rm'] })).toMatchObject({ actions: [tool, { ...tool, name: 'rm' }] });
    });
  });

  test('what did not open is refused, but a method that does not exist stays unknown', () => {
    expect(actionsOf('files', request('tools/list'), 'legacy', { refused: 'ERR_MCP_CURSOR' })).toStrictEqual({ kind: 'refused', code: 'ERR_MCP_CURSOR' });
    expect(actionsOf('files', { kind: 'response', id: 1, result: {}, error: undefined }, 'legacy', { refused: 'ERR_MCP_TASK_UNKNOWN' })).toStrictEqual({ kind: 'refused', code: 'ERR_MCP_TASK_UNKNOWN' });
    expect(actionsOf('files', request('rpc'), 'legacy', { refused: 'ERR_MCP_STATE' })).toStrictEqual({ kind: 'unknown' });
  });

  test('every list is filtered, and nothing else is', () => {
    const filtered = [...clientMethods.keys()].filter((method) => resultFilterOf(method) !== undefined);
    expect(filtered).toStrictEqual(['initialize', 'server/discover', 'tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'resources/read', 'completion/complete']);
  });
});

describe('what an MCP server sends on its own', () => {
  const classify = (message: Record<string, unknown>) => classifyServerMessage('files', message, (action) => action.upstream === 'files' && (action.kind === 'logging' || (action.kind === 'resource' && action.uri === 'file:///mine')));

  test.each(['ping', 'roots/list', 'sampling/createMessage', 'elicitation/create'])('%s is a request to deliver', (method) => {
    expect(classify({ id: 0, method, params: {} })).toBe('request');
    expect(classify({ method })).toBe('drop');
    expect(classify({ id: null, method })).toBe('drop');
  });

  test('log messages need the grant', () => {
    expect(classifyServerMessage('files', { method: 'notifications/message', params: { level: 'info', data: 'x' } }, () => false)).toBe('drop');
  });

  test('the state of a task is told in each era by its own name', () => {
    expect(classify({ method: 'notifications/tasks/status', params: { taskId: 'x' } })).toBe('notification');
    expect(classifyServerMessage('files', { method: 'notifications/tasks', params: { taskId: 'x' } }, () => false, 'modern')).toBe('notification');
    expect(classifyServerMessage('files', { method: 'notifications/tasks/status', params: { taskId: 'x' } }, () => false, 'modern')).toBe('drop');
  });

  test('a request for a task is dropped', () => {
    expect(classify({ id: 1, method: 'sampling/createMessage', params: { task: {} } })).toBe('drop');
    expect(classify({ id: 1, method: 'elicitation/create', params: { task: {} } })).toBe('drop');
  });

  test.each([
    ['notifications/message', { level: 'info', data: 'x' }], ['notifications/progress', { progressToken: 1, progress: 1 }], ['notifications/cancelled', { requestId: 'x' }], ['notifications/tools/list_changed', undefined],
    ['notifications/prompts/list_changed', undefined], ['notifications/resources/list_changed', undefined], ['notifications/resources/updated', { uri: 'file:///mine' }], ['notifications/elicitation/complete', { elicitationId: 'x' }],
  ])('%s %j is delivered', (method, params) => {
    expect(classify({ method, ...(params === undefined ? {} : { params }) })).toBe('notification');
    expect(classify({ id: 1, method, params })).toBe('drop');
  });

  test.each([
    ['notifications/resources/updated', { uri: 'file:///theirs' }], ['notifications/resources/updated', { uri: ['file:///mine'] }], ['notifications/resources/updated', undefined], ['notifications/progress', {}], ['notifications/cancelled', { requestId: null }],
    ['notifications/tasks/status', {}], ['notifications/tasks', { taskId: 'x' }], ['notifications/unknown', {}], ['tools/call', { name: 'x' }], ['notifications/message', []], ['constructor', {}],
  ])('%s %j is dropped', (method, params) => {
    expect(classify({ method, ...(params === undefined ? {} : { params }) })).toBe('drop');
  });

  test('unknown requests, and methods that are no strings, are dropped', () => {
    expect(classify({ id: 1, method: 'tasks/get', params: { taskId: 'x' } })).toBe('drop');
    expect(classify({ id: 1, method: 7 })).toBe('drop');
    expect(classify({ id: 1 })).toBe('drop');
  });

  test('no method goes both ways but ping, progress and cancellation', () => {
    expect([...serverMethods.keys()].filter((method) => clientMethods.has(method))).toStrictEqual(['ping', 'notifications/progress', 'notifications/cancelled']);
  });
});
