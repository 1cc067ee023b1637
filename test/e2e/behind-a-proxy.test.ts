import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { callMessage, dial, initializeMessage, jsonHeaders, RawStream, rawRequest, textIn } from '../support/gateway-requests.ts';
import type { RawAnswer } from '../support/gateway-requests.ts';
import { createTestPki } from '../support/pki.ts';
import type { TestIdentity } from '../support/pki.ts';

const haproxy = await promisify(execFile)('haproxy', ['-v']).then(() => true, () => false);
if (!haproxy) console.warn('agents behind a real proxy are not tried: there is no haproxy here');

let gateway: TestGateway;
let edge: TestIdentity;
let agent: TestIdentity;
beforeAll(async () => {
  gateway = await startTestGateway({ upstreams: ['v1'], proxies: ['spiffe://test.internal/agent/edge'] });
  edge = gateway.agent('edge', { organizationalUnits: [] });
  agent = gateway.agent('agent-7');
});
afterAll(() => gateway.close());

type Headers = readonly (readonly [string, string])[];
const item = ({ certificate }: TestIdentity): string => `:${Buffer.from(certificate.der).toString('base64')}:`;
const named = (identity: TestIdentity): Headers => [['client-cert', item(identity)]];
const post = (through: TestIdentity, headers: Headers, body: object = initializeMessage()): Promise<RawAnswer> => rawRequest(gateway, through, { headers: [...jsonHeaders, ...headers], body });
const codeIn = (answer: RawAnswer): unknown => (answer.messages[0]?.error?.data as { code?: unknown } | undefined)?.code;
const lastRefused = () => gateway.evidence.of('request.refused').at(-1);

/** A session of the agent, through the proxy. */
const open = async (identity: TestIdentity): Promise<Headers> => {
  const opened = await post(edge, named(identity));
  expect([opened.status, opened.body]).toEqual([200, expect.stringContaining('protocolVersion')]);
  const headers: Headers = [...named(identity), ['mcp-session-id', String(opened.headers['mcp-session-id'])], ['mcp-protocol-version', '2025-11-25']];
  await post(edge, headers, { jsonrpc: '2.0', method: 'notifications/initialized' });
  return headers;
};

describe('an agent behind a proxy (RFC 9440)', () => {
  it('has its own rights and sessions, and the audit log names both', async () => {
    const headers = await open(agent);
    expect(textIn((await post(edge, headers, callMessage(1, 'echo', { text: 'through' }))).answer)).toBe('through');
    const { actor, agent: name, serial, detail } = gateway.evidence.of('request.decided').at(-1) ?? {};
    expect({ actor, name, serial, detail }).toEqual({ actor: 'spiffe://test.internal/agent/agent-7', name: 'agent-7', serial: agent.certificate.serial, detail: { proxy: 'spiffe://test.internal/agent/edge' } });
    // The same agent by itself goes on in its session; another one through the same proxy does not.
    expect(textIn((await rawRequest(gateway, agent, { headers: [...jsonHeaders, ...headers.slice(1)], body: callMessage(2, 'echo', { text: 'direct' }) })).answer)).toBe('direct');
    expect((await post(edge, [...named(gateway.agent('agent-8')), ...headers.slice(1)], callMessage(3, 'echo', {}))).status).toBe(404);
  });

  it('is nobody when the header comes from anybody else', async () => {
    const other = gateway.agent('agent-9');
    for (const headers of [named(agent), [['client-cert-chain', item(agent)]], [['Client-Cert', 'x']]] as readonly Headers[]) {
      const answer = await post(other, headers);
      expect([answer.status, codeIn(answer)]).toEqual([400, 'ERR_HTTP_CLIENT_CERT']);
      expect(lastRefused()).toMatchObject({ reason: 'ERR_HTTP_CLIENT_CERT', actor: 'spiffe://test.internal/agent/agent-9', serial: other.certificate.serial });
    }
  });

  it.each<[string, () => Headers, string]>([
    ['no certificate', () => [], 'ERR_PEER_NO_CERTIFICATE'],
    ['two certificates', () => [...named(agent), ...named(agent)], 'ERR_HTTP_CLIENT_CERT'],
    ['no certificate but octets', () => [['client-cert', ':AAAA:']], 'ERR_PEER_PROFILE'],
    ['a certificate of a stranger', () => named(createTestPki('Test').issuing.leaf()), 'ERR_PEER_ISSUER'],
    ['an expired one', () => named(gateway.agent('old', { notBefore: new Date(Date.now() - 7_200_000), notAfter: new Date(Date.now() - 3_600_000) })), 'ERR_PEER_EXPIRED'],
    ['one for servers', () => named(gateway.pki.issuing.server()), 'ERR_PEER_PROFILE'],
    ['one that a byte was changed in', () => [['client-cert', `:${Buffer.from(agent.certificate.der.map((octet, at) => (at === agent.certificate.der.length - 1 ? octet ^ 1 : octet))).toString('base64')}:`]], 'ERR_PEER_ISSUER'],
    ['itself', () => named(edge), 'ERR_HTTP_CLIENT_CERT'],
  ])('is nobody when the proxy names %s', async (_what, headers, code) => {
    const answer = await post(edge, headers());
    expect(codeIn(answer)).toBe(code);
    expect(lastRefused()).toMatchObject({ reason: code, actor: 'spiffe://test.internal/agent/edge' });
  });

  it('is cut with its certificate, stream and session, while the proxy goes on for others', async () => {
    const gone = gateway.agent('agent-10');
    const headers = await open(gone);
    const stays = await open(agent);
    const stream = (its: Headers) => dial(gateway, edge, { method: 'GET', headers: [['accept', 'text/event-stream'], ...its] }).then((response) => RawStream.of(response));
    const [cut, open2] = [await stream(headers), await stream(stays)];
    expect(cut.status).toBe(200);
    gateway.revoke(gone);
    expect(await cut.closed).toBe('cut');
    const refused = await post(edge, headers, callMessage(1, 'echo', {}));
    expect([refused.status, codeIn(refused)]).toEqual([403, 'ERR_PEER_REVOKED']);
    expect(gateway.evidence.of('handshake.refused').at(-1)).toMatchObject({ reason: 'ERR_PEER_REVOKED', serial: gone.certificate.serial, detail: { proxy: 'spiffe://test.internal/agent/edge' } });
    expect(textIn((await post(edge, stays, callMessage(2, 'echo', { text: 'on' }))).answer)).toBe('on');
    expect(open2.status).toBe(200);
    expect(gateway.evidence.of('connection.cut').at(-1)).toMatchObject({ serial: gone.certificate.serial, detail: { connections: 1, sessions: 1 } });
  });
});

describe.skipIf(!haproxy)('behind a real haproxy', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-haproxy-'));
  let process: ChildProcess;
  let port: number;
  beforeAll(async () => {
    const { pki } = gateway;
    const file = (name: string, text: string): string => {
      writeFileSync(join(directory, name), text);
      return join(directory, name);
    };
    const server = pki.issuing.server();
    const front = file('front.pem', server.chainPem + server.keyPem);
    const identity = file('edge.pem', edge.chainPem + edge.keyPem);
    const root = file('root.pem', pki.root.certPem);
    const agents = file('agents.pem', pki.issuing.certPem + pki.root.certPem);
    port = await freePort();
    const config = file('haproxy.cfg', [
      'global', '  maxconn 100', 'defaults', '  mode http', '  timeout connect 5s', '  timeout client 60s', '  timeout server 60s',
      'frontend agents', `  bind 127.0.0.1:${port} ssl crt ${front} ca-file ${agents} verify required`,
      '  http-request del-header Client-Cert-Chain', '  http-request set-header Client-Cert :%[ssl_c_der,base64]:', '  default_backend gateway',
      'backend gateway', `  server one 127.0.0.1:${gateway.port} ssl verify required verifyhost localhost ca-file ${root} crt ${identity} sni str(localhost)`, '',
    ].join('\n'));
    process = spawn('haproxy', ['-f', config, '-db'], { stdio: ['ignore', 'ignore', 'inherit'] });
  });
  afterAll(() => {
    process.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });

  const through = (identity: TestIdentity, body: object, headers: Record<string, string> = {}): Promise<{ readonly status: number; readonly session: string; readonly body: string }> =>
    new Promise((resolve, reject) => {
      const sent = request({ host: '127.0.0.1', port, path: gateway.url.pathname, method: 'POST', servername: 'localhost', ca: gateway.pki.root.certPem, key: identity.keyPem, cert: identity.chainPem, agent: false, headers: { host: 'localhost', ...Object.fromEntries(jsonHeaders), ...headers } });
      sent.once('error', reject).once('response', (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => { text += chunk; }).once('end', () => { resolve({ status: response.statusCode ?? 0, session: String(response.headers['mcp-session-id']), body: text }); });
      });
      sent.end(JSON.stringify(body));
    });

  it('an agent is who its certificate says, a header of its own notwithstanding, until it is revoked', async () => {
    const mine = gateway.agent('agent-11');
    const attempt = () => through(mine, initializeMessage(), { 'client-cert': item(agent), 'client-cert-chain': item(agent) });
    let opened = await attempt().catch(() => undefined);
    for (let tries = 0; opened === undefined && tries < 200; tries += 1) {
      await new Promise((resolve) => { setTimeout(resolve, 25); });
      opened = await attempt().catch(() => undefined);
    }
    expect(opened?.status).toBe(200);
    const headers = { 'mcp-session-id': opened?.session ?? '', 'mcp-protocol-version': '2025-11-25' };
    expect((await through(mine, callMessage(1, 'echo', { text: 'by haproxy' }), headers)).body).toContain('by haproxy');
    expect(gateway.evidence.of('request.decided').at(-1)).toMatchObject({ actor: 'spiffe://test.internal/agent/agent-11', detail: { proxy: 'spiffe://test.internal/agent/edge' } });
    gateway.revoke(mine);
    expect(await through(mine, callMessage(2, 'echo', {}), headers)).toMatchObject({ status: 403, body: expect.stringContaining('ERR_PEER_REVOKED') as string });
  });
});

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => { resolve(port); });
    });
  });
