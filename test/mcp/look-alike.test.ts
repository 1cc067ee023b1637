import { describe, expect, test } from 'vitest';
import { foldName, hasLookAlikes, KnownNames } from '../../src/mcp/look-alike.ts';

const names = new KnownNames(['name', 'task', 'protocolVersion', '_meta']);
const check = (object: Record<string, unknown>) => () => names.assertUnambiguous(object, 'params');

describe('names that look like those of the protocol', () => {
  test.each([
    ['another case', { Name: 1 }], ['all capitals', { TASK: 1 }], ['the Kelvin sign', { 'tas\u212a': 1 }], ['the long s', { 'ta\u017fk': 1 }],
    ['full-width letters', { 'ｎame': 1 }], ['a zero-width space', { 'na\u200bme': 1 }], ['a soft hyphen', { 'na\u00adme': 1 }], ['camel case undone', { protocolversion: 1 }], ['capitals after an underscore', { _Meta: {} }],
  ])('%s is refused, beside the real one and alone', (_name, object) => {
    const refusal = expect.objectContaining({ code: 'ERR_MCP_INVALID_REQUEST' });
    expect(check(object)).toThrow(refusal);
    expect(check({ name: 1, ...object })).toThrow(refusal);
  });

  test('two unknown names that look alike are refused', () => {
    expect(check({ extra: 1, Extra: 2 })).toThrow(expect.objectContaining({ code: 'ERR_MCP_INVALID_REQUEST', facts: { where: 'params', member: 'Extra' } }));
  });

  test('exact names and unrelated ones pass', () => {
    expect(check({ name: 1, task: 2, protocolVersion: 3, _meta: {}, names: 4, 'x-name': 5, имя: 6 })).not.toThrow();
  });
});

describe('look-alikes in user data', () => {
  test('are found at any depth', () => {
    expect(hasLookAlikes({ a: [{ b: { sql: 1, SQL: 2 } }] })).toBe(true);
    expect(hasLookAlikes({ a: [{ b: { sql: 1, query: 2 } }], A2: null })).toBe(false);
    expect(hasLookAlikes('sql')).toBe(false);
  });
});

test('folding is the same for plain names on both of its ways', () => {
  for (const name of ['Name', 'ß', 'İ', 'ﬁle', 'ſK']) expect(foldName(foldName(name))).toBe(foldName(name));
  expect(foldName('ſK')).toBe('sk');
  expect(foldName('ﬁle')).toBe('file');
});
