/** What every store keeps of certificates and of requests for them, whatever database is under it. */
import { describe, expect, it } from 'vitest';
import type { CertificateRecord } from '../../ca/ports.ts';
import type { Store } from '../../src/store/store.ts';
import { aRequest, aToken, anEvent, anIntent, issue, issuedOf, issuerId, later, noon, revokedEvent } from '../support/records.ts';
import { actions, one, plain, storesOf } from './store-under-test.ts';
import type { StoreUnderTest } from './store-under-test.ts';

export const certificatesContract = (name: string, underTest: StoreUnderTest): void => {
  describe(`certificates on ${name}`, () => {
    const { open, openAt } = storesOf(underTest);

    describe('certificates', () => {
      it('gives back what was recorded, field by field', async () => {
        const store = await open();
        const intent = anIntent({ organizationalUnits: ['b', 'a "quoted", ü'], dnsNames: ['x.test'], uri: undefined, replaces: '0f', createdAt: later(0.123) });
        await store.ca.recordIntent(intent);
        expect(plain(await one(store, intent.serial))).toEqual(
          plain({ ...intent, state: 'intent', der: undefined, thumbprint: undefined, revokedAt: undefined, revocationReason: undefined, firstSeenAt: undefined }),
        );
        const issued = issuedOf(intent);
        await store.ca.recordIssued(issued, anEvent());
        expect(plain(await one(store, intent.serial))).toMatchObject(plain({ state: 'issued', der: issued.der, thumbprint: issued.thumbprint }));
      });

      it('refuses a serial that exists in any state, and takes the same serial of another issuer', async () => {
        const store = await open();
        const intent = await issue(store.ca);
        await expect(store.ca.recordIntent(anIntent({ serial: intent.serial }))).rejects.toMatchObject({ code: 'ERR_STORE_DUPLICATE_SERIAL' });
        await store.ca.revoke([intent], 'superseded', noon, revokedEvent);
        await expect(store.ca.recordIntent(anIntent({ serial: intent.serial }))).rejects.toMatchObject({ code: 'ERR_STORE_DUPLICATE_SERIAL' });
        await store.ca.recordIntent(anIntent({ serial: intent.serial, issuerId: 'c3'.repeat(32) }));
      });

      it('gives a serial to exactly one of many that ask at once, and the others are not disturbed', async () => {
        const store = await open();
        const contested = anIntent();
        const results = await Promise.allSettled([contested, anIntent(), contested, contested, anIntent()].map((intent) => store.ca.recordIntent(intent)));
        expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'rejected', 'fulfilled']);
        expect(await store.ca.countCertificates({})).toBe(3);
      });

      it('tells an intent what it meets: live ones of its agent and the one revoked last, and who had its key', async () => {
        const store = await open();
        const live = await issue(store.ca, { createdAt: later(-3) });
        const lapsed = await issue(store.ca, { createdAt: later(-9), notBefore: later(-9), notAfter: later(-2) });
        const [replaced, revoked] = [await issue(store.ca, { createdAt: later(-8), notAfter: later(-2) }), await issue(store.ca, { createdAt: later(-7), notAfter: later(-2), spkiHash: 'c4'.repeat(32) })];
        await store.ca.revoke([replaced], 'superseded', noon, revokedEvent);
        await store.ca.revoke([await issue(store.ca, { createdAt: later(-6), notAfter: later(-2) })], 'keyCompromise', later(-3), revokedEvent);
        await store.ca.revoke([revoked], 'keyCompromise', noon, revokedEvent);
        await issue(store.ca, { agent: 'agent-8' });
        const intent = anIntent();
        const { ofAgent, ofKey } = await store.ca.recordIntent(intent);
        const facts = { issuerId, agent: 'agent-7', profile: 'agent', replaces: undefined, firstSeenAt: undefined };
        expect(ofAgent).toEqual([
          { ...facts, serial: revoked.serial, state: 'revoked', notAfter: later(-2), revokedAt: noon, revocationReason: 'keyCompromise' },
          { ...facts, serial: live.serial, state: 'issued', notAfter: live.notAfter, revokedAt: undefined, revocationReason: undefined },
        ]);
        expect(ofAgent.map(({ serial }) => serial)).not.toContain(lapsed.serial);
        const by = (agent: string, revocationReason?: string) => ({ agent, profile: 'agent', revocationReason });
        expect(ofKey).toHaveLength(4);
        expect(ofKey).toEqual(expect.arrayContaining([by('agent-7'), by('agent-7', 'superseded'), by('agent-7', 'keyCompromise'), by('agent-8')]));
      });

      it('lets of two intents that are recorded at once the later one see the earlier', async () => {
        const store = await open();
        const intents = [anIntent(), anIntent(), anIntent({ agent: 'agent-8', spkiHash: 'd5'.repeat(32) })];
        const met = await Promise.all(intents.map((intent) => store.ca.recordIntent(intent)));
        expect([met[0]?.ofAgent.some(({ serial }) => serial === intents[1]?.serial), met[1]?.ofAgent.some(({ serial }) => serial === intents[0]?.serial)]).toContain(true);
        expect(met[2]).toEqual({ ofAgent: [], ofKey: [{ agent: 'agent-8', profile: 'agent', revocationReason: undefined }] });
      });

      it('goes through every certificate in pages of any size, each once and in order', async () => {
        const store = await open();
        const same = anIntent({ serial: '0a' });
        const intents = [anIntent({ createdAt: later(2) }), anIntent({ serial: '0b' }), same, { ...same, issuerId: 'ff'.repeat(32) }, anIntent({ createdAt: later(1) })];
        for (const intent of intents) await store.ca.recordIntent(intent);
        const keyOf = ({ issuerId: issuer, serial }: { readonly issuerId: string; readonly serial: string }): string => `${issuer}:${serial}`;
        const inOrder = [intents[2], intents[3], intents[1], intents[4], intents[0]].map((intent) => keyOf(intent ?? same));
        for (const pageSize of [1, 2, 5, 6]) {
          const pages: (readonly CertificateRecord[])[] = [];
          for await (const page of store.ca.certificatePages({ pageSize })) pages.push(page);
          expect(pages.flat().map(keyOf)).toEqual(inOrder);
          expect(Math.max(...pages.map(({ length }) => length))).toBe(Math.min(pageSize, 5));
        }
      });

      it('shows whoever looks for alterations a list that is none as its text', async () => {
        const url = await underTest.createUrl();
        const store = await openAt(url);
        await store.ca.recordIntent(anIntent());
        await underTest.execute(url, "UPDATE certificate SET organizational_units = '{', dns_names = '[1]'");
        for await (const [record] of store.ca.certificatePages()) expect(record).toMatchObject({ organizationalUnits: ['{'], dnsNames: ['[1]'] });
      });

      it('stores a certificate only for a recorded intent', async () => {
        const store = await open();
        const intent = anIntent();
        await expect(store.ca.recordIssued(issuedOf(intent), anEvent())).rejects.toMatchObject({ code: 'ERR_CA_CERTIFICATE_UNKNOWN' });
        expect(await store.audit.size()).toBe(0);
      });

      it('discards an intent with its event, and nothing but an intent', async () => {
        const store = await open();
        const intent = anIntent();
        await store.ca.recordIntent(intent);
        await store.ca.discardIntent(intent, anEvent({ action: 'certificate.refused' }));
        expect(await one(store, intent.serial)).toBeUndefined();
        const issued = await issue(store.ca);
        await expect(store.ca.discardIntent(issued, anEvent())).rejects.toMatchObject({ code: 'ERR_CA_CERTIFICATE_UNKNOWN' });
        expect(await actions(store)).toEqual(['certificate.refused', 'certificate.issued']);
      });

      it('turns intents left by a crash into unknownIssued, with one event each, and not those made after the instant', async () => {
        const store = await open();
        const left = anIntent({ createdAt: later(-10) });
        const fresh = anIntent({ createdAt: later(0) });
        await store.ca.recordIntent(left);
        await store.ca.recordIntent(fresh);
        const recovered = await store.ca.recoverIntents(noon, (record) => anEvent({ action: 'certificate.recovered', serial: record.serial }));
        expect(recovered.map(({ serial, state }) => [serial, state])).toEqual([[left.serial, 'unknownIssued']]);
        expect((await one(store, fresh.serial))?.state).toBe('intent');
        expect(await actions(store)).toEqual(['certificate.recovered']);
        expect(await store.ca.recoverIntents(noon, () => anEvent())).toEqual([]);
      });

      it('stores the certificate of an intent that another process gave up meanwhile', async () => {
        const store = await open();
        const intent = anIntent();
        await store.ca.recordIntent(intent);
        await store.ca.recoverIntents(later(1), () => anEvent());
        await store.ca.recordIssued(issuedOf(intent), anEvent());
        expect((await one(store, intent.serial))?.state).toBe('issued');
      });

      it('finds by every field, and counts the same', async () => {
        const store = await open();
        const seven = await issue(store.ca, { organizationalUnits: ['analytics', 'a"b'], createdAt: later(2) });
        const eight = await issue(store.ca, { agent: 'agent-8', spkiHash: 'dd'.repeat(32), organizationalUnits: ['b'], notAfter: later(10), createdAt: later(1) });
        const intent = anIntent({ agent: 'agent-9', organizationalUnits: [], createdAt: later(3) });
        await store.ca.recordIntent(intent);
        const found = async (query: Parameters<typeof store.ca.findCertificates>[0]): Promise<readonly string[]> => {
          const records = await store.ca.findCertificates(query);
          if (query.limit === undefined && query.offset === undefined) expect(await store.ca.countCertificates(query)).toBe(records.length);
          return records.map(({ serial }) => serial);
        };
        expect(await found({})).toEqual([eight.serial, seven.serial, intent.serial]);
        expect(await found({ agent: 'agent-8' })).toEqual([eight.serial]);
        expect(await found({ thumbprint: issuedOf(seven).thumbprint })).toEqual([seven.serial]);
        expect(await found({ spkiHash: 'dd'.repeat(32) })).toEqual([eight.serial]);
        expect(await found({ issuerId: 'ee'.repeat(32) })).toEqual([]);
        expect(await found({ states: ['issued'] })).toEqual([eight.serial, seven.serial]);
        expect(await found({ states: [] })).toEqual([]);
        expect(await found({ organizationalUnit: 'b' })).toEqual([eight.serial]);
        expect(await found({ profile: 'agent' })).toEqual([eight.serial, seven.serial, intent.serial]);
        expect(await found({ profile: 'server' })).toEqual([]);
        expect(await found({ createdFrom: later(2) })).toEqual([seven.serial, intent.serial]);
        expect(await found({ createdBefore: later(2) })).toEqual([eight.serial]);
        expect(await found({ createdFrom: later(1), createdBefore: later(1) })).toEqual([]);
        expect(await found({ revocationReasons: ['superseded'] })).toEqual([]);
        expect(await found({ organizationalUnit: 'a"b' })).toEqual([seven.serial]);
        expect(await found({ validAt: later(10) })).toEqual([eight.serial, seven.serial, intent.serial]);
        expect(await found({ validAt: later(11) })).toEqual([seven.serial, intent.serial]);
        expect(await found({ expiresBefore: later(10) })).toEqual([]);
        expect(await found({ expiresBefore: later(11) })).toEqual([eight.serial]);
        expect(await found({ limit: 1, offset: 1 })).toEqual([seven.serial]);
      });

      it('remembers when a certificate was first seen, once', async () => {
        const store = await open();
        const intent = await issue(store.ca);
        await store.ca.markSeen(intent, later(5));
        await store.ca.markSeen(intent, later(9));
        await store.ca.markSeen({ issuerId, serial: 'ff' }, later(9));
        expect((await one(store, intent.serial))?.firstSeenAt).toEqual(later(5));
        expect(await store.ca.successions(later(9), 10)).toEqual([]);
      });

      it('remembers which renewals are in use, until their predecessors are dealt with', async () => {
        const store = await open();
        const [first, second] = [await issue(store.ca, { replaces: '0a' }), await issue(store.ca, { agent: 'agent-8', spkiHash: 'dd'.repeat(32), replaces: '0b' })];
        await store.ca.markSeen(second, later(5));
        await store.ca.markSeen(first, later(6));
        await store.ca.markSeen(second, later(7));
        const successions = [
          { issuerId, serial: second.serial, agent: 'agent-8', replaces: '0b', seenAt: later(5) },
          { issuerId, serial: first.serial, agent: first.agent, replaces: '0a', seenAt: later(6) },
        ];
        expect(await store.ca.successions(later(6), 10)).toEqual(successions);
        expect(await store.ca.successions(later(5), 10)).toEqual(successions.slice(0, 1));
        expect(await store.ca.successions(later(6), 1)).toEqual(successions.slice(0, 1));
        await store.ca.settleSuccessions([second, { issuerId, serial: 'ff' }]);
        expect(await store.ca.successions(later(9), 10)).toEqual(successions.slice(1));
      });
    });

    describe('requests for approval', () => {
      const leave = (store: Store, request = aRequest(), options: { readonly maxPending?: number; readonly spend?: string } = {}) =>
        store.ca.insertRequest(request, anEvent({ action: 'request.created' }), {
          maxPending: options.maxPending ?? 10,
          ...(options.spend === undefined ? {} : { spend: { secretHash: options.spend, event: anEvent({ action: 'token.spent' }) } }),
        });
      const approved = { to: 'approved', decidedAt: later(1), decidedBy: 'cli:bob', issuerId, serial: '0a' } as const;

      it('gives back what was left, found by what it is asked for with', async () => {
        const store = await open();
        const requests = [aRequest(), aRequest({ createdAt: later(1), agent: 'other', terms: { ...aRequest().terms, hosts: ['a.test'], email: 'a@b.test', vouchedBy: undefined, address: '192.0.2.1', wordGivenAt: undefined } })];
        for (const request of requests) expect(await leave(store, request)).toBe('inserted');
        expect((await store.ca.findRequests({})).map(plain)).toEqual(requests.map(plain));
        const [, second] = requests;
        for (const query of [{ id: second?.id ?? '' }, { agent: 'other' }, { credentialHash: second?.credentialHash ?? '', spkiHash: second?.spkiHash ?? '' }]) expect((await store.ca.findRequests(query)).map(({ id }) => id)).toEqual([second?.id]);
        expect(await store.ca.findRequests({ states: ['approved'] })).toEqual([]);
      });

      it('spends the token with the request or neither, and takes no more than may wait', async () => {
        const store = await open();
        const token = aToken({ createdBy: 'cli:alice' });
        await store.ca.insertToken(token, anEvent({ action: 'token.created' }));
        expect(await leave(store, aRequest(), { spend: '00' })).toBe('unknown');
        expect(await leave(store, aRequest({ createdAt: token.expiresAt }), { spend: token.secretHash })).toBe('expired');
        expect(await leave(store, aRequest(), { spend: token.secretHash, maxPending: 1 })).toBe('inserted');
        expect(await leave(store, aRequest(), { maxPending: 1 })).toBe('full');
        expect(await leave(store, aRequest(), { spend: token.secretHash })).toBe('alreadySpent');
        expect(await store.ca.findToken(token.secretHash)).toEqual({ token, spentAt: noon });
        expect(await actions(store)).toEqual(['token.created', 'token.spent', 'request.created']);
      });

      it('lets exactly one of many decide, across connections', async () => {
        const url = await underTest.createUrl();
        const stores = [await openAt(url), await openAt(url)];
        const [store] = stores;
        if (store === undefined) throw new Error('no store');
        const request = aRequest();
        await leave(store, request);
        const decisions = await Promise.all(stores.flatMap((of) => [approved, { to: 'denied', reason: 'no' } as const].map((change) => of.ca.changeRequest(request.id, { states: ['pending'] }, change, anEvent({ action: `request.${change.to}` })))));
        const [decided, ...others] = decisions.filter((each) => each !== undefined);
        expect(others).toEqual([]);
        expect((await store.ca.findRequests({ id: request.id })).map(plain)).toEqual([plain(decided)]);
        expect(await actions(store)).toEqual(['request.created', `request.${decided?.state ?? ''}`]);
      });

      it('changes a serial only under the one it had, and ends what nobody decided or issued in time', async () => {
        const store = await open();
        const [first, second, third] = [aRequest(), aRequest({ expiresAt: later(901) }), aRequest()];
        for (const request of [first, second, third]) await leave(store, request);
        await store.ca.changeRequest(first.id, { states: ['pending'] }, approved, anEvent());
        expect(await store.ca.changeRequest(first.id, { states: ['approved'], serial: 'ff' }, { to: 'approved', serial: '0b' }, undefined)).toBeUndefined();
        expect(await store.ca.changeRequest(first.id, { states: ['approved'], serial: '0a' }, { to: 'approved', serial: '0b' }, undefined)).toMatchObject({ serial: '0b', decidedBy: 'cli:bob' });
        await store.ca.changeRequest(third.id, { states: ['pending'] }, approved, anEvent());
        await store.ca.changeRequest(third.id, { states: ['approved'] }, { to: 'issued' }, undefined);
        const size = await store.audit.size();
        expect((await store.ca.expireRequests(later(900), ({ id }) => anEvent({ action: 'request.expired', name: id }))).map(({ id, state }) => [id, state])).toEqual([[first.id, 'expired']]);
        expect(await store.ca.expireRequests(later(900), () => anEvent())).toEqual([]);
        expect(await store.audit.size()).toBe(size + 1);
        expect((await store.ca.findRequests({ states: ['pending'], expiresBefore: later(901) })).map(({ id }) => id)).toEqual([second.id]);
      });
    });
  });
};
