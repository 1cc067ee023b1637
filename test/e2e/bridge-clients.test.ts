/** The official clients through `sallyport connect` as an MCP client starts it: both eras, several gateways, identities that make and renew themselves. */
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import type { ClientOptions } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startV2Http } from '../support/mcp-servers/v2.ts';
import { fixturePolicy, launcher, ServedPort, until } from '../support/served-port.ts';
import type { Running, Serving } from '../support/served-port.ts';

let port: ServedPort;
let gateway: Serving;
let server: Awaited<ReturnType<typeof startV2Http>>;
const at = (upstream: string): string => gateway.endpoints.find((endpoint) => endpoint.upstream === upstream)?.url ?? '';

beforeAll(async () => {
  [port, server] = await Promise.all([ServedPort.make(), startV2Http()]);
  await port.writePolicy(fixturePolicy(['echo', 'whoami']));
  await port.issue('agent-7', '--ou', 'analytics');
  await port.issue('operator-1', '--ou', 'platform');
  gateway = await port.serve({ args: ['--upstream', `files=${server.url}`, '--upstream', `search=${server.url}`] });
});
afterAll(async () => {
  await port.close();
  await server.close();
});

const connectWith = async (transport: StdioClientTransport | StreamableHTTPClientTransport, mode: NonNullable<ClientOptions['versionNegotiation']>['mode'] = 'auto'): Promise<Client> => {
  const client = new Client({ name: 'test', version: '1.0.0' }, { versionNegotiation: { mode: mode ?? 'auto' } });
  await client.connect(transport);
  return client;
};
const stdio = (command: string, args: readonly string[]): StdioClientTransport => new StdioClientTransport({ command, args: [...args], stderr: 'ignore', env: { PATH: '/nowhere' } });
const tools = async (client: Client): Promise<string[]> => (await client.listTools()).tools.map(({ name }) => name).toSorted();

it.concurrent.each(['auto', 'legacy'] as const)('a client in %s negotiation uses what client-config prints, with a poor PATH', async (mode) => {
  const { config } = (await port.place.json('client-config', 'cursor', at('files'), '--identity', 'agent-7')) as { config: { mcpServers: { files: { command: string; args: string[] } } } };
  const { command, args } = config.mcpServers.files;
  const client = await connectWith(stdio(command, args), mode);
  expect(client.getNegotiatedProtocolVersion()).toBe(mode === 'legacy' ? '2025-11-25' : '2026-07-28');
  expect(await tools(client)).toEqual(['echo', 'whoami']);
  const echoes = await Promise.all(['a', 'b'].map((text) => client.callTool({ name: 'echo', arguments: { text } })));
  expect(echoes.map(({ content }) => content)).toEqual([[{ type: 'text', text: 'a' }], [{ type: 'text', text: 'b' }]]);
  await expect(client.callTool({ name: 'delete_everything', arguments: {} })).rejects.toMatchObject({ code: -32602 });
  await client.close();
});

describe('several gateways from one file', () => {
  let http: Running;
  let urls: Map<string, string>;
  beforeAll(async () => {
    await writeFile(port.path('bridge.yaml'), `gateways:\n  mine: { identity: agent-7, url: "${at('files')}" }\n  theirs: { identity: operator-1, url: "${at('search')}" }\n`);
    http = port.start(['connect', '--config', 'bridge.yaml', '--http', '--json']);
    const { gateways } = JSON.parse(await http.firstLine()) as { gateways: { name: string; url: string }[] };
    urls = new Map(gateways.map(({ name, url }) => [name, url]));
  });

  it('are served side by side, each as whom the file says, at an address with its own secret', async () => {
    const [mine, theirs] = await Promise.all([...urls.values()].map((url) => connectWith(new StreamableHTTPClientTransport(new URL(url)))));
    if (mine === undefined || theirs === undefined) throw new Error('two were asked for');
    expect([...urls].map(([name, url]) => [name, new URL(url).pathname.replace(/^\/[\w-]{43}\//, '')])).toEqual([['mine', 'mine/mcp'], ['theirs', 'theirs/mcp']]);
    expect(await tools(mine)).toEqual(['echo', 'whoami']);
    expect(await tools(theirs)).toContain('delete_everything');
    await Promise.all([mine.close(), theirs.close()]);
    // The secret of one is none for the other.
    const [secret = ''] = /[\w-]{43}/.exec(urls.get('mine') ?? '') ?? [];
    expect((await fetch((urls.get('theirs') ?? '').replace(/[\w-]{43}/, secret), { method: 'POST' })).status).toBe(404);
    expect(await http.stop()).toBe(0);
    expect(http.stderr).not.toContain(secret);
  });

  it.each([
    ['several on stdio', ['--config', 'bridge.yaml'], /stdio carries one gateway, and bridge\.yaml has 2: choose with --gateway mine or theirs, or serve all of them with --http/],
    ['one that is not there', ['--config', 'bridge.yaml', '--gateway', 'x'], /bridge\.yaml has no gateway x: it has mine, theirs/],
    ['a URL beside the file', ['https://gate/mcp', '--config', 'bridge.yaml'], /the gateways are in bridge\.yaml: leave the URL out/],
    ['an identity beside the file', ['--config', 'bridge.yaml', '--identity', 'agent-7'], /--identity is for one gateway: set it in bridge\.yaml/],
    ['a passphrase beside the file', ['--config', 'bridge.yaml', '--passphrase-file', 'x'], /--passphrase-file is for one gateway/],
    ['a gateway of no file', ['--identity', 'agent-7', '--gateway', 'x'], /--gateway chooses from a file/],
    ['two tokens', ['--identity', 'agent-7', '--token-file', 'x', '--token-env', 'X'], /give either --token-file or --token-env/],
    ['an enrollment without a token', ['--identity', 'agent-7', '--enroll', 'https://gate'], /--enroll needs a token/],
    ['nothing', [], /an identity is missing: give --identity DIR, or several with --config FILE/],
  ])('are refused for %s', async (_what, args, words) => {
    expect(await port.place.run('connect', ...args)).toMatchObject({ code: 2, stdout: '', stderr: expect.stringMatching(words) });
  });

  it('are refused when the file contradicts the port, and when a passphrase opens nothing', async () => {
    await writeFile(port.path('ported.yaml'), `gateways: { mine: { identity: agent-7 } }\nhttp: { port: 7777 }\n`);
    expect((await port.place.run('connect', '--config', 'ported.yaml', '--http', '7778')).stderr).toContain('--http 7778 contradicts http.port of ported.yaml, which is 7777');
    await writeFile(port.path('phrase'), 'x');
    expect((await port.place.run('connect', '--identity', 'agent-7', '--passphrase-file', 'phrase')).stderr).toContain('a passphrase is given and key.pem is not encrypted; leave the passphrase out, or encrypt the key');
  });
});

describe('an identity that looks after itself', () => {
  it('is made at the first start, renewed while in use, and needs its token no more', async () => {
    const { token } = (await port.place.json('token', 'create', 'agent-9', '--ou', 'analytics', '--certificate-ttl', '6s')) as { token: string };
    await writeFile(port.path('token'), token);
    const args = [launcher, 'connect', at('files'), '--identity', port.path('agent-9'), '--token-file', port.path('token'), '--enroll', gateway.enrollUrl];
    const certificate = async (): Promise<X509Certificate> => new X509Certificate(await readFile(port.path('agent-9', 'cert.pem')));
    const client = await connectWith(stdio(process.execPath, args), { pin: '2026-07-28' });
    expect(await tools(client)).toEqual(['echo', 'whoami']);
    const first = await certificate();
    expect(first.subject).toContain('CN=agent-9');
    await until(async () => (await certificate()).serialNumber !== first.serialNumber);
    expect((await certificate()).publicKey.equals(first.publicKey)).toBe(false);
    // The client goes on and notices nothing.
    expect(await client.callTool({ name: 'echo', arguments: { text: 'still here' } })).toMatchObject({ content: [{ text: 'still here' }] });

    // Spent, and of no interest.
    const again = await connectWith(stdio(process.execPath, args), 'legacy');
    expect(await tools(again)).toEqual(['echo', 'whoami']);
    await Promise.all([client.close(), again.close()]);
  });
});
