/** Revocation at relying parties that are not ours, set up as docs/revocation.md says: nginx, HAProxy and OpenSSL. */
import { execFile, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCrlHandler, createOcspHandler } from '../../ca/index.ts';
import type { IssuedCertificate } from '../../ca/index.ts';
import { webListener } from '../../src/gateway/web-listener.ts';
import { createAuthority } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

const installed = (program: string, version: string): boolean => spawnSync(program, [version]).error === undefined;
const has = { nginx: installed('nginx', '-v'), haproxy: installed('haproxy', '-v'), openssl: installed('openssl', 'version'), curl: installed('curl', '--version') };
for (const [program, there] of Object.entries(has)) if (!there) console.warn(`skipped: ${program} is not installed, so revocation is not tried with it`);

let fixture: AuthorityFixture;
let server: Server;
let base: string;
let good: IssuedCertificate;
let bad: IssuedCertificate;
const running: ChildProcess[] = [];
const path = (name: string): string => join(fixture.directory, name);
const file = (name: string, text: string): string => {
  writeFileSync(path(name), text);
  return path(name);
};
const partitions = 2;

/** Of the page, with this directory in place of /etc/pki and this address in place of that of the example. */
const page = readFileSync(new URL('../../docs/revocation.md', import.meta.url), 'utf8');
const snippets = (language: string): readonly string[] =>
  [...page.matchAll(new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``, 'g'))].map(([, text = '']) => text.replaceAll('/etc/pki', fixture.directory).replaceAll('http://pki.acme.internal:8080', base));

beforeAll(async () => {
  let handle: (request: Request) => Promise<Response> = async () => new Response(null, { status: 503 });
  server = createServer(webListener({ handler: (request) => handle(request), limits: { bodyBytes: 8_192, bodyTimeoutMs: 5_000 }, onFailure: () => undefined }));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  fixture = await createAuthority({ publicUrl: base, crlPartitions: partitions, crlCoalesceMs: 3_600_000 });
  const { authority, clock } = fixture;
  const crl = createCrlHandler({ authority, clock, present: () => ({ status: 503, code: '', message: '' }) });
  const { ocsp: responder } = authority;
  if (responder === undefined) throw new Error('OCSP is on');
  const ocsp = createOcspHandler({ responder, clock });
  handle = async (request) => (new URL(request.url).pathname.startsWith('/crl/') ? crl(request) : ocsp(request));
  good = await authority.issue({ agent: 'good' });
  bad = await authority.issue({ agent: 'bad' });
  const own = await authority.issueServer({ hosts: ['localhost'] });
  const key = own.privateKey?.export({ type: 'pkcs8', format: 'pem' }).toString() ?? '';
  file('server.pem', own.chain + key);
  file('acme-cas.pem', authority.root.pem + authority.issuing.pem);
});
afterAll(async () => {
  for (const child of running) {
    // A master that is killed leaves its workers behind.
    child.kill('SIGTERM');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  server.closeAllConnections();
  server.close();
  fixture.clock.turn(2);
  await fixture.close();
});

const start = (program: string, ...argv: readonly string[]): ChildProcess => {
  const child = spawn(program, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stderr?.on('data', (text: Buffer) => { writeFileSync(path(`${program}.log`), text, { flag: 'a' }); });
  running.push(child);
  return child;
};

const fetchCrls = async (): Promise<void> => {
  const [script = ''] = snippets('sh');
  const names = ['root', ...Array.from({ length: partitions }, (_, partition) => `issuing/${partitions}/${partition}`)];
  await promisify(execFile)('sh', [file('fetch-crls', script.replace("names='root issuing'", `names='${names.join(' ')}'`))]);
  file('trust.pem', readFileSync(path('acme-cas.pem'), 'utf8') + readFileSync(path('acme-crls.pem'), 'utf8'));
};

/** Whether a request with this certificate gets through. */
const tryWith = ({ chain, privateKey }: IssuedCertificate, where: string): Promise<'accepted' | 'refused' | 'nobody'> =>
  new Promise((resolve) => {
    let answer = '';
    let secured = false;
    const done = (): void => {
      resolve(/^HTTP\/1\.[01] 200/i.test(answer) ? 'accepted' : secured || answer !== '' ? 'refused' : 'nobody');
    };
    const socket = connect({ ...(where === 'openssl' ? { host: '127.0.0.1', port: opensslPort } : { path: path(where) }), servername: 'localhost', ca: fixture.authority.root.pem, cert: chain, key: privateKey?.export({ type: 'pkcs8', format: 'pem' }) });
    socket.setTimeout(5_000, () => socket.destroy());
    socket.on('secureConnect', () => {
      secured = true;
      socket.write('GET / HTTP/1.0\r\nHost: localhost\r\n\r\n');
    });
    socket.on('data', (octets: Buffer) => { answer += octets.toString('latin1'); });
    socket.on('error', () => undefined);
    socket.on('close', done);
  });

/** Polls, since a program that starts or reloads serves when it is ready. */
const becomes = async (who: IssuedCertificate, where: string, expected: string, log: string): Promise<void> => {
  let seen = '';
  for (const until = Date.now() + 20_000; Date.now() < until && seen !== expected; await sleep(20)) seen = await tryWith(who, where);
  expect([seen, seen === expected || !existsSync(path(log)) ? '' : readFileSync(path(log), 'utf8')]).toEqual([expected, '']);
};

interface RelyingParty {
  readonly name: string;
  readonly runs: boolean;
  readonly socket: string;
  readonly log: string;
  start(): void;
  /** After new CRLs; undefined where there is nothing to do. */
  readonly reload: (() => Promise<void>) | undefined;
}

let haproxy: ChildProcess | undefined;
let openssl: ChildProcess | undefined;
/** Its Unix sockets do not work in every version. */
let opensslPort = 1;

const startOpenssl = (): void => {
  openssl = start('openssl', 's_server', '-accept', '127.0.0.1:0', '-cert', path('server.pem'), '-cert_chain', path('server.pem'), '-key', path('server.pem'), '-CAfile', path('trust.pem'), '-Verify', '2', '-verify_return_error', '-crl_check_all', '-www');
  openssl.stdout?.on('data', (text: Buffer) => { opensslPort = Number(/^ACCEPT .*:(\d+)$/m.exec(text.toString())?.[1] ?? opensslPort); });
};

/** Both ways of nginx in one process. */
const startNginx = (): void => {
  const [crls = '', ocsp = ''] = snippets('nginx');
  const common = `ssl_certificate ${path('server.pem')}; ssl_certificate_key ${path('server.pem')}; location / { return 200 "welcome"; }`;
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${path(name)};`).join(' ');
  const config = `daemon off; worker_processes 1; pid ${path('nginx.pid')}; error_log ${path('nginx.log')} notice;
events { worker_connections 64; }
http { access_log off; ${paths} resolver 127.0.0.1;
server { listen unix:${path('crl.sock')} ssl; ${crls} ${common} }
server { listen unix:${path('ocsp.sock')} ssl; ${ocsp} ${common} } }
`;
  start('nginx', '-p', fixture.directory, '-e', path('nginx.log'), '-c', file('nginx.conf', config));
};

const startHaproxy = (): void => {
  const [bind = ''] = snippets('haproxy');
  const config = `global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend mcp
  ${bind.trim().replace('bind :8443', `bind unix@${path('haproxy.sock')}`)}
  http-request return status 200 content-type text/plain string welcome
`;
  haproxy = start('haproxy', '-W', '-f', file('haproxy.cfg', config));
};

const parties: readonly RelyingParty[] = [
  { name: 'nginx with CRLs', runs: has.nginx, socket: 'crl.sock', log: 'nginx.log', start: startNginx, reload: async () => { process.kill(Number(readFileSync(path('nginx.pid'), 'utf8')), 'SIGHUP'); } },
  { name: 'nginx with OCSP', runs: has.nginx, socket: 'ocsp.sock', log: 'nginx.log', start: () => undefined, reload: undefined },
  { name: 'HAProxy', runs: has.haproxy, socket: 'haproxy.sock', log: 'haproxy.log', start: startHaproxy, reload: async () => { haproxy?.kill('SIGUSR2'); } },
  {
    name: 'openssl s_server', runs: has.openssl, socket: 'openssl', log: 'openssl.log', start: startOpenssl,
    reload: async () => {
      openssl?.kill('SIGKILL');
      if (openssl !== undefined) await once(openssl, 'exit');
      startOpenssl();
    },
  },
];

describe.skipIf(!has.openssl || !has.curl)('a revoked agent', { timeout: 60_000 }, () => {
  const present = parties.filter(({ runs }) => runs);

  it('is accepted before, like any other', async () => {
    await fetchCrls();
    for (const party of present) party.start();
    for (const { socket, log } of present) for (const who of [good, bad]) await becomes(who, socket, 'accepted', log);
  });

  it('is refused by who asks for its status at the next handshake, by the others once they have the new CRLs, and nobody else is', async () => {
    await fixture.authority.revoke({ agent: 'bad' }, { reason: 'keyCompromise' });
    for (const { socket, reload, name } of present) expect([name, await tryWith(bad, socket)]).toEqual([name, reload === undefined ? 'refused' : 'accepted']);
    await fixture.authority.publishCrls('issuing');
    await fetchCrls();
    for (const { reload } of present) await reload?.();
    for (const { socket, log } of present) {
      await becomes(bad, socket, 'refused', log);
      await becomes(good, socket, 'accepted', log);
    }
  });
});
