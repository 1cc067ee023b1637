import { createServer } from 'node:https';
import type { ServerOptions } from 'node:https';
import { createServer as createTlsServer } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { HttpUpstreamOptions } from '../../src/upstream/http.ts';
import type { HttpUpstreamTls } from '../../src/upstream/http-tls.ts';
import { createTestPki } from '../support/pki.ts';
import type { TestIdentity, TestPki } from '../support/pki.ts';
import { sendJson, UpstreamLab } from '../support/raw-http.ts';
import { call, eventsOf, get, post } from '../support/upstream-requests.ts';

const lab = new UpstreamLab();
afterEach(() => lab.end());

let ours: TestPki;
let theirs: TestPki;
let server: TestIdentity;
let gateway: TestIdentity;
let stranger: TestIdentity;
beforeAll(() => {
  [ours, theirs] = [createTestPki('Gateway'), createTestPki('Upstream')];
  server = theirs.issuing.server(['warehouse.internal']);
  gateway = ours.issuing.leaf({ commonName: 'gateway' });
  stranger = theirs.issuing.leaf({ commonName: 'stranger' });
});

const shown = ({ chainPem: cert, keyPem: key }: TestIdentity) => ({ cert, key });
const query = post(call(1, 'query'));
const result = { jsonrpc: '2.0', id: 1, result: {} };

/** An MCP server that talks to holders of a certificate of ours only, and who they were. */
const demanding = async (options: ServerOptions = {}) => {
  const peers: unknown[] = [];
  const https = createServer({ ...shown(server), ca: ours.root.certPem, requestCert: true, rejectUnauthorized: true, ...options }, (request, response) => {
    peers.push((request.socket as TLSSocket).getPeerCertificate().subject?.CN);
    request.resume();
    if (request.method === 'GET') response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n');
    else sendJson(response, 200, result);
  });
  const url = await lab.listen(https, { scheme: 'https' });
  const upstream = (tls?: HttpUpstreamTls, more: Partial<HttpUpstreamOptions> = {}) => lab.upstream(url, { tls, limits: { healthSharedMs: 0 }, ...more });
  return { peers, url, upstream };
};

const right = (): HttpUpstreamTls => ({ ca: theirs.root.certPem, serverName: 'warehouse.internal', ...shown(gateway) });

describe('an upstream that demands a certificate', () => {
  it.each(['TLSv1.3', 'TLSv1.2'] as const)('is called, trusted by the configured CA and under the configured name (%s)', async (version) => {
    const { peers, upstream } = await demanding({ minVersion: version, maxVersion: version });
    const warehouse = upstream(right()).upstream;
    expect(await warehouse.healthy()).toBe(true);
    expect(await warehouse.exchange(query)).toMatchObject({ kind: 'json' });
    expect(peers).toEqual(['gateway']);
  });

  it.each<[string, () => HttpUpstreamTls, string, string]>([
    ['whose CA is not trusted', () => ({ ...right(), ca: ours.root.certPem }), 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'the certificate of the upstream is not signed by a CA that is trusted for it: set tls.ca of this upstream to the CA it has its certificate from'],
    ['whose CA is trusted nowhere', () => shown(gateway), 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'the certificate of the upstream is not signed by a CA that is trusted for it: set tls.ca of this upstream to the CA it has its certificate from'],
    ['of another name', () => ({ ...right(), serverName: 'billing.internal' }), 'ERR_TLS_CERT_ALTNAME_INVALID', 'the certificate of the upstream is for another host: use a url with a name it holds, or set tls.serverName of this upstream'],
  ])('%s is not called', async (_what, tls, reason, message) => {
    const { peers, upstream } = await demanding();
    const { upstream: warehouse, log } = upstream(tls());
    await expect(warehouse.exchange(query)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE', message, facts: { upstream: 'warehouse', reason } });
    expect(await warehouse.healthy()).toBe(false);
    expect(peers).toEqual([]);
    expect(log.entries).toMatchObject([{ level: 'warn', message: 'upstream cannot be reached', facts: { error: { message } } }]);
  });

  it('whose CA is not trusted is not called either where the environment switches verification off', async () => {
    const { peers, upstream } = await demanding();
    const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      const { upstream: warehouse } = upstream({ ...right(), ca: ours.root.certPem });
      await expect(warehouse.exchange(query)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE' });
      expect(await warehouse.healthy()).toBe(false);
    } finally {
      if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before;
    }
    expect(peers).toEqual([]);
  });

  it.each(['TLSv1.3', 'TLSv1.2'] as const)('and gets none says so to whoever reads the log (%s)', async (version) => {
    const { peers, upstream } = await demanding({ minVersion: version, maxVersion: version });
    const { upstream: warehouse } = upstream({ ca: theirs.root.certPem, serverName: 'warehouse.internal' });
    await expect(warehouse.exchange(query)).rejects.toMatchObject({
      code: 'ERR_UPSTREAM_UNREACHABLE',
      message: expect.stringMatching(/^the upstream (demands a client certificate: set tls.cert and tls.key of this upstream|closed the connection without an answer: if it demands client certificates, set tls.cert and tls.key of this upstream to ones it trusts)$/),
    });
    expect(await warehouse.healthy()).toBe(false);
    expect(peers).toEqual([]);
  });

  it('and gets one of another CA says so as well as it can', async () => {
    const { peers, upstream } = await demanding();
    const { upstream: warehouse } = upstream({ ...right(), ...shown(stranger) });
    await expect(warehouse.exchange(query)).rejects.toMatchObject({
      code: 'ERR_UPSTREAM_UNREACHABLE',
      message: 'the upstream closed the connection without an answer: if it demands client certificates, set tls.cert and tls.key of this upstream to ones it trusts',
    });
    expect(await warehouse.healthy()).toBe(false);
    expect(peers).toEqual([]);
  });

  it.each([
    ['400 No required SSL certificate was sent', 'the upstream demands a client certificate: set tls.cert and tls.key of this upstream'],
    ['400 The SSL certificate error', 'the upstream does not accept the certificate of the gateway: set tls.cert and tls.key of this upstream to one it trusts'],
    ['400 The plain HTTP request was sent to HTTPS port', 'the upstream speaks TLS: give it an https url'],
  ])('as nginx does, with a page that says "%s", is understood', async (title, message) => {
    const { upstream } = await lab.recording((_, response) => response.writeHead(400, { 'content-type': 'text/html' }).end(`<html>\r\n<head><title>${title}</title></head>\r\n<body><center><h1>400 Bad Request</h1></center></body></html>`));
    await expect(upstream.exchange(query)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE', message, facts: { reason: 'certificateRefused', status: 400 } });
    // A page the MCP server may have written itself is no such thing.
    const { upstream: other } = await lab.recording((_, response) => response.writeHead(400, { 'content-type': 'text/html' }).end('<h1>Bad Request</h1>'));
    await expect(other.exchange(query)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_INVALID' });
  });

  it('and sends an alert over it is understood', async () => {
    const url = await lab.listen(createTlsServer({ ...shown(server), maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' }), { scheme: 'https' });
    await expect(lab.upstream(url, { tls: right() }).upstream.exchange(query)).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE', facts: { reason: expect.stringContaining('HANDSHAKE_FAILURE') } });
  });
});

describe('new TLS material', () => {
  it('is used from the next connection on, while what runs goes on', async () => {
    const { peers, upstream } = await demanding();
    let replace: (tls: HttpUpstreamTls) => void = () => undefined;
    let following = true;
    const { upstream: warehouse } = upstream(right(), {
      followTls: (onChange) => {
        replace = onChange;
        return () => {
          following = false;
        };
      },
    });
    await warehouse.exchange(query);
    const events = eventsOf(await warehouse.exchange(get({ session: 's' })));
    expect((await events.next()).value?.data).toBe('1');
    replace({ ...right(), ...shown(ours.issuing.leaf({ commonName: 'gateway-renewed' })) });
    await warehouse.exchange(query);
    expect(peers).toEqual(['gateway', 'gateway', 'gateway-renewed']);
    const waiting = events.next();
    replace({ ...right(), ca: ours.root.certPem });
    // Whom we trusted before is trusted no more, so not even a stream goes on.
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE' });
    await expect(warehouse.exchange(query)).rejects.toMatchObject({ facts: { reason: 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY' } });
    expect(following).toBe(true);
    await warehouse.close();
    expect(following).toBe(false);
  });

  it('is looked at anew in each handshake: no session is resumed', async () => {
    const resumed: boolean[] = [];
    const https = createServer({ ...shown(server) }, (request, response) => {
      resumed.push((request.socket as TLSSocket).isSessionReused());
      request.resume();
      response.setHeader('connection', 'close');
      sendJson(response, 200, result);
    });
    const url = await lab.listen(https, { scheme: 'https' });
    const { upstream } = lab.upstream(url, { tls: { ca: theirs.root.certPem, serverName: 'warehouse.internal' } });
    for (let index = 0; index < 3; index += 1) await upstream.exchange(query);
    expect(resumed).toEqual([false, false, false]);
  });
});
