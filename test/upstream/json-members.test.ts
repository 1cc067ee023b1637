import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { memberText, replaceMembers } from '../../src/upstream/json-members.ts';

describe('a member of JSON text', () => {
  it.each([
    ['{"id":1}', ['id'], '1'],
    [' { "a" : [1,{"id":2}], "id" : "x\\"}" } ', ['id'], '"x\\"}"'],
    ['{"a":{"id":2},"id":-1.50e3}', ['id'], '-1.50e3'],
    ['{"a":{"b":{"c":null}}}', ['a', 'b', 'c'], 'null'],
    ['{"a":{"b":{"c":null}}}', ['a', 'b'], '{"c":null}'],
    ['{"\\u0069d":7}', ['id'], '7'],
    ['{"id":1,"id":2}', ['id'], '2'],
    ['{"a":[{"b":1}]}', ['a', 'b'], undefined],
    ['{"a":1}', ['a', 'b'], undefined],
    ['{"__proto__":{"x":1}}', ['__proto__', 'x'], '1'],
    ['{}', ['id'], undefined],
    ['[{"id":1}]', ['id'], undefined],
    ['"id"', ['id'], undefined],
  ])('%s at %j is %s', (text, path, expected) => {
    expect(memberText(text, path)).toBe(expected);
  });

  it('is replaced each time it stands there, and nowhere else', () => {
    const text = '{"id":1, "p":{"id":1,"t":"x"}, "id" : 1 , "a":[{"id":1}]}';
    const replacements = [{ path: ['id'], value: '"new"' }, { path: ['p', 't'], value: '[]' }, { path: ['p', 'none'], value: '0' }];
    expect(replaceMembers(text, replacements)).toBe('{"id":"new", "p":{"id":1,"t":[]}, "id" : "new" , "a":[{"id":1}]}');
  });

  it('is found and replaced in any object, which is otherwise the same to the character', () => {
    const spaces = fc.constantFrom(undefined, 1, '\t', '\r\n');
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.jsonValue(), fc.jsonValue(), spaces, (rest, before, after, space) => {
        const inner = { ...rest, token: before };
        const value = { ...rest, inner, id: before, last: rest };
        const text = JSON.stringify(value, undefined, space);
        expect(JSON.parse(memberText(text, ['id']) ?? '')).toEqual(JSON.parse(JSON.stringify(before)));
        const mark = JSON.stringify(after);
        const replaced = replaceMembers(text, [{ path: ['id'], value: mark }, { path: ['inner', 'token'], value: mark }]);
        expect(JSON.parse(replaced)).toEqual(JSON.parse(JSON.stringify({ ...value, id: after, inner: { ...inner, token: after } })));
        const back = [memberText(text, ['id']) ?? '', memberText(text, ['inner', 'token']) ?? ''];
        expect(replaceMembers(replaced, [{ path: ['id'], value: back[0] ?? '' }, { path: ['inner', 'token'], value: back[1] ?? '' }])).toBe(text);
      }),
      { numRuns: 200 },
    );
  });
});
