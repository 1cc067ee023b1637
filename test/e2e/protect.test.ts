import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, request as httpsRequest } from 'node:https';
import type { RequestListener } from 'node:http';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:tls';
import express from 'express';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from '../../src/app/log.ts';
import { protect, protectFetch } from '../../src/index.ts';
import type { ProtectedListener } from '../../src/index.ts';
import { createV1Handler } from '../support/mcp-servers/v1-http.ts';
import { createV2Handler, createV2NodeHandler } from '../support/mcp-servers/v2.ts';
import { ServedPort, until } from '../support/served-port.ts';

let port: ServedPort;
beforeAll(async () => {
  port = await ServedPort.make();
  await port.writePolicy(`
roles: { analyst: { grants: [{ upstream: reports, tools: [echo, whoami] }] } }
bindings: [{ role: analyst, when: { organizationalUnit: analytics } }]
`);
  await port.issue('agent-7', '--ou', 'analytics');
});
afterAll(() => port.close());

type Kind = 'v1' | 'v2' | 'v2 fetch';

/** What the gates logged. */
const logged: string[] = [];

const gateAround = (kind: Kind): { readonly gate: ProtectedListener; readonly closeHandler: () => Promise<void> } => {
  const options = { directory: port.path('port'), name: 'reports', logger: createLogger({ level: 'error', destination: { write: (line) => void logged.push(line) } }) };
  if (kind === 'v1') {
    const handler = createV1Handler();
    return { gate: protect(handler.handle, options), closeHandler: () => handler.close() };
  }
  if (kind === 'v2') {
    const { handle, close } = createV2NodeHandler();
    return { gate: protect(handle, options), closeHandler: close };
  }
  const handler = createV2Handler();
  return { gate: protectFetch(handler.fetch as Parameters<typeof protectFetch>[0], options), closeHandler: () => handler.close() };
};

const serve = async (gate: ProtectedListener, listener: RequestListener, attach: boolean): Promise<{ server: Server; url: string }> => {
  const server = createServer(await gate.tlsOptions(), listener);
  if (attach) await gate.attach(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `https://localhost:${(server.address() as AddressInfo).port}` };
};

const caPem = (): Promise<string> => readFile(port.path('agent-7', 'ca.pem'), 'utf8');

interface Plain {
  readonly status: number;
  readonly body: string;
}

/** A POST without an MCP client, with or without a certificate. */
const post = async (url: string, identity: string | undefined, body = '{"jsonrpc":"2.0","id":1,"method":"ping"}'): Promise<Plain> => {
  const own = identity === undefined ? {} : { cert: await readFile(port.path(identity, 'cert.pem')), key: await readFile(port.path(identity, 'key.pem')) };
  const ca = await caPem();
  return new Promise((resolve, reject) => {
    const sent = httpsRequest(url, { ...own, ca, agent: false, method: 'POST', headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' } }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
};

describe.each<[Kind, 'attached' | 'alone']>([
  ['v1', 'attached'],
  ['v1', 'alone'],
  ['v2', 'attached'],
  ['v2 fetch', 'alone'],
])('protect() around a %s handler, %s', (kind, how) => {
  let gate: ProtectedListener;
  let closeHandler: () => Promise<void>;
  let server: Server;
  let url: string;
  let reached = 0;
  beforeAll(async () => {
    ({ gate, closeHandler } = gateAround(kind));
    ({ server, url } = await serve(gate, (request, response) => {
      reached += 1;
      gate(request, response);
    }, how === 'attached'));
  });
  afterAll(async () => {
    server.close();
    server.closeAllConnections();
    await gate.close();
    await closeHandler();
  });

  it('lists and calls what the policy grants, and nothing else', async () => {
    const agent = await port.connect(port.path('agent-7'), `${url}/mcp`);
    expect((await agent.tools()).filter((name) => name !== 'whoami')).toEqual(['echo']);
    expect(await agent.call('echo', { text: 'in process' })).toBe('in process');
    await expect(agent.call('add', { a: 1, b: 2 })).rejects.toThrow('not found or not permitted');
    await agent.client.close();
  });

  if (kind === 'v1') {
    it('tells tools who calls', async () => {
      const agent = await port.connect(port.path('agent-7'), `${url}/mcp`);
      expect(JSON.parse(await agent.call('whoami', {}))).toMatchObject({ clientId: 'spiffe://acme.internal/agent/agent-7', extra: { principal: { commonName: 'agent-7', organizationalUnits: ['analytics'] }, roles: ['analyst'] } });
      await agent.client.close();
    });
  }

  it(how === 'attached' ? 'refuses a peer without a certificate before a byte of HTTP is parsed' : 'refuses a peer without a certificate at its request', async () => {
    const before = reached;
    const { status, body } = await post(`${url}/mcp`, undefined);
    expect(status).toBe(403);
    expect(body).toContain('ERR_PEER_NO_CERTIFICATE');
    expect(reached - before).toBe(how === 'attached' ? 0 : 1);
  });
});

describe('a peer of a protected server', () => {
  it('that is revoked is cut with its stream', async () => {
    const { gate, closeHandler } = gateAround('v1');
    const { server, url } = await serve(gate, gate, true);
    try {
      await port.issue('agent-9', '--ou', 'analytics');
      const agent = await port.connect(port.path('agent-9'), `${url}/mcp`);
      expect(await agent.call('echo', { text: 'before' })).toBe('before');
      const idle = connect({ host: 'localhost', port: Number(new URL(url).port), ca: await caPem(), cert: await readFile(port.path('agent-9', 'cert.pem')), key: await readFile(port.path('agent-9', 'key.pem')) });
      await once(idle, 'secureConnect');
      let closed = false;
      idle.on('error', () => undefined).on('close', () => (closed = true));
      await port.place.json('revoke', 'agent-9', '--reason', 'keyCompromise');
      await until(() => closed);
      await expect(agent.call('echo', { text: 'after' })).rejects.toThrow(/was revoked/);
    } finally {
      server.close();
      server.closeAllConnections();
      await gate.close();
      await closeHandler();
    }
  });
});

describe('Express', () => {
  it('takes the gate as a handler of a path, beside routes of its own', async () => {
    const { gate, closeHandler } = gateAround('v1');
    const app = express();
    app.use('/tools/mcp', gate);
    app.get('/version', (_request, response) => void response.json({ version: 1 }));
    const { server, url } = await serve(gate, app, true);
    try {
      const agent = await port.connect(port.path('agent-7'), `${url}/tools/mcp`);
      expect(await agent.call('echo', { text: 'mounted' })).toBe('mounted');
    } finally {
      server.close();
      server.closeAllConnections();
      await gate.close();
      await closeHandler();
    }
  });

  it('with a body parser in front says in the log what is wrong, and answers rather than hangs', async () => {
    const { gate, closeHandler } = gateAround('v1');
    const app = express();
    app.use(express.json());
    app.use('/mcp', gate);
    const { server, url } = await serve(gate, app, true);
    try {
      const { status, body } = await post(`${url}/mcp`, 'agent-7');
      expect(status).toBe(500);
      expect(body).toContain('ERR_CONFIG_INVALID');
      expect(body).toContain('internal error');
      expect(logged.join('')).toContain('the body was read before the gate saw it: mount protect() before any body parser');
    } finally {
      server.close();
      server.closeAllConnections();
      await gate.close();
      await closeHandler();
    }
  });
});

describe('ready()', () => {
  it('rejects with what is wrong with the data directory, and requests are refused meanwhile', async () => {
    const gate = protect(() => undefined, { directory: port.path('nowhere'), logger: createLogger({ level: 'silent' }) });
    await expect(gate.ready()).rejects.toMatchObject({ code: 'ERR_CONFIG_MISSING' });
    await expect(gate.tlsOptions()).rejects.toMatchObject({ code: 'ERR_CONFIG_MISSING' });
  });
});
