/** What every store keeps of revocations, CRLs and tokens, whatever database is under it. */
import { describe, expect, it } from 'vitest';
import type { RevokedSerial } from '../../ca/ports.ts';
import type { Change } from '../../src/store/changes.ts';
import type { Store } from '../../src/store/store.ts';
import { aToken, anEvent, anIntent, issue, issuerId, later, noon, revokedEvent } from '../support/records.ts';
import { actions, eventually, one, storesOf } from './store-under-test.ts';
import type { StoreUnderTest } from './store-under-test.ts';

export const revocationContract = (name: string, underTest: StoreUnderTest): void => {
  describe(`revocation on ${name}`, () => {
    const { open, openAt } = storesOf(underTest);

    describe('revocation', () => {
      it('revokes issued and unknownIssued, leaves out the rest, and writes one change and one event each', async () => {
        const store = await open();
        const first = await issue(store.ca);
        const second = await issue(store.ca);
        const lost = anIntent({ createdAt: later(-10) });
        await store.ca.recordIntent(lost);
        await store.ca.recoverIntents(noon, () => anEvent({ action: 'certificate.recovered' }));
        const pending = anIntent();
        await store.ca.recordIntent(pending);
        const before = await store.audit.size();
        const answer = await store.ca.revoke([second, lost, pending, { issuerId, serial: 'ff' }, second, first], 'keyCompromise', later(1), revokedEvent);
        expect(answer.revoked.map(({ serial }) => serial)).toEqual([second.serial, lost.serial, first.serial]);
        expect(answer.revoked[0]).toMatchObject({ state: 'revoked', revokedAt: later(1), revocationReason: 'keyCompromise' });
        expect(answer.changeSeq).toBe(3);
        expect(await store.changes.latest()).toBe(3);
        expect(await store.audit.size()).toBe(before + 3);
        const again = await store.ca.revoke([first], 'superseded', later(2), revokedEvent);
        expect(again).toEqual({ revoked: [], changeSeq: 3 });
        expect((await one(store, first.serial))?.revocationReason).toBe('keyCompromise');
      });

      it('lets a hold give way to another reason, and nothing else to anything', async () => {
        const store = await open();
        const [held, gone] = [await issue(store.ca), await issue(store.ca)];
        await store.ca.revoke([held], 'certificateHold', later(1), revokedEvent);
        await store.ca.revoke([gone], 'superseded', later(1), revokedEvent);
        expect((await store.ca.revoke([held, gone], 'certificateHold', later(2), revokedEvent)).revoked).toEqual([]);
        const { revoked, changeSeq } = await store.ca.revoke([held, gone], 'keyCompromise', later(3), revokedEvent);
        expect(revoked).toMatchObject([{ serial: held.serial, revokedAt: later(3), revocationReason: 'keyCompromise' }]);
        expect(changeSeq).toBe(3);
        expect((await store.ca.findCertificates({ revocationReasons: ['keyCompromise', 'certificateHold'] })).map(({ serial }) => serial)).toEqual([held.serial]);
        expect(await store.ca.findCertificates({ revocationReasons: [] })).toEqual([]);
      });

      it('releases what is on hold and nothing else, with one change and one event each', async () => {
        const store = await open();
        const keyOf = (digit: string) => ({ spkiHash: digit.repeat(64) });
        const [held, good, final] = [await issue(store.ca, keyOf('1')), await issue(store.ca, keyOf('2')), await issue(store.ca, keyOf('3'))];
        const [stolen, sameKey] = [await issue(store.ca, keyOf('4')), await issue(store.ca, keyOf('4'))];
        const lost = anIntent({ ...keyOf('5'), createdAt: later(-10) });
        await store.ca.recordIntent(lost);
        await store.ca.recoverIntents(noon, () => anEvent());
        await store.ca.revoke([held, sameKey, lost], 'certificateHold', later(1), revokedEvent);
        await store.ca.revoke([final], 'superseded', later(1), revokedEvent);
        await store.ca.revoke([stolen], 'keyCompromise', later(1), revokedEvent);
        const heard: Change[] = [];
        await store.changes.subscribe((change) => heard.push(change));
        const before = await store.audit.size();
        const all = [held, good, final, stolen, sameKey, lost, { issuerId, serial: 'ff' }];
        const { released, changeSeq } = await store.ca.release(all, later(2), (record) => anEvent({ action: 'certificate.released', serial: record.serial }));
        expect(released.map(({ serial, state, revokedAt, revocationReason, releasedAt }) => [serial, state, revokedAt, revocationReason, releasedAt])).toEqual([
          [held.serial, 'issued', undefined, undefined, later(2)],
          [lost.serial, 'unknownIssued', undefined, undefined, later(2)],
        ]);
        expect(changeSeq).toBe(7);
        expect(await store.audit.size()).toBe(before + 2);
        await eventually(() => heard.length === 2);
        expect(heard).toEqual([held, lost].map(({ serial }, at) => ({ seq: at + 6, kind: 'released', issuerId, serial, at: later(2) })));
        const listed: string[] = [];
        for await (const page of store.ca.revokedSerials(issuerId)) listed.push(...page.map(({ serial }) => serial));
        expect(listed).toEqual([final, stolen, sameKey].map(({ serial }) => serial).sort());
        expect(await store.ca.release(all, later(3), () => anEvent())).toEqual({ released: [], changeSeq: 7 });
        expect((await store.ca.revoke([held], 'certificateHold', later(4), revokedEvent)).revoked).toMatchObject([{ serial: held.serial, releasedAt: later(2) }]);
      });

      it('reads the revoked serials of one issuer in pages, in order, each once', async () => {
        const store = await open();
        const intents = await Promise.all(Array.from({ length: 25 }, () => issue(store.ca)));
        const other = await issue(store.ca, { issuerId: 'c3'.repeat(32) });
        await issue(store.ca);
        await store.ca.revoke([...intents, other], 'superseded', later(1), revokedEvent);
        const pages: (readonly RevokedSerial[])[] = [];
        for await (const page of store.ca.revokedSerials(issuerId, { pageSize: 10 })) pages.push(page);
        expect(pages.map((page) => page.length)).toEqual([10, 10, 5]);
        expect(pages.flat().map(({ serial }) => serial)).toEqual(intents.map(({ serial }) => serial).sort());
        expect(pages[0]?.[0]).toMatchObject({ issuerId, revokedAt: later(1), reason: 'superseded', notAfter: later(86_400) });
        const text = async (options?: { pageSize?: number; endings?: readonly string[] }) => (await collected(store.ca.revokedText(issuerId, options))).join('').split(';').slice(0, -1);
        const lines = intents.map(({ serial }) => `${serial},${later(1).getTime() / 1_000},superseded,${later(86_400).getTime() / 1_000}`).sort();
        expect(await text()).toEqual(lines);
        expect(await text({ pageSize: 10 })).toEqual(lines);
        const ends = intents.slice(0, 2).map(({ serial }) => serial.slice(-2));
        expect(await text({ pageSize: 1, endings: ends })).toEqual(lines.filter((line) => ends.includes(line.slice(0, line.indexOf(',')).slice(-2))));
        for await (const page of store.ca.revokedSerials('ee'.repeat(32))) expect(page).toEqual('nothing');
      });
    });

    describe('CRLs and tokens', () => {
      const scope = { partitions: 1, partition: 0 };
      const crl = (crlNumber: bigint, thisUpdate: Date) => ({ issuerId, scope, crlNumber, thisUpdate, nextUpdate: later(86_400), entries: 3, der: Uint8Array.of(1, 2, 3) });

      it('keeps the latest CRL, and refuses one whose number or time does not increase', async () => {
        const store = await open();
        expect(await store.ca.latestCrl(issuerId)).toBeUndefined();
        const large = 2n ** 159n - 2n;
        await store.ca.saveCrl(crl(large, later(1)), anEvent());
        for (const stale of [crl(large, later(2)), crl(large - 1n, later(2)), crl(large + 1n, later(1)), crl(large + 1n, later(0))]) {
          await expect(store.ca.saveCrl(stale, anEvent())).rejects.toMatchObject({ code: 'ERR_CRL_STALE' });
        }
        await store.ca.saveCrl(crl(large + 1n, later(2)), anEvent());
        const { der, ...latest } = (await store.ca.latestCrl(issuerId)) ?? { der: undefined };
        expect([...(der ?? [])]).toEqual([1, 2, 3]);
        expect(latest).toEqual({ issuerId, scope, crlNumber: large + 1n, thisUpdate: later(2), nextUpdate: later(86_400), entries: 3 });
        expect(await store.audit.size()).toBe(2);
      });

      it('keeps large CRLs by scope, delta CRLs with them, and what the deltas start from', async () => {
        const store = await open();
        const state = { nextUpdate: later(86_400), entries: 3, issuerId };
        // Longer than one part.
        const octets = (fill: number, length = 1_200_000) => new Uint8Array(length).fill(fill);
        const part = { partitions: 16, partition: 15 };
        const publish = async (number: number, scope = part, bases?: 'first' | 'moved' | 'kept') => {
          const delta = bases === undefined ? {} : { delta: { baseCrlNumber: 1n, nextUpdate: later(3_600), entries: 1, der: octets(100 + number, 5), bases } };
          await store.ca.saveCrl({ ...state, scope, crlNumber: BigInt(number), thisUpdate: later(number), der: octets(number), ...delta }, anEvent());
        };
        const numbers = async (kind: 'complete' | 'delta' | 'base' | 'nextBase') => {
          const found = await store.ca.latestCrl(issuerId, { scope: part, kind });
          return found && [Number(found.crlNumber), found.der[0], found.der.length];
        };
        await publish(1, part, 'first');
        await publish(7, { partitions: 1, partition: 0 });
        expect([await numbers('complete'), await numbers('delta'), await numbers('base'), await numbers('nextBase')]).toEqual([[1, 1, 1_200_000], [1, 101, 5], [1, 1, 1_200_000], [1, 1, 1_200_000]]);
        await publish(2, part, 'kept');
        await publish(3, part, 'moved');
        await publish(4, part, 'kept');
        expect([await numbers('complete'), await numbers('delta'), await numbers('base'), await numbers('nextBase')]).toEqual([[4, 4, 1_200_000], [4, 104, 5], [1, 1, 1_200_000], [3, 3, 1_200_000]]);
        await publish(5, part, 'moved');
        expect([await numbers('base'), await numbers('nextBase')]).toEqual([[3, 3, 1_200_000], [5, 5, 1_200_000]]);
        expect((await store.ca.crlStates(issuerId)).map(({ scope, crlNumber, delta }) => [scope.partitions, scope.partition, crlNumber, delta?.baseCrlNumber, delta?.nextBaseThisUpdate])).toEqual([
          [1, 0, 7n, undefined, undefined],
          [16, 15, 5n, 3n, later(5)],
        ]);
        await publish(6);
        expect([await numbers('complete'), await numbers('delta'), await numbers('base')]).toEqual([[6, 6, 1_200_000], undefined, undefined]);
        await store.ca.dropCrl(issuerId, part, anEvent());
        expect(await numbers('complete')).toBeUndefined();
        expect(await store.ca.crlStates('ee'.repeat(32))).toEqual([]);
      });

      it('remembers for how long certificates name a place for CRLs', async () => {
        const store = await open();
        const series = { issuerId, partitions: 4, point: 'http://pki.test/crl/issuing/4' };
        for (const until of [later(10), later(30), later(20)]) await store.ca.extendCrlSeries({ ...series, until });
        expect(await store.ca.crlSeries(issuerId)).toEqual([{ ...series, until: later(30) }]);
        expect(await store.ca.crlSeries('ee'.repeat(32))).toEqual([]);
      });

      it('spends a token once, however many ask at the same time', async () => {
        const url = await underTest.createUrl();
        const [store, other] = [await openAt(url), await openAt(url)];
        const token = aToken();
        await store.ca.insertToken(token, anEvent({ action: 'token.created' }));
        const spend = (of: Store) => of.ca.spendToken(token.secretHash, later(1), ({ agent }) => anEvent({ action: 'token.spent', agent }));
        const outcomes = await Promise.all([store, other, store, other, store, other].map((of) => spend(of)));
        expect(outcomes.map(({ outcome }) => outcome).sort()).toEqual(['alreadySpent', 'alreadySpent', 'alreadySpent', 'alreadySpent', 'alreadySpent', 'spent']);
        expect(outcomes.find(({ outcome }) => outcome === 'spent')).toEqual({ outcome: 'spent', token });
        expect(await actions(store)).toEqual(['token.created', 'token.spent']);
      });

      it('tells unknown and expired tokens apart, and writes nothing for them', async () => {
        const store = await open();
        const token = aToken({ ttlSeconds: undefined });
        await store.ca.insertToken(token, anEvent());
        const spend = (hash: string, at: Date) => store.ca.spendToken(hash, at, () => anEvent());
        expect(await spend('00', noon)).toEqual({ outcome: 'unknown' });
        expect(await spend(token.secretHash, later(900))).toEqual({ outcome: 'expired' });
        expect(await store.audit.size()).toBe(1);
        expect(await spend(token.secretHash, later(899.999))).toEqual({ outcome: 'spent', token });
      });
    });
  });
};

const collected = async (pages: AsyncIterable<Uint8Array>): Promise<readonly string[]> => {
  const all: string[] = [];
  for await (const page of pages) all.push(Buffer.from(page).toString('latin1'));
  return all;
};
