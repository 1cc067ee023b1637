import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { foreignPrincipal } from '../../src/identity/foreign-identity.ts';
import type { IdentityRule } from '../../src/identity/foreign-identity.ts';
import { parseSpiffeId } from '../../src/identity/spiffe-id.ts';
import { createTestPki } from '../support/pki.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';

const base = createTestPki('Corp').issuing.leaf({ commonName: 'alice', organizationalUnits: ['analytics'] }).certificate;
const withNames = (names: Partial<Pick<Certificate, 'uris' | 'dnsNames' | 'emails' | 'subject'>>): Certificate => ({ ...base, uris: [], dnsNames: [], emails: [], ...names });
const named = (certificate: Certificate, rule: IdentityRule) => foreignPrincipal(certificate, 'i', { trust: 'corp', rule });
const spiffe: IdentityRule = { from: 'spiffe', trustDomain: 'corp.example' };

describe('a certificate of another authority', () => {
  it('is named by its SPIFFE ID, its common name, its DNS name or its address, and carries its anchor', () => {
    expect(named(withNames({ uris: ['spiffe://corp.example/ns/prod/sa/web'] }), spiffe)).toMatchObject({ id: 'spiffe://corp.example/ns/prod/sa/web', trust: 'corp', issuerId: 'i' });
    expect(named(withNames({}), { from: 'commonName' })).toMatchObject({ id: 'corp/cn:alice', trust: 'corp', organizationalUnits: ['analytics'] });
    expect(named(withNames({ dnsNames: ['LB.corp.example'] }), { from: 'dns' })).toMatchObject({ id: 'corp/dns:lb.corp.example' });
    expect(named(withNames({ emails: ['alice@corp.example'] }), { from: 'email' })).toMatchObject({ id: 'corp/email:alice@corp.example' });
  });

  it.each<[string, readonly string[], string]>([
    ['no URI', [], 'it has 0 URIs where an X.509-SVID has one'],
    ['two URIs', ['spiffe://corp.example/a', 'https://corp.example'], 'it has 2 URIs where an X.509-SVID has one'],
    ['our trust domain', ['spiffe://test.internal/agent/agent-7'], 'its SPIFFE ID is of another trust domain than corp.example'],
    ['a domain below', ['spiffe://x.corp.example/a'], 'its SPIFFE ID is of another trust domain than corp.example'],
    ['no workload', ['spiffe://corp.example'], 'its SPIFFE ID is that of the trust domain, not of a workload'],
    ['a URI of another kind', ['https://corp.example/a'], 'its URI is not a SPIFFE ID'],
    ['an upper-case scheme', ['SPIFFE://corp.example/a'], 'its URI is not a SPIFFE ID'],
    ['a dot segment', ['spiffe://corp.example/a/../b'], 'its URI is not a SPIFFE ID'],
    ['a percent sign', ['spiffe://corp.example/a%2fb'], 'its URI is not a SPIFFE ID'],
    ['a port', ['spiffe://corp.example:1/a'], 'its URI is not a SPIFFE ID'],
    ['a slash at the end', ['spiffe://corp.example/a/'], 'its URI is not a SPIFFE ID'],
  ])('with %s is nobody under a trust domain', (_what, uris, problem) => {
    expect(named(withNames({ uris }), spiffe)).toBe(problem);
  });

  it.each<[string, Partial<Certificate>, IdentityRule['from'], string]>([
    ['two common names', { subject: [[{ type: 'CN', value: 'a' }], [{ type: 'CN', value: 'b' }]] }, 'commonName', 'it has 2 common names where its identity needs one'],
    ['a SPIFFE ID of ours', { uris: ['spiffe://test.internal/agent/agent-7'] }, 'commonName', 'it carries a SPIFFE ID, which this anchor may not give'],
    ['what others might read as one', { uris: ['Spiffe:test.internal'] }, 'dns', 'it carries a SPIFFE ID, which this anchor may not give'],
    ['a wildcard', { dnsNames: ['*.corp.example'] }, 'dns', 'the dns that would name it holds a wildcard or what is not visible'],
    ['a control character', { subject: [[{ type: 'CN', value: 'a\u202eb' }]] }, 'commonName', 'the cn that would name it holds a wildcard or what is not visible'],
  ])('with %s is nobody', (_what, names, from, problem) => {
    expect(named({ ...withNames({}), ...names }, { from } as IdentityRule)).toBe(problem);
  });

  it('never gets an identity of ours or of another anchor, whatever is written into it', () => {
    const text = fc.oneof(fc.string({ maxLength: 20 }), fc.constantFrom('spiffe://test.internal/agent/agent-7', 'cn:agent-7', 'x5t:00', 'other/cn:a', 'SPIFFE://test.internal/a', 'spiffe://corp.example/a'));
    fc.assert(fc.property(text, fc.array(text, { maxLength: 2 }), fc.array(text, { maxLength: 2 }), fc.constantFrom<IdentityRule>(spiffe, { from: 'commonName' }, { from: 'dns' }), (commonName, uris, dnsNames, rule) => {
      const principal = named(withNames({ subject: [[{ type: 'CN', value: commonName }]], uris, dnsNames }), rule);
      if (typeof principal === 'string') return;
      expect(principal.trust).toBe('corp');
      expect(principal.id).toMatch(rule.from === 'spiffe' ? /^spiffe:\/\/corp\.example\// : /^corp\/(cn|dns):/);
      for (const uri of principal.uris) expect(parseSpiffeId(uri)?.trustDomain ?? 'corp.example').toBe('corp.example');
    }), { numRuns: 100 });
  });
});
