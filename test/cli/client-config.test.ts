import { chmod, lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { parse as parseToml } from 'smol-toml';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { asCommandLine, mcpClientNames, mcpClients } from '../../src/cli/mcp-clients.ts';
import type { McpClientName } from '../../src/cli/mcp-clients.ts';
import { createTestPki, writeIdentity } from '../bridge/test-pki.ts';
import { launcher } from '../support/served-port.ts';
import { Workplace } from './run.ts';

let place: Workplace;
let identity: string;
beforeAll(async () => {
  const pki = await createTestPki();
  place = await Workplace.make();
  identity = await writeIdentity(place.path('agent-7'), pki, await pki.issue({ name: 'agent-7' }), { gateway: 'https://gate:8443/mcp' });
  await writeIdentity(place.path('unnamed'), pki, await pki.issue({ name: 'agent-7' }));
  await writeFile(place.path('bridge.yaml'), 'gateways:\n  files: { identity: agent-7 }\n  search: { identity: unnamed, url: "https://gate:8443/search/mcp" }\n');
});
beforeEach(async () => {
  place.env['HOME'] = await mkdir(place.path(`home-${Math.random().toString(36).slice(2)}`), { recursive: true }) ?? '';
});
afterAll(() => place.remove());

const where: Readonly<Record<McpClientName, () => string>> = {
  'claude-desktop': () => (process.platform === 'darwin' ? join(place.env['HOME'] ?? '', 'Library/Application Support/Claude/claude_desktop_config.json') : join(place.env['HOME'] ?? '', '.config/Claude/claude_desktop_config.json')),
  'claude-code': () => place.path('.mcp.json'),
  vscode: () => place.path('.vscode/mcp.json'),
  cursor: () => place.path('.cursor/mcp.json'),
  codex: () => join(place.env['HOME'] ?? '', '.codex/config.toml'),
  inspector: () => place.path('mcp.json'),
};
const read = (name: McpClientName, text: string): unknown => (mcpClients[name].form === 'toml' ? parseToml(text) : JSON.parse(text));
const args = (): string[] => [launcher, 'connect', '--identity', identity];

describe.each(mcpClientNames)('%s', (name) => {
  const { section, form } = mcpClients[name];
  const entry = (): unknown => expect.objectContaining({ command: expect.stringMatching(/node(?:\.exe)?$/), args: args() });

  it('is shown what belongs into its file, with absolute paths only', async () => {
    const { code, stdout, stderr } = await place.run('client-config', name, '--identity', 'agent-7', '--name', 'acme');
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining(`belongs into ${where[name]()}; --write puts it there`) });
    const value = read(name, stdout) as Record<string, Record<string, { command: string }>>;
    expect(value).toEqual({ [section]: { acme: entry() } });
    expect(isAbsolute(value[section]?.['acme']?.command ?? '')).toBe(true);
    await expect(stat(where[name]())).rejects.toThrow('ENOENT');
  });

  it('has it written into its file, keeping the rest, the mode and the file before', async () => {
    const file = where[name]();
    const before = form === 'toml' ? '# mine\nmodel = "o9"\n\n[mcp_servers.other]\ncommand = "x"\n' : `{\n  "theme": "dark",\n  "${section}": { "other": { "command": "x" } }\n}\n`;
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, before);
    await chmod(file, 0o600);
    const { stdout } = await place.run('client-config', name, 'https://gate:8443/files/mcp', '--identity', 'agent-7', '--write');
    expect(stdout).toBe(`wrote files to ${file}; the file before is ${file}.backup\n`);
    const after = await readFile(file, 'utf8');
    expect(read(name, after)).toEqual({ ...(form === 'toml' ? { model: 'o9' } : { theme: 'dark' }), [section]: { other: { command: 'x' }, files: expect.objectContaining({ args: [launcher, 'connect', 'https://gate:8443/files/mcp', '--identity', identity] }) } });
    expect([(await stat(file)).mode & 0o777, (await stat(`${file}.backup`)).mode & 0o777, await readFile(`${file}.backup`, 'utf8')]).toEqual([0o600, 0o600, before]);

    // Again: nothing. With another setting: another backup, the first one stays.
    expect(await place.json('client-config', name, 'https://gate:8443/files/mcp', '--identity', 'agent-7', '--write')).toMatchObject({ changed: false });
    expect(await readFile(file, 'utf8')).toBe(after);
    expect(await place.json('client-config', name, '--identity', 'agent-7', '--name', 'files', '--write')).toMatchObject({ changed: true, backup: `${file}.backup-2` });
    expect([await readFile(`${file}.backup`, 'utf8'), await readFile(`${file}.backup-2`, 'utf8')]).toEqual([before, after]);
    expect((await readdir(dirname(file))).filter((one) => one.endsWith('.tmp') || /^\..*-[0-9a-f]{12}$/.test(one))).toEqual([]);
  });

  it('is not touched when its file cannot be read', async () => {
    const file = place.path(`broken-${name}`);
    await writeFile(file, '{ "a" = ');
    const { code, stderr } = await place.run('client-config', name, '--identity', 'agent-7', '--file', file, '--write');
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(new RegExp(`error ERR_CONFIG_INVALID: ${file} was not changed, because it is not ${form.toUpperCase()} at line 1: correct the file first, or put in by hand`)) });
    expect(await readFile(file, 'utf8')).toBe('{ "a" = ');
    expect(await readdir(place.directory)).not.toContain(`broken-${name}.backup`);
  });
});

it('makes the file where there is none', async () => {
  const file = place.path('deep', 'new', 'mcp.json');
  expect(await place.json('client-config', 'vscode', '--identity', 'agent-7', '--file', file, '--write')).toEqual({ client: 'vscode', name: 'sallyport', file, changed: true });
  expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({ servers: { sallyport: { type: 'stdio' } } });
});

it('follows a link to the file instead of replacing it', async () => {
  await writeFile(place.path('real.json'), '{}');
  await symlink(place.path('real.json'), place.path('link.json'));
  await place.json('client-config', 'cursor', '--identity', 'agent-7', '--file', 'link.json', '--write');
  expect((await lstat(place.path('link.json'))).isSymbolicLink()).toBe(true);
  expect(await readFile(place.path('real.json'), 'utf8')).toContain('mcpServers');
});

it('gives the commands that do the same', async () => {
  const { command, config } = (await place.json('client-config', 'claude-code', '--identity', 'agent-7')) as { command: string; config: { mcpServers: { sallyport: { command: string } } } };
  expect(command).toBe(`claude mcp add sallyport -- ${config.mcpServers.sallyport.command} ${launcher} connect --identity ${identity}`);
  expect((await place.json('client-config', 'inspector', '--identity', 'agent-7'))['command']).toBe(`npx @modelcontextprotocol/inspector --config ${place.path('mcp.json')} --server sallyport`);
});

it('writes what each platform has for a path, and quotes for its shell', () => {
  const world = { home: '/home/a', cwd: '/w', env: {} };
  const file = (platform: NodeJS.Platform, env: Record<string, string> = {}, home = world.home): string => mcpClients['claude-desktop'].file({ ...world, platform, env, home });
  expect(file('darwin', {}, '/Users/a')).toBe('/Users/a/Library/Application Support/Claude/claude_desktop_config.json');
  expect(file('win32', { APPDATA: 'C:\\Users\\a\\AppData\\Roaming' })).toBe('C:\\Users\\a\\AppData\\Roaming\\Claude\\claude_desktop_config.json');
  expect(file('win32', {}, 'C:\\Users\\a')).toBe('C:\\Users\\a\\AppData\\Roaming\\Claude\\claude_desktop_config.json');
  expect(file('linux', { XDG_CONFIG_HOME: '/x' })).toBe('/x/Claude/claude_desktop_config.json');
  expect(mcpClients.codex.file({ ...world, platform: 'linux', env: { CODEX_HOME: '/c' } })).toBe('/c/config.toml');
  expect(asCommandLine(['claude', "it's", 'a b', '$X'], 'linux')).toBe(`claude 'it'\\''s' 'a b' '$X'`);
  expect(asCommandLine(['claude', 'C:\\Program Files\\node.exe', 'C:\\x'], 'win32')).toBe('claude "C:\\Program Files\\node.exe" C:\\x');
});

describe('what the entry starts', () => {
  const argsFor = async (...words: string[]): Promise<string[]> => ((await place.json('client-config', 'codex', ...words)) as { config: { mcp_servers: Record<string, { args: string[] }> } }).config.mcp_servers['x']?.args.slice(1) ?? [];

  it('takes a gateway of a file', async () => {
    expect(await argsFor('--config', 'bridge.yaml', '--gateway', 'search', '--name', 'x')).toEqual(['connect', '--config', place.path('bridge.yaml'), '--gateway', 'search']);
  });

  it('enrolls at its first start', async () => {
    expect(await argsFor('https://gate:8443/mcp', '--identity', 'not-yet', '--token-file', 'token', '--enroll', 'https://gate:9999', '--name', 'x')).toEqual([
      'connect', 'https://gate:8443/mcp', '--identity', place.path('not-yet'), '--token-file', place.path('token'), '--enroll', 'https://gate:9999',
    ]);
  });

  it('is a running bridge with --http, where the MCP client can do that', async () => {
    const address = `http://127.0.0.1:7777/${'A'.repeat(43)}/files/mcp`;
    const configOf = async (client: string): Promise<unknown> => (await place.json('client-config', client, '--http', address))['config'];
    expect(await configOf('vscode')).toEqual({ servers: { sallyport: { type: 'http', url: address } } });
    expect(await configOf('cursor')).toEqual({ mcpServers: { sallyport: { url: address } } });
    expect(await configOf('codex')).toEqual({ mcp_servers: { sallyport: { url: address } } });
    expect((await place.run('client-config', 'claude-desktop', '--http', address)).stderr).toContain('Claude Desktop reads only programs from its file: leave --http out');
  });

  it('keeps the secret of a running bridge from other users, or says that the file shows it', async () => {
    const words = ['client-config', 'cursor', '--http', `http://127.0.0.1:7777/${'A'.repeat(43)}/mcp`, '--write', '--file'];
    const [made, wide] = [place.path('made.json'), place.path('wide.json')];
    expect((await place.run(...words, made)).stderr).not.toContain('warning');
    expect((await stat(made)).mode & 0o777).toBe(0o600);
    await writeFile(wide, '{}', { mode: 0o644 });
    const said = `warning ${wide} holds the secret of the bridge now, and others may read it: run chmod 600 on it`;
    expect((await place.run(...words, wide)).stderr).toContain(said);
    expect((await place.run(...words, wide)).stderr).toContain(said);
  });
});

it.each([
  ['no identity', [], 2, 'an identity is missing: give --identity DIR'],
  ['an identity that is none', ['--identity', 'nowhere'], 1, 'ERR_BRIDGE_IDENTITY'],
  ['an identity that names no gateway', ['--identity', 'unnamed'], 2, 'names no gateway: give its URL'],
  ['an address that is not https', ['http://gate/mcp', '--identity', 'agent-7'], 2, 'http://gate/mcp is not an https address'],
  ['a passphrase for a file of gateways', ['--config', 'bridge.yaml', '--passphrase-file', 'x'], 2, '--passphrase-file is in the file already'],
  ['an identity for a file of gateways', ['--config', 'bridge.yaml', '--identity', 'agent-7'], 2, '--identity is in the file already'],
  ['several gateways', ['--config', 'bridge.yaml'], 2, 'choose with --gateway files or search'],
  ['a gateway that is not there', ['--config', 'bridge.yaml', '--gateway', 'x'], 2, 'bridge.yaml has no gateway x: it has files, search'],
  ['a gateway of no file', ['--identity', 'agent-7', '--gateway', 'x'], 2, '--gateway chooses from a file'],
  ['an identity for a running bridge', ['--http', 'http://127.0.0.1:1/x/mcp', '--identity', 'agent-7'], 2, '--http is for a bridge that runs already and has its identity: leave --identity out'],
  ['the address of no bridge', ['--http', 'http://127.0.0.1:7777/mcp'], 2, '--http needs the whole address that sallyport connect --http printed'],
  ['an enrollment without a token', ['--identity', 'agent-7', '--enroll', 'https://gate'], 2, '--enroll needs a token'],
  ['a name that is none', ['--identity', 'agent-7', '--name', '__proto__'], 2, 'is no name for a server'],
])('refuses %s', async (_what, words, code, said) => {
  expect(await place.run('client-config', 'vscode', ...words)).toEqual({ code, stdout: '', stderr: expect.stringContaining(said) });
});

it('names the file that is wrong, not another', async () => {
  await writeFile(place.path('torn.json'), '{');
  await writeFile(place.path('torn.yaml'), 'gatewayz: {}\n');
  const torn = await place.run('client-config', 'vscode', '--identity', 'agent-7', '--write', '--file', 'torn.json');
  expect(torn).toEqual({ code: 2, stdout: '', stderr: `error ERR_CONFIG_INVALID: ${place.path('torn.json')} was not changed, because it is not JSON at line 1: correct the file first, or put in by hand what this command prints without --write\n` });
  expect((await place.run('connect', '--config', 'torn.yaml')).stderr).toMatch(/\n  correct torn\.yaml and try again\n$/);
});

it('refuses an MCP client it does not know, naming those it does', async () => {
  expect((await place.run('client-config', 'netscape')).stderr).toContain('claude-desktop, claude-code, vscode, cursor, codex, inspector');
});
