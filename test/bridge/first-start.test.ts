import { webcrypto } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { parseCsr } from '../../ca/x509/csr.ts';
import { enrollAtFirstStart } from '../../src/bridge/first-start.ts';
import type { FirstStartOptions, TokenSource } from '../../src/bridge/first-start.ts';
import { loadIdentity } from '../../src/bridge/identity.ts';
import { systemClock } from '../../src/system.ts';
import { createTestPki, writeIdentity } from './test-pki.ts';
import type { TestPki } from './test-pki.ts';

let pki: TestPki;
let server: Server;
let url: URL;
let parent: string;
let directory: string;
let token: string;
let uses: number;
const notices: string[] = [];

beforeAll(async () => {
  pki = await createTestPki();
  const certificate = await pki.issue({ name: 'gateway', server: true, dns: ['localhost'] });
  server = createServer({ key: certificate.keyPem, cert: certificate.certificatePem + pki.rootPem }, async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    uses += 1;
    response.setHeader('content-type', 'application/json');
    if (uses > 1) {
      response.statusCode = 403;
      response.end('{"error":{"code":"ERR_TOKEN_SPENT","message":"the enrollment token is not valid"}}');
      return;
    }
    const { csr } = JSON.parse(Buffer.concat(chunks).toString()) as { csr: string };
    const publicKey = await webcrypto.subtle.importKey('spki', Buffer.from(parseCsr(csr).spki), { name: 'ECDSA', namedCurve: 'P-256' }, true, ['verify']);
    const issued = await pki.issue({ name: 'agent-7', publicKey: publicKey as unknown as CryptoKey });
    response.end(JSON.stringify({ certificate: issued.certificatePem, ca: pki.rootPem, gateway: 'https://localhost:8443/mcp' }));
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = new URL(`https://localhost:${(server.address() as AddressInfo).port}`);
});
afterAll(() => new Promise((resolve) => server.close(resolve)));
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'first-'));
  directory = join(parent, 'agent-7');
  token = `sallyport1.${Buffer.alloc(32, 7).toString('base64url')}.${Buffer.from(pki.rootThumbprint, 'hex').toString('base64url')}`;
  await writeFile(join(parent, 'token'), `${token}\n`);
  uses = 0;
  notices.length = 0;
});
afterEach(() => rm(parent, { recursive: true, force: true }));

const first = (source: TokenSource = { file: join(parent, 'token') }, options: Partial<FirstStartOptions> = {}): Promise<void> =>
  enrollAtFirstStart({ directory, url, token: source, clock: systemClock, notice: ({ message }) => notices.push(message), ...options });

it.each(['file', 'variable'])('makes the identity with the token of a %s, encrypted when there is a passphrase', async (kind) => {
  await first(kind === 'file' ? undefined : { variable: 'TOKEN', env: { TOKEN: token } }, { passphrase: 'secret' });
  const { name, gateway } = await loadIdentity(directory, { passphrase: 'secret' });
  expect([name, gateway]).toEqual(['agent-7', 'https://localhost:8443/mcp']);
  expect(notices).toEqual([expect.stringMatching(/^enrolled agent-7, valid until .*, stored in /)]);
});

it('takes no interest in the token once there is an identity', async () => {
  await writeIdentity(directory, pki, await pki.issue({ name: 'agent-7' }));
  await first({ file: join(parent, 'gone') });
  await first({ variable: 'TOKEN', env: {} });
  uses = 1;
  await first();
  expect([uses, notices]).toEqual([1, []]);
});

it('says in words that the token was used up', async () => {
  uses = 1;
  await expect(first(undefined, { patienceMs: 100 })).rejects.toMatchObject({
    code: 'ERR_BRIDGE_ENROLLMENT',
    message: `${url.host} refused the enrollment: the enrollment token is not valid; ask its operator for a new token (sallyport token create NAME)`,
    facts: { reason: 'ERR_TOKEN_SPENT' },
  });
});

it.each([
  ['a file that is not there', () => ({ file: join(parent, 'gone') }), /there is no identity in .* yet, and the token file .*gone cannot be read \(ENOENT\); write what sallyport token create printed into it/],
  ['a variable that is not set', () => ({ variable: 'TOKEN', env: {} }), /there is no identity in .* yet, and the environment variable TOKEN is not set; set it to what sallyport token create printed/],
  ['an empty variable', () => ({ variable: 'TOKEN', env: { TOKEN: ' ' } }), /the environment variable TOKEN is not set/],
])('says what is missing of %s', async (_what, source, words) => {
  await expect(first(source())).rejects.toThrow(words);
  expect(uses).toBe(0);
});

it('needs the token once when it is started twice at once', async () => {
  await Promise.all([first(), first()]);
  expect((await loadIdentity(directory)).name).toBe('agent-7');
  expect(notices).toHaveLength(1);
});
