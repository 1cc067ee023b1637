import type { Principal } from '../../src/identity/principal.ts';

export const principal = (changes: Partial<Principal> = {}): Principal => ({
  id: 'spiffe://acme.internal/agent/agent-7',
  trust: 'own',
  subject: 'CN=agent-7,OU=analytics,O=Acme',
  commonName: 'agent-7',
  organizations: ['Acme'],
  organizationalUnits: ['analytics'],
  uris: ['spiffe://acme.internal/agent/agent-7'],
  dnsNames: [],
  emails: [],
  issuerId: 'a'.repeat(64),
  serial: '01ab',
  thumbprint: 'b'.repeat(64),
  notBefore: new Date('2026-11-01T00:00:00Z'),
  notAfter: new Date('2026-11-02T00:00:00Z'),
  ...changes,
});
