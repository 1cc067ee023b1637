import { describe, expect, it } from 'vitest';
import { rolesOf } from '../../src/policy/bindings.ts';
import { parsePolicy } from '../../src/policy/load.ts';
import { principal } from './support.ts';

const holds = (when: object, changes: Parameters<typeof principal>[0]) => rolesOf(parsePolicy(JSON.stringify({ roles: { r: {} }, bindings: [{ role: 'r', when }] })), principal(changes)).length === 1;

describe('a binding', () => {
  it.each([
    ['organizationalUnit', { organizationalUnit: 'b' }, { organizationalUnits: ['a', 'b'] }, true],
    ['organizationalUnit, case', { organizationalUnit: 'B' }, { organizationalUnits: ['a', 'b'] }, false],
    ['organizationalUnit, part', { organizationalUnit: 'analytic' }, { organizationalUnits: ['analytics'] }, false],
    ['organization', { organization: ['x', 'Acme*'] }, { organizations: ['Acme Inc'] }, true],
    ['commonName', { commonName: 'ops-*' }, { commonName: 'ops-1' }, true],
    ['commonName, absent', { commonName: '*' }, { commonName: undefined }, false],
    ['uri', { uri: 'spiffe://corp.example/agent/analytics/*' }, { uris: ['spiffe://corp.example/agent/analytics/a'] }, true],
    ['uri, one segment only', { uri: 'spiffe://corp.example/agent/*' }, { uris: ['spiffe://corp.example/agent/analytics/a'] }, false],
    ['dns', { dns: '*.corp.example' }, { dnsNames: ['a.corp.example'] }, true],
    ['email', { email: '*@corp.example' }, { emails: ['a@corp.example'] }, true],
    ['issuer', { issuer: 'A'.repeat(64) }, { issuerId: 'a'.repeat(64) }, true],
    ['issuer, another', { issuer: 'b'.repeat(64) }, { issuerId: 'a'.repeat(64) }, false],
    ['serial', { serial: '0001ab' }, { serial: '01ab' }, true],
    ['thumbprint', { thumbprint: 'b'.repeat(64) }, { thumbprint: 'b'.repeat(64) }, true],
    ['everybody', { dangerouslyAnyCertificate: true }, {}, true],
    ['several, all met', { organizationalUnit: 'a', commonName: 'x' }, { organizationalUnits: ['a'], commonName: 'x' }, true],
    ['several, one not', { organizationalUnit: 'a', commonName: 'y' }, { organizationalUnits: ['a'], commonName: 'x' }, false],
  ])('by %s', (_what, when, changes, expected) => {
    expect(holds(when, changes)).toBe(expected);
  });

  it('does not care for the order of organizational units', () => {
    for (const units of [['admin', 'user'], ['user', 'admin']]) expect(holds({ organizationalUnit: 'admin' }, { organizationalUnits: units })).toBe(true);
  });

  it('may give several roles, listed in the order of the policy', () => {
    const policy = parsePolicy(JSON.stringify({ roles: { a: {}, b: {}, c: {} }, bindings: [{ roles: ['c', 'a'], when: { commonName: 'agent-7' } }] }));
    expect(rolesOf(policy, principal())).toEqual(['a', 'c']);
  });
});
