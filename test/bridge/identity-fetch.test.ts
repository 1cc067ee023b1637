import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createBridgeTransport, createIdentityFetch } from '../../src/bridge/index.ts';
import type { IdentityFetch } from '../../src/bridge/index.ts';
import { startTestGateway } from './test-gateway.ts';
import type { TestGateway, TestGatewayOptions } from './test-gateway.ts';
import { createTestPki, swapIdentity, writeIdentity } from './test-pki.ts';
import type { Issued, TestPki } from './test-pki.ts';

let pki: TestPki;
let agent: Issued;
let directory: string;
let gateway: TestGateway | undefined;
let identityFetch: IdentityFetch;

beforeAll(async () => {
  pki = await createTestPki();
  agent = await pki.issue({ name: 'agent-7' });
});
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'fetch-'));
  await writeIdentity(directory, pki, agent);
  identityFetch = createIdentityFetch({ identity: directory, pollMs: 50, connectTimeoutMs: 2_000 });
});
afterEach(async () => {
  identityFetch.close();
  await gateway?.close();
  gateway = undefined;
  await rm(directory, { recursive: true, force: true });
});

const start = async (options: Partial<TestGatewayOptions> = {}): Promise<TestGateway> => (gateway = await startTestGateway({ pki, ...options }));
const serial = (): string => agent.serial.replace(/^(00)+/, '');

describe('a fetch that presents an identity', () => {
  it('sends method, headers and bodies of every kind and gives the answer back', async () => {
    const { url } = await start({
      handler: async (request, response) => {
        const chunks: Buffer[] = [];
        for await (const chunk of request) chunks.push(chunk as Buffer);
        response.writeHead(201, { 'content-type': 'application/json', 'x-answer': 'yes' });
        response.end(JSON.stringify({ method: request.method, length: request.headers['content-length'], header: request.headers['x-own'], body: Buffer.concat(chunks).toString() }));
      },
    });
    const bodies: [RequestInit['body'], string | undefined][] = [
      ['text ü', '7'],
      [new TextEncoder().encode('bytes'), '5'],
      [new Blob(['stream']).stream(), undefined],
    ];
    for (const [body, length] of bodies) {
      const response = await identityFetch(url, { method: 'POST', headers: { 'x-own': '1', connection: 'close', host: 'elsewhere' }, body: body ?? null });
      expect(response.status).toBe(201);
      expect(response.url).toBe(url.href);
      expect(response.headers.get('x-answer')).toBe('yes');
      expect(await response.json()).toMatchObject({ method: 'POST', header: '1', ...(length === undefined ? {} : { length }) });
    }
    const viaRequest = await identityFetch(new Request(url, { method: 'PUT', body: 'whole' }));
    expect(await viaRequest.json()).toMatchObject({ method: 'PUT', body: 'whole' });
    expect(gateway?.handshakes).toBe(1);
  });

  it('uses no connection again that was idle while the machine may have slept', async () => {
    const { url } = await start({ handler: (_request, response) => void response.end('ok') });
    let now = Date.now();
    const sleepy = createIdentityFetch({ identity: directory, clock: { now: () => new Date(now) } });
    try {
      const ask = async (): Promise<number | undefined> => {
        await (await sleepy(url)).text();
        return gateway?.handshakes;
      };
      expect(await ask()).toBe(1);
      now += 30_000;
      expect(await ask()).toBe(1);
      now += 30_001;
      expect(await ask()).toBe(2);
      // A clock that was set back says as little.
      now -= 60_000;
      expect(await ask()).toBe(3);
    } finally {
      sleepy.close();
    }
  });

  it('presents the leaf alone and no session of an earlier handshake', async () => {
    let sent = 0;
    const { url } = await start({
      handler: (request, response) => {
        // Without the issuing CA on the wire, the peer's chain is completed from the server's own CAs.
        sent = (request.socket as import('node:tls').TLSSocket).isSessionReused() ? 1 : 0;
        response.end();
      },
    });
    await identityFetch(url, { headers: { accept: '*/*' } });
    for (const socket of gateway?.sockets ?? []) socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await identityFetch(url);
    expect(gateway?.handshakes).toBe(2);
    expect(sent).toBe(0);
  });

  it('streams an answer as it comes, with the abort signal', async () => {
    let cut = false;
    const { url } = await start({
      handler: (_request, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write('data: 1\n\n');
        response.on('close', () => (cut = true));
      },
    });
    const stop = new AbortController();
    const response = await identityFetch(url, { signal: stop.signal });
    const reader = response.body?.getReader();
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe('data: 1\n\n');
    stop.abort();
    await expect(reader?.read()).rejects.toMatchObject({ name: 'AbortError' });
    await expect.poll(() => cut).toBe(true);
    await expect(identityFetch(url, { signal: stop.signal })).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('does not take the identity to where an answer points', async () => {
    const { url, port } = await start({
      handler: (_request, response) => {
        response.writeHead(307, { location: 'https://elsewhere.example/mcp' });
        response.end();
      },
    });
    await expect(identityFetch(url)).rejects.toMatchObject({
      code: 'ERR_BRIDGE_UNREACHABLE',
      message: `the gateway localhost:${port} redirects to https://elsewhere.example/mcp; an identity is only presented to the address it was given, so give that one if it is right`,
    });
    expect((await identityFetch(url, { redirect: 'manual' })).status).toBe(307);
  });

  it('is presented over https only', async () => {
    await expect(identityFetch('http://localhost:1/mcp')).rejects.toMatchObject({ code: 'ERR_BRIDGE_IDENTITY', message: 'an identity is presented over https only, not to http://localhost:1; use the https address of the gateway' });
  });
});

describe('a refusal in words', () => {
  const verdicts: [string, string][] = [
    ['ERR_PEER_REVOKED', 'was revoked; ask the operator of the gateway for a new one (sallyport issue, or a token for sallyport enroll)'],
    ['ERR_PEER_EXPIRED', 'has expired; ask the operator of the gateway for a new one (sallyport issue, or a token for sallyport enroll)'],
    ['ERR_PEER_NOT_YET_VALID', 'is not yet valid; compare the clocks of both machines'],
    ['ERR_PEER_PROFILE', 'is not a client certificate; use one issued with --profile agent or agent-spiffe'],
    ['ERR_PEER_ISSUER', 'was not issued by the issuing CA it accepts; use an identity issued by the CA of this gateway'],
    ['ERR_PEER_UNKNOWN_SERIAL', 'is not in its inventory; ask the operator of the gateway for a new one (sallyport issue, or a token for sallyport enroll)'],
  ];
  for (const [code, words] of verdicts) {
    it(`says what ${code} means`, async () => {
      const { url, port, verdicts } = await start();
      verdicts.set(agent.serial, code);
      const expected = { code: 'ERR_BRIDGE_REFUSED', message: `the gateway localhost:${port} refused this identity: the certificate of agent-7 (serial ${serial()}) ${words}`, facts: { reason: code } };
      await expect(identityFetch(url, { method: 'POST', body: 'x'.repeat(200_000) })).rejects.toMatchObject(expected);
      expect(await identityFetch.diagnose(url)).toMatchObject(expected);
    });
  }

  it('says that the gateway does not trust the CA of the identity', async () => {
    const foreign = await createTestPki('Foreign');
    await writeIdentity(directory, pki, await foreign.issue({ name: 'agent-7' }));
    const { url, port } = await start();
    await expect(identityFetch(url)).rejects.toMatchObject({ code: 'ERR_BRIDGE_REFUSED', message: expect.stringMatching(new RegExp(`^the gateway localhost:${port} refused this identity: it does not trust the CA that issued the certificate of agent-7 \\(serial [0-9a-f]+\\); use an identity issued by the CA of this gateway$`)) });
  });

  it('looks at its own certificate before it dials', async () => {
    const notAfter = new Date(Math.floor(Date.now() / 1_000) * 1_000 - 60_000);
    await writeIdentity(directory, pki, await pki.issue({ name: 'agent-7', notAfter }));
    const { url } = await start();
    await expect(identityFetch(url)).rejects.toMatchObject({ code: 'ERR_BRIDGE_IDENTITY', message: `the certificate of agent-7 expired at ${notAfter.toISOString()}; ask the operator of the gateway for a new one (sallyport issue, or a token for sallyport enroll)` });
    expect(gateway?.handshakes).toBe(0);
  });

  it('says that the gateway certificate is for another host', async () => {
    const { url, port } = await start({ dns: ['gate.acme.internal'] });
    await expect(identityFetch(url)).rejects.toMatchObject({
      code: 'ERR_BRIDGE_HOSTNAME',
      message: `the certificate of the gateway localhost:${port} is not for localhost (it is for DNS:gate.acme.internal); use a name it is for, or ask the operator of the gateway for a certificate with this one (sallyport issue NAME --profile server --host localhost)`,
    });
  });

  it('says that the gateway belongs to another CA, or that its certificate has expired', async () => {
    const foreign = await createTestPki('Foreign');
    const { url, port } = await start({ serverPki: foreign });
    await expect(identityFetch(url)).rejects.toMatchObject({
      code: 'ERR_BRIDGE_UNTRUSTED_GATEWAY',
      message: `the certificate of the gateway localhost:${port} does not come from the CA of this identity; check the address, and that the identity was issued for this gateway`,
    });
    await gateway?.close();
    const late = await start({ serverNotAfter: new Date(Date.now() - 1_000) });
    await expect(identityFetch(late.url)).rejects.toMatchObject({
      code: 'ERR_BRIDGE_UNTRUSTED_GATEWAY',
      message: `the certificate of the gateway localhost:${late.port} has expired; its operator should renew it (sallyport doctor), or check the clock of this machine`,
    });
  });

  it('says that nothing listens, or that the port speaks no TLS, or says nothing at all', async () => {
    const plain = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    });
    await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
    const { port } = plain.address() as AddressInfo;
    const url = `https://127.0.0.1:${port}/mcp`;
    await expect(identityFetch(url)).rejects.toMatchObject({ code: 'ERR_BRIDGE_UNREACHABLE', message: `the gateway 127.0.0.1:${port} does not speak TLS on this port; use the port of gateway.listen, not the public one` });
    await new Promise((resolve) => plain.close(resolve));
    await expect(identityFetch(url)).rejects.toMatchObject({ code: 'ERR_BRIDGE_UNREACHABLE', message: `the gateway 127.0.0.1:${port} cannot be reached: nothing listens there; start it with sallyport serve, or check host and port` });
    const silent = createServer((socket) => socket.on('error', () => undefined));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const hurried = createIdentityFetch({ identity: directory, connectTimeoutMs: 100 });
    const silentPort = (silent.address() as AddressInfo).port;
    await expect(hurried(`https://127.0.0.1:${silentPort}/`)).rejects.toMatchObject({ code: 'ERR_BRIDGE_UNREACHABLE', message: `the gateway 127.0.0.1:${silentPort} cannot be reached: no answer in time; check host, port and firewall` });
    hurried.close();
    silent.close();
  });

  it('leaves the gateway\'s answers to single requests to the caller', async () => {
    const { url } = await start({
      handler: (_request, response) => {
        response.writeHead(403, { 'content-type': 'application/json' });
        response.end('{"error":{"code":"ERR_HTTP_ORIGIN"}}');
      },
    });
    const response = await identityFetch(url);
    expect(response.status).toBe(403);
    expect(await response.text()).toBe('{"error":{"code":"ERR_HTTP_ORIGIN"}}');
  });
});

describe('SDK clients with an identity', () => {
  it('v1: calls tools, also through a renewal in mid-session', async () => {
    const { url, seen } = await start();
    const transport = new StreamableHTTPClientTransport(url, { fetch: identityFetch });
    const client = new Client({ name: 'agent', version: '1.0.0' });
    await client.connect(transport as Parameters<Client['connect']>[0]);
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(['echo', 'wait']);
    const session = transport.sessionId;
    const renewed = await pki.issue({ name: 'agent-7' });
    await swapIdentity(directory, renewed);
    await expect.poll(async () => (await identityFetch.identity()).leaf.raw.equals(renewed.leaf.raw)).toBe(true);
    expect(await client.callTool({ name: 'echo', arguments: { text: 'new' } })).toMatchObject({ content: [{ text: 'new' }] });
    expect(transport.sessionId).toBe(session);
    expect(seen.at(-1)).toMatchObject({ serial: renewed.serial, session });
    // The stream that was open before goes on where it is.
    expect([...(gateway?.sockets ?? [])].some((socket) => socket.getPeerX509Certificate()?.serialNumber.toLowerCase() === agent.serial)).toBe(true);
    await client.close();
  });

  it('v1: through createBridgeTransport, and learns in words that it was revoked', async () => {
    const { url, port, revoke } = await start();
    const client = new Client({ name: 'agent', version: '1.0.0' });
    await client.connect(createBridgeTransport(url, { identity: directory }) as Parameters<Client['connect']>[0]);
    await client.listTools();
    expect(revoke(agent.serial)).toBeGreaterThan(0);
    await expect(client.listTools()).rejects.toMatchObject({ code: 'ERR_BRIDGE_REFUSED', message: expect.stringContaining(`the gateway localhost:${port} refused this identity: the certificate of agent-7`) });
    await client.close();
  });

  it('v2: calls tools', async () => {
    const { url } = await start();
    const client = new ClientV2({ name: 'agent', version: '1.0.0' });
    await client.connect(new TransportV2(url, { fetch: identityFetch }));
    expect(await client.callTool({ name: 'echo', arguments: { text: 'two' } })).toMatchObject({ content: [{ text: 'two' }] });
    await client.close();
  });
});
