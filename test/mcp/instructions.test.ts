import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { instructionsFilter, SeenNames, withoutTellingInstructions } from '../../src/mcp/instructions.ts';
import type { Action } from '../../src/policy/decision.ts';

describe('a hidden name', () => {
  test.each<[string, string]>([
    ['Call drop_table last', 'drop_table'], ['`Drop_Table`', 'drop_table'], ['drop_table', 'drop_table'], ['read file:///secret/a.txt, then', 'file:///secret/a.txt'], ['use search.', 'search'], ['résumé: Größe', 'größe'], ['a (x)', '(x)'],
  ])('stands in %j', (text, name) => {
    expect(instructionsFilter(text, ['other', name])).toBeUndefined();
  });

  test.each<[string, string]>([['Call drop_tables', 'drop_table'], ['research', 'search'], ['Größenwahn', 'größe'], ['anything', ''], ['', 'search'], ['read the file', 'read_file']])('does not stand in %j', (text, name) => {
    expect(instructionsFilter(text, [name])).toBe(text);
  });

  test('is found wherever it stands between other words', () => {
    fc.assert(fc.property(fc.stringMatching(/^[a-z_]{1,12}$/), fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }), (name, before, behind) => instructionsFilter(`${before} ${name} ${behind}`, [name]) === undefined), { numRuns: 100 });
  });
});

describe('instructions', () => {
  const allows = (action: Action): boolean => action.kind === 'tool' && action.name === 'echo';
  const result = (instructions: unknown, capabilities: unknown = { tools: {}, logging: {} }) => ({ protocolVersion: '2025-11-25', capabilities, instructions });
  const filter = (given: Record<string, unknown>, names: SeenNames, hasAll = false) => withoutTellingInstructions(given, { upstream: 'files', names, allows, hasAll: () => hasAll });
  const listed = (...tools: readonly string[]) => {
    const names = new SeenNames();
    names.note('files', 'tools/list', { tools: tools.map((name) => ({ name })) });
    return names;
  };

  test('stay when they name nothing hidden, and go when they do', () => {
    const names = listed('echo', 'rm');
    const harmless = result('Call echo.');
    expect(filter(harmless, names)).toBe(harmless);
    expect(filter(result('Call rm.'), names)).toStrictEqual({ protocolVersion: '2025-11-25', capabilities: { tools: {}, logging: {} } });
  });

  test('stay for whom nothing can be hidden from, whatever was listed', () => {
    const given = result('Call rm.');
    expect(filter(given, new SeenNames(), true)).toBe(given);
  });

  test('go while not all names of a class the server offers are known', () => {
    expect(filter(result('Hello'), new SeenNames())).not.toHaveProperty('instructions');
    const names = new SeenNames();
    names.note('files', 'tools/list', { tools: [{ name: 'echo' }], nextCursor: '2' });
    expect(filter(result('Hello'), names)).not.toHaveProperty('instructions');
    names.note('files', 'tools/list', { tools: [] });
    expect(filter(result('Hello'), names)).toHaveProperty('instructions');
    expect(filter(result('Hello', { tools: {}, prompts: {} }), names)).not.toHaveProperty('instructions');
    names.note('files', 'prompts/list', { prompts: [] });
    expect(filter(result('Hello', { tools: {}, prompts: {} }), names)).toHaveProperty('instructions');
    names.note('files', 'resources/templates/list', { resourceTemplates: [] });
    expect(filter(result('Hello', { resources: {} }), names)).not.toHaveProperty('instructions');
    names.note('files', 'resources/list', { resources: [{ uri: 'file:///a' }] });
    expect(filter(result('Hello', { resources: {} }), names)).toHaveProperty('instructions');
    expect(filter(result('See file:///a', { resources: {} }), names)).not.toHaveProperty('instructions');
  });

  test('go when there are more names than are kept', () => {
    const names = listed(...Array.from({ length: 5_000 }, (_, index) => `t${index}`));
    expect(filter(result('Hello'), names)).not.toHaveProperty('instructions');
  });

  test('that are no text go, and a result without any stays as it is', () => {
    expect(filter(result(['echo']), listed('echo'))).not.toHaveProperty('instructions');
    const given = { capabilities: { tools: {} } };
    expect(filter(given, new SeenNames())).toBe(given);
  });

  test('of one upstream are not judged by the names of another', () => {
    const names = new SeenNames();
    names.note('other', 'tools/list', { tools: [] });
    expect(filter(result('Hello'), names)).not.toHaveProperty('instructions');
  });

  test('learn nothing from what is no list', () => {
    const names = new SeenNames();
    for (const value of [{}, { tools: 'x' }]) names.note('files', 'tools/list', value);
    names.note('files', 'tools/call', { tools: [] });
    expect(filter(result('Hello'), names)).not.toHaveProperty('instructions');
    names.note('files', 'tools/list', { tools: [null, { name: 7 }, 'x'] });
    expect(filter(result('Hello'), names)).toHaveProperty('instructions');
  });
});
