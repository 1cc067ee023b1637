/** ACME clients that others wrote get, renew and revoke certificates: certbot and lego as Debian has them, acme-client from npm. */
import { execFile, spawnSync } from 'node:child_process';
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { Agent } from 'node:https';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import * as acme from 'acme-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGateway } from '../../src/app/create-gateway.ts';
import type { RunningGateway } from '../../src/app/create-gateway.ts';
import { createLogger } from '../../src/app/log.ts';
import { ServedPort } from '../support/served-port.ts';

const installed = (command: string): boolean => spawnSync(command, ['--version']).status === 0;
const hasCertbot = installed('certbot');
const hasLego = installed('lego');
if (!hasCertbot) console.warn('skipped: certbot is not installed, so it judges no ACME');
if (!hasLego) console.warn('skipped: lego is not installed, so it judges no ACME');

let port: ServedPort;
let gateway: RunningGateway;
let directory: string;
let httpPort: number;
let tlsPort: number;

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createTcpServer().listen(0, '127.0.0.1', () => {
      const { port: free } = server.address() as AddressInfo;
      server.close(() => resolve(free));
    });
  });

beforeAll(async () => {
  port = await ServedPort.make();
  [httpPort, tlsPort] = await Promise.all([freePort(), freePort()]);
  const file = port.path('port', 'sallyport.yaml');
  const settings = `  acme:\n    enabled: true\n    dnsSuffixes: [localhost]\n    validationRanges: [127.0.0.0/8]\n    dangerouslyHttpPort: ${httpPort}\n    dangerouslyTlsPort: ${tlsPort}\n`;
  await writeFile(file, (await readFile(file, 'utf8')).replace(/^ca:\n/m, `ca:\n${settings}`));
  gateway = await createGateway({ directory: port.path('port'), upstreams: { default: { command: ['true'] } }, listen: 'localhost:0', public: '127.0.0.1:0', enroll: 'localhost:0', logger: createLogger({ level: 'silent' }) });
  await gateway.listen();
  directory = `${gateway.enrollUrl}/acme/directory`;
});
afterAll(async () => {
  await gateway.close({ drainMs: 0 });
  await port.close();
});

const run = async (command: string, ...args: readonly string[]): Promise<string> => {
  const root = port.path('port', 'certs', 'root.cert.pem');
  const { stdout, stderr } = await promisify(execFile)(command, args, { timeout: 60_000, env: { PATH: process.env['PATH'], REQUESTS_CA_BUNDLE: root, LEGO_CA_CERTIFICATES: root } });
  return stdout + stderr;
};

const read = async (...path: readonly string[]): Promise<X509Certificate> => new X509Certificate(await readFile(port.path(...path)));

const externalAccount = async (agent: string): Promise<{ readonly kid: string; readonly hmacKey: string; readonly identifier: string }> => {
  const created = await port.place.json('acme', 'create', agent, '--ou', 'analytics');
  return { kid: String(created['kid']), hmacKey: String(created['hmacKey']), identifier: String(created['identifier']) };
};

const statusOf = async (agent: string): Promise<readonly string[]> => (await gateway.deployment.authority.certificates({ agent })).map(({ state }) => state);

describe.skipIf(!hasCertbot)('certbot', () => {
  const certbot = (...args: readonly string[]): Promise<string> =>
    run('certbot', ...args, '-n', '--server', directory, '--config-dir', port.path('cb', 'c'), '--work-dir', port.path('cb', 'w'), '--logs-dir', port.path('cb', 'l'));

  it.concurrent('gets a server certificate by http-01, and revokes it', async () => {
    expect(await certbot('certonly', '--standalone', '--http-01-port', String(httpPort), '--agree-tos', '-m', 'ops@acme.internal', '-d', 'certbot.localhost')).toContain('Successfully received certificate');
    expect((await read('cb', 'c', 'live', 'certbot.localhost', 'cert.pem')).subjectAltName).toBe('DNS:certbot.localhost');
    expect(await certbot('revoke', '--cert-name', 'certbot.localhost', '--reason', 'superseded', '--no-delete-after-revoke')).toContain('successfully revoked');
    expect(await statusOf('certbot.localhost')).toEqual(['revoked']);
  });
});

describe.skipIf(!hasLego)('lego', () => {
  const lego = (path: string, ...args: readonly string[]): Promise<string> => run('lego', '--server', directory, '--email', 'ops@acme.internal', '--accept-tos', '--path', port.path(path), ...args);

  it.concurrent('gets a server certificate by tls-alpn-01', async () => {
    await lego('lego', '--tls', '--tls.port', `127.0.0.1:${tlsPort}`, '-d', 'lego.localhost', 'run');
    expect((await read('lego', 'certificates', 'lego.localhost.crt')).subjectAltName).toBe('DNS:lego.localhost');
  });

  it.concurrent('gets the certificate of an agent by its external account, and renews it', async () => {
    const { kid, hmacKey, identifier } = await externalAccount('agent-8');
    expect(identifier).toBe('agent-8');
    await lego('agents', '--eab', '--kid', kid, '--hmac', hmacKey, '--http', '-d', identifier, 'run');
    const first = await read('agents', 'certificates', `${identifier}.crt`);
    expect([first.subject, first.subjectAltName]).toEqual(['OU=analytics\nCN=agent-8', 'URI:spiffe://acme.internal/agent/agent-8']);
    await lego('agents', '--http', '-d', identifier, 'renew', '--days', '90', '--no-random-sleep');
    const second = await read('agents', 'certificates', `${identifier}.crt`);
    expect(second.serialNumber).not.toBe(first.serialNumber);
    expect(second.subjectAltName).toBe(first.subjectAltName);
    expect(await statusOf('agent-8')).toEqual(['issued', 'issued']);
  });
});

it('acme-client gets a server certificate by http-01 with RSA keys, changes the account key and revokes', async () => {
  acme.axios.defaults.httpsAgent = new Agent({ ca: await readFile(port.path('port', 'certs', 'root.cert.pem')) });
  const shown = new Map<string, string>();
  const web = createServer((request, response) => response.end(shown.get(request.url ?? '')));
  await new Promise<void>((resolve) => {
    web.listen(httpPort, '127.0.0.1', resolve);
  });
  const client = new acme.Client({ directoryUrl: directory, accountKey: await acme.crypto.createPrivateRsaKey(), backoffMin: 20, backoffMax: 100 });
  const [key, csr] = await acme.crypto.createCsr({ commonName: 'npm.localhost', altNames: ['npm.localhost', 'b.npm.localhost'] }, await acme.crypto.createPrivateRsaKey());
  const pem = await client.auto({
    csr, email: 'ops@acme.internal', termsOfServiceAgreed: true, skipChallengeVerification: true, challengePriority: ['http-01'],
    challengeCreateFn: async (_authorization, challenge, keyAuthorization) => void shown.set(`/.well-known/acme-challenge/${challenge.token}`, keyAuthorization),
    challengeRemoveFn: async () => undefined,
  });
  web.close();
  const certificate = new X509Certificate(pem);
  expect([certificate.subjectAltName, certificate.checkPrivateKey(createPrivateKey(key))]).toEqual(['DNS:npm.localhost, DNS:b.npm.localhost', true]);
  await client.updateAccountKey(await acme.crypto.createPrivateEcdsaKey());
  await client.revokeCertificate(pem, { reason: 4 });
  expect(await statusOf('npm.localhost')).toEqual(['revoked']);
  acme.axios.defaults.httpsAgent.destroy();
});

it('acme-client gets the certificate of an agent by its external account', async () => {
  acme.axios.defaults.httpsAgent = new Agent({ ca: await readFile(port.path('port', 'certs', 'root.cert.pem')) });
  const { kid, hmacKey } = await externalAccount('Agent_9');
  const client = new acme.Client({ directoryUrl: directory, accountKey: await acme.crypto.createPrivateEcdsaKey(), externalAccountBinding: { kid, hmacKey }, backoffMin: 20, backoffMax: 100 });
  await client.createAccount({ termsOfServiceAgreed: true });
  // A name that DNS cannot have.
  const order = await client.createOrder({ identifiers: [{ type: 'permanent-identifier', value: 'Agent_9' }] });
  const [, csr] = await acme.crypto.createCsr({ commonName: 'Agent_9', altNames: [] }, await acme.crypto.createPrivateEcdsaKey());
  const pem = await client.getCertificate(await client.finalizeOrder(order, csr));
  expect(new X509Certificate(pem).subjectAltName).toBe('URI:spiffe://acme.internal/agent/Agent_9');
  expect(await port.place.run('acme', 'list')).toMatchObject({ code: 0, stdout: expect.stringMatching(/Agent_9 +bound/) });
  expect(await port.place.run('acme', 'remove', kid)).toMatchObject({ code: 0, stdout: `removed ${kid}, which was for Agent_9\n` });
  await expect(client.createOrder({ identifiers: [{ type: 'permanent-identifier', value: 'Agent_9' }] })).rejects.toThrow('the external account behind this account was removed');
  expect(await port.place.run('acme', 'remove', kid)).toMatchObject({ code: 1, stderr: expect.stringContaining('ERR_ACME_ACCOUNT_UNKNOWN') });
  expect(await port.place.run('acme', 'create')).toMatchObject({ code: 2, stderr: expect.stringContaining('say for whom: the name of an agent, or --server') });
  expect(await port.place.run('acme', 'create', '--server', '--ou', 'x')).toMatchObject({ code: 2 });
  expect(await port.place.run('acme', 'create', 'a', '--host', 'web.localhost')).toMatchObject({ code: 2 });
  expect((await port.place.json('acme', 'create', '--server', '--host', 'web.localhost'))['names']).toEqual(['web.localhost']);
  acme.axios.defaults.httpsAgent.destroy();
});
