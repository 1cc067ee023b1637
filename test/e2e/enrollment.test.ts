import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { request as httpsRequest } from 'node:https';
import { createServer } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCsr } from '../../ca/x509/csr.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { ServedPort, until } from '../support/served-port.ts';
import type { Serving } from '../support/served-port.ts';

let port: ServedPort;
let gateway: Serving;
beforeAll(async () => {
  port = await ServedPort.make();
  gateway = await port.serve();
});
afterAll(() => port.close());

const newToken = async (name: string, ...options: readonly string[]): Promise<string> => String((await port.place.json('token', 'create', name, '--ou', 'analytics', ...options))['token']);

const enroll = (token: string, out: string, url = gateway.enrollUrl) => port.place.run('enroll', url, '--token', token, '--out', out);

const keyIn = async (directory: string): Promise<KeyObject> => createPrivateKey(await readFile(port.path(directory, 'key.pem')));

interface Posted {
  readonly status: number;
  readonly body: { readonly certificate?: string; readonly error?: { readonly code: string; readonly message: string } };
}

/** POSTs JSON to the enrollment port, with the certificate of an identity directory or none. */
const post = async (path: string, value: unknown, identity?: string): Promise<Posted> => {
  const own = identity === undefined ? {} : { cert: await readFile(port.path(identity, 'cert.pem')), key: await readFile(port.path(identity, 'key.pem')) };
  const body = typeof value === 'string' ? value : JSON.stringify(value);
  return new Promise((resolve, reject) => {
    const sent = httpsRequest(gateway.enrollUrl + path, { ...own, method: 'POST', agent: false, ca: caPem, headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(text === '' ? '{}' : text) as Posted['body'] }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
};
let caPem: Buffer;
beforeAll(async () => (caPem = await readFile(port.path('port', 'certs', 'root.cert.pem'))));

const csrOf = async (directory: string, subject: Parameters<typeof createCsr>[1] = {}): Promise<string> => encodePem('CERTIFICATE REQUEST', createCsr(await keyIn(directory), subject));

interface Listed {
  readonly agent: string;
  readonly serial: string;
  readonly status: string;
  readonly replaces: string | null;
}
const inventory = async (agent: string): Promise<readonly Listed[]> => (await port.place.json('inventory', '--agent', agent)) as unknown as readonly Listed[];

describe('a token', () => {
  it('gives an identity whose key was made on the agent’s side, and which the gateway takes', async () => {
    const enrolled = await enroll(await newToken('agent-8'), 'agent-8');
    expect(enrolled).toMatchObject({ code: 0, stdout: expect.stringMatching(/^enrolled agent-8: serial [0-9a-f]{38}, valid until .* stored in agent-8\n$/) });
    const leaf = new X509Certificate(await readFile(port.path('agent-8', 'cert.pem')));
    expect(leaf.subject).toBe('OU=analytics\nCN=agent-8');
    expect(leaf.checkPrivateKey(await keyIn('agent-8'))).toBe(true);
    expect((await readdir(port.path('port', 'keys'))).toSorted()).toEqual(['audit.key.pem', 'issuing.key.pem', 'root.key.pem', 'sealing.key.pem', 'server.key.pem']);
    const agent = await port.connect(port.path('agent-8'), JSON.parse(await readFile(port.path('agent-8', 'identity.json'), 'utf8')).gateway as string);
    expect(await agent.call('echo', { text: 'enrolled' })).toBe('enrolled');
  });

  it('is shown once, where it can be piped from, and not among the words beside it', async () => {
    const { stdout, stderr } = await port.place.run('token', 'create', 'agent-shown');
    expect(stdout).toMatch(/^sallyport1\.[\w-]{43}\.[\w-]{43}\n$/);
    expect(stderr).toContain('  sallyport enroll https://localhost:8444 --token-file - --out ./agent-shown\nand paste the token\n');
    expect(stderr).not.toContain('sallyport1.');
  });

  it('may come on standard input, where no list of processes shows it', async () => {
    const token = await newToken('agent-typed');
    port.place.typed.push(`${token}\n`, 'left unread');
    expect(await port.place.run('enroll', gateway.enrollUrl, '--token-file', '-', '--out', 'agent-typed')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^enrolled agent-typed: /) });
  });

  it('of twenty who use it at once serves exactly one, and leaves nothing with the others', async () => {
    const token = await newToken('contended');
    const tried = await Promise.all(Array.from({ length: 20 }, (_, index) => enroll(token, `contended-${index}`)));
    expect(tried.filter(({ code }) => code === 0)).toHaveLength(1);
    const refused = tried.filter(({ code }) => code !== 0);
    for (const { code, stderr } of refused) {
      expect(code).toBe(1);
      expect(stderr).toMatch(/^error ERR_BRIDGE_ENROLLMENT: localhost:\d+ refused the enrollment: the enrollment token is not valid; ask its operator for a new token \(sallyport token create NAME\)\n$/);
      expect(stderr).not.toContain(token);
    }
    expect((await readdir(port.place.directory)).filter((name) => name.startsWith('contended'))).toHaveLength(1);
    expect(await inventory('contended')).toHaveLength(1);
    const refusals = await port.place.run('audit', 'tail', '-n', '100', '--action', 'token.refused', '--json');
    expect(refusals.stdout.match(/ERR_TOKEN_SPENT/g)).toHaveLength(19);
  });

  it('that has expired is refused in the same words, and told apart in the audit log', async () => {
    const token = await newToken('late', '--ttl', '1s');
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    expect(await enroll(token, 'late')).toMatchObject({ code: 1, stderr: expect.stringContaining('the enrollment token is not valid; ask its operator for a new token') });
    expect((await port.place.run('audit', 'tail', '-n', '1', '--action', 'token.refused')).stdout).toContain('ERR_TOKEN_EXPIRED');
  });

  it.each([
    ['empty', ''],
    ['cut short', 'sallyport1.AAAA'],
    ['another word', 'ghp_0123456789abcdef'],
    ['of another version', `sallyport2.${'A'.repeat(43)}.${'A'.repeat(43)}`],
  ])('that is %s is refused before anything is dialed or written', async (_what, token) => {
    const { code, stderr } = await enroll(token, 'malformed', 'https://127.0.0.1:9');
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/^error ERR_\w+: .*token/);
    expect(await readdir(port.place.directory)).not.toContain('malformed');
  });
});

describe('a man in the middle', () => {
  it('with another CA gets to see neither the token nor a byte of a request', async () => {
    const elsewhere = await ServedPort.make();
    const seen: Buffer[] = [];
    let connections = 0;
    const server = createServer(
      {
        key: await readFile(elsewhere.path('port', 'keys', 'server.key.pem')),
        cert: Buffer.concat([await readFile(elsewhere.path('port', 'certs', 'server.cert.pem')), await readFile(elsewhere.path('port', 'certs', 'root.cert.pem'))]),
      },
      (socket) => {
        socket.on('data', (chunk: Buffer) => seen.push(chunk)).on('error', () => undefined);
      },
    );
    server.on('connection', () => (connections += 1));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const token = await newToken('victim');
      const { code, stderr } = await enroll(token, 'victim', `https://localhost:${(server.address() as AddressInfo).port}`);
      expect(code).toBe(1);
      expect(stderr).toMatch(/does not show the root that the token pins; check that the token was made by this gateway, and do not go on if it was/);
      expect(connections).toBeGreaterThan(0);
      expect(Buffer.concat(seen).toString()).toBe('');
      expect(await readdir(port.place.directory)).not.toContain('victim');
      // Not spent: the true gateway takes it.
      expect((await enroll(token, 'victim')).code).toBe(0);
    } finally {
      server.close();
      await elsewhere.close();
    }
  });
});

describe('the enrollment port', () => {
  it('certifies nothing that the token does not grant, whatever the CSR asks for', async () => {
    for (const [wish, subject] of [
      ['another name', { commonName: 'admin' }],
      ['another SPIFFE ID', { uris: ['spiffe://acme.internal/agent/admin'] }],
      ['a DNS name', { dnsNames: ['localhost'] }],
    ] as const) {
      const spent = await newToken(`modest-${wish.replaceAll(' ', '-')}`);
      const { status, body } = await post('/enroll', { token: spent, csr: await csrOf('agent-8', subject as Parameters<typeof createCsr>[1]) });
      expect({ wish, status, code: body.error?.code }).toEqual({ wish, status: 400, code: 'ERR_CA_CSR_CONTENT' });
      expect(body.certificate).toBeUndefined();
    }
  });

  it.each([
    ['no JSON', '{"token":', 'ERR_CSR_INVALID', 400],
    ['a member too many', { token: 'x', csr: 'y', profile: 'server' }, 'ERR_CSR_INVALID', 400],
    ['no token', { csr: 'y' }, 'ERR_CSR_INVALID', 400],
    ['an unknown token', { token: `sallyport1.${'A'.repeat(43)}.${'A'.repeat(43)}`, csr: 'y' }, 'ERR_TOKEN_INVALID', 403],
    ['a body without end', 'x'.repeat(70_000), 'ERR_HTTP_BODY_TOO_LARGE', 413],
  ])('refuses %s', async (_what, value, code, status) => {
    const answer = await post('/enroll', value);
    expect({ status: answer.status, code: answer.body.error?.code }).toEqual({ status, code });
  });
});

describe('renewal', () => {
  it('over mutual TLS gives the same principal a successor that says what it replaces', async () => {
    const before = await inventory('agent-8');
    const { status, body } = await post('/renew', { csr: await csrOf('agent-8') }, 'agent-8');
    expect(status).toBe(200);
    const renewed = new X509Certificate(body.certificate ?? '');
    const old = new X509Certificate(await readFile(port.path('agent-8', 'cert.pem')));
    expect([renewed.subject, renewed.subjectAltName]).toEqual([old.subject, old.subjectAltName]);
    const added = (await inventory('agent-8')).find(({ serial }) => serial === renewed.serialNumber.toLowerCase());
    expect(added?.replaces).toBe(before[0]?.serial);
    expect(added?.status).toBe('live');
  });

  it('is refused without a certificate, and with a revoked one, which is recorded', async () => {
    expect(await post('/renew', { csr: await csrOf('agent-8') })).toMatchObject({ status: 403, body: { error: { code: 'ERR_PEER_NO_CERTIFICATE' } } });
    const csr = await csrOf('agent-8');
    await port.place.json('revoke', 'agent-8', '--reason', 'keyCompromise');
    expect(await post('/renew', { csr }, 'agent-8')).toMatchObject({ status: 403, body: { error: { code: 'ERR_PEER_REVOKED', message: 'the client certificate was revoked' } } });
    await until(async () => (await port.place.run('audit', 'tail', '-n', '5', '--action', 'handshake.refused')).stdout.includes('ERR_PEER_REVOKED'));
    expect((await inventory('agent-8')).every(({ status }) => status === 'revoked')).toBe(true);
    // Nor by a token made before: only a fresh word of the operator opens the name again.
    expect((await port.place.run('issue', 'agent-8', '--out', 'again-8')).stderr).toContain('ERR_CA_IDENTITY_REVOKED');
  });
});
