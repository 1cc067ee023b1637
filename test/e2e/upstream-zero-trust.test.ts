/** From sallyport.yaml to an upstream that trusts nobody: mutual TLS, a credential of each agent, a signed identity, and files that change meanwhile. */
import { once } from 'node:events';
import { createPublicKey, verify } from 'node:crypto';
import type { webcrypto } from 'node:crypto';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { IncomingHttpHeaders } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGateway } from '../../src/app/create-gateway.ts';
import type { RunningGateway } from '../../src/app/create-gateway.ts';
import { createLogger } from '../../src/app/log.ts';
import { dial, rawRequest, textIn } from '../support/gateway-requests.ts';
import type { TestGateway } from '../support/gateway.ts';
import { createV2NodeHandler } from '../support/mcp-servers/v2.ts';
import { askModern, modernRequest } from '../support/modern-requests.ts';
import { createTestPki } from '../support/pki.ts';
import type { TestIdentity } from '../support/pki.ts';
import { UpstreamLab } from '../support/raw-http.ts';
import { ServedPort, until } from '../support/served-port.ts';

const lab = new UpstreamLab();
const theirs = createTestPki('Upstream');
/** Who called, and with what, for every request the upstream took. */
const taken: { readonly peer: unknown; readonly headers: IncomingHttpHeaders }[] = [];
const lines: string[] = [];
/** Answers the upstream has not ended yet. */
let open = 0;
const secret = 's3cret-of-agent-7';

let port: ServedPort;
let gateway: RunningGateway;
let url: string;
const inPort = (...parts: readonly string[]): string => port.path('port', ...parts);

const putClientCertificate = async ({ keyPem, chainPem }: Pick<TestIdentity, 'keyPem' | 'chainPem'>): Promise<void> => {
  // One after the other, as it happens: what is read in between would be no pair.
  await writeFile(inPort('keys', 'warehouse.key.pem'), keyPem, { mode: 0o600 });
  await writeFile(inPort('certs', 'warehouse.cert.pem'), chainPem);
};

beforeAll(async () => {
  port = await ServedPort.make();
  for (const name of ['agent-7', 'agent-8']) await port.issue(name, '--ou', 'analytics');
  const { handle, close } = createV2NodeHandler();
  const { keyPem: key, chainPem: cert } = theirs.issuing.server(['warehouse.internal']);
  const server = createServer({ key, cert, ca: theirs.root.certPem, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    taken.push({ peer: (request.socket as TLSSocket).getPeerCertificate().subject?.CN, headers: request.headers });
    open += 1;
    response.once('close', () => (open -= 1));
    void handle(request as Parameters<typeof handle>[0], response);
  });
  url = await lab.listen(server, { scheme: 'https' });
  lab.onEnd(close);
  await mkdir(inPort('credentials'));
  await writeFile(inPort('credentials', 'agent-7.token'), `${secret}\n`, { mode: 0o600 });
  await writeFile(inPort('certs', 'warehouse-ca.pem'), theirs.root.certPem);
  await putClientCertificate(theirs.issuing.leaf({ commonName: 'gateway' }));
  const config = await readFile(inPort('sallyport.yaml'), 'utf8');
  await writeFile(inPort('sallyport.yaml'), config.replace('upstreams: {}', `upstreams:
  warehouse:
    url: ${url}
    tls: { ca: certs/warehouse-ca.pem, cert: certs/warehouse.cert.pem, key: keys/warehouse.key.pem, serverName: warehouse.internal }
    credential: { fromFile: "credentials/{commonName}.token" }
    identity: signed`));
  gateway = await openGateway();
  await gateway.listen();
});
afterAll(async () => {
  await gateway.close({ drainMs: 0 });
  await lab.end();
  await port.close();
});

const openGateway = (env: Record<string, string> = {}): Promise<RunningGateway> => createGateway({
  directory: port.path('port'), listen: '127.0.0.1:0', public: '127.0.0.1:0', enroll: false, env,
  logger: createLogger({ level: 'trace', destination: { write: (line) => void lines.push(line) } }),
});

const identityOf = async (name: string): Promise<TestIdentity> =>
  ({ keyPem: await readFile(port.path(name, 'key.pem'), 'utf8'), chainPem: await readFile(port.path(name, 'cert.pem'), 'utf8') }) as TestIdentity;

/** The gateway as far as requests by hand need it. */
const dialled = async (): Promise<TestGateway> =>
  ({ port: Number(new URL(gateway.url).port), url: new URL(`${gateway.url}/mcp`), pki: { root: { certPem: await readFile(port.path('agent-7', 'ca.pem'), 'utf8') } } }) as unknown as TestGateway;

const echo = async (agent = 'agent-7', text = 'hello') => askModern(await dialled(), await identityOf(agent), 'tools/call', { name: 'echo', arguments: { text } });

describe('an upstream that trusts nobody', () => {
  it('is called in both eras with the certificate of the gateway and the credential of the agent', async () => {
    expect(textIn((await echo()).answer)).toBe('hello');
    const { call } = await port.connect(port.path('agent-7'), `${gateway.url}/mcp`);
    expect(await call('echo', { text: 'in a session' })).toBe('in a session');
    expect(new Set(taken.map(({ peer }) => peer))).toEqual(new Set(['gateway']));
    const ofAgents = taken.filter(({ headers }) => headers['x-sallyport-identity'] !== undefined);
    expect(ofAgents.length).toBeGreaterThanOrEqual(3);
    for (const { headers } of ofAgents) expect(headers.authorization).toBe(`Bearer ${secret}`);
  });

  it('learns who called from a token that the published key verifies', async () => {
    await echo();
    const [head = '', payload = '', signature = ''] = String(taken.at(-1)?.headers['x-sallyport-identity']).split('.');
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>;
    expect(claims).toMatchObject({ aud: url, cn: 'agent-7', ou: ['analytics'], roles: ['analyst'] });
    const { kid } = JSON.parse(Buffer.from(head, 'base64url').toString()) as { kid: string };
    const answer = await fetch(`${gateway.publicUrl ?? ''}/.well-known/jwks.json`);
    expect(answer.headers.get('content-type')).toBe('application/jwk-set+json');
    const jwk = ((await answer.json()) as { keys: (webcrypto.JsonWebKey & { kid: string })[] }).keys.find((key) => key.kid === kid);
    const key = createPublicKey({ key: jwk ?? expect.unreachable(), format: 'jwk' });
    expect(verify('sha256', Buffer.from(`${head}.${payload}`), { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url'))).toBe(true);
    expect((await stat(inPort('keys', 'identity.key.pem'))).mode & 0o777).toBe(0o600);
  });

  it('sees nothing of the headers by which a client would be somebody else', async () => {
    const before = taken.length;
    const request = modernRequest('tools/call', { name: 'echo', arguments: { text: 'x' } }, {
      headers: { authorization: 'Bearer mine', 'x-sallyport-identity': 'forged', 'x-sallyport-principal': 'cn:operator', 'x-sallyport-roles': 'operator', cookie: 'a=b', 'x-forwarded-for': '10.0.0.1' },
    });
    expect((await rawRequest(await dialled(), await identityOf('agent-7'), request)).status).toBe(200);
    const seen = taken.slice(before).map(({ headers }) => headers);
    expect(seen).toHaveLength(1);
    expect(Object.keys(seen[0] ?? {}).toSorted()).toEqual(['accept', 'accept-encoding', 'authorization', 'connection', 'content-length', 'content-type', 'host', 'mcp-method', 'mcp-name', 'mcp-protocol-version', 'x-sallyport-identity']);
    expect(JSON.stringify(seen)).not.toMatch(/forged|mine/);
  });

  it('holds a subscription open for as long as the agent listens', async () => {
    const response = await dial(await dialled(), await identityOf('agent-7'), modernRequest('subscriptions/listen', { notifications: { toolsListChanged: true } }));
    const [first] = (await once(response, 'data')) as [Buffer];
    expect(first.toString()).toContain('notifications/subscriptions/acknowledged');
    await until(() => open === 1);
    expect(textIn((await echo()).answer)).toBe('hello');
    response.destroy();
    await until(() => open === 0);
  });

  it('is not called for an agent without a credential, who learns no more than that', async () => {
    const before = taken.length;
    const refused = await echo('agent-8');
    expect([refused.status, refused.answer.error]).toEqual([502, { code: -32003, message: 'the gateway has no usable credential of this agent for the MCP server', data: { code: 'ERR_UPSTREAM_CREDENTIAL' } }]);
    expect(taken).toHaveLength(before);
    expect(lines.join('')).toContain(`there is no credential in ${inPort('credentials', 'agent-8.token')}: put one there`);
    await writeFile(inPort('credentials', 'agent-8.token'), 's3cret-of-agent-8', { mode: 0o600 });
    expect(textIn((await echo('agent-8')).answer)).toBe('hello');
    expect(taken.at(-1)?.headers.authorization).toBe('Bearer s3cret-of-agent-8');
  });

  it('gets a renewed certificate without a restart, and the good one as long as the new one is bad', async () => {
    await putClientCertificate(theirs.issuing.leaf({ commonName: 'gateway-renewed' }));
    await until(async () => (await echo(), taken.at(-1)?.peer === 'gateway-renewed'), () => lines.join(''));
    const said = (message: string): number => lines.filter((line) => line.includes(message)).length;
    const kept = said('upstream certificates could not be reloaded: the last good ones stay in use');
    await writeFile(inPort('certs', 'warehouse.cert.pem'), theirs.issuing.leaf({ commonName: 'gateway-other' }).chainPem);
    await until(() => said('upstream certificates could not be reloaded: the last good ones stay in use') > kept);
    expect(lines.join('')).toContain('tls.cert and tls.key of upstream warehouse do not belong together: replace both');
    expect(textIn((await echo()).answer)).toBe('hello');
    expect(taken.at(-1)?.peer).toBe('gateway-renewed');
  });

  it('leaves no secret in the log or the audit log', async () => {
    expect(lines.length).toBeGreaterThan(5);
    const { stdout } = await port.place.run('audit', 'tail', '-n', '1000', '--json');
    expect(stdout).toContain('ERR_UPSTREAM_CREDENTIAL');
    const identity = String(taken.at(-1)?.headers['x-sallyport-identity']);
    for (const text of [lines.join(''), stdout]) {
      expect(text).not.toContain('s3cret');
      expect(text).not.toContain(identity.slice(0, 60));
      expect(text).not.toContain('PRIVATE KEY');
    }
  });
});

describe('a gateway whose upstream files are not in order', () => {
  const refusal = async (env: Record<string, string> = {}): Promise<{ readonly code: string; readonly message: string }> =>
    openGateway(env).then(async (opened) => {
      await opened.close({ drainMs: 0 });
      return expect.unreachable('it started');
    }, (error: unknown) => error as { code: string; message: string });
  const withConfig = async (change: (config: string) => string, test: () => Promise<void>): Promise<void> => {
    const config = await readFile(inPort('sallyport.yaml'), 'utf8');
    await writeFile(inPort('sallyport.yaml'), change(config));
    try {
      await test();
    } finally {
      await writeFile(inPort('sallyport.yaml'), config);
    }
  };

  it('does not start with a private key that others may read', async () => {
    await chmod(inPort('keys', 'warehouse.key.pem'), 0o644);
    expect(await refusal()).toMatchObject({ code: 'ERR_KEY_MODE', message: expect.stringContaining('keys/warehouse.key.pem may be read by others (mode 644)') });
    await chmod(inPort('keys', 'warehouse.key.pem'), 0o600);
  });

  it('does not start without its CA, nor with something else in its place', async () => {
    await withConfig((config) => config.replace('certs/warehouse-ca.pem', 'certs/none.pem'), async () => {
      expect(await refusal()).toMatchObject({ code: 'ERR_CONFIG_INVALID', message: `tls.ca of upstream warehouse, ${inPort('certs', 'none.pem')}, cannot be read: check path, owner and mode` });
    });
    await withConfig((config) => config.replace('certs/warehouse-ca.pem', 'sallyport.yaml'), async () => {
      expect(await refusal()).toMatchObject({ code: 'ERR_CONFIG_INVALID', message: 'tls.ca of upstream warehouse holds no certificate in PEM: put one there' });
    });
  });

  it('does not start without the credential that everyone needs', async () => {
    await putClientCertificate(theirs.issuing.leaf({ commonName: 'gateway' }));
    await withConfig((config) => config.replace('fromFile: "credentials/{commonName}.token"', 'fromEnv: WAREHOUSE_TOKEN'), async () => {
      expect(await refusal()).toMatchObject({ code: 'ERR_CONFIG_INVALID', message: 'the environment variable WAREHOUSE_TOKEN, with the credential of upstream warehouse, is not set: set it where the gateway is started' });
    });
    await withConfig((config) => config.replace('credentials/{commonName}.token', 'credentials/all.token'), async () => {
      expect(await refusal()).toMatchObject({ code: 'ERR_UPSTREAM_CREDENTIAL', message: `there is no credential in ${inPort('credentials', 'all.token')}: put one there` });
    });
  });
});
