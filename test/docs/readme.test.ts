import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { commandsUnder, pages, root } from './pages.ts';

/**
 * The tour as printed, word by word, with three changes: free ports for the well-known ones, the
 * launcher of this checkout for `npx sallyport`, and the installed MCP server for `npx -y`.
 */
const printed = commandsUnder('README.md', 'Ten minutes by hand');
const ports = new Map<string, string>();
let place = '';
let gateway: ReturnType<typeof start> | undefined;
let client: Client | undefined;

beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'sallyport-readme-'));
  const servers = await Promise.all(['8443', '8444', '8080'].map(async (known) => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    ports.set(known, String((server.address() as AddressInfo).port));
    return server;
  }));
  for (const server of servers) server.close();
});

afterAll(async () => {
  await client?.close().catch(() => undefined);
  if (gateway?.exitCode === null) {
    gateway.kill('SIGTERM');
    await once(gateway, 'exit');
  }
  await rm(place, { recursive: true, force: true });
});

const withPorts = (line: string): string => line.replace(/\b(8443|8444|8080)\b/g, (known) => ports.get(known) ?? known);

function wordsOf(line: string): readonly string[] {
  const local = line
    .replace(/^npx sallyport/, join(root, 'bin/sallyport.js'))
    .replace('npx -y @modelcontextprotocol/server-everything', `"${process.execPath}" "${join(root, 'node_modules/@modelcontextprotocol/server-everything/dist/index.js')}"`);
  return [...withPorts(local).matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');
}

/** The one line that begins so; the tour must have it. */
function line(beginning: string): string {
  const found = printed.filter((each) => each.startsWith(`npx sallyport ${beginning}`));
  expect(found, beginning).toHaveLength(1);
  return found[0] ?? '';
}

const start = (words: readonly string[]): ChildProcessByStdio<null, Readable, Readable> => spawn(process.execPath, words, { cwd: place, env: { ...process.env, NO_COLOR: '1' }, stdio: ['ignore', 'pipe', 'pipe'] });

async function run(words: readonly string[]): Promise<{ code: unknown; stdout: string; stderr: string }> {
  const child = start(words);
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
  return { code, stdout, stderr };
}

it('has the two commands that a newcomer types first', () => {
  expect(pages.get('README.md')).toContain('    npm ci && npm run demo ');
  expect(pages.get('README.md')).toContain('    npm ci && npm test ');
});

it('1: init makes the data directory it describes', async () => {
  const { code, stdout, stderr } = await run(wordsOf(line('init')));
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain('made');
  for (const name of ['sallyport.yaml', 'policy.yaml', 'sallyport.db', 'crl/root.crl', 'crl/issuing.crl']) await stat(join(place, 'port', name));
  expect((await stat(join(place, 'port/keys/root.key.pem'))).mode & 0o777).toBe(0o600);
  const config = join(place, 'port/sallyport.yaml');
  await writeFile(config, withPorts(await readFile(config, 'utf8')));
});

it('2: issue says what the policy gives, and token create prints a token', async () => {
  const issued = await run(wordsOf(line('issue')));
  expect({ code: issued.code, stderr: issued.stderr }).toEqual({ code: 0, stderr: '' });
  expect(issued.stdout).toContain('grants on default as analyst');
  const created = await run(wordsOf(line('token create')));
  expect(created.code).toBe(0);
  expect(created.stdout).toMatch(/^sallyport1\.\S+\n$/);
  await writeFile(join(place, 'token'), created.stdout.trim());
});

it('3: serve serves, and enroll enrolls', async () => {
  gateway = start(wordsOf(line('serve')));
  const [announced] = (await once(gateway.stdout, 'data')) as [Buffer];
  expect(announced.toString()).toContain(withPorts('serving https://localhost:8443/mcp'));
  for (const path of ['/healthz', '/readyz', '/crl/issuing.crl', '/ca/issuing.cer']) expect((await fetch(`http://127.0.0.1:${ports.get('8080')}${path}`)).status, path).toBe(200);
  const token = await readFile(join(place, 'token'), 'utf8');
  const { code, stderr } = await run(wordsOf(line('enroll').replace('sallyport1.…', token)));
  expect(code, stderr).toBe(0);
  await stat(join(place, 'agent-8/key.pem'));
});

it('4: connect carries an MCP client', async () => {
  client = new Client({ name: 'readme', version: '1.0.0' });
  const transport = new StdioClientTransport({ command: process.execPath, args: [...wordsOf(line('connect'))], cwd: place, stderr: 'ignore' });
  await client.connect(transport as Transport);
  expect((await client.listTools()).tools.map(({ name }) => name).toSorted()).toEqual(['echo', 'get-annotated-message', 'get-structured-content', 'get-sum']);
  expect(JSON.stringify(await client.callTool({ name: 'echo', arguments: { message: 'hello' } }))).toContain('hello');
});

it('5: revoke cuts the connection before it returns', async () => {
  const { code, stdout } = await run(wordsOf(line('revoke')));
  expect(code).toBe(0);
  expect(stdout).toMatch(/revoked agent-7, serial \S+ \(keyCompromise\)\n.* cut \d+ connections? in /);
  await expect(client?.callTool({ name: 'echo', arguments: { message: 'again' } })).rejects.toThrow('revoked');
});

it.each([
  ['inventory', /agent-7 +revoked \(keyCompromise\)/],
  ['audit tail', /certificate\.revoked/],
  ['audit verify', /^intact/],
  ['doctor', /the gate at localhost:\d+ is shut/],
])('6: %s shows it', async (command, expected) => {
  const { code, stdout, stderr } = await run(wordsOf(line(command)));
  expect(code, stdout + stderr).toBe(0);
  expect(stdout).toMatch(expected);
});

it('has no command in the tour that is not run here', () => {
  const run = ['init', 'issue', 'token create', 'enroll', 'serve', 'connect', 'revoke', 'inventory', 'audit tail', 'audit verify', 'doctor'];
  expect(printed.filter((each) => !run.some((command) => each.startsWith(`npx sallyport ${command}`)))).toEqual([]);
});
