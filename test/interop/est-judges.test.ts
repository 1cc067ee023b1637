/** EST as others speak it: curl asks a running gateway, OpenSSL and GnuTLS read what comes. */
import { execFile, spawnSync } from 'node:child_process';
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCsr } from '../../ca/x509/csr.ts';
import { createGateway } from '../../src/app/create-gateway.ts';
import type { RunningGateway } from '../../src/app/create-gateway.ts';
import { createLogger } from '../../src/app/log.ts';
import { newKey } from '../support/authority.ts';
import { ServedPort, until } from '../support/served-port.ts';

const installed = (command: string, version: string): boolean => spawnSync(command, [version]).status === 0;
const hasTools = installed('openssl', 'version') && installed('curl', '--version');
const hasCerttool = installed('certtool', '--version');
if (!hasTools) console.warn('skipped: curl or openssl is not installed, so nobody judges EST');
if (!hasCerttool) console.warn('skipped: certtool (GnuTLS) is not installed, so it judges no EST answers');

let port: ServedPort;
let gateway: RunningGateway;
beforeAll(async () => {
  port = await ServedPort.make();
  const file = port.path('port', 'sallyport.yaml');
  await writeFile(file, (await readFile(file, 'utf8')).replace(/^ca:\n/m, 'ca:\n  renewalGrace: 1h\n  profiles: { careful: { kind: agent, approval: required }, by-hand: { kind: agent, mayIssue: [operator, token] } }\n'));
  gateway = await createGateway({ directory: port.path('port'), upstreams: { default: { command: ['true'] } }, listen: 'localhost:0', public: '127.0.0.1:0', enroll: 'localhost:0', logger: createLogger({ level: 'silent' }) });
  await gateway.listen();
  await port.issue('brief', '--ttl', '1s');
  await port.issue('brief-revoked', '--ttl', '1s');
});
afterAll(async () => {
  await gateway.close({ drainMs: 0 });
  await port.close();
});

interface Said {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const run = async (program: string, argv: readonly string[]): Promise<string> => (await promisify(execFile)(program, argv, { cwd: port.place.directory })).stdout;

/** `curl --cacert … https://…/.well-known/est/<path>`. */
const curl = async (path: string, ...argv: readonly string[]): Promise<Said> => {
  const out = await run('curl', ['-sS', '-D', 'headers', '--cacert', port.path('port', 'certs', 'root.cert.pem'), ...argv, `${gateway.enrollUrl}/.well-known/est/${path}`]);
  const [first = '', ...lines] = (await readFile(port.path('headers'), 'utf8')).trim().split('\r\n');
  return { status: Number(first.split(' ')[1]), headers: Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)])), body: out };
};
const posting = (file: string): readonly string[] => ['-H', 'Content-Type: application/pkcs10', '--data-binary', `@${file}`];

/** A request made by openssl, as a device would make it. */
const request = async (name: string): Promise<string> => {
  await run('openssl', ['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`, '-subj', `/CN=${name}`, '-outform', 'DER', '-out', `${name}.der`]);
  await run('openssl', ['base64', '-in', `${name}.der`, '-out', `${name}.b64`]);
  return `${name}.b64`;
};
const token = async (agent: string, profile = 'agent', actor = 'cli:alice'): Promise<string> => (await gateway.deployment.authority.createToken({ agent, profile, actor })).token;
/** Certificates in an answer, as openssl reads them. */
const certificates = async (body: string): Promise<readonly X509Certificate[]> => {
  await writeFile(port.path('answer.p7'), `-----BEGIN PKCS7-----\n${body}-----END PKCS7-----\n`);
  const pem = await run('openssl', ['pkcs7', '-in', 'answer.p7', '-print_certs']);
  return (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((each) => new X509Certificate(each));
};

describe.skipIf(!hasTools)('EST, judged by curl and OpenSSL', () => {
  it('hands the CA certificates to anybody', async () => {
    const { status, headers, body } = await curl('cacerts');
    expect([status, headers['content-type'], headers['content-transfer-encoding']]).toEqual([200, 'application/pkcs7-mime; smime-type=certs-only', undefined]);
    const { root, issuing } = gateway.deployment.authority;
    expect((await certificates(body)).map(({ raw }) => raw.toString('hex')).toSorted()).toEqual([root, issuing].map(({ der }) => Buffer.from(der).toString('hex')).toSorted());
    expect(await run('openssl', ['cms', '-cmsout', '-print', '-inform', 'PEM', '-in', 'answer.p7'])).toMatch(/contentType: pkcs7-signedData[\s\S]*version: 1[\s\S]*digestAlgorithms:\s+<EMPTY>[\s\S]*signerInfos:\s+<EMPTY>/);
  });

  it.skipIf(!hasCerttool)('writes what GnuTLS reads', async () => {
    await certificates((await curl('cacerts')).body);
    expect(await run('certtool', ['--p7-info', '--infile', 'answer.p7'])).toContain('Number of certificates: 2');
  });

  it('says which key it would like', async () => {
    const { status, headers, body } = await curl('short-lived/csrattrs');
    expect([status, headers['content-type']]).toEqual([200, 'application/csrattrs']);
    await writeFile(port.path('attributes'), Buffer.from(body, 'base64'));
    expect(await run('openssl', ['asn1parse', '-inform', 'DER', '-in', 'attributes'])).toMatch(/id-ecPublicKey[\s\S]*prime256v1[\s\S]*ecdsa-with-SHA256/);
  });

  it('enrolls for a token as the password, renews and rekeys over mutual TLS', async () => {
    const csr = await request('device');
    const secret = await token('device', 'short-lived');
    const basic = ['-u', `device:${secret}`];
    expect((await curl('agent/simpleenroll', ...basic, ...posting(csr))).status).toBe(401);
    const enrolled = await curl('short-lived/simpleenroll', ...basic, ...posting(csr));
    expect([enrolled.status, enrolled.headers['content-type']]).toEqual([200, 'application/pkcs7-mime; smime-type=certs-only']);
    const [leaf, ...more] = await certificates(enrolled.body);
    expect([leaf?.subject, leaf?.subjectAltName, more]).toEqual(['CN=device', 'URI:spiffe://acme.internal/agent/device', []]);
    expect(leaf?.checkPrivateKey(createPrivateKey(await readFile(port.path('device.key'))))).toBe(true);
    expect((await curl('simpleenroll', ...basic, ...posting(await request('thief')))).status).toBe(401);

    await writeFile(port.path('device.pem'), leaf?.toString() ?? '');
    const shown = ['--cert', 'device.pem', '--key', 'device.key'];
    const [renewed] = await certificates((await curl('simplereenroll', ...shown, ...posting(csr))).body);
    expect([renewed?.subject, renewed?.publicKey.equals(leaf?.publicKey ?? renewed.publicKey), renewed?.serialNumber === leaf?.serialNumber]).toEqual(['CN=device', true, false]);
    await writeFile(port.path('rekey.b64'), Buffer.from(createCsr(newKey(), { commonName: 'device' })).toString('base64'));
    const [rekeyed] = await certificates((await curl('short-lived/simplereenroll', ...shown, ...posting('rekey.b64'))).body);
    expect([rekeyed?.subject, rekeyed?.publicKey.equals(leaf?.publicKey ?? rekeyed.publicKey)]).toEqual(['CN=device', false]);
    expect((await curl('agent/simplereenroll', ...shown, ...posting(csr))).status).toBe(400);
    expect((await gateway.deployment.authority.certificates({ agent: 'device' })).map(({ replaces }) => replaces)).toEqual([undefined, leaf?.serialNumber.toLowerCase(), leaf?.serialNumber.toLowerCase()]);
  });

  it('refuses strangers, bad bodies, other names and what it does not do', async () => {
    const csr = await request('stranger');
    const unauthenticated = await curl('simpleenroll', ...posting(csr));
    expect([unauthenticated.status, unauthenticated.headers['www-authenticate']]).toEqual([401, 'Basic realm="sallyport", charset="UTF-8"']);
    expect((await curl('simplereenroll', ...posting(csr))).status).toBe(403);
    const basic = ['-u', `:${await token('agent-1')}`];
    await writeFile(port.path('bad.b64'), 'not base64!');
    for (const file of ['bad.b64', 'stranger.der']) expect([(await curl('simpleenroll', ...basic, ...posting(file))).status, file]).toEqual([400, file]);
    expect((await curl('simpleenroll', ...basic, '-H', 'Content-Type: text/plain', '--data-binary', `@${csr}`)).status).toBe(400);
    const other = await curl('simpleenroll', ...basic, ...posting(csr));
    expect([other.status, other.body]).toEqual([400, 'ERR_CA_CSR_CONTENT: the request asks for something its enrollment does not grant\n']);
    expect((await curl('by-hand/simpleenroll', '-u', `:${await token('agent-2', 'by-hand')}`, ...posting(await request('agent-2')))).status).toBe(400);
    expect([(await curl('serverkeygen')).status, (await curl('agent/fullcmc')).status, (await curl('nobody/cacerts')).status, (await curl('cacerts', '-X', 'POST')).status]).toEqual([501, 501, 404, 405]);
  });

  it('answers 202 until a second person approves', async () => {
    const csr = await request('patient');
    const basic = ['-u', `patient:${await token('patient', 'careful')}`];
    const ask = () => curl('careful/simpleenroll', ...basic, ...posting(csr));
    const first = await ask();
    expect([first.status, first.headers['retry-after']]).toEqual([202, '1']);
    const { authority } = gateway.deployment;
    const [waiting] = await authority.pendingRequests();
    expect(waiting).toMatchObject({ agent: 'patient', terms: { way: 'est', vouchedBy: 'cli:alice', address: expect.stringMatching(/127\.0\.0\.1|::1/) } });
    expect((await ask()).status).toBe(202);
    await authority.approveRequest(waiting?.id ?? '', { actor: 'cli:bob' });
    const [leaf] = await certificates((await ask()).body);
    expect(leaf?.subject).toBe('CN=patient');
  });

  it('renews within the grace what has expired, over EST and at /renew, and nothing else does', async () => {
    const { authority, store } = gateway.deployment;
    const brief = port.path('brief');
    const shown = (directory: string): readonly string[] => ['--cert', `${directory}/cert.pem`, '--key', `${directory}/key.pem`];
    const [old] = await authority.certificates({ agent: 'brief' });
    await until(() => Date.now() > (old?.notAfter.getTime() ?? 0) + 1_100, () => 'it does not expire');
    await writeFile(port.path('brief.b64'), Buffer.from(createCsr(createPrivateKey(await readFile(port.path('brief', 'key.pem'))))).toString('base64'));
    expect((await curl('simpleenroll', ...shown(brief), ...posting('brief.b64'))).status).toBe(403);
    const [leaf] = await certificates((await curl('simplereenroll', ...shown(brief), ...posting('brief.b64'))).body);
    expect(leaf?.subject).toBe('CN=brief');
    const late = (await store.audit.read({ from: 0, limit: 1_000 })).map(({ event }) => JSON.parse(event) as { action: string; agent?: string }).filter(({ action }) => action === 'renewal.late');
    expect(late).toMatchObject([{ agent: 'brief' }]);
    const body = JSON.stringify({ csr: `-----BEGIN CERTIFICATE REQUEST-----\n${await readFile(port.path('brief.b64'), 'utf8')}\n-----END CERTIFICATE REQUEST-----\n` });
    await writeFile(port.path('renew.json'), body);
    const renew = async (directory: string) => run('curl', ['-sS', '--cacert', port.path('port', 'certs', 'root.cert.pem'), ...shown(directory), '-H', 'Content-Type: application/json', '--data-binary', '@renew.json', `${gateway.enrollUrl}/renew`]);
    expect(Object.keys(JSON.parse(await renew(brief)) as object)).toContain('certificate');
    expect(await run('curl', ['-sS', '--cacert', port.path('port', 'certs', 'root.cert.pem'), ...shown(brief), `${gateway.url}/mcp`])).toContain('ERR_PEER_EXPIRED');
    await authority.revoke({ agent: 'brief-revoked' });
    expect(await renew(port.path('brief-revoked'))).toContain('ERR_');
  });
});
