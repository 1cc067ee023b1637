import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCsr } from '../../ca/x509/csr.ts';
import { codeOfRefusal, createAuthority, newCsr, newKey } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

let fixture: AuthorityFixture;
beforeAll(async () => {
  fixture = await createAuthority({ renewalGraceSeconds: 600 });
});
afterAll(() => fixture.close());
const renew = (of: { readonly issuerId: string; readonly serial: string }) => fixture.authority.renew(of, { csr: newCsr() });
const refusal = (of: Parameters<typeof renew>[0]) => codeOfRefusal(renew(of));

describe('renewal after expiry', () => {
  it('is granted within the grace, which is written down, and refused behind it', async () => {
    const { authority, clock } = fixture;
    const first = await authority.issue({ agent: 'sleeper', ttl: '1m' });
    const second = await authority.issue({ agent: 'long-sleeper', ttl: '1m' });
    const third = await authority.issue({ agent: 'last-second', ttl: '1m' });
    clock.turn(60 + 590);
    const renewed = await renew(first);
    expect(renewed).toMatchObject({ agent: 'sleeper', replaces: first.serial });
    expect((await fixture.events()).filter(({ action }) => action === 'renewal.late')).toMatchObject([{ agent: 'sleeper', outcome: 'allowed', actor: 'agent:sleeper' }]);
    clock.turn(9);
    expect((await renew(third)).replaces).toBe(third.serial);
    clock.turn(1);
    expect(await refusal(second)).toBe('ERR_CA_TTL');
    expect(await fixture.auditIsWhole()).toBe(true);
  });

  it('is off unless configured', async () => {
    const strict = await fixture.reopen({ renewalGraceSeconds: 0 });
    const first = await strict.issue({ agent: 'strict', ttl: '1m' });
    fixture.clock.turn(61);
    expect(await codeOfRefusal(strict.renew(first, { csr: newCsr() }))).toBe('ERR_CA_TTL');
  });

  it('survives a lost answer, and ends once the successor has been in use', async () => {
    const { authority, clock, store } = fixture;
    const first = await authority.issue({ agent: 'twice', ttl: '1m' });
    clock.turn(61);
    await renew(first);
    const second = await renew(first);
    await store.ca.markSeen(second, clock.now());
    expect(await refusal(first)).toBe('ERR_CA_IDENTITY_REVOKED');
    clock.turn(61);
    // Even when the successor has expired as well.
    expect(await refusal(first)).toBe('ERR_CA_IDENTITY_REVOKED');
    expect((await renew(second)).replaces).toBe(second.serial);
  });

  it('is refused to what was revoked before or after it ended, which reaches it within the grace and no further', async () => {
    const { authority, clock } = fixture;
    const held = await authority.issue({ agent: 'held', ttl: '1m' });
    await authority.revoke({ serial: held.serial });
    const late = await authority.issue({ agent: 'late', ttl: '1m' });
    const gone = await authority.issue({ agent: 'gone', ttl: '1m' });
    clock.turn(61);
    expect(await refusal(held)).toBe('ERR_CA_IDENTITY_REVOKED');
    expect((await authority.previewRevocation({ agent: 'late' })).due).toHaveLength(1);
    await authority.revoke({ agent: 'late' }, { reason: 'keyCompromise' });
    expect(await refusal(late)).toBe('ERR_CA_IDENTITY_REVOKED');
    clock.turn(600);
    expect(await codeOfRefusal(authority.revoke({ agent: 'gone' }))).toBe('ERR_CA_CERTIFICATE_UNKNOWN');
    expect(await refusal(gone)).toBe('ERR_CA_TTL');
  });

  it('heeds what was said of the agent since: another certificate of it that was revoked', async () => {
    const { authority, clock } = fixture;
    const key = newKey();
    const first = await authority.issue({ agent: 'suspect', ttl: '1m', csr: createCsr(key) });
    const other = await authority.issue({ agent: 'suspect', ttl: '1h' });
    clock.turn(61);
    await authority.revoke({ serial: other.serial }, { reason: 'privilegeWithdrawn' });
    expect(await refusal(first)).toBe('ERR_CA_IDENTITY_REVOKED');
  });
});
