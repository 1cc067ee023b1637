import { randomBytes } from 'node:crypto';
import { get } from 'node:https';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import type { RequestListener } from 'node:http';
import { describe, expect, test } from 'vitest';
import { TrustStore } from '../../src/tls/trust.ts';
import type { CutEvent } from '../../src/tls/connections.ts';
import { createTestPki, revokedEntry } from '../support/pki.ts';
import type { TestIdentity } from '../support/pki.ts';
import { call, credentials, openPort, until } from './port.ts';
import type { Port } from './port.ts';

const streaming: RequestListener = (_req, res) => {
  res.writeHead(200, { 'Content-Type': 'text/event-stream' });
  res.write(': open\n\n');
};

/** Opens a stream and waits for its first bytes. */
const openStream = (port: Port, identity: TestIdentity): Promise<{ readonly ended: Promise<number> }> =>
  new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port: port.port, path: '/mcp', agent: false, ...credentials(port.pki, identity) }, (res) => {
      res.once('data', () => { resolve({ ended: new Promise((end) => { res.on('error', () => {}).on('close', () => { end(performance.now()); }); }) }); });
    }).on('error', reject);
  });

const issuerOf = (port: Port): string => port.pki.issuing.certificate.spkiHash;

describe('a live connection', () => {
  test('is cut in mid-stream when its certificate is revoked, and no other is', async () => {
    const port = await openPort({ handler: streaming });
    const events: CutEvent[] = [];
    port.listener.connections.onCut((event) => { events.push(event); });
    const [victim, bystander] = [port.pki.issuing.leaf({ commonName: 'victim' }), port.pki.issuing.leaf({ commonName: 'bystander' })];
    const streams = await Promise.all([openStream(port, victim), openStream(port, victim)]);
    const other = await openStream(port, bystander);
    let otherEnded = false;
    void other.ended.then(() => { otherEnded = true; });
    expect(port.listener.connections.countOf('spiffe://test.internal/agent/victim')).toBe(2);
    const started = performance.now();
    port.index.add([{ issuerId: issuerOf(port), ...revokedEntry(victim) }]);
    expect(events).toMatchObject([{ serial: victim.certificate.serial, connections: 2, error: { code: 'ERR_PEER_REVOKED' } }]);
    const ends = await Promise.all(streams.map(({ ended }) => ended));
    expect(Math.max(...ends) - started).toBeLessThan(1_000);
    expect(otherEnded).toBe(false);
    expect(port.listener.connections.size).toBe(1);
    expect(port.listener.connections.cutTotal).toBe(2);
    await port.close();
  });

  test('ends in mid-stream when its certificate expires', async () => {
    const port = await openPort({ handler: streaming });
    const notAfter = new Date(Math.floor(Date.now() / 1000) * 1000 + 60_000);
    const { ended } = await openStream(port, port.pki.issuing.leaf({ notAfter }));
    const events: CutEvent[] = [];
    port.listener.connections.onCut((event) => { events.push(event); });
    port.clock.offsetMs = 62_000;
    await ended;
    expect(events).toMatchObject([{ connections: 1, error: { code: 'ERR_PEER_EXPIRED' } }]);
    await port.close();
  });

  test('ends when the status of its issuer goes stale', async () => {
    const port = await openPort({ handler: streaming });
    const { ended } = await openStream(port, port.pki.issuing.leaf());
    port.index.setFreshUntil(issuerOf(port), Date.now() - 1);
    await ended;
    await port.close();
  });

  test('is cut when a list exchanged whole names it', async () => {
    const port = await openPort({ handler: streaming });
    const leaf = port.pki.issuing.leaf();
    const { ended } = await openStream(port, leaf);
    const table = [{ serial: leaf.certificate.serial, revokedAt: new Date(), reason: 'superseded' as const }];
    await port.index.loadInBackground(issuerOf(port), (async function* pages() { yield table; })(), () => ({ freshUntil: Number.POSITIVE_INFINITY }));
    await ended;
    await port.close();
  });

  test('passes the check before a request until something is wrong, and is cut by a failed one', async () => {
    const outcomes: (string | undefined)[] = [];
    const port = await openPort({
      handler: (req, res) => {
        const { connections } = port.listener;
        const socket = req.socket as TLSSocket;
        outcomes.push(connections.check(socket)?.code);
        port.clock.offsetMs = 10 * 86_400_000;
        outcomes.push(connections.check(socket)?.code, connections.check(socket)?.code);
        res.end();
      },
    });
    await expect(call(port, port.pki.issuing.leaf())).rejects.toThrow(/socket hang up|ECONNRESET/);
    expect(outcomes).toEqual([undefined, 'ERR_PEER_EXPIRED', 'ERR_PEER_UNTRUSTED']);
    await port.close();
  });

  test('aborts its signal with the reason', async () => {
    const reasons: unknown[] = [];
    const port = await openPort({
      handler: (req, res) => {
        const signal = port.listener.connections.signalOf(req.socket as TLSSocket);
        signal.addEventListener('abort', () => { reasons.push(signal.reason); });
        streaming(req, res);
      },
    });
    const leaf = port.pki.issuing.leaf();
    const { ended } = await openStream(port, leaf);
    expect(port.listener.connections.cut(issuerOf(port), leaf.certificate.serial)).toBe(1);
    await ended;
    expect(reasons).toMatchObject([{ code: 'ERR_PEER_REVOKED' }]);
    await port.close();
  });
});

describe('reload', () => {
  test('exchanges the server certificate for new connections and keeps the old ones', async () => {
    const port = await openPort({ handler: streaming });
    await openStream(port, port.pki.issuing.leaf());
    const next = port.pki.issuing.server();
    port.listener.reload({ key: next.keyPem, cert: next.chainPem, trust: port.trust });
    const socket = await secure(port, port.pki.issuing.leaf());
    expect(socket.getPeerCertificate().serialNumber.toLowerCase()).toBe(next.certificate.serial);
    socket.destroy();
    expect(port.listener.connections.size).toBeGreaterThanOrEqual(1);
    await port.close();
  });

  test('refuses a key that does not fit and keeps the old pair', async () => {
    const port = await openPort();
    expect(() => { port.listener.reload({ key: port.pki.issuing.server().keyPem, cert: port.pki.issuing.server().chainPem, trust: port.trust }); })
      .toThrow(expect.objectContaining({ code: 'ERR_CONFIG_INVALID' }));
    expect((await call(port, port.pki.issuing.leaf())).status).toBe(200);
    await port.close();
  });

  test('cuts the peers of an issuer that left', async () => {
    const port = await openPort({ handler: streaming });
    const { ended } = await openStream(port, port.pki.issuing.leaf());
    const other = createTestPki('Other');
    const server = port.pki.issuing.server();
    port.listener.reload({ key: server.keyPem, cert: server.chainPem, trust: new TrustStore({ issuing: [other.issuing.certPem], roots: [other.root.certPem] }) });
    await ended;
    expect(JSON.parse((await call(port, port.pki.issuing.leaf())).body)).toMatchObject({ error: { code: 'ERR_PEER_UNTRUSTED' } });
    await port.close();
  });
});

describe.each(['TLSv1.3', 'TLSv1.2'] as const)('resumption over %s', (version) => {
  test('does not happen by default', async () => {
    const port = await openPort({ minVersion: version });
    const session = await sessionOf(port, port.pki.issuing.leaf(), version);
    expect(await resumed(port, session, version)).toBe(false);
    await port.close();
  });

  test('across two nodes with shared keys is verified again: a good peer passes, a revoked one is refused', async () => {
    const pki = createTestPki();
    const sessionTickets = { keys: randomBytes(48) };
    const [first, second] = [await openPort({ pki, sessionTickets, minVersion: version }), await openPort({ pki, sessionTickets, minVersion: version })];
    const leaf = pki.issuing.leaf();
    const session = await sessionOf(first, leaf, version);
    expect(await resumed(second, session, version)).toBe(true);
    await until(() => second.requests.length === 1, 'request on the resumed connection');
    second.index.add([{ issuerId: pki.issuing.certificate.spkiHash, ...revokedEntry(leaf) }]);
    expect(await resumed(second, session, version)).toBe(true);
    await until(() => second.refused.length === 1, 'refusal');
    expect(second.refused[0]).toMatchObject({ error: { code: 'ERR_PEER_REVOKED' }, serial: leaf.certificate.serial, resumed: true });
    expect(second.requests).toHaveLength(1);
    await first.close();
    await second.close();
  });

  test('is refused when the certificate has expired since', async () => {
    const port = await openPort({ sessionTickets: { keys: randomBytes(48) }, minVersion: version });
    const session = await sessionOf(port, port.pki.issuing.leaf(), version);
    port.clock.offsetMs = 10 * 86_400_000;
    expect(await resumed(port, session, version)).toBe(true);
    await until(() => port.refused.length === 1, 'refusal');
    expect(port.refused[0]).toMatchObject({ error: { code: 'ERR_PEER_EXPIRED' }, resumed: true });
    await port.close();
  });
});

const secure = (port: Port, identity: TestIdentity): Promise<TLSSocket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: port.port, ...credentials(port.pki, identity) }, () => { resolve(socket); }).on('error', reject);
  });

const sessionOf = (port: Port, identity: TestIdentity, version: 'TLSv1.3' | 'TLSv1.2'): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: port.port, maxVersion: version, ...credentials(port.pki, identity) });
    socket.on('error', reject).once('session', (session) => {
      resolve(session);
      socket.destroy();
    });
  });

/** Offers the session without a certificate of its own, sends a request, and says whether it was resumed. */
const resumed = (port: Port, session: Buffer, version: 'TLSv1.3' | 'TLSv1.2'): Promise<boolean> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: port.port, session, maxVersion: version, ...credentials(port.pki, undefined) }, () => {
      socket.write('GET /resumed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    });
    let reused = false;
    socket.on('secureConnect', () => { reused = socket.isSessionReused(); });
    socket.on('error', reject).on('close', () => { resolve(reused); }).resume();
  });
