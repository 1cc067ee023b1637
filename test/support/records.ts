/** Records of the CA store with everything filled in. */
import { randomBytes } from 'node:crypto';
import type { AuditEvent, CaStore, CertificateIntent, CertificateRecord, CertificateRequest, EnrollmentToken } from '../../ca/ports.ts';

export const issuerId = 'a1'.repeat(32);
export const noon = new Date('2026-11-20T12:00:00.000Z');

export const later = (seconds: number): Date => new Date(noon.getTime() + seconds * 1_000);

export const anIntent = (facts: Partial<CertificateIntent> = {}): CertificateIntent => ({
  issuerId,
  serial: `1${randomBytes(18).toString('hex')}`,
  tbs: Uint8Array.of(0x30, 0x00),
  agent: 'agent-7',
  profile: 'agent',
  subject: 'CN=agent-7,OU=analytics',
  commonName: 'agent-7',
  organizationalUnits: ['analytics'],
  uri: 'spiffe://acme.internal/agent/agent-7',
  dnsNames: [],
  spkiHash: 'b2'.repeat(32),
  notBefore: noon,
  notAfter: later(86_400),
  createdAt: noon,
  replaces: undefined,
  ...facts,
});

export const anEvent = (facts: Partial<AuditEvent> = {}): AuditEvent => ({ action: 'certificate.issued', outcome: 'done', time: noon, actor: 'cli:test', ...facts });

export const revokedEvent = (record: CertificateRecord): AuditEvent =>
  anEvent({ action: 'certificate.revoked', agent: record.agent, serial: record.serial, issuer: record.issuerId });

/** Intent and certificate, as the CA would have stored them. */
export const issue = async (store: CaStore, facts: Partial<CertificateIntent> = {}): Promise<CertificateIntent> => {
  const intent = anIntent(facts);
  await store.recordIntent(intent);
  await store.recordIssued(issuedOf(intent), anEvent({ serial: intent.serial }));
  return intent;
};

export const issuedOf = (intent: CertificateIntent): { issuerId: string; serial: string; der: Uint8Array; thumbprint: string } => ({
  issuerId: intent.issuerId,
  serial: intent.serial,
  der: Uint8Array.of(0x30, 0x03, 1, 2, 3),
  thumbprint: intent.serial.padStart(64, '0'),
});

/** A request that waits for a second person. */
export const aRequest = (facts: Partial<CertificateRequest> = {}): CertificateRequest => ({
  id: randomBytes(8).toString('hex'),
  state: 'pending',
  agent: 'agent-9',
  profile: 'careful',
  terms: { way: 'token', organizationalUnits: ['Ünit "quoted"'], hosts: [], email: undefined, ttlSeconds: 60, requestedBy: 'token:agent-9', vouchedBy: 'cli:alice', address: undefined, wordGivenAt: noon },
  csr: randomBytes(40),
  spkiHash: randomBytes(32).toString('hex'),
  credentialHash: randomBytes(32).toString('hex'),
  createdAt: noon,
  expiresAt: later(900),
  decidedAt: undefined,
  decidedBy: undefined,
  reason: undefined,
  issuerId: undefined,
  serial: undefined,
  ...facts,
});

export const aToken = (facts: Partial<EnrollmentToken> = {}): EnrollmentToken => ({
  secretHash: randomBytes(32).toString('hex'),
  agent: 'agent-9',
  organizationalUnits: ['analytics', 'Ünit "quoted"'],
  profile: 'agent',
  ttlSeconds: 3_600,
  createdAt: noon,
  expiresAt: later(900),
  ...facts,
});
