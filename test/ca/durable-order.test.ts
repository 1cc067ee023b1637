import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, describe, expect, it } from 'vitest';
import { CertificateAuthority } from '../../ca/authority.ts';
import { issueDurably } from '../../ca/durable-issuance.ts';
import { CaError } from '../../ca/errors.ts';
import { createHierarchy } from '../../ca/hierarchy.ts';
import { hierarchyOf } from '../../ca/issuer.ts';
import { generatePrivateKey, signerOf } from '../../ca/key-store.ts';
import { KeyedLock } from '../../ca/keyed-lock.ts';
import type { CaStore } from '../../ca/ports.ts';
import { createProfile } from '../../ca/profile.ts';
import { systemRandomness as randomness } from '../../src/system.ts';
import { codeOfRefusal, createAuthority, newCsr } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';
import { anIntent } from '../support/records.ts';

let fixture: AuthorityFixture | undefined;
afterEach(async () => {
  await fixture?.close();
  fixture = undefined;
});

/** A store that fails or notes calls of one method once it is told to. */
const failing = (store: CaStore, fails: () => keyof CaStore | undefined, calls: string[]): CaStore =>
  new Proxy(store, {
    get: (target, name, receiver) => {
      const member: unknown = Reflect.get(target, name, receiver);
      if (typeof member !== 'function' || name === 'revokedSerials' || name === 'revokedText') return member;
      return async (...given: unknown[]): Promise<unknown> => {
        calls.push(String(name));
        if (fails() === name) throw new CaError('ERR_STORE_UNAVAILABLE', 'the disk is full');
        return member.apply(target, given);
      };
    },
  });

describe('the durable order', () => {
  it('is intent with what it meets, sign, record', async () => {
    const calls: string[] = [];
    fixture = await createAuthority({ wrap: (store) => failing(store, () => undefined, calls) });
    calls.length = 0;
    await fixture.authority.issue({ agent: 'a', csr: newCsr() });
    // Which CRL it names, for once in a week.
    expect(calls).toEqual(['crlSeries', 'extendCrlSeries', 'recordIntent', 'recordIssued']);
  });
  it.each(['recordIntent', 'recordIssued'] as const)('hands nothing out when %s fails, and loses nothing', async (method) => {
    let fails: keyof CaStore | undefined;
    fixture = await createAuthority({ wrap: (store) => failing(store, () => fails, []) });
    fails = method;
    expect(await codeOfRefusal(fixture.authority.issue({ agent: 'a' }))).toBe('ERR_STORE_UNAVAILABLE');
    fails = undefined;
    expect(await fixture.authority.recover()).toEqual([]);
    fixture.clock.turn(61);
    const recovered = await fixture.authority.recover();
    expect(recovered.map(({ state }) => state)).toEqual(method === 'recordIssued' ? ['unknownIssued'] : []);
    for (const { serial } of recovered) expect((await fixture.authority.revoke({ serial })).revoked).toHaveLength(1);
    await expect(fixture.authority.issue({ agent: 'b' })).resolves.toBeDefined();
    expect(await fixture.auditIsWhole()).toBe(true);
  });
  it('hands nothing out when only the audit entry of the certificate is refused by the database, and has it on record', async () => {
    fixture = await createAuthority();
    const { authority, directory, clock } = fixture;
    const database = new DatabaseSync(join(directory, 'sallyport.db'), { timeout: 5_000 });
    database.exec(`CREATE TRIGGER refuse BEFORE INSERT ON audit_entry WHEN NEW.event LIKE '%certificate.issued%' BEGIN SELECT RAISE(ABORT, 'refused by a test'); END`);
    expect(await codeOfRefusal(authority.issue({ agent: 'a' }))).toBe('ERR_STORE_UNAVAILABLE');
    expect(await authority.certificates({ agent: 'a' })).toMatchObject([{ state: 'intent', der: undefined }]);
    database.exec('DROP TRIGGER refuse');
    database.close();
    clock.turn(61);
    expect(await authority.recover()).toMatchObject([{ agent: 'a', state: 'unknownIssued' }]);
    expect((await fixture.events()).at(-1)).toMatchObject({ action: 'certificate.unknownIssued', agent: 'a' });
    expect((await authority.revoke({ agent: 'a' })).revoked).toHaveLength(1);
    expect(await fixture.auditIsWhole()).toBe(true);
  });
  it('signs nothing that the lint refuses, and leaves its evidence instead of an intent', async () => {
    fixture = await createAuthority();
    const { authority, store, clock } = fixture;
    const { issuing } = authority;
    let signatures = 0;
    const signer = issuing.signer && { ...issuing.signer, sign: async () => ((signatures += 1), new Uint8Array(64)) };
    const profile = createProfile('agent', { kind: 'agent' });
    const issuance = { store: store.ca, clock, locks: new KeyedLock(), audited: new WeakSet<object>() };
    const plan = { issuer: { ...issuing, signer }, intent: anIntent({ issuerId: issuing.id }), admission: { kind: profile.kind, kindOf: () => profile.kind, maxLive: 2, revokedIdentity: 'ignore' as const }, lint: { issuer: issuing.certificate, profile }, actor: 'ca' };
    expect(await codeOfRefusal(issueDurably(issuance, plan))).toBe('ERR_CA_LINT');
    expect([signatures, await authority.certificates({ agent: plan.intent.agent })]).toEqual([0, []]);
    expect((await fixture.events()).at(-1)).toMatchObject({ agent: plan.intent.agent, reason: 'ERR_CA_LINT' });
  });
  it('does not count what a crash left behind against the agent', async () => {
    let fails: keyof CaStore | undefined;
    fixture = await createAuthority({ wrap: (store) => failing(store, () => fails, []) });
    fails = 'recordIssued';
    for (let i = 0; i < 2; i++) await codeOfRefusal(fixture.authority.issue({ agent: 'a' }));
    fails = undefined;
    expect(await codeOfRefusal(fixture.authority.issue({ agent: 'a' }))).toBe('ERR_CA_LIMIT');
    fixture.clock.turn(61);
    await fixture.authority.recover();
    await expect(fixture.authority.issue({ agent: 'a' })).resolves.toBeDefined();
  });
  it('withholds what a signer signed with another key, and keeps it on record', async () => {
    fixture = await createAuthority();
    const { clock, store } = fixture;
    const hierarchy = await createHierarchy({ name: 'Other', trustDomain: 'acme.internal', clock, randomness });
    const stranger = signerOf(await generatePrivateKey('p256'));
    const signer = { ...stranger, spki: hierarchy.issuing.certificate.spki };
    const authority = await CertificateAuthority.open(hierarchyOf({ ...hierarchy, issuers: [hierarchy.root, { ...hierarchy.issuing, signer }] }), { store: store.ca, clock, randomness, trustDomain: 'acme.internal' });
    expect(await codeOfRefusal(authority.issue({ agent: 'a' }))).toBe('ERR_CA_LINT');
    expect(await codeOfRefusal(authority.publishCrl('issuing'))).toBe('ERR_CRL_SIGNATURE');
    expect((await fixture.events()).at(-1)).toMatchObject({ action: 'certificate.withheld', outcome: 'failed', reason: 'ERR_CA_LINT' });
    expect(await authority.certificates({ agent: 'a' })).toMatchObject([{ state: 'intent' }]);
  });
  it('draws no certificate from a random source that repeats itself', async () => {
    let stuck = false;
    fixture = await createAuthority({ randomness: { bytes: (length) => (stuck ? new Uint8Array(length).fill(7) : randomness.bytes(length)) } });
    stuck = true;
    await fixture.authority.issue({ agent: 'a' });
    expect(await codeOfRefusal(fixture.authority.issue({ agent: 'b' }))).toBe('ERR_STORE_DUPLICATE_SERIAL');
  });
});
