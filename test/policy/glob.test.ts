import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileGlob, globCovers, globsOverlap } from '../../src/policy/glob.ts';

const name = (pattern: string, text: string) => compileGlob(pattern, 'name').matches(text);
const uri = (pattern: string, text: string) => compileGlob(pattern, 'uri').matches(text);

describe('a glob', () => {
  it.each([
    ['a*b', 'ab', true],
    ['a*b', 'axxb', true],
    ['a*b', 'a*b', true],
    ['a*b', 'axxbc', false],
    ['a*b', 'xab', false],
    ['a*b', 'a', false],
    ['aba*aba', 'aba', false],
    ['aba*aba', 'abaaba', true],
    ['*', '', true],
    ['*', 'a/b\nc', true],
    ['search_*', 'search_', true],
    ['search_*', 'search', false],
    ['search_*', 'Search_x', false],
    ['*_read*', 'file_read_all', true],
    ['a.b', 'axb', false],
    ['a?b', 'axb', false],
    ['[ab]', 'a', false],
    ['tool', 'tool ', false],
    ['tool', 'tооl', false],
    ['é', 'e\u0301', false],
    ['**', 'anything', true],
  ])('in name syntax %j matches %j: %s', (pattern, text, expected) => {
    expect(name(pattern, text)).toBe(expected);
  });

  it.each([
    ['file:///reports/*', 'file:///reports/a', true],
    ['file:///reports/*', 'file:///reports/', true],
    ['file:///reports/*', 'file:///reports/a/b', false],
    ['file:///reports/**', 'file:///reports/a/b', true],
    ['file:///reports/**', 'file:///reports', false],
    ['file:///reports/**', 'file:///reportsx/a', false],
    ['file:///*/public/**', 'file:///x/public/y/z', true],
    ['file:///*/public/**', 'file:///x/y/public/z', false],
    ['**/x', 'a/b/x', true],
    ['a/*/*/b', 'a/1/2/b', true],
    ['a/*/*/b', 'a/1/b', false],
    ['**', '', true],
  ])('in uri syntax %j matches %j: %s', (pattern, text, expected) => {
    expect(uri(pattern, text)).toBe(expected);
  });

  it('knows what every match begins with', () => {
    expect(compileGlob('search_*', 'name')).toMatchObject({ exact: false, prefix: 'search_' });
    expect(compileGlob('search', 'name')).toMatchObject({ exact: true, prefix: 'search' });
  });

  it('answers like a regular expression, on any text of a small alphabet', () => {
    const escape = (text: string) => text.replace(/[.+?^${}()|[\]\\]/g, '\\$&');
    const reference = (pattern: string, syntax: 'name' | 'uri') =>
      new RegExp(`^${pattern.split(/(\*+)/).map((part) => (part.startsWith('*') ? (syntax === 'name' || part.length > 1 ? '[^]*' : '[^/]*') : escape(part))).join('')}$`);
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '/', '.'), maxLength: 10 });
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '/', '*', '*', '.'), maxLength: 8 });
    fc.assert(
      fc.property(pattern, letters, fc.constantFrom('name' as const, 'uri' as const), (glob, text, syntax) => compileGlob(glob, syntax).matches(text) === reference(glob, syntax).test(text)),
      { numRuns: 300 },
    );
  });

  it('takes no exponential time', () => {
    const started = performance.now();
    expect(name('*a'.repeat(16) + 'b', 'a'.repeat(8_000))).toBe(false);
    expect(uri('*a'.repeat(16) + 'b', 'a'.repeat(4_000))).toBe(false);
    expect(uri('**/*a'.repeat(8) + 'b', 'a/'.repeat(2_000))).toBe(false);
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});

describe('two globs', () => {
  const tokens = (pattern: string, syntax: 'name' | 'uri' = 'uri') => compileGlob(pattern, syntax).tokens;

  it.each([
    ['a*', 'ab*', true],
    ['ab*', 'a*', false],
    ['*', '**', false],
    ['**', '*', true],
    ['a/*', 'a/**', false],
    ['a/*/c', 'a/*/c', true],
    ['a', 'a', true],
    ['a', 'a*', false],
  ])('%j covers %j: %s', (wide, narrow, expected) => {
    expect(globCovers(tokens(wide), tokens(narrow))).toBe(expected);
  });

  it.each([
    ['a*', '*b', true],
    ['a/*', 'a/b/c', false],
    ['a/**', '*/b/c', true],
    ['a*', 'b*', false],
    ['*a', '*b', false],
    ['', '**', true],
    ['', 'a', false],
  ])('%j overlaps %j: %s', (left, right, expected) => {
    expect(globsOverlap(tokens(left), tokens(right))).toBe(expected);
    expect(globsOverlap(tokens(right), tokens(left))).toBe(expected);
  });

  it('overlap whenever a text is matched by both, and a covering one matches all that the other does', () => {
    const pattern = fc.string({ unit: fc.constantFrom('a', '/', '*'), maxLength: 6 });
    const text = fc.string({ unit: fc.constantFrom('a', '/'), maxLength: 6 });
    fc.assert(
      fc.property(pattern, pattern, text, (left, right, sample) => {
        const [a, b] = [compileGlob(left, 'uri'), compileGlob(right, 'uri')];
        if (a.matches(sample) && b.matches(sample) && !globsOverlap(a.tokens, b.tokens)) return false;
        return !(globCovers(a.tokens, b.tokens) && b.matches(sample) && !a.matches(sample));
      }),
      { numRuns: 300 },
    );
  });
});
