/** OpenSSL and GnuTLS ask a running gateway for status, over HTTP and stapled to its handshake. */
import { execFile, spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGateway } from '../../src/app/create-gateway.ts';
import type { RunningGateway } from '../../src/app/create-gateway.ts';
import { createLogger } from '../../src/app/log.ts';
import { ask, requestAbout } from '../support/ocsp.ts';
import { ServedPort } from '../support/served-port.ts';

const installed = (command: string, version: string): boolean => spawnSync(command, [version]).status === 0;
const hasOpenssl = installed('openssl', 'version');
const hasOcsptool = installed('ocsptool', '--version');
if (!hasOpenssl) console.warn('skipped: openssl is not installed, so it judges no OCSP answers');
if (!hasOcsptool) console.warn('skipped: ocsptool (GnuTLS) is not installed, so it judges no OCSP answers');

let port: ServedPort;
let gateway: RunningGateway;
let url: string;
beforeAll(async () => {
  port = await ServedPort.make();
  gateway = await createGateway({ directory: port.path('port'), upstreams: { default: { command: ['true'] } }, listen: 'localhost:0', public: '127.0.0.1:0', enroll: 'localhost:0', logger: createLogger({ level: 'silent' }) });
  await gateway.listen();
  url = `${gateway.publicUrl}/ocsp`;
  for (const agent of ['good', 'bad']) await port.issue(agent);
  await gateway.deployment.authority.revoke({ agent: 'bad' }, { reason: 'keyCompromise' });
});
afterAll(async () => {
  await gateway.close({ drainMs: 0 });
  await port.close();
});

const trusted = () => port.path('port', 'certs', 'root.cert.pem');
const issuing = () => port.path('port', 'certs', 'issuing.cert.pem');
const serialOf = async (agent: string): Promise<string> => (await gateway.deployment.authority.certificates({ agent }))[0]?.serial ?? '';

interface Said {
  readonly code: number;
  readonly text: string;
}

/** Runs beside us: the gateway that is asked is in this process. */
const run = async (command: string, ...args: readonly string[]): Promise<Said> => {
  const running = promisify(execFile)(command, args, { encoding: 'utf8', timeout: 10_000 });
  running.child.stdin?.end('Q\n');
  return running.then(
    ({ stdout, stderr }) => ({ code: 0, text: stdout + stderr }),
    (error: { code?: number; stdout?: string; stderr?: string }) => ({ code: error.code ?? -1, text: `${error.stdout}${error.stderr}` }),
  );
};

const openssl = (...args: readonly string[]): Promise<Said> => run('openssl', 'ocsp', '-CAfile', trusted(), '-issuer', issuing(), ...args);

describe.skipIf(!hasOpenssl)('OpenSSL', () => {
  it('is told good, revoked and unknown, by SHA-1 and SHA-256, with and without a nonce', async () => {
    const said = await Promise.all([
      openssl('-url', url, '-cert', port.path('good', 'cert.pem')),
      openssl('-url', url, '-sha256', '-no_nonce', '-cert', port.path('good', 'cert.pem')),
      openssl('-url', url, '-sha256', '-cert', port.path('bad', 'cert.pem'), '-cert', port.path('good', 'cert.pem')),
      openssl('-url', url, '-serial', '0x0123456789'),
    ]);
    for (const { text } of said) expect(text).toContain('Response verify OK');
    for (const { text } of said) expect(text).not.toMatch(/WARNING|error/i);
    expect(said[0].text).toContain('cert.pem: good');
    expect(said[1].text).toContain('cert.pem: good');
    expect(said[2].text).toMatch(/bad\/cert\.pem: revoked\n.*\n.*\n\tReason: keyCompromise\n\tRevocation Time: .*\n.*good\/cert\.pem: good/);
    expect(said[3].text).toContain('0x0123456789: unknown');
    expect((await run('openssl', 'ocsp', '-url', url, '-issuer', trusted(), '-serial', '0x01')).text).toContain('Responder Error: unauthorized (6)');
  });
  it('accepts what GET gives to caches', async () => {
    const request = requestAbout(gateway.deployment.authority.issuing, [await serialOf('good')]);
    const response = await fetch(`${url}/${encodeURIComponent(Buffer.from(request).toString('base64'))}`);
    expect([response.status, response.headers.get('cache-control')]).toEqual([200, 'public, max-age=60, no-transform, must-revalidate']);
    await writeFile(port.path('get.der'), new Uint8Array(await response.arrayBuffer()));
    expect((await openssl('-respin', port.path('get.der'), '-no_nonce', '-cert', port.path('good', 'cert.pem'))).text).toMatch(/cert\.pem: good\n[^]*Response verify OK/);
    expect((await fetch(url, { method: 'POST', headers: { 'content-type': 'application/ocsp-request' }, body: new Uint8Array(4_097) })).status).toBe(413);
  });
  it.each(['url', 'enrollUrl'] as const)('finds the answer stapled at %s', async (which) => {
    const { host } = new URL(gateway[which] ?? '');
    const { text } = await run('openssl', 's_client', '-connect', host, '-status', '-CAfile', trusted());
    expect(text).toContain('OCSP Response Status: successful (0x0)');
    expect(text).toContain('Cert Status: good');
    expect(text).toContain('Verify return code: 0 (ok)');
  });
  it('accepts the stapled answer, which follows the certificate when that is revoked', async () => {
    const stapled = (): Promise<Buffer | null> =>
      new Promise((resolve, reject) => {
        const { hostname, port: number } = new URL(gateway.url);
        const socket = connect({ host: hostname, port: Number(number), servername: hostname, rejectUnauthorized: false, requestOCSP: true });
        socket.on('error', reject);
        socket.on('OCSPResponse', (answer: Buffer | null) => {
          resolve(answer);
          socket.destroy();
        });
      });
    const judged = async (answer: Buffer | null): Promise<string> => {
      await writeFile(port.path('staple.der'), answer ?? '');
      return (await openssl('-respin', port.path('staple.der'), '-no_nonce', '-cert', port.path('port', 'certs', 'server.cert.pem'))).text;
    };
    const first = await stapled();
    expect(await judged(first)).toMatch(/cert\.pem: good\n[^]*Response verify OK/);
    expect(await stapled()).toEqual(first);
    await gateway.deployment.authority.revoke({ serial: await serialOf('localhost') });
    expect(await judged(await stapled())).toMatch(/cert\.pem: revoked\n[^]*Response verify OK/);
  });
});

describe.skipIf(!hasOcsptool)('GnuTLS', () => {
  const ocsptool = (agent: string, ...args: readonly string[]): Promise<Said> => run('ocsptool', `--ask=${url}`, '--load-issuer', issuing(), '--load-cert', port.path(agent, 'cert.pem'), '--load-trust', issuing(), ...args);

  it('is told good and revoked', async () => {
    for (const nonce of [[], ['--nonce']]) {
      const [good, bad] = await Promise.all([ocsptool('good', ...nonce), ocsptool('bad', ...nonce)]);
      expect(good).toEqual({ code: 0, text: expect.stringMatching(/Certificate Status: good[^]*Verifying OCSP Response: Success/) as string });
      expect(bad.text).toMatch(/Certificate Status: revoked[^]*Verifying OCSP Response: Success/);
    }
  });
});

describe('a revocation by another process', () => {
  it('is what every answer says from the moment that revoke has returned', async () => {
    const { authority } = gateway.deployment;
    await port.issue('gone');
    const serial = await serialOf('gone');
    let returned = false;
    const late: string[] = [];
    let asked = 0;
    const asking = (async () => {
      while (late.length < 10) {
        const after = returned;
        const { status } = await ask(authority.ocsp, authority.issuing, serial);
        asked++;
        if (after) late.push(status);
        await sleep(2);
      }
    })();
    const { code } = await port.command(['revoke', 'gone']);
    returned = true;
    await asking;
    expect([code, new Set(late)]).toEqual([0, new Set(['revoked'])]);
    expect(asked).toBeGreaterThan(late.length);
  });
});
