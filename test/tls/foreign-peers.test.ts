import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { afterAll, describe, expect, it } from 'vitest';
import { TrustAnchor } from '../../src/tls/trust-anchor.ts';
import type { TrustAnchorOptions } from '../../src/tls/trust-anchor.ts';
import { TrustStore } from '../../src/tls/trust.ts';
import { isFaultyRuntime } from '../../src/tls/known-runtimes.ts';
import { AT, authority, keyNumber, leaf } from '../ca/x509/path/path-fixture.ts';
import { createTestPki } from '../support/pki.ts';
import type { TestIdentity } from '../support/pki.ts';
import { call, credentials, freshIndex, openPort, until } from './port.ts';
import type { Port } from './port.ts';

const ours = createTestPki('Acme');
const corp = createTestPki('Corp');
const spire = createTestPki('Spire');
const corpCrl = { freshUntil: Number.POSITIVE_INFINITY };

const anchor = (options: Partial<TrustAnchorOptions> = {}): TrustAnchor =>
  new TrustAnchor({ name: 'corp', roots: [corp.root.certificate], issuers: [corp.issuing.certificate], identity: { from: 'commonName' }, status: 'required', ...options });
const spiffe = anchor({ name: 'spire', roots: [spire.root.certificate], issuers: 'any', identity: { from: 'spiffe', trustDomain: 'spire.example' }, status: { shortLivedMs: 3_600_000 } });
const storeOf = (...anchors: readonly TrustAnchor[]): TrustStore => new TrustStore({ issuing: [ours.issuing.certPem], roots: [ours.root.certPem], anchors });

const index = freshIndex(ours);
index.replaceIssuer(corp.issuing.certificate.spkiHash, index.newTable(), corpCrl);
const port: Port = await openPort({ pki: ours, trust: storeOf(anchor(), spiffe), index });
afterAll(() => port.close());

const alone = (identity: TestIdentity): TestIdentity => ({ ...identity, chainPem: identity.certPem });
const alice = (): TestIdentity => corp.issuing.leaf({ commonName: 'alice', names: { emails: ['alice@corp.example'] } });
const workload = (options: object = {}): TestIdentity => spire.issuing.leaf({ commonName: 'x', names: { uris: ['spiffe://spire.example/web'] }, notAfter: new Date(Date.now() + 1_800_000), ...options });
const refusal = (): string => `${port.refused.at(-1)?.error.code}: ${port.refused.at(-1)?.error.message}`;

if (isFaultyRuntime(process.version)) console.warn(`certificates of other authorities skipped: ${process.version} withholds the chain that peers send`);

describe.skipIf(isFaultyRuntime(process.version))('certificates of other authorities', () => {
  it('connect beside ours, under names of their own', async () => {
    expect((await call(port, ours.issuing.leaf())).body).toBe('spiffe://test.internal/agent/agent-7');
    expect((await call(port, alone(alice()))).body).toBe('corp/cn:alice');
    expect((await call(port, workload())).body).toBe('spiffe://spire.example/web');
  });

  it.each<[string, () => TestIdentity, string]>([
    ['an issuing CA beside the pinned one', () => corp.root.subordinate('Corp Other').leaf({ names: { dnsNames: ['a.corp.example'] } }), 'ERR_PEER_ISSUER: the client certificate cannot be used: it leads to a root of trust.corp but was not issued by a pinned issuing CA'],
    ['a missing chain', () => alone(workload()), 'ERR_PEER_UNTRUSTED: no trusted authority issued the client certificate (UNABLE_TO_VERIFY_LEAF_SIGNATURE): enroll with this gateway\'s CA'],
    ['an identity of ours', () => corp.issuing.leaf(), 'ERR_PEER_IDENTITY: the client certificate cannot be used: it carries a SPIFFE ID, which this anchor may not give'],
    ['a foreign trust domain', () => workload({ names: { uris: ['spiffe://test.internal/agent/agent-7'] } }), 'ERR_PEER_IDENTITY: the client certificate cannot be used: its SPIFFE ID is of another trust domain than spire.example'],
    ['a long life and nobody to revoke it', () => workload({ notAfter: new Date(Date.now() + 7_200_000) }), 'ERR_PEER_PROFILE: the client certificate cannot be used: it lives longer than trust.spire allows for certificates whose revocation nobody publishes'],
    ['no clientAuth', () => corp.issuing.leaf({ names: { dnsNames: ['a'] }, extendedKeyUsage: [] }), 'ERR_PEER_PROFILE: the client certificate cannot be used: its extendedKeyUsage does not name clientAuth'],
    ['its end behind it', () => corp.issuing.leaf({ names: { dnsNames: ['a'] }, notBefore: new Date(Date.now() - 7_200_000), notAfter: new Date(Date.now() - 60_000) }), 'ERR_PEER_EXPIRED'],
  ])('are refused with %s', async (_what, identity, expected) => {
    expect((await call(port, identity())).status).toBe(403);
    expect(refusal()).toContain(expected);
  });

  it('are cut when their CRL revokes them, and refused while it is stale', async () => {
    const peer = alice();
    const table = index.newTable();
    expect((await call(port, peer)).status).toBe(200);
    index.replaceIssuer(corp.issuing.certificate.spkiHash, table, { freshUntil: 0 });
    await call(port, peer);
    expect(refusal()).toContain('ERR_PEER_STATUS_UNKNOWN');
    index.replaceIssuer(corp.issuing.certificate.spkiHash, index.newTable(), corpCrl);
    index.add([{ issuerId: corp.issuing.certificate.spkiHash, serial: peer.certificate.serial, revokedAt: new Date(), reason: 'keyCompromise' }]);
    await call(port, peer);
    expect(refusal()).toContain('ERR_PEER_REVOKED');
    // The CA above: revoked by the root, so all of them.
    index.add([{ issuerId: spire.root.certificate.spkiHash, serial: spire.issuing.certificate.serial, revokedAt: new Date(), reason: 'cACompromise' }]);
    await call(port, workload());
    expect(refusal()).toContain('ERR_PEER_REVOKED: the issuing CA');
  });

  it('are cut while they are connected when nobody says any more that a CA above them is not revoked', async () => {
    const fresh = freshIndex(ours);
    const sockets: TLSSocket[] = [];
    const other = await openPort({ pki: ours, index: fresh, trust: storeOf(anchor({ issuers: 'any' })), handler: (request, response) => { sockets.push(request.socket as TLSSocket); response.end(); } });
    fresh.replaceIssuer(corp.issuing.certificate.spkiHash, fresh.newTable(), corpCrl);
    fresh.replaceIssuer(corp.root.certificate.spkiHash, fresh.newTable(), { freshUntil: Date.now() + 60_000 });
    const verdicts: unknown[] = [];
    other.http.on('request', ({ socket }) => {
      verdicts.push(other.listener.connections.check(socket as TLSSocket));
      other.listener.connections.onCut(({ error }) => verdicts.push(error.code));
      fresh.setFreshUntil(corp.root.certificate.spkiHash, Date.now() - 1);
      other.listener.connections.check(socket as TLSSocket);
    });
    await call(other, alice());
    expect([sockets.length, verdicts]).toEqual([1, [undefined, 'ERR_PEER_STATUS_UNKNOWN']]);
    await other.close();
  });

  it('are cut when their anchor leaves, and stay when it is only read again', async () => {
    const identity = alice();
    await until(() => port.listener.connections.countOf('corp/cn:alice') === 0, 'earlier ones closed');
    const socket = connect({ host: '127.0.0.1', port: port.port, ...credentials(ours, identity) });
    let closed = false;
    socket.on('error', () => undefined).once('close', () => { closed = true; });
    await until(() => port.listener.connections.countOf('corp/cn:alice') > 0, 'alice connected');
    const server = ours.issuing.server();
    port.listener.reload({ key: server.keyPem, cert: server.chainPem, trust: storeOf(anchor(), spiffe) });
    expect(closed).toBe(false);
    port.listener.reload({ key: server.keyPem, cert: server.chainPem, trust: storeOf(spiffe) });
    await until(() => closed, 'alice cut');
  });

  it('must not share a CA key with ours or with each other', () => {
    expect(() => storeOf(anchor({ issuers: [ours.issuing.certificate] }))).toThrow('a CA of trust.corp has the key of one of our own CA: each CA belongs to one trust, so remove it from the other');
    expect(() => storeOf(anchor(), anchor({ name: 'twin' }))).toThrow('a CA of trust.twin has the key of one of trust.corp');
    expect(() => anchor({ roots: [alice().certificate] })).toThrow('a certificate of trust.corp is not that of a CA: give the certificates of the CAs');
  });

  it('cannot change sides by a cross certificate', () => {
    // Partner signs Corp's issuing CA, so that a certificate of Corp leads to Partner too.
    const partner = anchor({ name: 'partner', roots: [corp.root.certificate], issuers: 'any' });
    const pinned = new TrustAnchor({ name: 'corp', roots: [corp.issuing.certificate], issuers: [corp.issuing.certificate], identity: { from: 'commonName' }, status: 'required' });
    expect(storeOf(partner, pinned).foreigner(alice().certificate, [corp.issuing.certificate], new Date())).toMatchObject({ ok: true, principal: { id: 'corp/cn:alice' } });
    // Or its root, whose issuing CAs nobody configured.
    const [partnerRoot, corpRoot] = [authority('Partner', { key: keyNumber(0) }), authority('Corp', { key: keyNumber(1) })];
    const cross = authority('Corp', { key: keyNumber(1), issuer: partnerRoot });
    const issuing = authority('Corp Issuing', { key: keyNumber(2), issuer: corpRoot });
    const anchors = [['partner', partnerRoot], ['corp', corpRoot]] as const;
    const store = storeOf(...anchors.map(([name, { certificate }]) => anchor({ name, roots: [certificate], issuers: 'any', identity: { from: 'dns' } })));
    const agent = leaf(issuing, { names: { dnsNames: ['a.corp.example'] } }).certificate;
    expect(store.foreigner(agent, [issuing.certificate, cross.certificate], AT)).toMatchObject({ ok: true, principal: { id: 'corp/dns:a.corp.example' } });
    expect(store.with(store.anchors.slice(0, 1)).foreigner(agent, [issuing.certificate, cross.certificate], AT)).toMatchObject({ ok: true, principal: { trust: 'partner' } });
  });
});

describe('what a peer sends', () => {
  it('costs a bounded number of signatures, however many ways its certificates seem to lead', () => {
    // Four CAs, each certified by each of the others: every order of them is a path that leads nowhere.
    const selves = Array.from({ length: 4 }, (_, index) => authority(`Mesh ${index}`, { key: keyNumber(index), keyIdentifiers: 'absent' }));
    const mesh = selves.flatMap((issuer, by) => selves.flatMap((_, of) => (of === by ? [] : [authority(`Mesh ${of}`, { key: keyNumber(of), issuer, keyIdentifiers: 'absent' }).certificate])));
    const [first = authority('none')] = selves;
    const hostile = anchor({ issuers: 'any' });
    const certificate = leaf(first).certificate;
    const started = performance.now();
    expect(hostile.accept(certificate, mesh, AT)).toMatchObject({ ok: false, code: 'ERR_PEER_UNTRUSTED', ours: false });
    // At most 16 signatures, some 2 ms.
    expect(performance.now() - started).toBeLessThan(1_000);
    expect(hostile.accept(certificate, mesh.slice(0, 1), AT)).toMatchObject({ ok: false, code: 'ERR_PEER_UNTRUSTED' });
  });

  it('is asked about first where a responder is to be asked, and what it says counts', async () => {
    const own = createTestPki('Acme');
    const fresh = freshIndex(own);
    const borrowed: string[] = [];
    const asked: string[] = [];
    const other = await openPort({
      pki: own, index: fresh, trust: new TrustStore({ issuing: [own.issuing.certPem], roots: [own.root.certPem], anchors: [anchor()] }),
      askStatus: async (certificate, issuer) => {
        asked.push(certificate.serial);
        await new Promise((resolve) => { setImmediate(resolve); });
        fresh.replaceIssuer(issuer.issuerId, fresh.newTable(), { freshUntil: Number.POSITIVE_INFINITY, isBorrowed: () => true });
      },
      onBorrowedTime: (certificate) => borrowed.push(certificate.serial),
    });
    const peer = alice();
    expect((await call(other, peer)).body).toBe('corp/cn:alice');
    expect([asked, borrowed]).toEqual([[peer.certificate.serial], [peer.certificate.serial]]);
    await other.close();
  });
});
