import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCsr } from '../../ca/x509/csr.ts';
import { codeOfRefusal, createAuthority, newCsr, newKey } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

let fixture: AuthorityFixture;
beforeAll(async () => {
  fixture = await createAuthority();
});
afterAll(() => fixture.close());
let last = 0;
const name = (): string => `renewing-${++last}`;
const statesOf = async (agent: string) => (await fixture.authority.certificates({ agent })).map(({ state }) => state);

describe('renewal', () => {
  it('gives the same agent, OUs, profile and lifetime to the same or a new key, and links what it replaces', async () => {
    const agent = name();
    const key = newKey();
    const first = await fixture.authority.issue({ agent, organizationalUnits: ['a', 'b'], profile: 'agent-spiffe', ttl: '3h', csr: createCsr(key) });
    const renewed = await fixture.authority.renew(first, { csr: createCsr(key) });
    expect(renewed).toMatchObject({ agent, organizationalUnits: ['a', 'b'], profile: 'agent-spiffe', replaces: first.serial, subject: first.subject });
    expect(renewed.notAfter.getTime() - renewed.notBefore.getTime()).toBe(first.notAfter.getTime() - first.notBefore.getTime());
    expect(await statesOf(agent)).toEqual(['issued', 'issued']);
  });
  it('asked for again because the answer was lost, retires what nobody ever used and locks nobody out', async () => {
    const agent = name();
    const first = await fixture.authority.issue({ agent });
    for (let i = 0; i < 4; i++) await fixture.authority.renew(first, { csr: newCsr() });
    expect(await statesOf(agent)).toEqual(['issued', 'revoked', 'revoked', 'revoked', 'issued']);
    expect((await fixture.authority.certificates({ agent, states: ['revoked'] })).map(({ revocationReason }) => revocationReason)).toEqual(Array(3).fill('superseded'));
  });
  it('retires the replaced certificate only once its successor has been seen, and only when room is needed', async () => {
    const agent = name();
    const first = await fixture.authority.issue({ agent });
    const second = await fixture.authority.renew(first, { csr: newCsr() });
    // A third has no room yet: nobody noted that the second is in use.
    expect(await codeOfRefusal(fixture.authority.issue({ agent }))).toBe('ERR_CA_LIMIT');
    // Who presents it uses it.
    await fixture.authority.renew(second, { csr: newCsr() });
    expect(await statesOf(agent)).toEqual(['revoked', 'issued', 'issued']);
  });
  it('makes room for a new identity by what was replaced and whose successor has been seen', async () => {
    const agent = name();
    const first = await fixture.authority.issue({ agent });
    await fixture.store.ca.markSeen(await fixture.authority.renew(first, { csr: newCsr() }), fixture.clock.now());
    await fixture.authority.issue({ agent });
    expect(await statesOf(agent)).toEqual(['revoked', 'issued', 'issued']);
  });
  it('leaves the replaced certificate good for an hour after the first use of its successor, and retires with it what no answer carried', async () => {
    const { authority, store, clock } = fixture;
    await authority.retireReplaced();
    const agent = name();
    const first = await authority.issue({ agent });
    await authority.renew(first, { csr: newCsr() });
    clock.turn(1);
    // The answer was lost; the agent asks again and uses what it gets.
    const third = await (await fixture.reopen({ maxLivePerAgent: 3 })).renew(first, { csr: newCsr() });
    await store.ca.markSeen(third, clock.now());
    clock.turn(3_599);
    expect(await authority.retireReplaced()).toEqual([]);
    clock.turn(1);
    expect((await authority.retireReplaced()).map(({ serial }) => serial)).toHaveLength(2);
    expect((await authority.certificates({ agent })).map(({ state, revocationReason }) => [state, revocationReason])).toEqual([['revoked', 'superseded'], ['revoked', 'superseded'], ['issued', undefined]]);
    expect((await fixture.events()).filter(({ action, agent: whose }) => action === 'certificate.revoked' && whose === agent)).toMatchObject([{ actor: 'ca', reason: 'superseded' }, { actor: 'ca', reason: 'superseded' }]);
    // Each is done once.
    expect([await authority.retireReplaced(), await store.ca.successions(clock.now(), 10)]).toEqual([[], []]);
  });
  it('is refused to what is expired, revoked, unknown, of the root, or another agent by key', async () => {
    const { authority } = fixture;
    const expired = await authority.issue({ agent: name(), ttl: 1 });
    const revoked = await authority.issue({ agent: name() });
    await authority.revoke({ serial: revoked.serial });
    const ofRoot = await authority.issue({ agent: name(), dangerouslyIssuer: 'root' });
    const key = newKey();
    await authority.issue({ agent: name(), csr: createCsr(key) });
    const good = await authority.issue({ agent: name() });
    fixture.clock.turn(2);
    expect(await codeOfRefusal(authority.renew(expired, { csr: newCsr() }))).toBe('ERR_CA_TTL');
    expect(await codeOfRefusal(authority.renew(revoked, { csr: newCsr() }))).toBe('ERR_CA_IDENTITY_REVOKED');
    expect(await codeOfRefusal(authority.renew(ofRoot, { csr: newCsr() }))).toBe('ERR_CA_CERTIFICATE_UNKNOWN');
    expect(await codeOfRefusal(authority.renew({ issuerId: authority.issuing.id, serial: 'abcd' }, { csr: newCsr() }))).toBe('ERR_CA_CERTIFICATE_UNKNOWN');
    expect(await codeOfRefusal(authority.renew(good, { csr: createCsr(key) }))).toBe('ERR_CA_KEY_REUSED');
    expect(await codeOfRefusal(authority.renew(good, { csr: newCsr({ commonName: 'admin' }) }))).toBe('ERR_CA_CSR_CONTENT');
    expect(await fixture.auditIsWhole()).toBe(true);
  });
});

describe('enrollment', () => {
  const enroll = (token: string, csr: Uint8Array = newCsr()) => fixture.authority.enroll({ token, csr, address: '192.0.2.7' });

  it('gives what the token grants, once', async () => {
    const agent = name();
    const { token } = await fixture.authority.createToken({ agent, organizationalUnits: ['analytics'], certificateTtl: '2h', actor: 'cli:olga' });
    const issued = await enroll(token);
    expect(issued).toMatchObject({ agent, organizationalUnits: ['analytics'], privateKey: undefined });
    expect(issued.notAfter.getTime() - issued.notBefore.getTime()).toBe((7_200 + 60 - 1) * 1_000);
    expect(await codeOfRefusal(enroll(token))).toBe('ERR_TOKEN_SPENT');
    // A CRL may be published in between: one that an earlier revocation asked for.
    const events = (await fixture.events()).filter(({ action }) => action !== 'crl.published').slice(-4);
    expect(events.map(({ action, actor, reason }) => [action, actor, reason])).toEqual([
      ['token.created', 'cli:olga', undefined],
      ['token.spent', `token:${agent}`, undefined],
      ['certificate.issued', `token:${agent}`, undefined],
      ['token.refused', 'token', 'ERR_TOKEN_SPENT'],
    ]);
    expect(JSON.stringify(await fixture.events())).not.toContain(token.split('.')[1]);
  });
  it('works for exactly one of twenty that come at once, from two processes', async () => {
    const other = await fixture.reopen();
    const { token } = await fixture.authority.createToken({ agent: name() });
    const results = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? fixture.authority : other).enroll({ token, csr: newCsr() })));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
  it('is over when the token expires, to the second', async () => {
    const { token, expiresAt } = await fixture.authority.createToken({ agent: name(), ttl: '1s' });
    expect(expiresAt.getTime()).toBeGreaterThan(fixture.clock.now().getTime());
    fixture.clock.turn(1);
    expect(await codeOfRefusal(enroll(token))).toBe('ERR_TOKEN_EXPIRED');
  });
  it('does not spend a token on a malformed or unproven request', async () => {
    const { token } = await fixture.authority.createToken({ agent: name() });
    const forged = newCsr();
    forged[forged.length - 3] = (forged.at(-3) ?? 0) ^ 1;
    expect(await codeOfRefusal(enroll(token, new Uint8Array(10)))).toMatch(/ERR_(CSR|PEM)_INVALID/);
    expect(await codeOfRefusal(enroll(token, forged))).toBe('ERR_CSR_SIGNATURE');
    await expect(enroll(token)).resolves.toBeDefined();
  });
  it('refuses a token of another authority, an unknown one, and one for what it may not grant', async () => {
    const other = await createAuthority();
    const foreign = await other.authority.createToken({ agent: name() });
    await other.close();
    expect(await codeOfRefusal(enroll(foreign.token))).toBe('ERR_TOKEN_INVALID');
    const { token } = await fixture.authority.createToken({ agent: name() });
    const [head, , pin] = token.split('.');
    expect(await codeOfRefusal(enroll(`${head}.${'A'.repeat(43)}.${pin}`))).toBe('ERR_TOKEN_INVALID');
    expect(await codeOfRefusal(fixture.authority.createToken({ agent: name(), profile: 'server' }))).toBe('ERR_CA_PROFILE');
    expect(await codeOfRefusal(fixture.authority.createToken({ agent: 'a b' }))).toBe('ERR_CA_NAME');
    expect(await codeOfRefusal(fixture.authority.createToken({ agent: name(), ttl: '8d' }))).toBe('ERR_CA_TTL');
    expect(await codeOfRefusal(fixture.authority.createToken({ agent: name(), certificateTtl: '1d' }))).toBeUndefined();
  });
  it('of a revoked agent needs a token made after the revocation', async () => {
    const agent = name();
    const before = await fixture.authority.createToken({ agent });
    await fixture.authority.issue({ agent });
    await fixture.authority.revoke({ agent }, { reason: 'keyCompromise' });
    expect(await codeOfRefusal(enroll(before.token))).toBe('ERR_CA_IDENTITY_REVOKED');
    fixture.clock.turn(1);
    const after = await fixture.authority.createToken({ agent });
    await expect(enroll(after.token)).resolves.toMatchObject({ agent });
  });
});
