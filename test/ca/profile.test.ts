import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CaError } from '../../ca/errors.ts';
import { validityOf } from '../../ca/issuance.ts';
import { createProfile, createProfiles } from '../../ca/profile.ts';
import type { ProfileConfig } from '../../ca/profile.ts';
import { codeOfRefusal } from '../support/authority.ts';

describe('profiles', () => {
  it('has three, with the usages of pki.md', () => {
    expect([...createProfiles()].map(([name, { extendedKeyUsage, defaultTtlSeconds }]) => [name, extendedKeyUsage, defaultTtlSeconds])).toEqual([
      ['agent', ['clientAuth'], 86_400],
      ['agent-spiffe', ['clientAuth', 'serverAuth'], 86_400],
      ['server', ['serverAuth'], 90 * 86_400],
    ]);
  });
  it('lets configuration replace one and add another', () => {
    const profiles = createProfiles({ agent: { kind: 'agent', defaultTtl: '1h', maxTtl: '2h' }, short: { kind: 'agent', status: 'noRevAvail' } });
    expect(profiles.get('agent')?.maxTtlSeconds).toBe(7_200);
    expect(profiles.get('short')?.maxTtlSeconds).toBe(7 * 86_400);
    expect(profiles.size).toBe(4);
  });
  it('shortens the default lifetime to the longest allowed', () => {
    expect(createProfile('x', { kind: 'agent', maxTtl: '1h' }).defaultTtlSeconds).toBe(3_600);
  });

  const contradictions: readonly (readonly [string, string, unknown, RegExp])[] = [
    ['a name with a blank', 'a b', { kind: 'agent' }, /profile name/],
    ['an unknown kind', 'x', { kind: 'robot' }, /kind must be one of agent, agent-spiffe, server/],
    ['no kind', 'x', {}, /kind must be/],
    ['nothing', 'x', null, /at least kind/],
    ['an unknown key', 'x', { kind: 'agent', ttl: '1h' }, /unknown key "ttl"/],
    ['a default beyond the longest', 'x', { kind: 'agent', defaultTtl: '2h', maxTtl: '1h' }, /defaultTtl is longer/],
    ['a lifetime without a unit', 'x', { kind: 'agent', maxTtl: '10' }, /maxTtl: "10" is not a lifetime/],
    ['noRevAvail for months', 'x', { kind: 'agent', status: 'noRevAvail', maxTtl: '30d' }, /up to 7d/],
    ['an unknown status', 'x', { kind: 'agent', status: 'ocsp' }, /status must be/],
    ['an unknown key algorithm', 'x', { kind: 'agent', keyAlgorithms: ['dsa'] }, /keyAlgorithms must list/],
    ['no key algorithm', 'x', { kind: 'agent', keyAlgorithms: [] }, /keyAlgorithms must list/],
    ['a negative backdating', 'x', { kind: 'agent', backdateSeconds: -1 }, /backdateSeconds/],
    ['an unusable OU', 'x', { kind: 'agent', organizationalUnits: [''] }, /organizational unit/],
  ];
  it.each(contradictions)('refuses %s', (_, name, config, message) => {
    expect(() => createProfile(name, config as ProfileConfig)).toThrow(message);
    expect(() => createProfile(name, config as ProfileConfig)).toThrow(CaError);
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
