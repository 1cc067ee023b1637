/** The commands of the authority from an admin's own machine: what they say and leave there is what they do at the data directory. */
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { createSecureContext } from 'node:tls';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { encodePem } from '../../ca/x509/pem.ts';
import { createGateway } from '../../src/app/create-gateway.ts';
import type { RunningGateway } from '../../src/app/create-gateway.ts';
import { createLogger } from '../../src/app/log.ts';
import { loadIdentity } from '../../src/bridge/identity.ts';
import type { Ran } from '../cli/run.ts';
import { newCsr } from '../support/authority.ts';
import { createV1Handler } from '../support/mcp-servers/v1-http.ts';
import { ServedPort } from '../support/served-port.ts';

const server = createV1Handler();
let port: ServedPort;
let gateway: RunningGateway;
beforeAll(async () => {
  port = await ServedPort.make();
  const file = port.path('port', 'sallyport.yaml');
  await writeFile(file, `${(await readFile(file, 'utf8')).replace(/^ca:\n/m, 'ca:\n  profiles: { careful: { kind: agent, approval: required } }\n')}
admins:
  - { role: issuer, when: { uri: spiffe://acme.internal/agent/issuer }, organizationalUnits: [analytics] }
  - { role: approver, when: { uri: spiffe://acme.internal/agent/approver } }
  - { role: revoker, when: { uri: spiffe://acme.internal/agent/revoker } }
  - { role: admin, when: { uri: spiffe://acme.internal/agent/admin } }
`);
  for (const name of ['issuer', 'approver', 'revoker', 'admin']) await port.issue(name);
  gateway = await createGateway({ directory: port.path('port'), upstreams: { default: { handler: server.handle } }, listen: 'localhost:0', public: '127.0.0.1:0', enroll: 'localhost:0', logger: createLogger({ level: 'silent' }) });
  await gateway.listen();
});
afterAll(async () => {
  await gateway.close({ drainMs: 0 });
  await port.close();
  await server.close();
});

type Facts = Record<string, unknown>;
const there = (identity: string): readonly string[] => ['--server', gateway.enrollUrl ?? '', '--identity', identity];
const as = (identity: string, ...argv: readonly string[]): Promise<Ran> => port.place.run(...argv, ...there(identity));
const jsonAs = (identity: string, ...argv: readonly string[]): Promise<Facts> => port.place.json(...argv, ...there(identity));
const text = (...path: readonly string[]): Promise<string> => readFile(port.path(...path), 'utf8');
const denied = { code: 3, stdout: '', stderr: expect.stringMatching(/^error ERR_API_DENIED: https:\/\/localhost:\d+ refused: /) as string };

it('issue makes the key here, and leaves the directory it would leave there', async () => {
  const near = await port.place.json('issue', 'near', '--ou', 'analytics', '--out', 'near');
  const far = await jsonAs('issuer', 'issue', 'far', '--ou', 'analytics', '--out', 'far');
  expect(Object.keys(far)).toEqual(Object.keys(near));
  expect(far).toMatchObject({ subject: 'CN=far,OU=analytics', uri: 'spiffe://acme.internal/agent/far', profile: 'agent', grants: near['grants'], directory: port.path('far'), files: near['files'] });
  expect(await readdir(port.path('far'))).toEqual(await readdir(port.path('near')));
  expect(await text('far', 'ca.pem')).toBe(await text('near', 'ca.pem'));
  const identity = JSON.parse(await text('near', 'identity.json')) as Facts;
  expect(JSON.parse(await text('far', 'identity.json'))).toEqual({ ...identity, name: 'far', gateway: `${gateway.url}/mcp`, renewal: `${gateway.enrollUrl}/renew` });
  const loaded = await loadIdentity(port.path('far'));
  expect(loaded.serial).toBe(far['serial']);
  expect(await (await port.connect(port.path('far'), `${gateway.url}/mcp`)).call('echo', { text: 'hello' })).toBe('hello');

  expect((await as('issuer', 'issue', 'words', '--ou', 'analytics', '--out', 'words')).stdout).toMatch(/^issued words → words\n {2}subject {4}CN=words,OU=analytics\n[^]*grants on \* as analyst\n[^]*next\n {2}sallyport connect https:\/\/localhost:\d+\/mcp --identity \.\/words\n$/);
  expect(await as('issuer', 'issue', 'far', '--ou', 'analytics', '--out', 'far')).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_CONFIG_EXISTS') });
  // Nothing is left of what was refused.
  expect(await as('issuer', 'issue', 'stranger', '--ou', 'platform')).toMatchObject(denied);
  expect(await as('revoker', 'issue', 'stranger', '--ou', 'analytics')).toMatchObject(denied);
  expect(await as('issuer', 'issue', 'stranger', '--ou', 'analytics', '--ttl', '400d')).toMatchObject({ code: 2, stderr: expect.stringContaining('ERR_CA_TTL') });
  expect(await as('issuer', 'issue', 'stranger', '--host', 'a.example')).toMatchObject({ code: 2, stderr: expect.stringContaining('--host is for --profile server') });
  expect((await readdir(port.place.directory)).filter((name) => name.startsWith('.') || name === 'stranger')).toEqual([]);

  await writeFile(port.path('by.csr'), encodePem('CERTIFICATE REQUEST', newCsr()));
  const chain = await as('admin', 'issue', 'gate.acme.internal', '--profile', 'server', '--csr', 'by.csr');
  expect(chain).toMatchObject({ code: 0, stdout: expect.stringMatching(/^-----BEGIN CERTIFICATE[^]*-----BEGIN CERTIFICATE/), stderr: expect.stringMatching(/^issued gate\.acme\.internal\n/) });
});

it('requests are listed, approved and denied by those whose role it is', async () => {
  for (const name of ['one', 'two']) {
    await writeFile(port.path(`${name}.csr`), encodePem('CERTIFICATE REQUEST', newCsr()));
    expect(await as('issuer', 'issue', name, '--ou', 'analytics', '--profile', 'careful', '--csr', `${name}.csr`)).toMatchObject({ code: 4, stderr: expect.stringContaining('ERR_REQUEST_PENDING') });
  }
  expect(await as('issuer', 'issue', 'three', '--ou', 'analytics', '--profile', 'careful')).toMatchObject({ code: 2, stderr: expect.stringContaining('give a certificate signing request') });
  const list = await jsonAs('approver', 'requests', 'list') as unknown as readonly { id: string; agent: string }[];
  expect(list).toEqual(await port.place.json('requests', 'list'));
  expect((await as('approver', 'requests', 'list')).stdout).toBe((await port.place.run('requests', 'list')).stdout);
  const [one = '', two = ''] = ['one', 'two'].map((name) => list.find(({ agent }) => agent === name)?.id);
  expect((await as('approver', 'requests', 'show', one)).stdout).toBe((await port.place.run('requests', 'show', one)).stdout);
  expect(await as('issuer', 'requests', 'approve', one)).toMatchObject(denied);
  expect(await as('revoker', 'requests', 'list')).toMatchObject(denied);
  const approved = await jsonAs('approver', 'requests', 'approve', one);
  expect(approved).toMatchObject({ request: { id: one, state: 'issued', decidedBy: 'spiffe://acme.internal/agent/approver' }, serial: expect.stringMatching(/^[0-9a-f]{38}$/) });
  expect(await as('approver', 'requests', 'deny', two, '--reason', 'nobody ordered it')).toMatchObject({ code: 0, stdout: `denied ${two} of two\n` });
  expect(await as('approver', 'requests', 'approve', two)).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_REQUEST_DECIDED') });
  expect(await jsonAs('approver', 'requests', 'list', '--state', 'all')).toEqual(await port.place.json('requests', 'list', '--state', 'all'));
  expect(await jsonAs('issuer', 'issue', 'one', '--ou', 'analytics', '--profile', 'careful', '--csr', 'one.csr')).toMatchObject({ serial: approved['serial'] });
});

it('tokens are made, listed and taken back, and one that was made far away enrolls', async () => {
  const created = await jsonAs('issuer', 'token', 'create', 'agent-8', '--ou', 'analytics');
  expect(created).toEqual({ token: expect.stringMatching(/^sallyport1\./), agent: 'agent-8', organizationalUnits: ['analytics'], profile: 'agent', expiresAt: expect.any(String), enrollUrl: gateway.enrollUrl });
  expect(await jsonAs('issuer', 'token', 'list')).toEqual(await port.place.json('token', 'list'));
  expect((await port.place.run('enroll', gateway.enrollUrl ?? '', '--token', String(created['token']), '--out', 'agent-8')).code).toBe(0);
  await jsonAs('issuer', 'token', 'create', 'agent-9', '--ou', 'analytics');
  const [waiting] = await jsonAs('issuer', 'token', 'list') as unknown as readonly { id: string; createdBy: string }[];
  expect(waiting?.createdBy).toBe('spiffe://acme.internal/agent/issuer');
  expect(await as('revoker', 'token', 'create', 'agent-9', '--ou', 'analytics')).toMatchObject(denied);
  expect(await as('approver', 'token', 'delete', waiting?.id ?? '')).toMatchObject(denied);
  expect(await as('issuer', 'token', 'delete', (waiting?.id ?? '').slice(0, 8))).toMatchObject({ code: 0, stdout: 'deleted the token of agent-9\n' });
  expect(await as('issuer', 'token', 'delete', (waiting?.id ?? '').slice(0, 8))).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_TOKEN_UNKNOWN') });
});

it('holds are lifted, CRLs published and CAs rotated, each by its role', async () => {
  await jsonAs('revoker', 'revoke', 'near', '--reason', 'certificateHold');
  expect(await as('issuer', 'release', 'near')).toMatchObject(denied);
  expect(await as('revoker', 'release', 'near')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^released near, serial [0-9a-f]+\n {2}let in by 1 gateway\n$/) });
  expect(await jsonAs('revoker', 'crl', '--publish')).toMatchObject({ ca: 'issuing', entries: 0 });
  expect(await as('approver', 'crl', '--publish')).toMatchObject(denied);
  expect(await as('revoker', 'crl')).toMatchObject({ code: 2 });
  expect(await as('issuer', 'ca', 'rotate', 'prepare', 'issuing')).toMatchObject(denied);
  const { changed: [made] } = await jsonAs('admin', 'ca', 'rotate', 'prepare', 'issuing') as { changed: readonly Facts[] };
  const { issuers } = await port.place.json('ca', 'show') as { issuers: readonly Facts[] };
  const { key: _key, live: _live, ...shown } = issuers.find(({ name }) => name === 'issuing-2') ?? {};
  expect(made).toEqual(shown);
  expect(await as('admin', 'ca', 'rotate', 'activate', 'issuing-2', '--now')).toMatchObject({ code: 2, stderr: expect.stringContaining('--now is for whoever is at the data directory') });
  expect(await as('admin', 'ca', 'rotate', 'activate', 'issuing-2')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^issues from now on: issuing-2 \(/) });
  expect(await as('admin', 'ca', 'rotate', 'retire', 'issuing')).toMatchObject({ code: 3, stderr: expect.stringContaining('ERR_CA_IN_USE') });
});

it('needs the identity of an admin beside the address', async () => {
  expect(await port.place.run('issue', 'x', '--identity', 'issuer')).toMatchObject({ code: 2, stderr: expect.stringContaining('--identity is for --server') });
  expect(await port.place.run('token', 'list', '--server', gateway.enrollUrl ?? '')).toMatchObject({ code: 2, stderr: expect.stringContaining('--server needs the identity of an admin') });
});

it('sends a request whose answer was lost once more, under the same key, and leaves nothing when that fails too', async () => {
  const keys: unknown[] = [];
  const profiles = { items: [], keyAlgorithm: 'p256' };
  // The gateway may be about to exchange its own certificate, which takes two files: until they are a pair again.
  const identity = await vi.waitFor(async () => {
    const pair = { key: await text('port', 'keys', 'server.key.pem'), cert: await text('port', 'certs', 'server.cert.pem') };
    createSecureContext(pair);
    return pair;
  }, { timeout: 10_000 });
  const lossy = createServer(identity, (request, response) => {
    if (request.method === 'GET') response.end(JSON.stringify(profiles));
    else {
      keys.push(request.headers['idempotency-key']);
      request.resume().on('end', () => request.socket.destroy());
    }
  });
  await new Promise<void>((resolve) => { lossy.listen(0, 'localhost', resolve); });
  try {
    const address = `https://localhost:${(lossy.address() as AddressInfo).port}`;
    expect(await port.place.run('issue', 'lost', '--server', address, '--identity', 'issuer')).toMatchObject({ stdout: '', stderr: expect.stringContaining('ERR_BRIDGE_UNREACHABLE') });
    expect(keys).toEqual([expect.stringMatching(/^[\w-]{22}$/), keys[0]]);
    expect((await readdir(port.place.directory)).filter((name) => name.startsWith('.') || name === 'lost')).toEqual([]);
  } finally {
    lossy.close();
  }
});
