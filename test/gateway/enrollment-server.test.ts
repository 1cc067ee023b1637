/** The enrollment port against those who have nothing to lose: whoever has no certificate, and whoever has lost it. */
import { once } from 'node:events';
import { Agent, request } from 'node:https';
import type { Server } from 'node:https';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createEnrollmentServer } from '../../src/gateway/enrollment-server.ts';
import type { RefusedPeer } from '../../src/tls/listener.ts';
import { TrustStore } from '../../src/tls/trust.ts';
import { createTestPki } from '../support/pki.ts';
import { credentials, freshIndex } from '../tls/port.ts';

const pki = createTestPki();
const index = freshIndex(pki);
const refused: RefusedPeer[] = [];
let server: Server;
let port: number;
beforeAll(async () => {
  const own = pki.issuing.server(['localhost']);
  server = createEnrollmentServer({
    identity: { key: own.keyPem, cert: own.chainPem + pki.root.certPem },
    trust: () => trust, index, clock: { now: () => new Date() }, minVersion: 'TLSv1.3', handshakeTimeoutMs: 1_000,
    proxies: new Set(['spiffe://test.internal/agent/edge']), renewalGraceMs: 60_000,
    routes: [
      { path: '/renew', certificate: 'required', expired: 'renewable', proxy: 'itself', handle: async () => new Response('renewed') },
      { path: '/api', certificate: 'required', handle: async () => new Response('done') },
      { path: '/est', certificate: 'optional', handle: async (_request, { peer }) => new Response(peer?.principal.id) },
    ],
    onRefused: (peer) => refused.push(peer), onFailure: () => undefined,
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  ({ port } = server.address() as AddressInfo);
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
const trust = new TrustStore({ issuing: [pki.issuing.certPem], roots: [pki.root.certPem] });

const ask = (agent: Agent, path = '/renew', headers: Record<string, string> = {}): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, method: 'POST', agent, headers }, (response) => response.resume().on('end', () => resolve(response.statusCode)));
    asked.on('error', reject);
    asked.end();
  });

it('gives the place of a connection that never begins a handshake to others', async () => {
  const silent = connect(port, '127.0.0.1');
  silent.on('error', () => undefined);
  await once(silent, 'close');
});

it('records a certificate that is no longer good once a connection, however often it asks there', async () => {
  const identity = pki.issuing.leaf();
  const agent = new Agent({ ...credentials(pki, identity), keepAlive: true, maxSockets: 1 });
  expect(await ask(agent)).toBe(200);
  index.add([{ issuerId: pki.issuing.certificate.spkiHash, serial: identity.certificate.serial, reason: 'keyCompromise', revokedAt: new Date() }]);
  for (let times = 0; times < 3; times += 1) expect(await ask(agent)).toBe(403);
  expect(refused.map(({ serial, error }) => [serial, error.code])).toEqual([[identity.certificate.serial, 'ERR_PEER_REVOKED']]);
  agent.destroy();
});

it('serves nobody by way of a proxy, whose own certificate would stand for theirs, and a proxy for its own renewal alone', async () => {
  const edge = new Agent(credentials(pki, pki.issuing.leaf({ commonName: 'edge' })));
  const agent = new Agent(credentials(pki, pki.issuing.leaf()));
  const expired = new Agent(credentials(pki, pki.issuing.leaf({ notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() - 10_000) })));
  const named = { 'client-cert': ':AA==:' };
  const before = refused.length;
  expect([await ask(edge), await ask(edge, '/api'), await ask(edge, '/est')]).toEqual([200, 400, 400]);
  expect(await Promise.all(['/renew', '/api', '/est'].map((path) => ask(edge, path, named)))).toEqual([400, 400, 400]);
  // A proxy that is not named is one all the same.
  expect([await ask(agent), await ask(agent, '/renew', named), await ask(agent, '/renew', { 'client-cert-chain': ':AA==:' })]).toEqual([200, 400, 400]);
  expect([await ask(expired), await ask(expired, '/renew', named)]).toEqual([200, 403]);
  expect(new Set(refused.slice(before, -1).map(({ error }) => error.code))).toEqual(new Set(['ERR_HTTP_CLIENT_CERT']));
  expect(refused.at(-1)?.error.code).toBe('ERR_PEER_EXPIRED');
  for (const each of [edge, agent, expired]) each.destroy();
});
