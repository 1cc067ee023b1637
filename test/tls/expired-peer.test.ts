import { beforeAll, describe, expect, it } from 'vitest';
import { verifyExpiredPeer } from '../../src/tls/expired-peer.ts';
import { TrustStore } from '../../src/tls/trust.ts';
import { verifyPeer } from '../../src/tls/verify-peer.ts';
import type { PeerChecks } from '../../src/tls/verify-peer.ts';
import { createTestPki } from '../support/pki.ts';
import type { LeafOptions, TestIdentity, TestPki } from '../support/pki.ts';
import { freshIndex } from './port.ts';

const notAfter = new Date(Math.floor(Date.now() / 1_000) * 1_000 - 3_600_000);
const graceMs = 60_000;
let pki: TestPki;
beforeAll(() => {
  pki = createTestPki();
});

const leaf = (options: LeafOptions = {}): TestIdentity => pki.issuing.leaf({ notBefore: new Date(notAfter.getTime() - 3_600_000), notAfter, ...options });
/** How it is judged so many milliseconds after the first instant at which it is not valid. */
const judged = async (identity: TestIdentity, lateMs: number, { opensslError = 'CERT_HAS_EXPIRED', ...checks }: { readonly opensslError?: string } & Partial<PeerChecks> = {}): Promise<string> => {
  const clock = { now: () => new Date(notAfter.getTime() + 1_000 + lateMs) };
  const trust = new TrustStore({ issuing: [pki.issuing.certPem], roots: [pki.root.certPem] });
  const verdict = await verifyExpiredPeer({ certificate: identity.certificate.der, opensslError, remoteAddress: '192.0.2.1', resumed: false }, { trust, index: freshIndex(pki), clock, graceMs, ...checks });
  return verdict.ok ? verdict.peer.serial : verdict.error.code;
};

describe('a certificate that expired', () => {
  it('is good for a renewal up to the last millisecond of the grace, and not one later', async () => {
    const identity = leaf();
    expect(await judged(identity, 0)).toBe(identity.certificate.serial);
    expect(await judged(identity, graceMs - 1)).toBe(identity.certificate.serial);
    expect(await judged(identity, graceMs)).toBe('ERR_PEER_EXPIRED');
  });
  it('is refused where OpenSSL has another complaint than the date', async () => {
    expect(await judged(leaf(), 0, { opensslError: 'CERT_SIGNATURE_FAILURE' })).toBe('ERR_PEER_UNTRUSTED');
  });
  it('is refused when its signature is not that of our CA, which the date hides from OpenSSL', async () => {
    expect(await judged(createTestPki().issuing.leaf({ notBefore: new Date(notAfter.getTime() - 3_600_000), notAfter }), 0)).toBe('ERR_PEER_ISSUER');
  });
  it('is refused when it was revoked, when nobody can say, and when it was no client certificate', async () => {
    const revoked = leaf();
    const index = freshIndex(pki);
    index.add([{ issuerId: pki.issuing.certificate.spkiHash, serial: revoked.certificate.serial, reason: 'keyCompromise', revokedAt: notAfter }]);
    expect(await judged(revoked, 0, { index })).toBe('ERR_PEER_REVOKED');
    const stale = freshIndex(pki);
    // Fresh when the certificate ended, and not now.
    stale.setFreshUntil(pki.issuing.certificate.spkiHash, notAfter.getTime() + 1_000);
    expect(await judged(leaf(), 10_000, { index: stale })).toBe('ERR_PEER_STATUS_UNKNOWN');
    expect(await judged(leaf({ extendedKeyUsage: [] }), 0)).toBe('ERR_PEER_PROFILE');
  });
  it('is refused when the CA above it has expired too', async () => {
    const brief = pki.root.subordinate('Brief', { notAfter });
    const trust = new TrustStore({ issuing: [brief.certPem], roots: [pki.root.certPem] });
    expect(await judged(brief.leaf({ notBefore: new Date(notAfter.getTime() - 3_600_000), notAfter }), 0, { trust, onUnknownStatus: 'allow' })).toBe('ERR_PEER_EXPIRED');
  });
});

it('does not take for known at one listener what another, which does not ask the inventory, let in', async () => {
  const identity = pki.issuing.leaf();
  const trust = new TrustStore({ issuing: [pki.issuing.certPem], roots: [pki.root.certPem] });
  const checks: PeerChecks = { trust, index: freshIndex(pki), clock: { now: () => new Date() } };
  const facts = { certificate: identity.certificate.der, opensslError: undefined, remoteAddress: undefined, resumed: false };
  expect((await verifyPeer(facts, checks)).ok).toBe(true);
  expect(await verifyPeer(facts, { ...checks, isKnown: () => false })).toMatchObject({ ok: false, error: { code: 'ERR_PEER_UNKNOWN_SERIAL' } });
});
