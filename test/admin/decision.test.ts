import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decideAdmin } from '../../src/admin/decision.ts';
import { adminActions, adminRoles, compileAdmins, rolesFor } from '../../src/admin/roles.ts';
import type { AdminAction, AdminRole } from '../../src/admin/roles.ts';
import { parseConfig } from '../../src/config/load.ts';
import { ownTrust } from '../../src/identity/principal.ts';
import type { Principal } from '../../src/identity/principal.ts';

const principal = (facts: Partial<Principal> = {}): Principal => ({
  id: 'spiffe://acme.internal/agent/ops-1', subject: 'CN=ops-1,OU=pki', commonName: 'ops-1', organizations: [], organizationalUnits: ['pki'], uris: ['spiffe://acme.internal/agent/ops-1'], dnsNames: [], emails: [], trust: ownTrust,
  issuerId: 'a1'.repeat(32), serial: '1f', thumbprint: 'b2'.repeat(32), notBefore: new Date(0), notAfter: new Date(1), ...facts,
});

const admins = (yaml: string) => compileAdmins(parseConfig(`admins:\n${yaml}`, { directory: '/' }).admins);
const target = { agent: 'agent-7', profile: 'agent', organizationalUnits: ['analytics'] };

/** Everything else is refused to the role. */
const may: Readonly<Record<Exclude<AdminRole, 'admin'>, readonly AdminAction[]>> = {
  issuer: ['certificate:issue', 'certificate:read', 'token:create', 'token:read', 'token:delete', 'request:read', 'authority:read'],
  revoker: ['certificate:read', 'certificate:revoke', 'certificate:release', 'crl:publish', 'authority:read'],
  approver: ['certificate:read', 'request:read', 'request:decide', 'authority:read'],
  reader: ['certificate:read', 'token:read', 'request:read', 'authority:read', 'audit:read'],
};

describe('what a role is for', () => {
  it.each(Object.entries(may) as [AdminRole, readonly AdminAction[]][])('%s', (role, actions) => {
    const bindings = admins(`  - { role: ${role}, when: { organizationalUnit: pki } }`);
    expect(adminActions.filter((action) => decideAdmin(bindings, principal(), { action, targets: [target] }).effect === 'allow')).toEqual(actions);
  });

  it('admin: everything', () => {
    const bindings = admins('  - { role: admin, when: { organizationalUnit: pki } }');
    for (const action of adminActions) expect(decideAdmin(bindings, principal(), { action, targets: [{ ...target, agent: 'ca:issuing', becomes: principal() }] })).toEqual({ effect: 'allow', roles: ['admin'], rule: 'admins[0]' });
  });
});

describe('nobody is an admin who is not named', () => {
  it('without any entry', () => {
    fc.assert(
      fc.property(fc.constantFrom(...adminActions), fc.array(fc.string()), (action, organizationalUnits) => {
        expect(decideAdmin([], principal({ organizationalUnits }), { action })).toEqual({ effect: 'deny', roles: [], reason: 'noRole' });
      }),
    );
  });

  it.each([
    ['another unit', { organizationalUnits: ['pkix'] }],
    ['no unit', { organizationalUnits: [] }],
    ['another case', { organizationalUnits: ['PKI'] }],
    ['a certificate of another CA', { trust: 'partner' }],
  ])('with %s', (_what, facts) => {
    expect(decideAdmin(admins('  - { role: admin, when: { organizationalUnit: pki } }'), principal(facts), { action: 'certificate:read' })).toMatchObject({ effect: 'deny', reason: 'noRole' });
  });

  it('unless every condition holds', () => {
    const bindings = admins('  - { role: reader, when: { organizationalUnit: pki, uri: "spiffe://acme.internal/agent/ops-*" } }');
    expect(decideAdmin(bindings, principal(), { action: 'audit:read' }).effect).toBe('allow');
    expect(decideAdmin(bindings, principal({ uris: ['spiffe://acme.internal/agent/eve'] }), { action: 'audit:read' }).effect).toBe('deny');
  });
});

describe('the scope of a role', () => {
  const scoped = admins(`  - { role: issuer, when: { organizationalUnit: pki }, profiles: [agent], organizationalUnits: [analytics, "reports-*"] }`);
  const decide = (facts: Partial<typeof target>) => decideAdmin(scoped, principal(), { action: 'certificate:issue', targets: [{ ...target, ...facts }] });

  it.each([
    ['what is within it', {}, 'allow'],
    ['a pattern', { organizationalUnits: ['analytics', 'reports-eu'] }, 'allow'],
    ['another profile', { profile: 'agent-spiffe' }, 'outsideScope'],
    ['one unit too many', { organizationalUnits: ['analytics', 'platform'] }, 'outsideScope'],
    ['no unit at all', { organizationalUnits: [] }, 'outsideScope'],
  ] as const)('%s', (_what, facts, expected) => {
    const decision = decide(facts as Partial<typeof target>);
    expect(decision.effect === 'deny' ? decision.reason : decision.effect).toBe(expected);
  });

  it('is that of each target, and roles of different scope do not mix', () => {
    const bindings = admins(`  - { role: revoker, when: { organizationalUnit: pki }, organizationalUnits: [analytics] }\n  - { role: reader, when: { organizationalUnit: pki } }`);
    const other = { ...target, organizationalUnits: ['platform'] };
    expect(decideAdmin(bindings, principal(), { action: 'certificate:revoke', targets: [target] }).effect).toBe('allow');
    expect(decideAdmin(bindings, principal(), { action: 'certificate:revoke', targets: [target, other] })).toMatchObject({ effect: 'deny', reason: 'outsideScope' });
    expect(decideAdmin(bindings, principal(), { action: 'certificate:read', targets: [other] }).effect).toBe('allow');
  });
});

describe('what only admin may', () => {
  const bindings = admins(`  - { roles: [issuer, revoker, approver, reader], when: { organizationalUnit: pki } }\n  - { role: admin, when: { organizationalUnit: root } }`);

  it.each(['certificate:issue', 'token:create', 'request:decide'] as const)('%s of a certificate that would hold a role itself', (action) => {
    expect(decideAdmin(bindings, principal(), { action, targets: [{ ...target, becomes: principal({ organizationalUnits: ['root'] }) }] })).toMatchObject({ effect: 'deny', reason: 'makesAdmin' });
    expect(decideAdmin(bindings, principal(), { action, targets: [{ ...target, becomes: principal() }] })).toMatchObject({ effect: 'deny', reason: 'makesAdmin' });
    expect(decideAdmin(bindings, principal(), { action, targets: [{ ...target, becomes: principal({ organizationalUnits: ['analytics'] }) }] }).effect).toBe('allow');
  });

  it.each(['profiles: ["*"]', 'organizationalUnits: [analytics, pki]'])('and not within a scope (%s), which he would leave so', (scope) => {
    const scoped = admins(`  - { role: admin, when: { organizationalUnit: pki }, ${scope} }\n  - { role: admin, when: { commonName: "root-*" } }`);
    const made = (commonName: string) => decideAdmin(scoped, principal(), { action: 'certificate:issue', targets: [{ ...target, becomes: principal({ commonName, organizationalUnits: ['analytics'] }) }] });
    expect([made('agent-7').effect, made('root-1')]).toMatchObject(['allow', { effect: 'deny', reason: 'makesAdmin' }]);
    expect(decideAdmin(scoped, principal(), { action: 'hierarchy:change' })).toMatchObject({ effect: 'deny', reason: 'outsideScope' });
    expect(decideAdmin(scoped, principal(), { action: 'certificate:revoke', targets: [{ ...target, agent: 'ca:issuing', organizationalUnits: ['analytics'] }] })).toMatchObject({ effect: 'deny', reason: 'ownCertificate' });
    expect(decideAdmin(scoped, principal({ commonName: 'root-1' }), { action: 'hierarchy:change' })).toMatchObject({ effect: 'allow', rule: 'admins[1]' });
  });

  it.each(['ca:issuing', 'ocsp:issuing'])('the certificate of %s', (agent) => {
    expect(decideAdmin(bindings, principal(), { action: 'certificate:revoke', targets: [{ ...target, agent }] })).toMatchObject({ effect: 'deny', reason: 'ownCertificate' });
  });

  it.each(['fd00::1', 'ca:0::1', '::1'])('but not the certificate of a server that is called %s', (agent) => {
    expect(decideAdmin(bindings, principal(), { action: 'certificate:revoke', targets: [{ ...target, agent }] })).toMatchObject({ effect: 'allow' });
  });
});

it.each([
  ['no role', '  - { when: { organizationalUnit: pki } }', 'names no role'],
  ['an unknown role', '  - { role: root, when: { organizationalUnit: pki } }', 'must be issuer, revoker, approver, reader or admin'],
  ['no condition', '  - { role: reader, when: {} }', 'has no condition'],
  ['everybody', '  - { role: reader, when: { dangerouslyAnyCertificate: true } }', 'dangerouslyAnyCertificate'],
  ['an empty scope', '  - { role: reader, when: { organizationalUnit: pki }, profiles: [] }', 'name at least one value'],
])('refuses an entry with %s', (_what, yaml, message) => {
  expect(() => admins(yaml)).toThrow(message);
});

it('names every role in the table of actions', () => {
  expect(new Set(adminActions.flatMap((action) => rolesFor(action)))).toEqual(new Set(adminRoles));
});
