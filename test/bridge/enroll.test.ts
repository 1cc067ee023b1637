import * as fc from 'fast-check';
import { createPublicKey, randomBytes, webcrypto } from 'node:crypto';
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createEnrollHandler } from '../../ca/http/enroll.ts';
import type { EnrollHandlerOptions } from '../../ca/http/enroll.ts';
import { CaError } from '../../ca/errors.ts';
import { parseCsr, verifyCsr } from '../../ca/x509/csr.ts';
import { enroll } from '../../src/bridge/enroll.ts';
import { parseEnrollmentToken } from '../../src/bridge/enrollment-token.ts';
import { loadIdentity } from '../../src/bridge/identity.ts';
import { codeOf, errorTable } from '../../src/errors.ts';
import { systemClock } from '../../src/system.ts';
import { createTestPki } from './test-pki.ts';
import type { TestPki } from './test-pki.ts';

let pki: TestPki;
let parent: string;
let out: string;
let server: Server;
let url: string;
let token: string;
const bodies: string[] = [];

type Enroll = (request: { token: string; csr: string }) => Promise<{ chain: string; ca: string }>;

beforeAll(async () => {
  pki = await createTestPki();
});
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'enroll-'));
  out = join(parent, 'agent-7');
  token = `sallyport1.${randomBytes(32).toString('base64url')}.${Buffer.from(pki.rootThumbprint, 'hex').toString('base64url')}`;
  bodies.length = 0;
});
afterEach(async () => {
  server?.closeAllConnections();
  await new Promise((resolve) => server?.close(resolve) ?? resolve(undefined));
  await rm(parent, { recursive: true, force: true });
});

/** An enrollment listener with the CA's own handler; `issue` stands for the authority. */
const start = async (issue: Enroll, options: { pki?: TestPki } = {}): Promise<void> => {
  const shown = options.pki ?? pki;
  const certificate = await shown.issue({ name: 'gateway', server: true, dns: ['localhost'] });
  const handle = createEnrollHandler({
    authority: { enroll: issue } as unknown as EnrollHandlerOptions['authority'],
    gateway: 'https://localhost:8443/mcp',
    renewal: 'https://localhost:8444/renew',
    present: (error) => ({ status: errorTable[codeOf(error)].http, code: codeOf(error), message: errorTable[codeOf(error)].public }),
  });
  server = createServer({ key: certificate.keyPem, cert: certificate.certificatePem + shown.rootPem }, async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    bodies.push(body.toString());
    const answer = await handle(new Request(`https://localhost${request.url ?? ''}`, { method: request.method ?? 'GET', headers: { 'content-type': request.headers['content-type'] ?? '' }, body }));
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    response.end(await answer.text());
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `https://localhost:${(server.address() as AddressInfo).port}`;
};

const issueFor: Enroll = async ({ csr }) => {
  const request = parseCsr(csr);
  verifyCsr(request);
  expect(request.subject).toEqual([]);
  const publicKey = await webcrypto.subtle.importKey('spki', createPublicKey({ key: Buffer.from(request.spki), type: 'spki', format: 'der' }).export({ type: 'spki', format: 'der' }), { name: 'ECDSA', namedCurve: 'P-256' }, true, ['verify']);
  const issued = await pki.issue({ name: 'agent-7', publicKey: publicKey as unknown as CryptoKey });
  return { chain: issued.certificatePem, ca: pki.rootPem };
};

const run = (): ReturnType<typeof enroll> => enroll({ url, token, out, clock: systemClock, timeoutMs: 5_000 });
const nothingLeft = async (): Promise<void> => expect(await readdir(parent)).toEqual([]);

describe('enrollment', () => {
  it('makes the key here, has it certified and stores an identity that loads', async () => {
    await start(issueFor);
    const enrolled = await run();
    expect(enrolled).toMatchObject({ name: 'agent-7', directory: out, gateway: 'https://localhost:8443/mcp' });
    expect(await loadIdentity(out)).toMatchObject({ name: 'agent-7', thumbprint: enrolled.thumbprint, renewal: 'https://localhost:8444/renew' });
    expect((await stat(out)).mode & 0o777).toBe(0o700);
    expect((await stat(join(out, 'key.pem'))).mode & 0o777).toBe(0o600);
    expect(await readdir(parent)).toEqual(['agent-7']);
    expect(bodies).toHaveLength(1);
    expect(bodies[0]).not.toContain('PRIVATE');
  });

  it('encrypts the key when a passphrase is given', async () => {
    await start(issueFor);
    await enroll({ url, token, out, clock: systemClock, passphrase: 'secret' });
    await expect(loadIdentity(out)).rejects.toMatchObject({ facts: { reason: 'ERR_KEY_PASSPHRASE' } });
    await expect(loadIdentity(out, { passphrase: 'secret' })).resolves.toMatchObject({ name: 'agent-7' });
  });

  it('sends nothing to a gateway whose root is not the one the token pins', async () => {
    await start(issueFor, { pki: await createTestPki('Other') });
    await expect(run()).rejects.toMatchObject({ code: 'ERR_BRIDGE_ENROLLMENT', message: `${new URL(url).host} does not show the root that the token pins; check that the token was made by this gateway, and do not go on if it was` });
    expect(bodies).toEqual([]);
    await nothingLeft();
  });

  it('says what to do about a token that is spent', async () => {
    await start(() => Promise.reject(new CaError('ERR_TOKEN_SPENT', 'spent')));
    await expect(run()).rejects.toMatchObject({ code: 'ERR_BRIDGE_ENROLLMENT', message: `${new URL(url).host} refused the enrollment: the enrollment token is not valid; ask its operator for a new token (sallyport token create NAME)`, facts: { reason: 'ERR_TOKEN_SPENT' } });
    await nothingLeft();
  });

  it('does not store a certificate for another key or of another root', async () => {
    const other = await createTestPki('Other');
    await start(async () => ({ chain: (await pki.issue({ name: 'agent-7' })).certificatePem, ca: pki.rootPem }));
    await expect(run()).rejects.toMatchObject({ code: 'ERR_BRIDGE_ENROLLMENT', message: 'the certificate in the answer is not for the key made here; nothing was stored' });
    await nothingLeft();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await start(async (request) => ({ ...(await issueFor(request)), ca: other.rootPem }));
    await expect(run()).rejects.toMatchObject({ code: 'ERR_BRIDGE_ENROLLMENT', message: 'the root in the answer is not the one the token pins; nothing was stored' });
    await nothingLeft();
  });

  it('does not touch a directory with content, and spends no token on it', async () => {
    await start(issueFor);
    await mkdir(out);
    await writeFile(join(out, 'mine'), '');
    await expect(run()).rejects.toMatchObject({ code: 'ERR_BRIDGE_IDENTITY', message: `${out} is not empty and nothing in it was touched; give another directory with --out` });
    expect(await readdir(out)).toEqual(['mine']);
    expect(bodies).toEqual([]);
  });

  it('says that nothing listens there', async () => {
    await start(issueFor);
    await new Promise((resolve) => server.close(resolve));
    await expect(run()).rejects.toMatchObject({ code: 'ERR_BRIDGE_UNREACHABLE' });
    await nothingLeft();
  });

  it('reads tokens strictly', () => {
    expect(parseEnrollmentToken(` ${token}\n`)).toEqual({ rootThumbprint: pki.rootThumbprint });
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string().map((text) => `sallyport1.${text}`), fc.constant(`${token}A`), fc.constant(token.slice(0, -1))), (text) => {
        expect(() => parseEnrollmentToken(text)).toThrow(expect.objectContaining({ code: 'ERR_BRIDGE_ENROLLMENT' }));
      }),
      { numRuns: 200 },
    );
  });
});
