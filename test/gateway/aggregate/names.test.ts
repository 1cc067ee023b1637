import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nameAt, splitName, splitUri, uriAt } from '../../../src/gateway/aggregate/names.ts';
import { cursorOf, positionsIn } from '../../../src/gateway/aggregate/pages.ts';
import { routeOf } from '../../../src/gateway/aggregate/routing.ts';

const upstreamName = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);

describe('names of what several upstreams offer', () => {
  it('lead back to upstream and name, whatever the name holds', () => {
    fc.assert(fc.property(upstreamName, fc.string({ unit: 'grapheme' }), (member, name) => {
      expect(splitName(nameAt(member, name))).toStrictEqual({ member, name });
      expect(splitUri(uriAt(member, name))).toStrictEqual({ member, name });
    }), { numRuns: 200 });
  });

  it.each(['query', '__query', 'Warehouse__query', 'ware_house__query', 'warehouse_query', ''])('are none without an upstream: %j', (name) => {
    expect(splitName(name)).toBeUndefined();
  });

  it.each([
    ['tools/call', { name: 'files__read', arguments: {} }, { kind: 'one', member: 'files', params: { name: 'read', arguments: {} } }],
    ['tools/call', { name: 'read' }, { kind: 'none' }],
    ['tools/call', { name: 7 }, { kind: 'none' }],
    ['prompts/get', { name: 'files__greet__twice' }, { kind: 'one', member: 'files', params: { name: 'greet__twice' } }],
    ['resources/read', { uri: 'files+file:///a+b' }, { kind: 'one', member: 'files', params: { uri: 'file:///a+b' } }],
    ['tasks/get', { taskId: 'files__t' }, { kind: 'one', member: 'files', params: { taskId: 't' } }],
    ['completion/complete', { ref: { type: 'ref/prompt', name: 'files__greet' } }, { kind: 'one', member: 'files', params: { ref: { type: 'ref/prompt', name: 'greet' } } }],
    ['completion/complete', { ref: { type: 'ref/resource', uri: 'files+file:///{a}' } }, { kind: 'one', member: 'files', params: { ref: { type: 'ref/resource', uri: 'file:///{a}' } } }],
    ['completion/complete', {}, { kind: 'none' }],
    ['tools/list', {}, { kind: 'all' }],
    ['sampling/createMessage', {}, { kind: 'none' }],
  ])('route %s with %j', (method, params, route) => {
    expect(routeOf(method, params)).toStrictEqual(route);
  });
});

describe('a cursor over several lists', () => {
  it('holds the position of each', () => {
    fc.assert(fc.property(fc.dictionary(upstreamName, fc.string(), { minKeys: 1 }), (positions) => {
      expect(new Map(positionsIn(cursorOf(new Map(Object.entries(positions))) ?? ''))).toStrictEqual(new Map(Object.entries(positions)));
    }), { numRuns: 100 });
  });

  it('is none when every list has ended, and is not made of anything else', () => {
    expect(cursorOf(new Map())).toBeUndefined();
    for (const text of ['', 'x', '[]', '1', '{"a":1}']) expect(positionsIn(text)).toBeUndefined();
  });
});
