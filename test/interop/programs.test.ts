/** MCP clients that are programs of others: curl, a client on Python's standard library, and the MCP Inspector through the bridge. */
import { execFile, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { beginIdentity } from '../../src/bridge/identity-directory.ts';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { startUpstream } from '../support/gateway-upstreams.ts';
import { initializeMessage } from '../support/gateway-requests.ts';
import { envelope } from '../support/modern-requests.ts';

let place: string;
let gateway: TestGateway;
const identity = (file = ''): string => join(place, 'agent-7', file);
const urlOf = (server: 'v1' | 'v2'): string => new URL(`/${server}/mcp`, gateway.url).href;
const everyTool = ['add', 'big_integer', 'echo', 'log', 'slow', 'whoami'];

beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'sallyport-interop-'));
  gateway = await startTestGateway({ upstreams: [await startUpstream('v1', { name: 'v1' }), await startUpstream('v2', { name: 'v2' })] });
  const agent = gateway.agent();
  const draft = await beginIdentity(identity(), agent.key, undefined);
  await draft.commit({ name: 'agent-7', certificatePem: agent.chainPem, caPem: gateway.pki.root.certPem, gateway: undefined, renewal: undefined });
});
afterAll(async () => {
  await gateway.close();
  await rm(place, { recursive: true, force: true });
});

/** Whether it can be run here; what needs it is skipped by name where it cannot. */
const installed = (program: string): boolean => spawnSync(program, ['--version']).status === 0;

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const run = async (program: string, argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ran> => {
  try {
    return { code: 0, ...(await promisify(execFile)(program, argv, { cwd: place, env: { ...process.env, ...env } })) };
  } catch (error) {
    const { code, stdout, stderr } = error as Ran;
    return { code, stdout, stderr };
  }
};

describe.runIf(installed('curl'))('curl with --cert and --key', { concurrent: true }, () => {
  /** Status, head, and the last message of the answer, be it JSON or the data of an event. */
  const curl = async (url: string, message: object | undefined, headers: Readonly<Record<string, string>>, identified = true): Promise<{ status: number; head: string; message: unknown; text: string }> => {
    const { code, stdout, stderr } = await run('curl', [
      '--silent', '--show-error', '--http1.1', '--include', '--max-time', '15', '--cacert', identity('ca.pem'), ...(identified ? ['--cert', identity('cert.pem'), '--key', identity('key.pem')] : []),
      '--header', 'accept: application/json, text/event-stream', ...Object.entries(headers).flatMap(([name, value]) => ['--header', `${name}: ${value}`]),
      ...(message === undefined ? ['--request', 'DELETE'] : ['--header', 'content-type: application/json', '--data-binary', JSON.stringify(message)]), url,
    ]);
    if (code !== 0) throw new Error(`curl ended with ${code}: ${stderr}`);
    const [head = '', ...rest] = stdout.split('\r\n\r\n');
    const text = rest.join('\r\n\r\n');
    const last = text.startsWith('{') ? text : text.split('\n').findLast((line) => line.startsWith('data: {'))?.slice(6);
    return { status: Number(head.split(' ')[1]), head, message: last === undefined ? undefined : JSON.parse(last), text };
  };
  const call = (name: string, args: object, meta?: object) => ({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name, arguments: args, ...(meta === undefined ? {} : { _meta: meta }) } });

  it('holds a legacy session from initialize to DELETE', async () => {
    const url = urlOf('v1');
    const opened = await curl(url, initializeMessage(), {});
    expect(opened.message).toMatchObject({ result: { protocolVersion: '2025-11-25', serverInfo: { name: 'v1-fixture' } } });
    const own = { 'mcp-protocol-version': '2025-11-25', 'mcp-session-id': /^mcp-session-id: (\S+)/im.exec(opened.head)?.[1] ?? '' };
    expect((await curl(url, { jsonrpc: '2.0', method: 'notifications/initialized' }, own)).status).toBe(202);
    expect((await curl(url, call('echo', { text: 'hi' }), own)).message).toMatchObject({ id: 2, result: { content: [{ text: 'hi' }] } });
    expect((await curl(url, call('delete_everything', {}), own)).message).toMatchObject({ id: 2, error: { code: -32602 } });
    expect((await curl(url, undefined, own)).status).toBe(200);
    expect((await curl(url, call('echo', { text: 'hi' }), own)).status).toBe(404);
  });

  it('makes modern requests one by one, and cannot name one tool in a header and call another', async () => {
    const url = urlOf('v2');
    const head = (method: string, name?: string) => ({ 'mcp-protocol-version': '2026-07-28', 'mcp-method': method, ...(name === undefined ? {} : { 'mcp-name': name }) });
    const [discovered, permitted, denied, untrue] = await Promise.all([
      curl(url, { jsonrpc: '2.0', id: 1, method: 'server/discover', params: { _meta: envelope() } }, head('server/discover')),
      curl(url, call('echo', { text: 'hi' }, envelope()), head('tools/call', 'echo')),
      curl(url, call('delete_everything', {}, envelope()), head('tools/call', 'delete_everything')),
      curl(url, call('delete_everything', {}, envelope()), head('tools/call', 'echo')),
    ]);
    expect(discovered.message).toMatchObject({ result: { supportedVersions: expect.arrayContaining(['2026-07-28']) } });
    expect(permitted.message).toMatchObject({ id: 2, result: { content: [{ text: 'hi' }] } });
    expect(denied.message).toMatchObject({ id: 2, error: { code: -32602 } });
    expect(untrue).toMatchObject({ status: 400, message: { id: 2, error: { code: -32020 } } });
  });

  it('without a certificate is told what is missing', async () => {
    const refused = await curl(urlOf('v1'), initializeMessage(), {}, false);
    expect(refused.status).toBe(403);
    expect(refused.text).toContain('ERR_PEER_NO_CERTIFICATE');
  });
});

describe.runIf(installed('python3'))('a client on the standard library of Python', { concurrent: true }, () => {
  const python = async (server: 'v1' | 'v2', era: 'legacy' | 'modern'): Promise<unknown> => {
    const { code, stdout, stderr } = await run('python3', [fileURLToPath(new URL('python_client.py', import.meta.url)), urlOf(server), identity(), era]);
    if (code !== 0) throw new Error(stderr);
    return JSON.parse(stdout) as unknown;
  };
  const permitted = { status: 200, text: 'naïve → ✓' };
  const denied = { status: 200, error: -32602, said: expect.stringContaining('not found or not permitted') };

  it('works in a legacy session', async () => {
    expect(await python('v1', 'legacy')).toEqual({
      server: 'v1-fixture', noted: 202, tools: expect.arrayContaining(['add', 'echo', 'slow']), permitted, denied, ended: 200, afterwards: 404,
    });
  });

  it('works in a legacy revision without a session', async () => {
    expect(await python('v2', 'legacy')).toMatchObject({ server: 'v2-fixture', noted: 202, tools: everyTool, permitted, denied });
  });

  it('works in the modern revision', async () => {
    expect(await python('v2', 'modern')).toEqual({
      server: 'v2-fixture', offers: true, tools: everyTool, cacheScope: 'private', permitted, denied,
      untrue: { status: 400, error: -32020, said: expect.any(String) }, unknown: { status: 404, error: -32601, said: expect.any(String) },
    });
  });
});

describe.concurrent('the MCP Inspector on the command line, through the bridge', () => {
  const inspector = join(dirname(createRequire(import.meta.url).resolve('@modelcontextprotocol/inspector/package.json')), 'clients/launcher/build/index.js');
  const launcher = fileURLToPath(new URL('../../bin/sallyport.js', import.meta.url));
  const inspect = (server: 'v1' | 'v2', ...argv: readonly string[]): Promise<Ran> =>
    // It keeps a catalog of servers at home.
    run(process.execPath, [inspector, '--cli', process.execPath, launcher, 'connect', urlOf(server), '--identity', identity(), ...argv], { HOME: place });

  it('lists what the agent may call', async () => {
    const { code, stdout, stderr } = await inspect('v2', '--method', 'tools/list');
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect((JSON.parse(stdout) as { tools: readonly { name: string }[] }).tools.map(({ name }) => name).toSorted()).toEqual(everyTool);
  });

  it('calls a permitted tool', async () => {
    const { code, stdout, stderr } = await inspect('v1', '--method', 'tools/call', '--tool-name', 'echo', '--tool-arg', 'text=hi');
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(JSON.parse(stdout)).toMatchObject({ content: [{ type: 'text', text: 'hi' }] });
  });

  it('does not call a denied one', async () => {
    const { code, stdout, stderr } = await inspect('v1', '--method', 'tools/call', '--tool-name', 'delete_everything');
    expect(code).not.toBe(0);
    expect(stdout).not.toContain('deleted');
    expect(stderr).toMatch(/not found/);
  });
});
