import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { principalOf } from '../../src/identity/principal-of.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';

const spki = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'der' });
const certificate = (changes: Partial<Certificate>): Certificate => {
  const empty = new Uint8Array();
  return {
    der: empty, tbs: empty, version: 3, serial: '01ab', issuerNameDer: empty, issuer: [], subjectNameDer: empty,
    subject: [[{ type: 'O', value: 'Acme' }], [{ type: 'OU', value: 'analytics' }], [{ type: 'CN', value: 'agent-7' }]],
    notBefore: new Date(0), notAfter: new Date(1_000), spki, spkiHash: 'c'.repeat(64), thumbprint: 'b'.repeat(64),
    basicConstraints: undefined, keyUsage: undefined, extendedKeyUsage: undefined, uris: [], dnsNames: [], emails: [], ipAddresses: [], otherNames: [],
    subjectKeyIdentifier: undefined, authorityKeyIdentifier: undefined, crlDistributionPoints: undefined, noRevAvail: false, nameConstraints: undefined,
    extensions: new Map(), unknownCriticalExtensions: [], signatureAlgorithm: empty, signature: empty,
    ...changes,
  };
};

describe('the principal of a certificate', () => {
  it('is named by its first URI, else by its common name, else by its thumbprint', () => {
    expect(principalOf(certificate({ uris: ['spiffe://a/1', 'spiffe://a/2'] }), 'i').id).toBe('spiffe://a/1');
    expect(principalOf(certificate({}), 'i').id).toBe('cn:agent-7');
    expect(principalOf(certificate({ subject: [] }), 'i').id).toBe(`x5t:${'b'.repeat(64)}`);
  });

  it('has every organizational unit, from several RDNs and from multi-valued ones', () => {
    const subject = [[{ type: 'OU', value: 'a' }], [{ type: 'OU', value: 'b' }, { type: 'CN', value: 'x' }, { type: 'OU', value: 'c' }], [{ type: 'O', value: 'Acme' }]];
    expect(principalOf(certificate({ subject }), 'i')).toMatchObject({ organizationalUnits: ['a', 'b', 'c'], organizations: ['Acme'], commonName: 'x' });
  });

  it('has no common name when there are several, as their order must not decide', () => {
    const subject = [[{ type: 'CN', value: 'ops' }], [{ type: 'CN', value: 'guest' }]];
    expect(principalOf(certificate({ subject }), 'i')).toMatchObject({ commonName: undefined, id: `x5t:${'b'.repeat(64)}` });
  });

  it('carries issuer, serial, thumbprint, names and lifetime', () => {
    expect(principalOf(certificate({ dnsNames: ['d'], emails: ['e'] }), 'i')).toMatchObject({ subject: 'CN=agent-7,OU=analytics,O=Acme', issuerId: 'i', serial: '01ab', thumbprint: 'b'.repeat(64), dnsNames: ['d'], emails: ['e'], notBefore: new Date(0), notAfter: new Date(1_000) });
  });
});
