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
    routes: [{ path: '/renew', certificate: 'required', handle: async () => new Response('renewed') }],
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

const ask = (agent: Agent): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path: '/renew', method: 'POST', agent }, (response) => response.resume().on('end', () => resolve(response.statusCode)));
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
