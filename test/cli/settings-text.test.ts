import * as fc from 'fast-check';
import * as jsonc from 'jsonc-parser';
import { parse as parseToml, stringify as stringifyToml } from 'smol-toml';
import { describe, expect, it } from 'vitest';
import { ownedKeys } from '../../src/cli/mcp-clients.ts';
import { asWholeFile, withServer } from '../../src/cli/settings-text.ts';
import { tomlStatements } from '../../src/cli/toml-statements.ts';
import { parseExact } from '../../src/mcp/exact-json.ts';

const entry = { type: 'stdio', command: '/usr/bin/node', args: ['/opt/sally port/bin/sallyport.js', 'connect', 'C:\\Users\\"x"'] };
const json = (text: string, name = 'acme'): string => withServer(text, 'json', { section: 'servers', name, entry, owned: ownedKeys });
const toml = (text: string, name = 'acme'): string => withServer(text, 'toml', { section: 'mcp_servers', name, entry: { command: entry.command, args: entry.args }, owned: ownedKeys });
const written = [`command = "/usr/bin/node"`, `args = ["/opt/sally port/bin/sallyport.js", "connect", "C:\\\\Users\\\\\\"x\\""]`, ''].join('\n');

describe('JSON', () => {
  it('keeps comments, order, spacing and trailing commas of everything else', () => {
    const before = `// mine\n{\n    "inputs": [ { "id": "k" }, ], // two\n    "servers": {\n        /* old */ "other": {"url":"https://x"},\n    },\n}\n`;
    const after = json(before);
    for (const kept of ['// mine\n{', '"inputs": [ { "id": "k" }, ], // two', '/* old */ "other": {"url":"https://x"},']) expect(after).toContain(kept);
    expect(jsonc.parse(after)).toEqual({ inputs: [{ id: 'k' }], servers: { other: { url: 'https://x' }, acme: entry } });
    expect(after).toContain('        "acme": {\n            "type": "stdio",');
    expect(json(after)).toBe(after);
  });

  it('keeps what else its owner wrote into our entry, and takes out what would contradict', () => {
    const after = json('{"servers":{"acme":{"url":"https://old","env":{"A":"1"}, "disabled": false}}}');
    expect(jsonc.parse(after)).toEqual({ servers: { acme: { ...entry, env: { A: '1' }, disabled: false } } });
  });

  it.each([
    ['an empty file', '', { servers: { acme: entry } }],
    ['an empty object', '{}', { servers: { acme: entry } }],
    ['a byte order mark and line ends of Windows', '\uFEFF{\r\n  "a": 1\r\n}\r\n', { a: 1, servers: { acme: entry } }],
  ])('takes %s', (_what, before, value) => {
    const after = json(before);
    expect(jsonc.parse(after.replace('\uFEFF', ''))).toEqual(value);
    expect(after.startsWith('\uFEFF')).toBe(before.startsWith('\uFEFF'));
    expect(/(?<!\r)\n/.test(after)).toBe(!before.includes('\r\n'));
  });

  it.each([
    ['broken JSON', '{\n  "servers": {\n', /^it is not JSON at line \d+: correct the file first, or put in by hand what this command prints without --write$/],
    ['a list', '[]', /^it is not a JSON object/],
    ['servers that are no map', '{"servers": []}', /^servers is not a map of servers/],
    ['a server that is no map', '{"servers": {"acme": 1}}', /^servers\.acme is not a map/],
    ['servers twice', '{"servers": {},\n "servers": {}}', /^the key "servers" stands twice in one object, at line 2/],
    ['our name twice', '{"servers": {"acme": {}, "acme": {}}}', /^the key "acme" stands twice/],
  ])('refuses %s', (_what, text, words) => {
    expect(() => json(text)).toThrow(words);
  });

  it('whatever else is in the file: it survives, with its comments, and a second time changes nothing', () => {
    const key = fc.stringMatching(/^[a-zA-Z0-9 _."\\é-]{1,8}$/).filter((name) => name !== 'acme' && name !== '__proto__');
    const value = fc.jsonValue({ maxDepth: 3 }).filter((one) => !JSON.stringify(one).includes('__proto__'));
    fc.assert(
      fc.property(fc.dictionary(key, value), fc.dictionary(key, fc.dictionary(key, value)), fc.constantFrom(undefined, 2, '\t'), fc.boolean(), (others, servers, indent, exists) => {
        const before = `// first\n${JSON.stringify({ ...others, servers: { ...servers, ...(exists ? { acme: { url: 'x', kept: [1] } } : {}) } }, undefined, indent)} // last`;
        const after = json(before);
        expect(jsonc.parse(after)).toEqual({ ...(parseExact(JSON.stringify(others)) as object), servers: { ...(parseExact(JSON.stringify(servers)) as object), acme: { ...entry, ...(exists ? { kept: [1] } : {}) } } });
        expect([after.startsWith('// first\n'), after.endsWith(' // last'), json(after)]).toEqual([true, true, after]);
      }),
      { numRuns: 100 },
    );
  });
});

describe('TOML', () => {
  it('appends a table and touches nothing before it', () => {
    const before = `model = "o9" # mine\n\n[profiles.fast]\nmodel = """\n[mcp_servers.acme]\ncommand = "not this"\n"""`;
    expect(toml(before)).toBe(`${before}\n\n[mcp_servers.acme]\n${written}`);
    expect(toml('')).toBe(`[mcp_servers.acme]\n${written}`);
    expect(toml(asWholeFile('toml', { section: 'mcp_servers', name: 'acme', entry: { command: entry.command, args: entry.args } }))).toBe(`[mcp_servers.acme]\n${written}`);
  });

  it('replaces only what is ours in its table', () => {
    const before = `[mcp_servers.other]\ncommand = "x"\n\n[ mcp_servers . "acme" ] # ours\n# why\ncommand = 'old' # gone\nargs = [ # many\n  "a", # ]\n  "b",\n]\nstartup_timeout_sec = 20\nurl = "https://old"\n\n[mcp_servers.acme.env]\ncommand = "kept"\n[[list]]\nargs = 1\n`;
    const after = toml(before);
    expect(after).toBe(`[mcp_servers.other]\ncommand = "x"\n\n[ mcp_servers . "acme" ] # ours\n${written}# why\nstartup_timeout_sec = 20\n\n[mcp_servers.acme.env]\ncommand = "kept"\n[[list]]\nargs = 1\n`);
    expect(toml(after)).toBe(after);
  });

  it('keeps the line ends of Windows, and a file without a last one', () => {
    expect(toml('[a]\r\nb = 1\r\n')).toBe(`[a]\r\nb = 1\r\n\r\n[mcp_servers.acme]\r\n${written.replaceAll('\n', '\r\n')}`);
    expect(parseToml(toml('[mcp_servers.acme]'))).toEqual({ mcp_servers: { acme: { command: entry.command, args: entry.args } } });
  });

  it.each([
    ['broken TOML', 'a = \nb', /^it is not TOML at line 1/],
    ['servers in one inline table', 'mcp_servers = { other = { command = "x" } }', /^it is laid out in a way that leaves no place for another server: put in by hand/],
    ['our entry in an inline table', '[mcp_servers]\nacme = { command = "x" }', /^mcp_servers\.acme is not written as a table of its own: put in by hand/],
    ['our entry in dotted keys', 'mcp_servers.acme.command = "x"', /^mcp_servers\.acme is not written as a table of its own/],
    ['a list of servers', '[[mcp_servers]]\nx = 1', /^mcp_servers is not a map of servers/],
  ])('refuses %s', (_what, text, words) => {
    expect(() => toml(text)).toThrow(words);
  });

  it('finds the statements of any text that a parser takes', () => {
    const key = fc.string({ minLength: 1, maxLength: 6 }).filter((name) => name !== '__proto__' && !/[\uD800-\uDFFF]/u.test(name));
    const value = fc.letrec((tie) => ({ node: fc.oneof({ maxDepth: 2 }, fc.string({ unit: fc.constantFrom('#', '[', ']', '"', "'", '\\', '\n', 'a', '=', ' ') }), fc.integer(), fc.boolean(), fc.array(tie('node'), { maxLength: 3 }), fc.dictionary(key, tie('node'), { maxKeys: 3 })) })).node;
    fc.assert(
      fc.property(fc.dictionary(key, value, { maxKeys: 4 }), fc.dictionary(key, fc.dictionary(key, value, { maxKeys: 3 }), { maxKeys: 3 }), fc.boolean(), (others, servers, exists) => {
        const all = { ...others, mcp_servers: { ...servers, ...(exists ? { acme: { url: 'x', kept: ['#', '"""'] } } : {}) } };
        const before = stringifyToml(all);
        const statements = tomlStatements(before);
        // They follow each other, and nothing but white space lies between them.
        expect(statements.map(({ start }, index) => before.slice(statements[index - 1]?.end ?? 0, start).trim())).toEqual(statements.map(() => ''));
        const after = toml(before);
        const value = parseToml(after) as { mcp_servers: Record<string, unknown> };
        expect(value).toEqual({ ...(parseToml(before) as object), mcp_servers: { ...(parseToml(before)['mcp_servers'] as object | undefined), acme: { command: entry.command, args: entry.args, ...(exists ? { kept: ['#', '"""'] } : {}) } } });
        expect(toml(after)).toBe(after);
      }),
      { numRuns: 150 },
    );
  });
});
