/** What every store does, whatever database is under it. Each implementation's test file calls this. */
import { generateKeyPairSync } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import type { CertificateRecord, RevokedSerial } from '../../ca/ports.ts';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { readEvent } from '../../src/audit/entry.ts';
import { verifyStore } from '../../src/audit/verify.ts';
import { waitUntilApplied } from '../../src/store/changes.ts';
import type { Change } from '../../src/store/changes.ts';
import { openStore } from '../../src/store/open-store.ts';
import { schemaVersion } from '../../src/store/migrations.ts';
import type { Store } from '../../src/store/store.ts';
import { aRequest, aToken, anEvent, anIntent, issue, issuedOf, issuerId, later, noon, revokedEvent } from '../support/records.ts';

export interface StoreUnderTest {
  /** Address of an empty store. */
  createUrl(): Promise<string>;
  /** Runs SQL as somebody who has the database but is not Sallyport. */
  execute(url: string, sql: string): Promise<void>;
  /** A trigger that refuses the audit entries whose text contains `text`. */
  refuseEntriesWith(url: string, text: string): Promise<void>;
}

const clock = { now: () => noon };

export const storeContract = (name: string, underTest: StoreUnderTest): void => {
  describe(`store contract on ${name}`, () => {
    const opened: Store[] = [];
    const openAt = async (url: string, signed = true): Promise<Store> => {
      const store = await openStore(url, { clock, ...(signed && { checkpointSigner: signer }) });
      opened.push(store);
      return store;
    };
    const open = async (): Promise<Store> => openAt(await underTest.createUrl());
    const one = async (store: Store, serial: string): Promise<CertificateRecord | undefined> => (await store.ca.findCertificates({ serial }))[0];
    const actions = async (store: Store): Promise<readonly (string | undefined)[]> =>
      (await store.audit.read({ from: 0, limit: 1_000 })).map(({ event }) => readEvent(event)?.action);

    const eventually = async (condition: () => boolean): Promise<void> => {
      const until = Date.now() + 10_000;
      while (!condition() && Date.now() < until)
        await new Promise((resolve) => {
          setTimeout(resolve, 2);
        });
      expect(condition()).toBe(true);
    };

    afterEach(async () => {
      for (const store of opened.splice(0)) await store.close();
    });

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

    describe('evidence', () => {
      it('makes no change whose audit entry cannot be written, and does not disturb the others that share its transaction', async () => {
        const url = await underTest.createUrl();
        const store = await openAt(url);
        const revoked = await issue(store.ca);
        await underTest.refuseEntriesWith(url, 'poison');
        const [poisoned, fine] = [anIntent(), anIntent()];
        await store.ca.recordIntent(poisoned);
        await store.ca.recordIntent(fine);
        const token = aToken();
        const results = await Promise.allSettled([
          store.ca.recordIssued(issuedOf(poisoned), anEvent({ name: 'poison' })),
          store.ca.recordIssued(issuedOf(fine), anEvent({ name: 'fine' })),
          store.ca.revoke([revoked], 'keyCompromise', noon, () => anEvent({ name: 'poison' })),
          store.ca.insertToken(token, anEvent({ name: 'poison' })),
          store.audit.append([anEvent({ name: 'fine' }), anEvent({ name: 'poison' })]),
          store.ca.recordEvent(anEvent({ name: 'also fine' })),
        ]);
        expect(results.map((result) => (result.status === 'rejected' ? (result.reason as { code: string }).code : 'done'))).toEqual([
          'ERR_STORE_UNAVAILABLE',
          'done',
          'ERR_STORE_UNAVAILABLE',
          'ERR_STORE_UNAVAILABLE',
          'ERR_STORE_UNAVAILABLE',
          'done',
        ]);
        expect((await one(store, poisoned.serial))?.state).toBe('intent');
        expect((await one(store, fine.serial))?.state).toBe('issued');
        expect((await one(store, revoked.serial))?.state).toBe('issued');
        expect(await store.changes.latest()).toBe(0);
        expect(await store.ca.spendToken(token.secretHash, noon, () => anEvent())).toEqual({ outcome: 'unknown' });
        expect(await store.audit.size()).toBe(3);
        expect(await verifyStore(store.audit, { verifierKey: signer.verifierKey })).toMatchObject({ ok: true, size: 3, signedSize: 3 });
      });

      it('numbers the entries of many writers without a gap, under one tree that verifies', async () => {
        const url = await underTest.createUrl();
        const stores = [await openAt(url), await openAt(url), await openAt(url)];
        await Promise.all(stores.flatMap((store) => Array.from({ length: 100 }, (_, at) => store.ca.recordEvent(anEvent({ detail: { at } })))));
        const [store] = stores;
        if (store === undefined) throw new Error('no store');
        expect(await store.audit.size()).toBe(300);
        expect(await verifyStore(store.audit, { verifierKey: signer.verifierKey })).toEqual({ ok: true, size: 300, signedSize: 300, findings: [] });
        expect((await store.audit.checkpoints()).length).toBeGreaterThan(0);
        expect(await store.audit.latestCheckpoint()).toBe((await store.audit.checkpoints()).at(-1));
      });

      it('answers an append with the size and the note that vouches for it', async () => {
        const store = await open();
        expect(await store.audit.append([])).toEqual({ size: 0, checkpoint: undefined });
        const { size, checkpoint } = await store.audit.append([anEvent(), anEvent()]);
        expect(size).toBe(2);
        expect(checkpoint).toMatch(/^acme\/audit\n2\n/);
        expect(await store.audit.latestCheckpoint()).toBe(checkpoint);
        expect((await store.audit.read({ from: 1, limit: 10 })).map(({ index }) => index)).toEqual([1]);
      });

      it('does not sign what somebody else wrote into the log', async () => {
        const url = await underTest.createUrl();
        const store = await openAt(url);
        await store.ca.recordEvent(anEvent());
        await underTest.execute(url, 'UPDATE audit_head SET size = 0, frontier = frontier');
        await expect(store.ca.recordEvent(anEvent())).rejects.toMatchObject({ code: 'ERR_AUDIT_TAMPERED' });
        await underTest.execute(url, 'UPDATE audit_head SET size = 1, note = NULL');
        await expect(store.ca.recordEvent(anEvent())).rejects.toMatchObject({ code: 'ERR_AUDIT_TAMPERED' });
        expect(await store.audit.size()).toBe(1);
      });

      it('extends a signed log only with its key', async () => {
        const url = await underTest.createUrl();
        const signing = await openAt(url);
        await signing.ca.recordEvent(anEvent());
        const keyless = await openAt(url, false);
        await expect(keyless.ca.recordEvent(anEvent())).rejects.toMatchObject({ code: 'ERR_AUDIT_KEY' });
        await keyless.ca.recordIntent(anIntent());
        expect(await keyless.audit.size()).toBe(1);
      });
    });

    describe('change feed', () => {

      it('tells this and other processes of a revocation, once each, in order', async () => {
        const url = await underTest.createUrl();
        const [here, there] = [await openAt(url), await openAt(url)];
        const intents = await Promise.all(Array.from({ length: 10 }, () => issue(here.ca)));
        const heard: { here: Change[]; there: Change[] } = { here: [], there: [] };
        await here.ca.revoke(intents.slice(0, 2), 'superseded', noon, revokedEvent);
        const ends = [await here.changes.subscribe((change) => heard.here.push(change)), await there.changes.subscribe((change) => heard.there.push(change))];
        for (const intent of intents.slice(2)) await here.ca.revoke([intent], 'keyCompromise', later(1), revokedEvent);
        await eventually(() => heard.here.length >= 8 && heard.there.length >= 8);
        expect(heard.there).toEqual(
          intents.slice(2).map(({ serial }, at) => ({ seq: at + 3, kind: 'revoked', issuerId, serial, reason: 'keyCompromise', at: later(1) })),
        );
        expect(heard.here).toEqual(heard.there);
        expect(there.changes.currentAsOf()).toEqual(noon);
        for (const end of ends) await end();
        await here.ca.revoke([await issue(here.ca)], 'superseded', noon, revokedEvent);
        expect(heard.here.length).toBe(8);
      });

      it('gives a subscriber what it missed', async () => {
        const store = await open();
        const intents = [await issue(store.ca), await issue(store.ca)];
        await store.ca.revoke(intents, 'superseded', noon, revokedEvent);
        const heard: number[] = [];
        await store.changes.subscribe(({ seq }) => heard.push(seq), { after: 1 });
        await eventually(() => heard.length > 0);
        expect(heard).toEqual([2]);
      });

      it('lets a command wait until every living gateway has applied a change', async () => {
        const url = await underTest.createUrl();
        const [gateway, command] = [await openAt(url), await openAt(url)];
        await gateway.changes.acknowledge('gateway-1', 0, { connectionsCut: 0, millis: 0 });
        await gateway.changes.subscribe(({ seq }) => {
          void gateway.changes.acknowledge('gateway-1', seq, { connectionsCut: 2, millis: 3 });
        });
        const { changeSeq } = await command.ca.revoke([await issue(command.ca)], 'keyCompromise', noon, revokedEvent);
        const { applied, missing } = await waitUntilApplied(command.changes, { seq: changeSeq, clock, timeoutMs: 10_000 });
        expect(applied).toEqual([{ nodeId: 'gateway-1', appliedSeq: 1, seenAt: noon, facts: { connectionsCut: 2, millis: 3 } }]);
        expect(missing).toEqual([]);

        await gateway.changes.heartbeat('gateway-1');
        await gateway.changes.acknowledge('gateway-1', 0, { connectionsCut: 0, millis: 0 });
        await command.changes.heartbeat('gateway-2');
        expect((await command.changes.nodes()).map(({ nodeId, appliedSeq }) => [nodeId, appliedSeq])).toEqual([
          ['gateway-1', 1],
          ['gateway-2', 0],
        ]);
        expect((await waitUntilApplied(command.changes, { seq: 1, clock, timeoutMs: 5 })).missing.map(({ nodeId }) => nodeId)).toEqual(['gateway-2']);
        expect((await waitUntilApplied(command.changes, { seq: 1, clock: { now: () => later(60) }, timeoutMs: 5 })).missing).toEqual([]);
        await command.changes.forget('gateway-2');
        expect((await command.changes.nodes()).length).toBe(1);
      });
    });

    describe('opening', () => {
      it('finds everything again, and brings the schema up to date only once when many open at the same time', async () => {
        const url = await underTest.createUrl();
        const stores = await Promise.all([openAt(url), openAt(url), openAt(url)]);
        const [first] = stores;
        if (first === undefined) throw new Error('no store');
        const intent = await issue(first.ca);
        await first.close();
        const again = await openAt(url);
        expect((await one(again, intent.serial))?.state).toBe('issued');
        await expect(first.ca.recordEvent(anEvent())).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', message: 'the store is closed; open it again' });
      });

      it('refuses a store that a newer version wrote', async () => {
        const url = await underTest.createUrl();
        await (await openAt(url)).close();
        await underTest.execute(url, "INSERT INTO schema_migration (version, name, applied_at) VALUES (99, 'from the future', 0)");
        await expect(openStore(url, { clock })).rejects.toMatchObject({ code: 'ERR_STORE_SCHEMA', facts: { version: 99, known: schemaVersion } });
      });

      it('writes what is waiting before it closes', async () => {
        const url = await underTest.createUrl();
        const store = await openAt(url);
        const writes = Promise.all(Array.from({ length: 20 }, () => store.ca.recordEvent(anEvent())));
        await store.close();
        await writes;
        expect(await (await openAt(url)).audit.size()).toBe(20);
      });
    });
  });
};

const signer = createCheckpointSigner({ origin: 'acme/audit', privateKey: generateKeyPairSync('ed25519').privateKey });

/** Octets compare equal whether they are a Buffer or a Uint8Array. */
const collected = async (pages: AsyncIterable<Uint8Array>): Promise<readonly string[]> => {
  const all: string[] = [];
  for await (const page of pages) all.push(Buffer.from(page).toString('latin1'));
  return all;
};

const plain = (value: object | undefined): object =>
  Object.fromEntries(Object.entries(value ?? {}).map(([key, member]) => [key, member instanceof Uint8Array ? [...member] : member]));
