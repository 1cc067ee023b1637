import { describe, expect, test } from 'vitest';
import { filterByShape, filterResult, needsFilter } from '../../src/mcp/filters.ts';
import type { FilterContext } from '../../src/mcp/filters.ts';
import { parseLossless, stringifyLossless } from '../../src/mcp/lossless-json.ts';
import type { Action } from '../../src/policy/decision.ts';

const nameOf = (action: Action): string =>
  action.kind === 'tool' || action.kind === 'prompt' ? action.name : action.kind === 'resource' ? action.uri : action.kind === 'resourceTemplate' ? action.uriTemplate : action.kind;
/** Allows everything on the upstream that is not called denied. */
const allows = (action: Action): boolean => action.upstream === 'files' && !nameOf(action).includes('denied');

const context: FilterContext = { upstream: 'files', allows, hasClass: () => true, revisions: ['2026-07-28', '2025-11-25'] };
const filter = (method: string, result: unknown, params?: Record<string, unknown>, more: Partial<FilterContext> = {}) => filterResult(result, { ...context, ...more, method, params });
const invalid = expect.objectContaining({ code: 'ERR_UPSTREAM_INVALID' });

describe('lists', () => {
  test.each([
    ['tools/list', 'tools', 'name'], ['prompts/list', 'prompts', 'name'], ['resources/list', 'resources', 'uri'], ['resources/templates/list', 'resourceTemplates', 'uriTemplate'], ['resources/read', 'contents', 'uri'],
  ])('%s keeps what is allowed, in order, with everything else about it', (method, list, member) => {
    const element = (name: string) => ({ [member]: name, title: 'T', _meta: { 'x/y': 1 } });
    expect(filter(method, { [list]: [element('b'), element('denied'), element('a')], nextCursor: 'c', _meta: { z: 1 } })).toStrictEqual({ [list]: [element('b'), element('a')], nextCursor: 'c', _meta: { z: 1 } });
    expect(filter(method, { [list]: [] })).toStrictEqual({ [list]: [] });
  });

  test('elements without a proper name are dropped', () => {
    expect(filter('tools/list', { tools: [null, 'echo', { name: ['echo'] }, { title: 'x' }, { name: 'echo' }, [{ name: 'echo' }]] })).toStrictEqual({ tools: [{ name: 'echo' }] });
  });

  test.each([['tools/list', null], ['tools/list', []], ['tools/list', {}], ['tools/list', { tools: { 0: { name: 'echo' } } }], ['resources/read', { contents: 'x' }], ['completion/complete', {}], ['initialize', {}]])('%s with the result %j is ERR_UPSTREAM_INVALID', (method, result) => {
    expect(() => filter(method, result)).toThrow(invalid);
  });

  test('the tool action has no arguments: a tool is listed when some call would be allowed', () => {
    const seen: Action[] = [];
    filter('tools/list', { tools: [{ name: 'echo' }] }, undefined, { allows: (action) => seen.push(action) > 0 });
    expect(seen).toStrictEqual([{ kind: 'tool', upstream: 'files', name: 'echo' }]);
  });

  test('numbers inside what is kept survive (mcp.md row 3)', () => {
    const text = '{"tools":[{"name":"echo","inputSchema":{"maximum":12345678901234567890,"multipleOf":1.0}}]}';
    expect(stringifyLossless(filter('tools/list', parseLossless(text)))).toBe(text);
  });

  test('a list is private whatever the server says (mcp.md row 17)', () => {
    expect(filter('tools/list', { tools: [], cacheScope: 'public', ttlMs: 5 })).toStrictEqual({ tools: [], cacheScope: 'private', ttlMs: 5 });
    expect(filter('resources/read', { contents: [], cacheScope: 'public' })).toStrictEqual({ contents: [], cacheScope: 'private' });
  });

  test('only results of known methods are looked into', () => {
    expect(needsFilter('tools/list')).toBe(true);
    expect(needsFilter('tools/call')).toBe(false);
    expect(needsFilter('constructor')).toBe(false);
    expect(filter('tools/call', { content: [{ type: 'text', text: 'denied' }] })).toStrictEqual({ content: [{ type: 'text', text: 'denied' }] });
  });
});

describe('capabilities', () => {
  const capabilities = { tools: { listChanged: true }, prompts: {}, resources: { subscribe: true }, logging: {}, completions: {}, tasks: { list: {} }, experimental: { x: {} }, extensions: { y: {} } };
  const initialize = { protocolVersion: '2025-11-25', capabilities, serverInfo: { name: 's', version: '1' }, instructions: 'hi' };
  const announced = (...granted: string[]) =>
    Object.keys((filter('initialize', initialize, undefined, { hasClass: (one) => granted.includes(one) }) as { capabilities: object }).capabilities);

  test('classes that bring denied methods are never announced', () => {
    expect(filter('initialize', initialize)).toStrictEqual({ ...initialize, capabilities: { tools: { listChanged: true }, prompts: {}, resources: { subscribe: true }, logging: {}, completions: {}, tasks: { list: {} } } });
  });

  test('classes without a grant are not announced', () => {
    expect(announced()).toStrictEqual([]);
    expect(announced('tools')).toStrictEqual(['tools', 'tasks']);
    expect(announced('prompts')).toStrictEqual(['prompts', 'completions']);
    expect(announced('resources', 'logging')).toStrictEqual(['resources', 'logging', 'completions']);
  });

  test('nothing is announced that the server has not', () => {
    expect(filter('initialize', { ...initialize, capabilities: { tools: {} } })).toStrictEqual({ ...initialize, capabilities: { tools: {} } });
  });
});

describe('server/discover', () => {
  const discovered = {
    resultType: 'complete', supportedVersions: ['2027-01-01', '2026-07-28', 7], cacheScope: 'public', ttlMs: 5, serverInfo: { name: 's', version: '1' },
    capabilities: { tools: {}, prompts: {}, extensions: { 'io.modelcontextprotocol/tasks': {}, 'com.example/x': {} } },
  };

  test('announces what initialize would, the tasks extension alone, and only revisions the gateway speaks', () => {
    expect(filter('server/discover', discovered)).toStrictEqual({
      ...discovered, supportedVersions: ['2026-07-28'], cacheScope: 'private', capabilities: { tools: {}, prompts: {}, extensions: { 'io.modelcontextprotocol/tasks': {} } },
    });
    expect(filter('server/discover', discovered, undefined, { hasClass: (one) => one === 'prompts' }).capabilities).toStrictEqual({ prompts: {} });
    expect(() => filter('server/discover', { capabilities: {} })).toThrow(invalid);
  });
});

describe('a question instead of a result', () => {
  test.each(['tools/list', 'resources/read'])('of %s shows nothing that the result would', (method) => {
    const asked = { resultType: 'input_required', inputRequests: {}, requestState: 's' };
    expect(filter(method, { ...asked, tools: [{ name: 'echo' }], contents: [{ uri: 'x://denied' }] })).not.toHaveProperty(method === 'tools/list' ? 'tools' : 'contents');
    expect(filter(method, asked)).toStrictEqual(asked);
  });
});

describe('completions', () => {
  const complete = (uri: string, values: readonly unknown[], more: Record<string, unknown> = {}, settled?: Record<string, string>) =>
    (filter('completion/complete', { completion: { values, ...more } }, { ref: { type: 'ref/resource', uri }, argument: { name: 'path', value: '' }, ...(settled === undefined ? {} : { context: { arguments: settled } }) }) as { completion: unknown }).completion;

  test('values that lead to denied resources are dropped, and the total with them', () => {
    expect(complete('file:///{path}', ['a', 'denied', 'b'], { total: 3, hasMore: false })).toStrictEqual({ values: ['a', 'b'], hasMore: false });
  });

  test('a total that counts further pages is dropped, and one that counts this page stays', () => {
    expect(complete('file:///{path}', ['a', 'b'], { total: 7, hasMore: true })).toStrictEqual({ values: ['a', 'b'], hasMore: true });
    expect(complete('file:///{path}', ['a', 'b'], { total: 2 })).toStrictEqual({ values: ['a', 'b'], total: 2 });
  });

  test('the other variables come from the context, and unknown ones leave a narrower template', () => {
    const asked: Action[] = [];
    const run = (uri: string, settled?: Record<string, unknown>) =>
      filter('completion/complete', { completion: { values: ['a/b c'] } }, { ref: { type: 'ref/resource', uri }, argument: { name: 'path', value: '' }, context: settled }, { allows: (action) => asked.push(action) > 0 });
    run('db://{host}/{path}', { arguments: { host: 'h' } });
    run('db://{host}/{path}');
    run('file:///{+path}');
    run('db://{toString}/{path}');
    expect(asked).toStrictEqual([
      { kind: 'resource', upstream: 'files', uri: 'db://h/a%2Fb%20c' },
      { kind: 'resourceTemplate', upstream: 'files', uriTemplate: 'db://{host}/a%2Fb%20c' },
      { kind: 'resource', upstream: 'files', uri: 'file:///a/b%20c' },
      { kind: 'resourceTemplate', upstream: 'files', uriTemplate: 'db://{toString}/a%2Fb%20c' },
    ]);
  });

  test.each([
    ['file://{/path}', 'file:///a%2Fb%20c'], ['file:///{path*}', 'file:///a%2Fb%20c'], ['file:///{+path*}', 'file:///a/b%20c'], ['file:///{path:2}', 'file:///a%2F'], ['file:///x{.path}', 'file:///x.a%2Fb%20c'],
    ['db://x{;path}', 'db://x;path=a%2Fb%20c'], ['db://x{?path}', 'db://x?path=a%2Fb%20c'], ['db://x?y=1{&path}', 'db://x?y=1&path=a%2Fb%20c'], ['db://x{#path}', 'db://x#a/b%20c'], ['db://x/{pa-th}', 'db://x/a%2Fb%20c'],
    ['db://{host,path}', 'db://h,a%2Fb%20c'], ['db://{+path,host}', 'db://a/b%20c,h'], ['db://x{?host,path}', 'db://x?host=h&path=a%2Fb%20c'], ['db://x{/path,host}{?host}', 'db://x/a%2Fb%20c/h?host=h'], ['db://{path}{unknown}', 'db://a%2Fb%20c{unknown}'],
    ['db://x{?path,unknown}', 'db://x?path=a%2Fb%20c{&unknown}'], ['db://x{?unknown,path}', 'db://x{?unknown}path=a%2Fb%20c'], ['db://x{#path,unknown}', 'db://x#a/b%20c{+unknown}'], ['db://x/{path}{?unknown,more}', 'db://x/a%2Fb%20c{?unknown,more}'],
  ])('of the variable in %s lead to %s', (uri, expanded) => {
    const asked: string[] = [];
    const argument = { name: uri.includes('pa-th') ? 'pa-th' : 'path', value: '' };
    filter('completion/complete', { completion: { values: ['a/b c'] } }, { ref: { type: 'ref/resource', uri }, argument, context: { arguments: { host: 'h' } } }, { allows: (action) => asked.push(nameOf(action)) > 0 });
    expect(asked).toStrictEqual([expanded]);
    expect(complete(uri.replace('pa-th', 'path').replace(':2', ':9'), ['a', 'denied', 'b'])).toStrictEqual({ values: ['a', 'b'] });
  });

  test.each(['file:///readme.txt', 'file:///{other}', 'file:///{%70ath}', 'file:///{!path}', 'file:///{path:}'])('of a variable that is not in %s are dropped, since nobody can say where they lead', (uri) => {
    expect(complete(uri, ['a', 'b'], { total: 2 })).toStrictEqual({ values: [] });
  });

  test('values that are no text are dropped', () => {
    expect(complete('file:///{path}', ['a', 7, null, '\ud800'])).toStrictEqual({ values: ['a'] });
  });

  test('values for a prompt stay, since policy knows prompts by name only', () => {
    const result = { completion: { values: ['denied'], total: 9 } };
    expect(filter('completion/complete', result, { ref: { type: 'ref/prompt', name: 'greet' }, argument: { name: 'who', value: '' } })).toStrictEqual(result);
  });
});

describe('answers to requests that are not known any more', () => {
  const byShape = (result: unknown) => filterByShape(result, context);

  test('everything that looks like a list is filtered as that list', () => {
    expect(byShape({ tools: [{ name: 'denied' }, { name: 'echo' }], resources: [{ uri: 'x://denied' }], cacheScope: 'public' })).toStrictEqual({ tools: [{ name: 'echo' }], resources: [], cacheScope: 'private' });
    expect(byShape({ contents: [{ uri: 'x://denied', text: 'secret' }] })).toStrictEqual({ contents: [] });
    expect(byShape({ capabilities: { tools: {}, tasks: {} }, protocolVersion: '2025-11-25' })).toStrictEqual({ capabilities: { tools: {}, tasks: {} }, protocolVersion: '2025-11-25' });
  });

  test('what cannot be judged is taken out', () => {
    expect(byShape({ completion: { values: ['a'], total: 1 } })).toStrictEqual({ completion: { values: [] } });
    expect(byShape({ tasks: [{ taskId: 'theirs' }] })).toStrictEqual({ tasks: [] });
    expect(() => byShape({ tools: 'echo' })).toThrow(invalid);
    expect(() => byShape(7)).toThrow(invalid);
  });

  test('results of calls stay as they are', () => {
    expect(byShape({ content: [], structuredContent: { tools: [{ name: 'denied' }] } })).toStrictEqual({ content: [], structuredContent: { tools: [{ name: 'denied' }] } });
  });
});
