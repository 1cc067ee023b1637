import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CaError } from '../../ca/errors.ts';
import { grantedToAgent, grantedToServer } from '../../ca/grant.ts';
import { validityOf } from '../../ca/issuance.ts';
import { createProfile, createProfiles } from '../../ca/profile.ts';
import type { ProfileConfig } from '../../ca/profile.ts';
import { codeOfRefusal } from '../support/authority.ts';

describe('profiles', () => {
  it('has five, each with its usages', () => {
    expect([...createProfiles()].map(([name, { extendedKeyUsage, defaultTtlSeconds }]) => [name, extendedKeyUsage, defaultTtlSeconds])).toEqual([
      ['agent', ['clientAuth'], 86_400],
      ['agent-spiffe', ['clientAuth', 'serverAuth'], 86_400],
      ['server', ['serverAuth'], 90 * 86_400],
      ['short-lived', ['clientAuth'], 3_600],
      ['console-user', ['clientAuth'], 7 * 86_400],
    ]);
  });
  it('lets configuration replace one and add another', () => {
    const profiles = createProfiles({ agent: { kind: 'agent', defaultTtl: '1h', maxTtl: '2h' }, short: { kind: 'agent', status: 'noRevAvail' } });
    expect(profiles.get('agent')?.maxTtlSeconds).toBe(7_200);
    expect(profiles.get('short')?.maxTtlSeconds).toBe(7 * 86_400);
    expect(profiles.size).toBe(6);
  });
  it('shortens the default lifetime to the longest allowed', () => {
    expect(createProfile('x', { kind: 'agent', maxTtl: '1h' }).defaultTtlSeconds).toBe(3_600);
  });

  const contradictions: readonly (readonly [string, string, unknown, RegExp])[] = [
    ['a name with a blank', 'a b', { kind: 'agent' }, /profile name/],
    ['an unknown kind', 'x', { kind: 'robot' }, /kind: must be one of agent, agent-spiffe, server, console-user/],
    ['no kind', 'x', {}, /kind: must be/],
    ['nothing', 'x', null, /at least kind/],
    ['an unknown key', 'x', { kind: 'agent', ttl: '1h' }, /unknown key "ttl"/],
    ['a default beyond the longest', 'x', { kind: 'agent', defaultTtl: '2h', maxTtl: '1h' }, /defaultTtl: is longer/],
    ['a lifetime without a unit', 'x', { kind: 'agent', maxTtl: '10' }, /maxTtl: "10" is not a lifetime/],
    ['noRevAvail for months', 'x', { kind: 'agent', status: 'noRevAvail', maxTtl: '30d' }, /maxTtl: is longer than the 7d/],
    ['an unknown status', 'x', { kind: 'agent', status: 'ocsp' }, /status: must be/],
    ['an unknown key algorithm', 'x', { kind: 'agent', keyAlgorithms: ['dsa'] }, /keyAlgorithms: must list/],
    ['no key algorithm', 'x', { kind: 'agent', keyAlgorithms: [] }, /keyAlgorithms: must list/],
    ['a negative backdating', 'x', { kind: 'agent', backdateSeconds: -1 }, /backdateSeconds/],
    ['an unusable OU', 'x', { kind: 'agent', organizationalUnits: [''] }, /organizationalUnits: the organizational unit has 0/],
    ['a shortest lifetime beyond the longest', 'x', { kind: 'agent', minTtl: '2h', maxTtl: '1h' }, /minTtl: is longer than maxTtl/],
    ['a default below the shortest', 'x', { kind: 'agent', minTtl: '2h', defaultTtl: '1h' }, /defaultTtl: is shorter than minTtl/],
    ['a required OU that is not allowed', 'x', { kind: 'agent', organizationalUnits: ['a-*'], requiredOrganizationalUnits: ['b'] }, /requiredOrganizationalUnits: demands "b"/],
    ['OUs of a server', 'x', { kind: 'server', organizationalUnits: ['a'] }, /organizationalUnits: has no meaning for kind server/],
    ['domains of an agent', 'x', { kind: 'agent', dnsSuffixes: ['acme.internal'] }, /dnsSuffixes: has no meaning for kind agent/],
    ['a SPIFFE path of a person', 'x', { kind: 'console-user', spiffePath: '/agent/{name}' }, /spiffePath: has no meaning/],
    ['an email domain of an agent', 'x', { kind: 'agent', emailDomains: ['acme.example'] }, /emailDomains: has no meaning/],
    ['a SPIFFE path without a name', 'x', { kind: 'agent', spiffePath: '/agent' }, /spiffePath: "\/agent" must be 2 to 8 segments/],
    ['a name that is not last', 'x', { kind: 'agent', spiffePath: '/{name}/x' }, /must end in \{name\}/],
    ['an OU in front', 'x', { kind: 'agent', spiffePath: '/{ou}/{name}' }, /must begin with a fixed segment/],
    ['the place of people', 'x', { kind: 'agent', spiffePath: '/user/{name}' }, /which is for people/],
    ['dots as a segment', 'x', { kind: 'agent', spiffePath: '/a/../{name}' }, /has the segment ".."/],
    ['a domain in capitals', 'x', { kind: 'server', dnsSuffixes: ['Acme'] }, /dnsSuffixes: "Acme" is not/],
    ['a range without a length', 'x', { kind: 'server', ipRanges: ['10.0.0.1'] }, /ipRanges: "10.0.0.1" is not a range/],
    ['a range that is too long', 'x', { kind: 'server', ipRanges: ['10.0.0.0/33'] }, /ipRanges/],
    ['an unusable pattern', 'x', { kind: 'agent', names: ['a b'] }, /names: "a b" is no pattern/],
    ['no name at all', 'x', { kind: 'agent', names: [] }, /names: is empty/],
    ['an unknown way', 'x', { kind: 'agent', mayIssue: ['scep'] }, /mayIssue: must list some of/],
    ['no way', 'x', { kind: 'agent', mayIssue: [] }, /mayIssue: must list some of/],
    ['a token for a server', 'x', { kind: 'server', mayIssue: ['token'] }, /mayIssue: holds token, which kind server does not have/],
    ['ACME for a person', 'x', { kind: 'console-user', mayIssue: ['acme'] }, /mayIssue: holds acme/],
    ['approval of renewals alone', 'x', { kind: 'agent', mayIssue: ['renewal'], approval: 'required' }, /approval: is required, but/],
    ['an unknown approval', 'x', { kind: 'agent', approval: 'maybe' }, /approval: must be none or required/],
    ['approval of the gateway itself', 'server', { kind: 'server', approval: 'required' }, /approval: cannot be required/],
    ['no operator for the gateway itself', 'server', { kind: 'server', mayIssue: ['acme'] }, /mayIssue: must hold operator/],
    ['an agent for the gateway itself', 'server', { kind: 'agent' }, /kind: must be server/],
  ];
  it.each(contradictions)('refuses %s', (_, name, config, message) => {
    expect(() => createProfile(name, config as ProfileConfig)).toThrow(message);
    expect(() => createProfile(name, config as ProfileConfig)).toThrow(CaError);
  });
});

describe('rules for names', () => {
  const granted = (config: ProfileConfig, agent: string, organizationalUnits: readonly string[] = [], email?: string) => grantedToAgent('acme.internal', agent, { organizationalUnits, email }, createProfile('x', config));
  const refusal = (...args: Parameters<typeof granted>) => codeOfRefusal(() => granted(...args));

  it('matches patterns against the whole text', async () => {
    const config: ProfileConfig = { kind: 'agent', names: ['pay-*', 'one'], organizationalUnits: ['team-*-eu', 'ops'], requiredOrganizationalUnits: ['team-*'] };
    expect(granted(config, 'pay-7', ['team-a-eu']).subject.flat()).toEqual([{ type: 'OU', value: 'team-a-eu' }, { type: 'CN', value: 'pay-7' }]);
    expect(granted(config, 'one', ['ops', 'team--eu']).uris).toEqual(['spiffe://acme.internal/agent/one']);
    for (const name of ['xpay-7', 'on', 'one1']) expect(await refusal(config, name, ['team-a-eu'])).toBe('ERR_CA_PROFILE');
    for (const units of [['team-eu'], ['team-a-eu2'], ['ops'], [], ['team-a-eu', 'other']]) expect(await refusal(config, 'one', units)).toBe('ERR_CA_PROFILE');
  });
  it('agrees with regular expressions on what * stands for', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', 'b', '*'), minLength: 1, maxLength: 8 }), fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: 8 }), (pattern, text) => {
        const { naming } = createProfile('x', { kind: 'agent', names: [pattern] });
        return naming.allowsName(text) === new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(text);
      }),
    );
  });
  it('puts one OU into the SPIFFE path, and refuses none, two and what is no segment', async () => {
    const config: ProfileConfig = { kind: 'agent', spiffePath: '/ns/{ou}/{name}' };
    expect(granted(config, 'a', ['payroll']).uris).toEqual(['spiffe://acme.internal/ns/payroll/a']);
    for (const units of [[], ['a', 'b'], ['a b'], ['..'], ['ä']]) expect(await refusal(config, 'a', units)).toBe('ERR_CA_NAME');
  });
  it('gives people an email address and a place of their own', async () => {
    const config: ProfileConfig = { kind: 'console-user', emailDomains: ['acme.example'] };
    expect(granted(config, 'alice', ['admins'], 'alice@acme.example')).toMatchObject({ uris: ['spiffe://acme.internal/user/alice'], emails: ['alice@acme.example'] });
    expect(await refusal(config, 'alice', [], 'alice@evil.example')).toBe('ERR_CA_PROFILE');
    expect(await refusal({ kind: 'agent' }, 'alice', [], 'alice@acme.example')).toBe('ERR_CA_PROFILE');
    for (const email of ['alice', 'Alice@acme.example', 'a@b@acme.example', '@acme.example', 'a..b@acme.example', 'a\n@acme.example']) expect(await refusal(config, 'alice', [], email)).toBe('ERR_CA_NAME');
  });
  it('keeps servers within their domains and ranges, and without either names of the other kind', async () => {
    const hosts = (config: Omit<ProfileConfig, 'kind'>, ...names: readonly string[]) => codeOfRefusal(() => grantedToServer(names, createProfile('x', { kind: 'server', ...config })));
    const both = { dnsSuffixes: ['acme.internal'], ipRanges: ['10.0.0.0/8', 'fd00::/8'] };
    expect(await hosts(both, 'acme.internal', 'db.acme.internal', '10.255.255.255', 'fdff::1')).toBeUndefined();
    for (const host of ['evilacme.internal', 'acme.internal.evil.example', '11.0.0.0', '9.255.255.255', 'fe00::1', '::ffff:11.0.0.1']) expect(await hosts(both, host)).toBe('ERR_CA_PROFILE');
    expect(await hosts({ dnsSuffixes: ['acme.internal'] }, '10.0.0.1')).toBe('ERR_CA_PROFILE');
    expect(await hosts({ ipRanges: ['10.0.0.0/8'] }, 'acme.internal')).toBe('ERR_CA_PROFILE');
    expect(await hosts({}, 'anything.example', '192.0.2.1')).toBeUndefined();
  });
});

describe('validity', () => {
  const profile = createProfile('agent', { kind: 'agent', maxTtl: '24h' });
  const now = new Date('2026-11-21T12:00:00.700Z');
  const issuer = { notBefore: new Date('2026-01-01T00:00:00Z'), notAfter: new Date('2036-01-01T00:00:00Z') };

  it('is backdated by a minute, counted without it, inclusive at the end, in whole seconds', () => {
    expect(validityOf(now, profile, 3_600, issuer)).toEqual({ notBefore: new Date('2026-11-21T11:59:00Z'), notAfter: new Date('2026-11-21T12:59:59Z') });
  });
  it('may be a single second', () => {
    expect(validityOf(now, profile, 1, issuer).notAfter).toEqual(new Date('2026-11-21T12:00:00Z'));
  });
  it('takes the longest lifetime and refuses one second more, and less than one', async () => {
    expect(validityOf(now, profile, 86_400, issuer).notAfter).toEqual(new Date('2026-11-22T11:59:59Z'));
    for (const ttl of [86_401, 0, -1, 0.5, Number.NaN]) expect(await codeOfRefusal(() => validityOf(now, profile, ttl, issuer))).toBe('ERR_CA_TTL');
  });
  it('never reaches beyond the issuer, on either side', () => {
    const ending = { notBefore: new Date('2026-11-21T11:59:30Z'), notAfter: new Date('2026-11-21T12:30:00Z') };
    expect(validityOf(now, profile, 86_400, ending)).toEqual(ending);
  });
  it('is refused once the issuer has expired, and before it is valid', async () => {
    expect(await codeOfRefusal(() => validityOf(now, profile, 60, { ...issuer, notAfter: new Date('2026-11-21T11:59:59Z') }))).toBe('ERR_CA_TTL');
    expect(await codeOfRefusal(() => validityOf(now, profile, 60, { ...issuer, notBefore: new Date('2026-11-21T12:00:01Z') }))).toBe('ERR_CA_TTL');
  });
  it('always holds now and lies within the issuer', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 86_400 }), fc.date({ min: issuer.notBefore, max: new Date('2035-12-31T23:59:58Z'), noInvalidDate: true }), (ttl, at) => {
        const { notBefore, notAfter } = validityOf(at, profile, ttl, issuer);
        return notBefore <= at && notAfter.getTime() + 1_000 > at.getTime() && notBefore >= issuer.notBefore && notAfter <= issuer.notAfter;
      }),
    );
  });
});
