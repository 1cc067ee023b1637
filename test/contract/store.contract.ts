/** What every store does with evidence, tells of changes and is when it is opened, whatever database is under it. */
import { describe, expect, it } from 'vitest';
import { verifyStore } from '../../src/audit/verify.ts';
import { waitUntilApplied } from '../../src/store/changes.ts';
import type { Change } from '../../src/store/changes.ts';
import { openStore } from '../../src/store/open-store.ts';
import { schemaVersion } from '../../src/store/migrations.ts';
import { aToken, anEvent, anIntent, issue, issuedOf, issuerId, later, noon, revokedEvent } from '../support/records.ts';
import { clock, eventually, one, signer, storesOf } from './store-under-test.ts';
import type { StoreUnderTest } from './store-under-test.ts';

export const storeContract = (name: string, underTest: StoreUnderTest): void => {
  describe(`store contract on ${name}`, () => {
    const { open, openAt } = storesOf(underTest);

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
