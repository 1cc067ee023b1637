import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeExtension } from '../../ca/x509/extension.ts';
import { createTestPki, revokedEntry, serialBytes } from '../support/pki.ts';
import type { TestIdentity } from '../support/pki.ts';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { systemRandomness } from '../../src/system.ts';
import { call, credentials, openPort, until } from './port.ts';
import type { Port } from './port.ts';

const DAY = 86_400_000;
const second = (ms: number): Date => new Date(Math.floor(ms / 1000) * 1000);

let port: Port;
beforeAll(async () => {
  port = await openPort();
});
afterAll(async () => {
  await port.close();
});

const issue = (): Port['pki'] => port.pki;

const cases: readonly [name: string, code: string, make: () => TestIdentity | undefined][] = [
  ['no certificate', 'ERR_PEER_NO_CERTIFICATE', () => undefined],
  ['a certificate of another CA', 'ERR_PEER_UNTRUSTED', () => createTestPki('Foreign').issuing.leaf()],
  ['a certificate of another CA under the same names', 'ERR_PEER_UNTRUSTED', () => createTestPki('Test').issuing.leaf()],
  ['an expired certificate', 'ERR_PEER_EXPIRED', () => issue().issuing.leaf({ notBefore: second(Date.now() - 2 * DAY), notAfter: second(Date.now() - DAY) })],
  ['a certificate of tomorrow', 'ERR_PEER_NOT_YET_VALID', () => issue().issuing.leaf({ notBefore: second(Date.now() + DAY), notAfter: second(Date.now() + 2 * DAY) })],
  ['an expired certificate of another CA', 'ERR_PEER_UNTRUSTED', () => createTestPki('Foreign').issuing.leaf({ notBefore: second(Date.now() - 2 * DAY), notAfter: second(Date.now() - DAY) })],
  ['a server certificate', 'ERR_PEER_PROFILE', () => issue().issuing.server(['agent'])],
  ['no extendedKeyUsage', 'ERR_PEER_PROFILE', () => issue().issuing.leaf({ extendedKeyUsage: [] })],
  ['anyExtendedKeyUsage in place of clientAuth', 'ERR_PEER_PROFILE', () => issue().issuing.leaf({ extendedKeyUsage: ['2.5.29.37.0'] })],
  ['no keyUsage', 'ERR_PEER_PROFILE', () => issue().issuing.leaf({ keyUsage: [] })],
  ['a keyUsage without digitalSignature', 'ERR_PEER_PROFILE', () => issue().issuing.leaf({ keyUsage: ['keyAgreement'] })],
  ['the keyUsage of a CA', 'ERR_PEER_PROFILE', () => issue().issuing.leaf({ keyUsage: ['digitalSignature', 'keyCertSign'] })],
  ['a CA certificate as a leaf', 'ERR_PEER_PROFILE', () => issue().issuing.leaf({ ca: true, keyUsage: ['digitalSignature', 'keyCertSign'] })],
  ['no subjectAltName', 'ERR_PEER_PROFILE', () => issue().issuing.leaf({ names: {} })],
  ['no authorityKeyIdentifier', 'ERR_PEER_PROFILE', () => issue().issuing.leaf({ authorityKeyIdentifier: 'absent' })],
  ['an unknown critical extension', 'ERR_PEER_PROFILE', () => issue().issuing.leaf({ furtherExtensions: [encodeExtension('1.2.3.4.5', 'critical', Uint8Array.of(5, 0))] })],
  ['a leaf signed by the root', 'ERR_PEER_ISSUER', () => issue().root.leaf()],
  ['a leaf of another issuing CA under the root', 'ERR_PEER_ISSUER', () => issue().root.subordinate('Other Issuing').leaf()],
  ['a leaf of another issuing CA of the same name', 'ERR_PEER_ISSUER', () => issue().root.subordinate('Test Issuing').leaf()],
  ['the issuing CA itself', 'ERR_PEER_PROFILE', () => issue().issuing],
];

describe.each(['TLSv1.3', 'TLSv1.2'] as const)('over %s', (version) => {
  let port12: Port | undefined;
  beforeAll(async () => {
    if (version === 'TLSv1.2') port12 = await openPort({ pki: port.pki, minVersion: 'TLSv1.2' });
  });
  afterAll(async () => { await port12?.close(); });

  test.each(cases)('%s is refused with %s, audited, and told so without being read', async (_name, code, make) => {
    const at = port12 ?? port;
    const identity = make();
    at.refused.length = 0;
    at.requests.length = 0;
    const answer = await call(at, identity, { maxVersion: version });
    expect(answer.status).toBe(403);
    expect(JSON.parse(answer.body)).toMatchObject({ error: { code } });
    expect(at.refused).toHaveLength(1);
    expect(at.refused[0]).toMatchObject({ error: { code }, address: '127.0.0.1', resumed: false, thumbprint: identity?.certificate.thumbprint });
    expect(at.refused[0]?.serial).toBe(identity?.certificate.serial);
    expect(at.requests).toEqual([]);
    expect(at.listener.connections.size).toBe(0);
  });
});

test('a good peer is handed over with its principal', async () => {
  expect(await call(port, port.pki.issuing.leaf({ commonName: 'agent-8' }))).toEqual({ status: 200, body: 'spiffe://test.internal/agent/agent-8' });
});

test('a good peer need send its leaf only', async () => {
  const leaf = port.pki.issuing.leaf();
  expect((await call(port, { ...leaf, chainPem: leaf.certPem })).status).toBe(200);
});

test('a revoked peer is refused with subject, serial and issuer, and what it may read names no more than the reason', async () => {
  const leaf = port.pki.issuing.leaf({ organizationalUnits: ['analytics'] });
  port.index.add([{ issuerId: port.pki.issuing.certificate.spkiHash, ...revokedEntry(leaf) }]);
  port.refused.length = 0;
  const answer = await call(port, leaf);
  expect(answer).toEqual({ status: 403, body: '{"error":{"code":"ERR_PEER_REVOKED","message":"the client certificate was revoked"}}' });
  expect(port.refused[0]).toMatchObject({
    error: { code: 'ERR_PEER_REVOKED', facts: { reason: 'keyCompromise' } },
    subject: 'CN=agent-7,OU=analytics,O=Test', serial: leaf.certificate.serial, issuer: port.pki.issuing.certificate.spkiHash,
  });
});

test('a peer is refused when its issuing CA was revoked by the root', async () => {
  const pki = createTestPki();
  const own = await openPort({ pki });
  own.index.add([{ issuerId: pki.root.certificate.spkiHash, ...revokedEntry(pki.issuing, 'cACompromise') }]);
  expect(JSON.parse((await call(own, pki.issuing.leaf())).body)).toMatchObject({ error: { code: 'ERR_PEER_REVOKED' } });
  await own.close();
});

test('without a source of revocations nobody is let in, unless told to', async () => {
  const pki = createTestPki();
  const index = new RevocationIndex({ randomness: systemRandomness });
  const closed = await openPort({ pki, index });
  expect(JSON.parse((await call(closed, pki.issuing.leaf())).body)).toMatchObject({ error: { code: 'ERR_PEER_STATUS_UNKNOWN' } });
  await closed.close();
  const open = await openPort({ pki, index, onUnknownStatus: 'allow' });
  expect((await call(open, pki.issuing.leaf())).status).toBe(200);
  await open.close();
});

test('a serial that the inventory does not know is refused; one that it knows is asked about once', async () => {
  const pki = createTestPki();
  const known = pki.issuing.leaf();
  const asked: string[] = [];
  const own = await openPort({ pki, isKnown: async (_issuer, serial) => { asked.push(serial); return serial === known.certificate.serial; } });
  expect(JSON.parse((await call(own, pki.issuing.leaf({ serial: serialBytes() }))).body)).toMatchObject({ error: { code: 'ERR_PEER_UNKNOWN_SERIAL' } });
  expect((await call(own, known)).status).toBe(200);
  expect((await call(own, known)).status).toBe(200);
  expect(asked.filter((serial) => serial === known.certificate.serial)).toHaveLength(1);
  await own.close();
});

test('an inventory that cannot be asked lets nobody in', async () => {
  const own = await openPort({ isKnown: () => Promise.reject(new Error('disk on fire')) });
  expect(JSON.parse((await call(own, own.pki.issuing.leaf())).body)).toMatchObject({ error: { code: 'ERR_PEER_STATUS_UNKNOWN' } });
  await own.close();
});

test('a handshake that fails is reported as such, and reports of strangers are bounded', async () => {
  const own = await openPort({ refusalBudget: { perSecond: 0.001, burst: 2 } });
  for (let round = 0; round < 5; round += 1) {
    await new Promise<void>((resolve) => {
      const socket = connect(own.port, '127.0.0.1', () => { socket.end('GET / HTTP/1.1\r\n\r\n'); });
      socket.on('error', () => {}).on('close', () => { resolve(); }).resume();
    });
  }
  await until(() => own.refused.length >= 2, 'reports');
  expect(own.refused).toHaveLength(2);
  expect(own.refused[0]).toMatchObject({ error: { code: 'ERR_PEER_HANDSHAKE', facts: { reason: 'ERR_SSL_HTTP_REQUEST' } } });
  await own.close();
});

test('a client below the lowest allowed TLS version gets no connection', async () => {
  await expect(call(port, port.pki.issuing.leaf(), { maxVersion: 'TLSv1.2' })).rejects.toThrow(/version|alert/i);
});

test('a peer that opens a connection and says nothing is cut', async () => {
  const own = await openPort({ handshakeTimeoutMs: 60 });
  const socket = connect(own.port, '127.0.0.1');
  await new Promise((resolve) => { socket.on('close', resolve).on('error', () => {}); });
  await until(() => own.refused.length > 0, 'report');
  expect(own.refused[0]).toMatchObject({ error: { code: 'ERR_PEER_HANDSHAKE' } });
  await own.close();
});

test('a verified peer that sends its headers slowly is cut', async () => {
  const own = await openPort({ http: { headersTimeout: 100, requestTimeout: 100, connectionsCheckingInterval: 20 } });
  const socket = connectTls({ host: '127.0.0.1', port: own.port, ...credentials(own.pki, own.pki.issuing.leaf()) }, () => { socket.write('GET / HTTP/1.1\r\nHost: lo'); });
  let answer = '';
  await new Promise((resolve) => { socket.on('data', (chunk) => { answer += chunk.toString(); }).on('close', resolve).on('error', () => {}); });
  expect(answer).toMatch(/^HTTP\/1\.1 408 /);
  await own.close();
});

test('connections beyond the limit are dropped and reported', async () => {
  const own = await openPort({ maxConnections: 1 });
  const leaf = own.pki.issuing.leaf();
  const first = connectTls({ host: '127.0.0.1', port: own.port, ...credentials(own.pki, leaf) });
  await until(() => own.listener.connections.size === 1, 'first connection');
  await expect(call(own, leaf)).rejects.toThrow();
  await until(() => own.refused.length === 1, 'report');
  expect(own.refused[0]).toMatchObject({ error: { code: 'ERR_PEER_HANDSHAKE', facts: { reason: 'maxConnections' } } });
  first.destroy();
  await own.close();
});
