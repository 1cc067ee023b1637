/** The mappings between the eras: what they name changes, everything else survives. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseLossless, stringifyLossless } from '../../src/mcp/lossless-json.ts';
import { fieldsOf, isFields, without } from '../../src/translation/fields.ts';
import type { Fields } from '../../src/translation/fields.ts';
import { missingCapability } from '../../src/mcp/input-requests.ts';
import { toInputRequest, toLegacyQuestion } from '../../src/translation/input-requests.ts';
import { wrappedSchema } from '../../src/mcp/output-schema.ts';
import { defaultTranslationLimits } from '../../src/translation/limits.ts';
import { toInitializeParams, toLegacyParams, toModernParams } from '../../src/translation/requests.ts';
import { toDiscoverResult, toInitializeResult, toLegacyError, toLegacyResult, toModernError, toModernResult } from '../../src/translation/results.ts';

const numRuns = 200;
const numbers = '{"big":12345678901234567890,"fine":1.50,"tiny":1e-400,"zero":-0}';
/** Members that no era knows, with numbers that a double cannot hold. */
const unknownMembers = fc.dictionary(fc.string({ minLength: 1 }).map((name) => `x-${name}`), fc.jsonValue(), { maxKeys: 5 }).map((members): Fields => ({ ...members, 'x-numbers': parseLossless(numbers) }));
const meta = fc.dictionary(fc.constantFrom('trace', 'own/key', 'io.modelcontextprotocol/other'), fc.jsonValue());
const methods = fc.constantFrom('tools/list', 'tools/call', 'prompts/list', 'prompts/get', 'resources/list', 'resources/read', 'resources/templates/list', 'completion/complete');

const text = (value: unknown): string => stringifyLossless(value);

describe('params', () => {
  it('come back from the modern era as they were', () => {
    fc.assert(fc.property(unknownMembers, meta, (members, own) => {
      const params = { ...members, ...(Object.keys(own).length === 0 ? {} : { _meta: own }) };
      const modern = toModernParams(params, { info: { name: 'c', version: '1' }, capabilities: { roots: {} } }, 'info');
      expect(text(toLegacyParams({ ...modern, requestState: 's', inputResponses: {} }, undefined))).toBe(text(params));
    }), { numRuns });
  });

  it('carry the progress token of the session they are sent in', () => {
    expect(toLegacyParams({ _meta: { progressToken: 'theirs', a: 1 } }, 7)).toEqual({ _meta: { progressToken: 7, a: 1 } });
    expect(toLegacyParams({ a: 1, _meta: { progressToken: 'theirs' } }, undefined)).toEqual({ a: 1 });
  });

  it('never carry an envelope that a legacy client made up', () => {
    const made = { _meta: { 'io.modelcontextprotocol/logLevel': 'debug', 'io.modelcontextprotocol/clientInfo': { name: 'x', version: 'y' } } };
    expect(toModernParams(made, { info: undefined, capabilities: {} }, undefined)).toEqual({ _meta: { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} } });
  });

  it('of initialize announce what can be kept', () => {
    const capabilities = { sampling: { tools: {} }, elicitation: { url: {} }, roots: { listChanged: true }, experimental: { x: {} }, extensions: { y: {} }, tasks: {} };
    expect(toInitializeParams({ info: { name: 'c', version: '1' }, capabilities })).toEqual({
      protocolVersion: '2025-11-25', clientInfo: { name: 'c', version: '1' }, capabilities: { sampling: { tools: {} }, elicitation: { url: {} }, roots: {}, experimental: { x: {} } },
    });
  });
});

describe('results', () => {
  it('come back from the modern era as they were', () => {
    fc.assert(fc.property(methods, unknownMembers, meta, (method, members, own) => {
      const result = { ...members, ...(Object.keys(own).length === 0 ? {} : { _meta: own }) };
      const there = toModernResult(method, result, { name: 's', version: '1' });
      expect(there).toMatchObject({ resultType: 'complete', _meta: { 'io.modelcontextprotocol/serverInfo': { name: 's', version: '1' } } });
      expect(text(toLegacyResult(method, there, false))).toBe(text(result));
    }), { numRuns });
  });

  it('may be kept only where the modern era wants to know for how long', () => {
    expect(toModernResult('tools/list', {}, undefined)).toEqual({ resultType: 'complete', ttlMs: 0, cacheScope: 'private' });
    expect(toModernResult('tools/call', {}, undefined)).toEqual({ resultType: 'complete' });
    // A tool may give members of these names; only the others are about keeping.
    expect(toLegacyResult('tools/call', { resultType: 'complete', ttlMs: 1 }, false)).toEqual({ ttlMs: 1 });
    expect(toLegacyResult('resources/read', { resultType: 'complete', ttlMs: 1, cacheScope: 'public' }, false)).toEqual({});
  });

  it('keep a server info that the server itself put there', () => {
    expect(toModernResult('tools/call', { _meta: { 'io.modelcontextprotocol/serverInfo': { name: 'own', version: '2' } } }, { name: 's', version: '1' })['_meta']).toEqual({ 'io.modelcontextprotocol/serverInfo': { name: 'own', version: '2' } });
  });

  it('wrap what is no object for the legacy era', () => {
    const call = (structuredContent: unknown, wrapped = false): unknown => toLegacyResult('tools/call', { structuredContent }, wrapped)['structuredContent'];
    expect([call({ a: 1 }), call([1]), call('x'), call(null), call({ a: 1 }, true)]).toEqual([{ a: 1 }, { result: [1] }, { result: 'x' }, { result: null }, { result: { a: 1 } }]);
    expect(text(toLegacyResult('tools/call', parseLossless('{"structuredContent":12345678901234567890}') as Fields, false))).toBe('{"structuredContent":{"result":12345678901234567890}}');
    expect(toLegacyResult('tools/call', { content: [] }, true)).toEqual({ content: [] });
  });

  it('of discovery and initialization say the same', () => {
    const initialized = { protocolVersion: '2025-11-25', serverInfo: { name: 's', version: '1' }, instructions: 'i', capabilities: { tools: { listChanged: true }, resources: { subscribe: true, listChanged: true, x: 1 }, experimental: { listChanged: true }, tasks: {} } };
    expect(toDiscoverResult(initialized, true)['capabilities']).toEqual({ tools: { listChanged: true }, resources: { subscribe: true, listChanged: true, x: 1 }, experimental: { listChanged: true } });
    expect(toDiscoverResult(initialized, false)['capabilities']).toEqual({ tools: {}, resources: { x: 1 }, experimental: { listChanged: true } });
    expect(toInitializeResult(toDiscoverResult(initialized, true), '2025-06-18', 'fallback')).toEqual({
      protocolVersion: '2025-06-18', serverInfo: { name: 's', version: '1' }, instructions: 'i', capabilities: { tools: { listChanged: true }, resources: { subscribe: true, listChanged: true, x: 1 }, experimental: { listChanged: true } },
    });
    expect(toInitializeResult({ capabilities: {} }, '2025-06-18', 'fallback')['serverInfo']).toEqual({ name: 'fallback', version: '0' });
  });
});

describe('errors', () => {
  it('change their code only where the other era has another', () => {
    fc.assert(fc.property(fc.integer({ min: -32100, max: 100 }), unknownMembers, (code, members) => {
      const error = { code, message: 'm', ...members };
      expect(text(without(toModernError(error), new Set(['code'])))).toBe(text(without(error, new Set(['code']))));
      if (code !== -32002) expect(toModernError(error)).toBe(error);
      if (![-32020, -32021, -32022].includes(code)) expect(toLegacyError(error)).toBe(error);
    }), { numRuns });
  });
});

describe('questions', () => {
  it.each([
    ['roots/list', {}, { roots: {} }, undefined],
    ['roots/list', {}, {}, 'roots'],
    ['sampling/createMessage', {}, { sampling: {} }, undefined],
    ['sampling/createMessage', { toolChoice: {} }, { sampling: {} }, 'sampling.tools'],
    ['sampling/createMessage', { tools: [] }, { sampling: { tools: {} } }, undefined],
    ['elicitation/create', {}, { elicitation: {} }, undefined],
    ['elicitation/create', { mode: 'form' }, { elicitation: { form: {} } }, undefined],
    ['elicitation/create', { mode: 'form' }, { elicitation: { url: {} } }, 'elicitation.form'],
    ['elicitation/create', { mode: 'url' }, { elicitation: {} }, 'elicitation.url'],
    ['elicitation/create', { mode: 'url' }, { elicitation: { url: {} } }, undefined],
  ])('%s with %j needs of %j: %s', (method, params, declared, missing) => {
    expect(missingCapability(method, params, declared)).toBe(missing);
  });

  it('lose the progress token, which nobody could use, and gain the id of a URL', () => {
    expect(toInputRequest('roots/list', undefined)).toEqual({ method: 'roots/list' });
    expect(toInputRequest('elicitation/create', { a: 1, _meta: { progressToken: 1 } })).toEqual({ method: 'elicitation/create', params: { a: 1 } });
    expect(toInputRequest('elicitation/create', { _meta: { progressToken: 1, own: 2 } })).toEqual({ method: 'elicitation/create', params: { _meta: { own: 2 } } });
    expect(toLegacyQuestion('elicitation/create', { mode: 'url', elicitationId: 'own' }, () => 'new')).toEqual({ mode: 'url', elicitationId: 'own' });
    expect(toLegacyQuestion('elicitation/create', { mode: 'url' }, () => 'new')).toEqual({ mode: 'url', elicitationId: 'new' });
    expect(toLegacyQuestion('elicitation/create', { mode: 'form' }, () => 'new')).toEqual({ mode: 'form' });
  });
});

describe('an output schema that is no object', () => {
  it('is wrapped with its references', () => {
    const schema = {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'array',
      items: { anyOf: [{ $ref: '#' }, { $ref: '#/$defs/x' }, { $ref: 'other.json#/a' }] },
      $defs: { x: { const: { $ref: '#' } }, $ref: { type: 'string' }, own: { $id: 'https://own', items: { $ref: '#/a' } } },
    };
    expect(wrappedSchema(schema)).toEqual({
      $schema: 'https://json-schema.org/draft/2020-12/schema', type: 'object', required: ['result'],
      properties: {
        result: {
          ...schema,
          items: { anyOf: [{ $ref: '#/properties/result' }, { $ref: '#/properties/result/$defs/x' }, { $ref: 'other.json#/a' }] },
        },
      },
    });
  });
});

it('holds as much for others as docs/translation.md says', () => {
  expect(defaultTranslationLimits).toEqual({
    sessionsPerPrincipal: 8, sessions: 1024, sessionIdleMs: 600_000, parkedPerPrincipal: 16, parkedMs: 600_000,
    gatherMs: 25, rounds: 8, openStreamAfterMs: 1_000, pendingBytes: 1024 * 1024, resourceSubscriptions: 256,
  });
});

it('takes a number for no object, however big', () => {
  expect([isFields(parseLossless('12345678901234567890')), isFields({}), isFields([]), isFields(null)]).toEqual([false, true, false, false]);
  expect(fieldsOf(parseLossless('1.50'))).toEqual({});
});
