import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CaStore } from '../../ca/ports.ts';
import type { IssuedCertificate, RevokeSelector } from '../../ca/requests.ts';
import { codeOfRefusal, createAuthority, newCsr } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

let fixture: AuthorityFixture;
let calls: number[] = [];
let failAfter = Number.POSITIVE_INFINITY;
beforeAll(async () => {
  const wrap = (store: CaStore): CaStore => ({
    ...store,
    revoke: (keys, ...rest) => {
      if (calls.length >= failAfter) return Promise.reject(new Error('cut off'));
      calls.push(keys.length);
      return store.revoke(keys, ...rest);
    },
  });
  fixture = await createAuthority({ wrap });
});
afterAll(() => fixture.close());

describe('a selection', () => {
  const issued = new Map<string, IssuedCertificate>();
  let noon: Date;
  beforeAll(async () => {
    const { authority, clock } = fixture;
    const issue = async (agent: string, options: object = {}) => issued.set(agent, await authority.issue({ agent, ...options }));
    await issue('early', { organizationalUnits: ['a', 'b'] });
    await issue('spiffe', { organizationalUnits: ['a'], profile: 'agent-spiffe' });
    await issue('brief', { organizationalUnits: ['b'], ttl: '1m' });
    clock.turn(3_600);
    noon = clock.now();
    await issue('late', { organizationalUnits: ['a'], csr: newCsr() });
    issued.set('server', await authority.issueServer({ hosts: ['server'] }));
  });
  const of = (agent: string): IssuedCertificate => {
    const found = issued.get(agent);
    if (found === undefined) throw new Error(agent);
    return found;
  };
  const spkiHash = async (agent: string): Promise<string> => (await fixture.authority.certificates({ serial: of(agent).serial }))[0]?.spkiHash ?? '';

  it.each<[name: string, selector: () => RevokeSelector | Promise<RevokeSelector>, agents: readonly string[]]>([
    ['an agent', () => ({ agent: 'early' }), ['early']],
    ['a serial', () => ({ serial: of('late').serial }), ['late']],
    ['a serial that has expired', () => ({ serial: of('brief').serial }), ['brief']],
    ['an organizational unit, without what has expired', () => ({ organizationalUnit: 'b' }), ['early']],
    ['a key', async () => ({ spkiHash: await spkiHash('late') }), ['late']],
    ['a key as openssl prints it, of what has expired', async () => ({ spkiHash: ((await spkiHash('brief')).match(/../g) ?? []).join(':').toUpperCase() }), ['brief']],
    ['an issuer, without the CAs below it', () => ({ issuerId: fixture.authority.issuing.id }), ['early', 'spiffe', 'late', 'server']],
    ['a profile', () => ({ profile: 'agent-spiffe' }), ['spiffe']],
    ['before a time, CAs left out', () => ({ issuedBefore: noon }), ['early', 'spiffe']],
    ['from a time on', () => ({ issuedFrom: noon }), ['late', 'server']],
    ['a unit and a profile', () => ({ organizationalUnit: 'a', profile: 'agent' }), ['early', 'late']],
    ['a unit and a time', () => ({ organizationalUnit: 'a', issuedBefore: noon }), ['early', 'spiffe']],
    ['all of it', async () => ({ agent: 'late', serial: of('late').serial, thumbprint: of('late').thumbprint, spkiHash: await spkiHash('late'), organizationalUnit: 'a', issuerId: of('late').issuerId, profile: 'agent', issuedFrom: noon, issuedBefore: new Date(noon.getTime() + 60_000) }), ['late']],
  ])('by %s', async (_name, selector, agents) => {
    const before = await fixture.events();
    const { due, alreadyRevoked } = await fixture.authority.previewRevocation(await selector());
    expect(due.map(({ agent }) => agent)).toEqual(agents);
    expect(alreadyRevoked).toEqual([]);
    expect([await fixture.events(), calls]).toEqual([before, []]);
  });

  it('that matches in one way and not in another takes nothing', async () => {
    const { authority } = fixture;
    for (const call of [(selector: RevokeSelector) => authority.previewRevocation(selector), (selector: RevokeSelector) => authority.revoke(selector)]) {
      expect(await codeOfRefusal(call({ agent: 'late', issuedBefore: noon }))).toBe('ERR_CA_CERTIFICATE_UNKNOWN');
      expect(await codeOfRefusal(call({ serial: of('late').serial, organizationalUnit: 'b' }))).toBe('ERR_CA_CERTIFICATE_UNKNOWN');
      expect(await codeOfRefusal(call({}))).toBe('ERR_CA_SELECTION');
    }
    expect(calls).toEqual([]);
  });
});

describe('many at once', () => {
  it('go portion by portion, and what was cut off goes on where it was', async () => {
    const { authority, events } = fixture;
    const key = newCsr();
    const count = 203;
    for (let at = 0; at < count; at += 1) await authority.issueServer({ hosts: [`many-${at}`], csr: key });
    const [one] = await authority.certificates({ agent: 'many-0' });
    const selector = { spkiHash: one?.spkiHash ?? '' };
    calls = [];
    failAfter = 1;
    await expect(authority.revoke(selector)).rejects.toThrow('cut off');
    expect(await fixture.store.ca.countCertificates({ ...selector, states: ['revoked'] })).toBe(200);
    failAfter = Number.POSITIVE_INFINITY;
    expect(await authority.previewRevocation(selector)).toMatchObject({ due: { length: 3 }, alreadyRevoked: { length: 200 } });
    const progress: object[] = [];
    const { revoked, alreadyRevoked } = await authority.revoke(selector, { onProgress: (step) => progress.push(step) });
    expect([revoked.length, alreadyRevoked.length, calls, progress]).toEqual([3, 200, [200, 3], [{ done: 3, of: 3 }]]);
    expect((await events()).filter(({ action, agent }) => action === 'certificate.revoked' && agent?.startsWith('many-') === true)).toHaveLength(count);
    expect(await codeOfRefusal(authority.revoke(selector))).toBe('ERR_CA_ALREADY_REVOKED');
  });
});
