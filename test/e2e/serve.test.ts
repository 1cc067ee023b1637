import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { chmod, cp, readFile, rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startV1Http } from '../support/mcp-servers/v1-http.ts';
import type { V1Http } from '../support/mcp-servers/v1-http.ts';
import { fixtureCommand, fixturePolicy, ServedPort, until } from '../support/served-port.ts';
import type { Connected, Serving } from '../support/served-port.ts';

const run = promisify(execFile);
const openssl = await run('openssl', ['version']).then(({ stdout }) => /OpenSSL 3/.test(stdout), () => false);
if (!openssl) console.warn('what the gateway publishes is not judged by OpenSSL: there is no OpenSSL 3 here');

let port: ServedPort;
let gateway: Serving;
let docs: V1Http;
let agent: Connected;
beforeAll(async () => {
  port = await ServedPort.make();
  await port.issue('agent-7', '--ou', 'analytics');
  docs = await startV1Http();
  gateway = await port.serve({ args: ['--upstream', `docs=${docs.url.href}`] });
  agent = await port.connect(port.path('agent-7'), `${gateway.url}/mcp`);
});
afterAll(async () => {
  await port.close();
  await docs.close();
});

/** What the certificate at the port is now. */
const presented = (url: string, maxVersion: 'TLSv1.2' | 'TLSv1.3' = 'TLSv1.3'): Promise<X509Certificate> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: 'localhost', port: Number(new URL(url).port), rejectUnauthorized: false, maxVersion }, () => {
      const certificate = socket.getPeerX509Certificate();
      socket.destroy();
      if (certificate === undefined) reject(new Error('no certificate'));
      else resolve(certificate);
    });
    socket.on('error', reject);
  });

describe('serve', () => {
  it('says in one line of JSON where everything is', () => {
    const lines = gateway.running.stdout.trim().split('\n');
    expect(lines).toHaveLength(1);
    expect(gateway.endpoints).toEqual([{ upstream: 'default', url: `${gateway.url}/mcp` }, { upstream: 'docs', url: `${gateway.url}/docs/mcp` }]);
    expect(gateway).toMatchObject({ url: expect.stringMatching(/^https:\/\/localhost:\d+$/), publicUrl: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/), enrollUrl: expect.stringMatching(/^https:\/\/localhost:\d+$/), pid: gateway.running.child.pid });
  });

  it('serves the command at /mcp, and each upstream under its name', async () => {
    expect(await agent.call('echo', { text: 'over stdio' })).toBe('over stdio');
    for (const path of ['/docs/mcp', '/default/mcp']) {
      const other = await port.connect(port.path('agent-7'), gateway.url + path);
      expect(await other.call('echo', { text: path })).toBe(path);
      await other.client.close();
    }
    expect(docs.received.join('')).toContain('/docs/mcp');
    expect(docs.received.join('')).not.toContain('/default/mcp');
    await expect(port.connect(port.path('agent-7'), `${gateway.url}/other/mcp`)).rejects.toThrow(/not found/);
  });

  it('takes a saved policy over within an open session', async () => {
    expect(await agent.tools()).toEqual(['echo', 'slow']);
    await port.writePolicy(fixturePolicy(['echo', 'slow', 'add']));
    await gateway.running.said('policy reloaded');
    expect(await agent.tools()).toEqual(['add', 'echo', 'slow']);
    expect(await agent.call('add', { a: 1, b: 2 })).toBe('3');
  });

  it('keeps the good policy when a bad one is saved, and says which line is wrong', async () => {
    await port.writePolicy('roles: { analyst: { grants: [{ upstream: "*", tool: [echo] }] } }\nbindings: []\n');
    const logged = await gateway.running.said('policy could not be reloaded: the last good one stays in force');
    expect(logged).toMatchObject({ level: 'error', error: { code: 'ERR_POLICY_INVALID', line: 1, message: expect.stringContaining('policy.yaml:1:') } });
    expect(await agent.tools()).toEqual(['add', 'echo', 'slow']);
  });

  it('reads the policy again at SIGHUP', async () => {
    // Replaced, as editors and configuration management do it.
    await writeFile(port.path('port', 'policy.new'), fixturePolicy(['echo']));
    await rename(port.path('port', 'policy.new'), port.path('port', 'policy.yaml'));
    gateway.running.child.kill('SIGHUP');
    await gateway.running.said('policy reloaded', 2);
    expect(await agent.tools()).toEqual(['echo']);
    await expect(agent.call('add', { a: 1, b: 2 })).rejects.toThrow('not found or not permitted');
    await port.writePolicy(fixturePolicy());
    await gateway.running.said('policy reloaded', 3);
  });

  it('takes a replaced server certificate into use on both TLS ports, and keeps the good one when the pair does not match', async () => {
    const before = (await presented(gateway.url)).serialNumber;
    await port.place.json('issue', 'localhost', '--profile', 'server', '--out', 'server-2');
    await cp(port.path('server-2', 'cert.pem'), port.path('port', 'certs', 'server.cert.pem'));
    await gateway.running.said('server certificate could not be reloaded: the last good one stays in use');
    expect((await presented(gateway.url)).serialNumber).toBe(before);
    await cp(port.path('server-2', 'key.pem'), port.path('port', 'keys', 'server.key.pem'));
    const wanted = new X509Certificate(await readFile(port.path('server-2', 'cert.pem'))).serialNumber;
    expect(wanted).not.toBe(before);
    await until(async () => (await presented(gateway.url)).serialNumber === wanted && (await presented(gateway.enrollUrl)).serialNumber === wanted);
    // The session goes on over a new connection.
    expect(await agent.call('echo', { text: 'still here' })).toBe('still here');
    await expect(presented(gateway.enrollUrl, 'TLSv1.2')).rejects.toThrow(/alert protocol version/);
  });

  it('publishes CRLs and CA certificates, and its health', async () => {
    for (const ca of ['root', 'issuing']) {
      for (const [path, type] of [[`/crl/${ca}.crl`, 'application/pkix-crl'], [`/ca/${ca}.cer`, 'application/pkix-cert']] as const) {
        const response = await fetch(gateway.publicUrl + path);
        expect([response.status, response.headers.get('content-type')]).toEqual([200, type]);
        await writeFile(port.path(path.slice(path.lastIndexOf('/') + 1)), new Uint8Array(await response.arrayBuffer()));
      }
    }
    const answerTo = async (path: string): Promise<readonly [number, unknown]> => {
      const response = await fetch(gateway.publicUrl + path);
      return [response.status, response.ok ? await response.json() : undefined];
    };
    expect(await answerTo('/healthz')).toEqual([200, { status: 'ok' }]);
    expect(await answerTo('/readyz')).toEqual([200, { status: 'ready', checks: { audit: 'ok', revocation: 'ok', trust: 'ok', gateway: 'ok', upstreams: 'ok' } }]);
    expect(await answerTo('/keys/root.key.pem')).toEqual([404, undefined]);
    expect(await answerTo('/crl/../keys/root.key.pem')).toEqual([404, undefined]);
  });

  it.skipIf(!openssl)('publishes what OpenSSL verifies an agent with', async () => {
    for (const ca of ['root', 'issuing']) {
      await run('openssl', ['crl', '-inform', 'DER', '-in', port.path(`${ca}.crl`), '-out', port.path(`${ca}.crl.pem`)]);
      await run('openssl', ['x509', '-inform', 'DER', '-in', port.path(`${ca}.cer`), '-out', port.path(`${ca}.pem`)]);
    }
    const { stdout } = await run('openssl', ['verify', '-x509_strict', '-purpose', 'sslclient', '-crl_check_all', '-CRLfile', port.path('root.crl.pem'), '-CRLfile', port.path('issuing.crl.pem'), '-CAfile', port.path('root.pem'), '-untrusted', port.path('issuing.pem'), port.path('agent-7', 'cert.pem')]);
    expect(stdout).toContain(': OK');
  });

  it('lets a running call finish at SIGTERM, takes no new one, and ends with 0', async () => {
    let progressed: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => (progressed = resolve));
    const slow = agent.client.callTool({ name: 'slow', arguments: { steps: 4, milliseconds: 250 } }, undefined, { onprogress: () => progressed() });
    await begun;
    gateway.running.child.kill('SIGTERM');
    await until(async () => (await fetch(`${gateway.publicUrl}/readyz`).then(({ status }) => status, () => 503)) === 503);
    await expect(port.connect(port.path('agent-7'), `${gateway.url}/mcp`)).rejects.toThrow(/cannot be reached|shutting down/);
    expect((await slow).content).toEqual([{ type: 'text', text: '4 steps' }]);
    expect(await gateway.running.exit).toBe(0);
    expect(gateway.running.logged('gateway stopped')).toHaveLength(1);
    expect((await port.place.run('audit', 'verify')).code).toBe(0);
  });
});

describe('serve refuses to start, says why, and leaves nothing behind', () => {
  let occupied: Server;
  let taken: string;
  beforeAll(async () => {
    occupied = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => occupied.once('listening', resolve));
    taken = `127.0.0.1:${(occupied.address() as AddressInfo).port}`;
  });
  afterAll(() => void occupied.close());

  it.each(['listen', 'public', 'enroll'])('when the port of --%s is in use', async (which) => {
    const free = ['--listen', 'localhost:0', '--public', '127.0.0.1:0', '--enroll', 'localhost:0'];
    const { code, stdout, stderr } = await port.command(['serve', ...free, `--${which}`, taken, '--', ...fixtureCommand]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain(`error ERR_LISTEN_ADDRESS: cannot listen on ${taken}`);
    expect(stderr).toContain('choose another address or end what listens there');
  });

  it('with a policy that others may write', async () => {
    await chmod(port.path('port'), 0o755);
    await chmod(port.path('port', 'policy.yaml'), 0o666);
    try {
      const { code, stdout, stderr } = await port.command(['serve', '--', ...fixtureCommand]);
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
      expect(stderr).toContain(`error ERR_CONFIG_WRITABLE: ${port.path('port', 'policy.yaml')} is 0666: others may write to it, and so decide what the gateway does`);
    } finally {
      await chmod(port.path('port', 'policy.yaml'), 0o600);
      await chmod(port.path('port'), 0o700);
    }
  });

  it.each([
    ['an address that is none', ['--listen', 'localhost'], 2, 'error ERR_USAGE: "localhost" is not an address to listen on: write host:port'],
    ['an upstream that is none', ['--upstream', 'docs'], 2, 'error ERR_USAGE: --upstream docs is not NAME=URL'],
    ['nothing to stand in front of', [], 2, 'error ERR_CONFIG_INVALID: there is no MCP server to stand in front of'],
  ])('with %s', async (_what, args, code, text) => {
    const ran = await port.place.run('serve', ...args);
    expect(ran).toMatchObject({ code, stdout: '', stderr: expect.stringContaining(text) });
  });
});
