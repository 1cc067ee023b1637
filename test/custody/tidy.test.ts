import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { previewTidy, tidy } from '../../src/custody/tidy.ts';
import { createAuthority, newCsr } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';
import { aToken, anEvent } from '../support/records.ts';

const day = 86_400;
let fixture: AuthorityFixture;
beforeAll(async () => (fixture = await createAuthority()));
afterAll(() => fixture.close());

const request = (olderThanDays = 730) => ({ store: fixture.store, clock: fixture.clock, olderThanMs: olderThanDays * day * 1_000, actor: 'cli:tester' });
const rowsOf = (results: readonly { readonly rule: string; readonly rows: number }[]) => Object.fromEntries(results.filter(({ rows }) => rows > 0).map(({ rule, rows }) => [rule, rows]));
const agents = async () => (await fixture.authority.certificates({ limit: 10_000 })).map(({ agent }) => agent).filter((agent) => !agent.includes(':'));

describe('tidy', () => {
  it('removes nothing that is young, and nothing at all without being told to', async () => {
    const { authority, store, clock } = fixture;
    for (const agent of ['plain', 'renewed', 'stolen', 'left']) await authority.issue({ agent, csr: newCsr() });
    await authority.revoke({ agent: 'renewed' }, { reason: 'superseded' });
    await authority.revoke({ agent: 'stolen' }, { reason: 'keyCompromise' });
    await authority.revoke({ agent: 'left' }, { reason: 'cessationOfOperation' });
    await authority.publishCrl('issuing');
    await store.ca.insertToken(aToken({ createdAt: clock.now(), expiresAt: new Date(clock.now().getTime() + 900_000) }), anEvent({ action: 'token.created' }));
    await store.answered.begin({ principal: 'p', key: 'k', digest: '', at: clock.now() });
    expect(rowsOf(await previewTidy(request()))).toEqual({});
    await expect(previewTidy(request(29))).rejects.toMatchObject({ code: 'ERR_USAGE', message: 'certificates are kept for 30d after their end at least: give a longer time' });

    // Certificates of a day, over for 729 and some days.
    clock.turn(730 * day);
    expect(rowsOf(await previewTidy(request()))).toEqual({ tokens: 1, apiRequests: 1, changes: 2 });
    clock.turn(2 * day);
    const due = { certificates: 1, tokens: 1, apiRequests: 1, changes: 2 };
    expect(rowsOf(await previewTidy(request()))).toEqual(due);
    const size = await store.audit.size();
    expect(rowsOf(await tidy(request()))).toEqual(due);
    expect(await store.audit.size()).toBe(size + 4);
    expect((await fixture.events()).at(-4)).toMatchObject({ action: 'store.tidied', actor: 'cli:tester', detail: { rows: 1 } });
    expect(await agents()).toEqual(['renewed', 'stolen', 'left']);
    expect(await fixture.auditIsWhole()).toBe(true);
    // The feed counts on.
    expect(await store.changes.latest()).toBe(3);
  });

  it('keeps what was superseded until no CRL lists it, and what else was revoked for good', async () => {
    const { authority, clock, store } = fixture;
    // The CRL is of before they expired: the next lists them once more, past their end.
    expect(rowsOf(await tidy(request()))).toEqual({});
    const listing = await authority.publishCrl('issuing');
    expect(rowsOf(await tidy(request()))).toEqual({});
    clock.turn(day);
    const crl = await authority.publishCrl('issuing');
    expect(crl.entries).toBe(0);
    // Who goes by a base and its delta CRL may hold one that lists it still.
    for (const kind of ['delta', 'base', 'nextBase']) {
      const ca = { ...store.ca, crlStates: () => store.ca.crlStates(), latestCrl: async (_of: string, which?: { readonly kind?: string }) => (which?.kind === kind ? listing : undefined) };
      expect(rowsOf(await previewTidy({ ...request(), store: { ...store, ca } })), kind).toEqual({});
    }
    expect(rowsOf(await previewTidy(request()))).toEqual({ supersededCertificates: 1 });
    expect(rowsOf(await tidy(request()))).toEqual({ supersededCertificates: 1 });
    expect(await agents()).toEqual(['stolen', 'left']);
    // Nothing is missed on the next one, and who was kept out stays out.
    clock.turn(day);
    expect((await authority.publishCrl('issuing')).entries).toBe(0);
    await expect(authority.issue({ agent: 'left', csr: newCsr() })).rejects.toMatchObject({ code: 'ERR_CA_IDENTITY_REVOKED' });
  });

  it('goes on over many batches, and leaves live ones and those of CAs alone', async () => {
    const { authority, store, clock } = fixture;
    const at = new Date(clock.now().getTime() - 800 * day * 1_000);
    await Promise.all(
      Array.from({ length: 1_100 }, async () => store.ca.insertToken(aToken({ secretHash: randomBytes(32).toString('hex'), createdAt: at, expiresAt: at }), anEvent({ action: 'token.created' }))),
    );
    await authority.issue({ agent: 'living', csr: newCsr() });
    expect(rowsOf(await tidy(request()))).toEqual({ tokens: 1_100 });
    expect((await fixture.events()).filter(({ action }) => action === 'store.tidied').slice(-3)).toMatchObject([{ name: 'tokens', detail: { rows: 500 } }, { detail: { rows: 500 } }, { detail: { rows: 100 } }]);
    expect(await agents()).toContain('living');
    expect((await authority.certificates({ limit: 100 })).filter(({ agent }) => agent.startsWith('ca:'))).toHaveLength(2);
    expect(await fixture.auditIsWhole()).toBe(true);
  });

  it('keeps what no CRL has had the time to list, and for ever what is said of CAs', async () => {
    const { authority, clock } = fixture;
    const { serial } = await authority.issue({ agent: 'unlisted', csr: newCsr() });
    await authority.revoke({ serial }, { reason: 'superseded' });
    clock.turn(732 * day);
    expect(rowsOf(await tidy(request()))).not.toHaveProperty('supersededCertificates');
    for (let times = 0; times < 2; times += 1) {
      await authority.publishCrl('issuing');
      clock.turn(day);
    }
    expect(rowsOf(await tidy(request()))).toMatchObject({ supersededCertificates: 1 });
    const { notAfter, serial: issuing } = authority.issuing.certificate;
    await authority.revoke({ serial: issuing }, { reason: 'superseded' });
    clock.turn((notAfter.getTime() - clock.now().getTime()) / 1_000 + 732 * day);
    await authority.publishCrl('root');
    clock.turn(day);
    expect((await authority.publishCrl('root')).entries).toBe(0);
    expect(rowsOf(await tidy(request()))).not.toHaveProperty('supersededCertificates');
    clock.turn((authority.root.certificate.notAfter.getTime() - clock.now().getTime()) / 1_000 + 732 * day);
    await tidy(request());
    expect((await authority.certificates({ limit: 100 })).filter(({ agent }) => agent.startsWith('ca:'))).toHaveLength(2);
  });
});
