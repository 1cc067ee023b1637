import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CaStore, CertificateRecord } from '../../ca/ports.ts';
import { parseCrl } from '../../ca/x509/crl.ts';
import { codeOfRefusal, createAuthority, newCsr } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';
import { proven } from '../support/ocsp.ts';

let fixture: AuthorityFixture;
/** What a store that was set back to an older backup says. */
let forgotten: ((record: CertificateRecord) => CertificateRecord) | undefined;
beforeAll(async () => {
  const wrap = (store: CaStore): CaStore => ({
    ...store,
    findCertificates: async (query) => (await store.findCertificates(query)).map((record) => forgotten?.(record) ?? record),
  });
  fixture = await createAuthority({ wrap, crlCoalesceMs: 3_600_000, onBackgroundError: () => undefined });
});
afterAll(() => {
  // So that the last CRL need not wait for its second.
  fixture.clock.turn(2);
  return fixture.close();
});
let last = 0;
const name = (): string => `agent-${++last}`;

const crl = async () => {
  fixture.clock.turn(2);
  return parseCrl((await fixture.authority.publishCrl('issuing')).der);
};

describe('a hold', () => {
  it('is a revocation until it is released, and leaves the next CRL with a higher number', async () => {
    const { authority, clock } = fixture;
    const agent = name();
    const { serial, issuerId } = await authority.issue({ agent });
    expect((await proven(authority.ocsp, authority.issuing, serial)).status).toBe('good');
    await authority.revoke({ agent }, { reason: 'certificateHold' });
    expect((await proven(authority.ocsp, authority.issuing, serial)).response.responses).toMatchObject([{ status: { status: 'revoked', reason: 'certificateHold' } }]);
    expect(await codeOfRefusal(authority.revoke({ agent }, { reason: 'certificateHold' }))).toBe('ERR_CA_ALREADY_REVOKED');
    expect(await codeOfRefusal(authority.renew({ issuerId, serial }, { csr: newCsr() }))).toBe('ERR_CA_IDENTITY_REVOKED');
    const listed = await crl();
    expect(listed.find(serial)?.reason).toBe('certificateHold');

    const { released } = await authority.release({ agent }, { actor: 'cli:olga' });
    expect(released).toMatchObject([{ serial, state: 'issued', revokedAt: undefined, revocationReason: undefined, releasedAt: expect.any(Date) as Date }]);
    expect(released[0]?.releasedAt?.getTime()).toBeLessThanOrEqual(clock.now().getTime());
    expect((await proven(authority.ocsp, authority.issuing, serial)).status).toBe('good');
    const after = await crl();
    expect(after.find(serial)).toBeUndefined();
    expect(after.crlNumber).toBeGreaterThan(listed.crlNumber ?? 0n);
    expect((await authority.renew({ issuerId, serial }, { csr: newCsr() })).replaces).toBe(serial);
    expect((await fixture.events()).filter((event) => event.agent === agent && event.actor === 'cli:olga')).toMatchObject([{ action: 'certificate.released', outcome: 'done' }]);
    expect(await fixture.auditIsWhole()).toBe(true);
  });

  it('of an agent ends for all its certificates, or for the one that is named', async () => {
    const { authority } = fixture;
    const agent = name();
    const [one, two] = [await authority.issue({ agent }), await authority.issue({ agent })];
    await authority.revoke({ agent }, { reason: 'certificateHold' });
    expect((await authority.release({ serial: one.serial })).released).toHaveLength(1);
    expect((await authority.release({ agent })).released).toMatchObject([{ serial: two.serial }]);
    expect(await codeOfRefusal(authority.release({ agent }))).toBe('ERR_CA_NOT_HELD');
  });

  it('gives way to another reason, at the time of that one, and then no release helps', async () => {
    const { authority, clock } = fixture;
    const agent = name();
    const { serial } = await authority.issue({ agent });
    const [hold] = (await authority.revoke({ agent }, { reason: 'certificateHold' })).revoked;
    clock.turn(60);
    const { revoked } = await authority.revoke({ serial }, { reason: 'superseded' });
    expect(revoked).toMatchObject([{ serial, revocationReason: 'superseded' }]);
    expect(revoked[0]?.revokedAt?.getTime()).toBeGreaterThan(hold?.revokedAt?.getTime() ?? Infinity);
    expect(await codeOfRefusal(authority.release({ serial }))).toBe('ERR_CA_NOT_HELD');
    expect(await codeOfRefusal(authority.revoke({ serial }, { reason: 'certificateHold' }))).toBe('ERR_CA_ALREADY_REVOKED');
    expect((await crl()).find(serial)?.reason).toBe('superseded');
  });

  it.each(['keyCompromise', 'cACompromise', 'aACompromise'] as const)('cannot be lifted from a key that was revoked for %s with another certificate', async (reason) => {
    const { authority } = fixture;
    const agent = name();
    const csr = newCsr();
    const [stolen, same] = [await authority.issue({ agent, csr }), await authority.issue({ agent, csr })];
    await authority.revoke({ serial: same.serial }, { reason: 'certificateHold' });
    await authority.revoke({ serial: stolen.serial }, { reason });
    for (const selector of [{ agent }, { serial: same.serial }]) expect(await codeOfRefusal(authority.release(selector))).toBe('ERR_CA_KEY_REFUSED');
    expect(await codeOfRefusal(authority.release({ serial: stolen.serial }))).toBe('ERR_CA_NOT_HELD');
    expect(await codeOfRefusal(authority.issue({ agent, csr, onRevokedIdentity: 'allow' }))).toBe('ERR_CA_KEY_REFUSED');
    expect((await proven(authority.ocsp, authority.issuing, same.serial)).status).toBe('revoked');
  });

  it('has to exist to be lifted', async () => {
    const { authority } = fixture;
    const agent = name();
    await authority.issue({ agent });
    expect(await codeOfRefusal(authority.release({ agent }))).toBe('ERR_CA_NOT_HELD');
    expect(await codeOfRefusal(authority.release({ agent: 'nobody' }))).toBe('ERR_CA_CERTIFICATE_UNKNOWN');
    expect(await codeOfRefusal(authority.release({}))).toBe('ERR_CA_SELECTION');
  });

  it('that a store has merely forgotten does not leave the CRL', async () => {
    const { authority, store } = fixture;
    const agent = name();
    const key = await authority.issue({ agent });
    // Released once, held again: the first release says nothing about the second hold.
    await authority.revoke({ agent }, { reason: 'certificateHold' });
    const [first] = (await authority.release({ agent })).released;
    fixture.clock.turn(60);
    await authority.revoke({ agent }, { reason: 'certificateHold' });
    expect((await crl()).find(key.serial)?.reason).toBe('certificateHold');
    await store.ca.release([key], fixture.clock.now(), () => ({ action: 'certificate.released', outcome: 'done', time: fixture.clock.now() }));
    for (const releasedAt of [undefined, first?.releasedAt]) {
      forgotten = (record) => (record.serial === key.serial ? { ...record, releasedAt } : record);
      expect(await codeOfRefusal(authority.publishCrl('issuing'))).toBe('ERR_CRL_INVALID');
    }
    forgotten = undefined;
    expect((await crl()).find(key.serial)).toBeUndefined();
  });
});
