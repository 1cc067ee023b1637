/** What every store does with accounts and orders of ACME, whatever database is under it. */
import { generateKeyPairSync } from 'node:crypto';
import { afterAll, describe, expect, it } from 'vitest';
import type { AcmeAccount, AcmeAuthorization, AcmeOrder, ExternalAccount } from '../../ca/acme/ports.ts';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { readEvent } from '../../src/audit/entry.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/store/store.ts';
import { anEvent, issuerId, later, noon } from '../support/records.ts';
import type { StoreUnderTest } from './store-under-test.ts';

const signer = createCheckpointSigner({ origin: 'test/log', privateKey: generateKeyPairSync('ed25519').privateKey });

const anExternal = (facts: Partial<ExternalAccount> = {}): ExternalAccount => ({
  kid: 'kid', agent: 'agent-7', organizationalUnits: ['a', 'ü "b"'], profile: 'agent', ttlSeconds: 60, names: [], createdAt: noon, createdBy: 'cli:ada', expiresAt: later(60), removedAt: undefined, accountId: undefined, ...facts,
});
const anAccount = (id: string, facts: Partial<AcmeAccount> = {}): AcmeAccount => ({ id, status: 'valid', jwk: `{"of":"${id}"}`, thumbprint: `thumbprint of ${id}`, contacts: ['mailto:a@b.c'], kid: undefined, createdAt: noon, ...facts });
const anOrder = (id: string, facts: Partial<AcmeOrder> = {}): AcmeOrder => ({
  id, accountId: 'account', status: 'pending', identifiers: [{ type: 'dns', value: 'web.test' }], authorizationIds: [`${id}-a`, `${id}-b`], profile: 'server', replaces: undefined,
  createdAt: noon, expiresAt: later(60), error: undefined, csr: undefined, spkiHash: undefined, finalizedAt: undefined, certificate: undefined, ...facts,
});
const anAuthorization = (orderId: string, letter: string, facts: Partial<AcmeAuthorization> = {}): AcmeAuthorization => ({
  id: `${orderId}-${letter}`, orderId, accountId: 'account', identifier: { type: 'dns', value: `${letter}.test` }, status: 'pending', expiresAt: later(60),
  challenges: (['http-01', 'tls-alpn-01'] as const).map((type) => ({ type, status: 'pending', token: `${type} ${letter}`, attemptedAt: undefined, validatedAt: undefined, error: undefined })), ...facts,
});
const event = anEvent({ action: 'acme.orderCreated' });
const certificate = { issuerId, serial: '0a', chain: 'PEM', notAfter: later(3_600) };
const problem = { type: 'urn:ietf:params:acme:error:dns', detail: 'no address', status: 400 };

export const acmeStoreContract = (name: string, underTest: StoreUnderTest): void => {
  describe(`ACME on ${name}`, () => {
    const opened: Store[] = [];
    let url: string;
    let before = 0;
    const written = async (): Promise<number> => (await opened[0]?.audit.read({ from: 0, limit: 1_000 }))?.filter((entry) => readEvent(entry.event)?.action === 'acme.orderCreated').length ?? 0;
    /** One store for all, since making one takes longer than the test; emptied before each. */
    const open = async (): Promise<Store['acme']> => {
      let [store] = opened;
      if (store === undefined) {
        url = await underTest.createUrl();
        store = await openStore(url, { clock: { now: () => noon }, checkpointSigner: signer });
        opened.push(store);
      }
      for (const table of ['external_account', 'account', 'order', 'authorization', 'nonce']) await underTest.execute(url, `DELETE FROM acme_${table}`);
      before = await written();
      return store.acme;
    };
    const entries = async (): Promise<number> => (await written()) - before;
    const ordered = async (acme: Store['acme'], id: string, facts: Partial<AcmeOrder> = {}): Promise<boolean> => acme.createOrder(anOrder(id, facts), [anAuthorization(id, 'a'), anAuthorization(id, 'b')], event);

    afterAll(async () => {
      for (const store of opened) await store.close();
    });

    it('binds an external account once, and not after it has expired or was removed', async () => {
      const acme = await open();
      await acme.insertExternalAccount(anExternal(), event);
      expect(await acme.externalAccount('kid')).toEqual(anExternal());
      const both = await Promise.all(['one', 'two'].map((id) => acme.createAccount(anAccount(id, { kid: 'kid' }), event)));
      expect(both.map(({ outcome }) => outcome)).toEqual(['created', 'bound']);
      expect((await acme.externalAccount('kid'))?.accountId).toBe('one');
      expect(await acme.createAccount(anAccount('one'), event)).toEqual({ outcome: 'exists', account: anAccount('one', { kid: 'kid' }) });
      await acme.insertExternalAccount(anExternal({ kid: 'late', expiresAt: noon, agent: undefined, profile: undefined, ttlSeconds: undefined, names: ['web.test'] }), event);
      expect((await acme.createAccount(anAccount('three', { kid: 'late' }), event)).outcome).toBe('bound');
      await acme.insertExternalAccount(anExternal({ kid: 'gone' }), event);
      expect([await acme.removeExternalAccount('gone', later(1), event), await acme.removeExternalAccount('gone', later(2), event), await acme.removeExternalAccount('none', noon, event)]).toEqual([true, false, false]);
      expect((await acme.createAccount(anAccount('three', { kid: 'gone' }), event)).outcome).toBe('bound');
      expect((await acme.externalAccount('gone'))?.removedAt).toEqual(later(1));
      expect((await acme.externalAccounts(2)).map(({ kid }) => kid)).toEqual(['gone', 'kid']);
      // What was refused is not in the log.
      expect(await entries()).toBe(5);
    });

    it('changes accounts that are valid, and gives a key to one of them', async () => {
      const acme = await open();
      for (const id of ['one', 'two']) await acme.createAccount(anAccount(id), event);
      expect(await acme.changeAccount('one', { contacts: [] }, event)).toEqual(anAccount('one', { contacts: [] }));
      expect((await acme.changeKey('one', { jwk: '{}', thumbprint: 'thumbprint of two' }, event))?.id).toBe('two');
      expect(await acme.changeKey('one', { jwk: '{}', thumbprint: 'new' }, event)).toBeUndefined();
      expect(await acme.accountByKey('new')).toEqual(anAccount('one', { contacts: [], jwk: '{}', thumbprint: 'new' }));
      expect((await acme.changeAccount('one', { status: 'deactivated' }, event))?.status).toBe('deactivated');
      expect(await acme.changeAccount('one', { contacts: ['mailto:x@y.z'] }, event)).toBeUndefined();
      expect(await acme.account('one')).toMatchObject({ status: 'deactivated', contacts: [] });
      expect((await acme.openAccounts(5)).map(({ id }) => id)).toEqual(['one', 'two']);
      expect(await entries()).toBe(5);
    });

    it('makes an order ready with the last proof, and invalid with the first failure', async () => {
      const acme = await open();
      await ordered(acme, 'good');
      expect(await acme.order('good')).toEqual(anOrder('good'));
      expect(await acme.authorization('good-a')).toEqual(anAuthorization('good', 'a'));
      const prove = async (id: string, error?: typeof problem): Promise<void> => {
        await acme.beginValidation({ authorizationId: id, type: 'http-01' }, later(1), noon);
        await acme.settleChallenge({ authorizationId: id, type: 'http-01' }, { at: later(2), error }, event);
      };
      await prove('good-a');
      expect((await acme.order('good'))?.status).toBe('pending');
      expect(await acme.isAuthorized('account', { type: 'dns', value: 'a.test' }, noon)).toBe(true);
      expect([await acme.isAuthorized('account', { type: 'dns', value: 'b.test' }, noon), await acme.isAuthorized('other', { type: 'dns', value: 'a.test' }, noon), await acme.isAuthorized('account', { type: 'dns', value: 'a.test' }, later(60))]).toEqual([false, false, false]);
      await prove('good-b');
      expect((await acme.order('good'))?.status).toBe('ready');
      expect((await acme.authorization('good-b'))?.challenges[0]).toMatchObject({ status: 'valid', attemptedAt: later(1), validatedAt: later(2) });
      await ordered(acme, 'bad');
      await prove('bad-a', problem);
      await prove('bad-a');
      expect(await acme.authorization('bad-a')).toMatchObject({ status: 'invalid', challenges: [{ status: 'invalid', error: problem }, { status: 'pending' }] });
      expect(await acme.order('bad')).toMatchObject({ status: 'invalid', error: { ...problem, identifier: { type: 'dns', value: 'a.test' } } });
      expect(await entries()).toBe(5);
    });

    it('begins a validation once, again only when it was left behind, and never too late', async () => {
      const acme = await open();
      await ordered(acme, 'order');
      const key = { authorizationId: 'order-a', type: 'tls-alpn-01' } as const;
      const begun = await Promise.all([acme.beginValidation(key, later(1), noon), acme.beginValidation(key, later(1), noon)]);
      expect(begun.map((each) => each?.challenges[1]?.status)).toEqual(['processing', undefined]);
      expect(await acme.beginValidation(key, later(30), later(1))).toBeUndefined();
      expect((await acme.beginValidation(key, later(30), later(2)))?.challenges[1]?.attemptedAt).toEqual(later(30));
      expect(await acme.beginValidation({ ...key, authorizationId: 'order-b' }, later(60), later(59))).toBeUndefined();
      expect((await acme.deactivateAuthorization('order-a', event))?.status).toBe('deactivated');
      expect(await acme.deactivateAuthorization('order-a', event)).toBeUndefined();
      expect((await acme.order('order'))?.status).toBe('invalid');
    });

    it('fills an order once', async () => {
      const acme = await open();
      await ordered(acme, 'order', { status: 'ready' });
      const claim = { csr: 'AA', spkiHash: 'ff', at: later(1) };
      expect(await Promise.all([1, 2].map(() => acme.claimOrder('order', claim)))).toEqual([true, false]);
      expect(await acme.order('order')).toMatchObject({ status: 'processing', csr: 'AA', spkiHash: 'ff', finalizedAt: later(1) });
      await acme.releaseOrder('order');
      expect(await acme.order('order')).toEqual(anOrder('order', { status: 'ready' }));
      await acme.claimOrder('order', claim);
      await acme.settleOrder('order', { certificate }, event);
      await acme.settleOrder('order', { error: problem }, event);
      expect(await acme.order('order')).toMatchObject({ status: 'valid', certificate, error: undefined });
      expect((await acme.orderOfCertificate(issuerId, '0a'))?.id).toBe('order');
      expect([await acme.certificatesOf('account', later(3_600)), await acme.certificatesOf('account', later(3_602))]).toEqual([[{ issuerId, serial: '0a' }], []]);
      await ordered(acme, 'failed', { status: 'ready' });
      await acme.claimOrder('failed', claim);
      await acme.settleOrder('failed', { error: problem }, event);
      expect(await acme.order('failed')).toMatchObject({ status: 'invalid', error: problem });
      expect(await entries()).toBe(4);
    });

    it('lists orders in portions, counts the open ones, and lets a certificate be replaced once', async () => {
      const acme = await open();
      for (const id of ['b', 'a', 'c']) await ordered(acme, id, { createdAt: id === 'c' ? later(1) : noon, ...(id === 'a' ? { status: 'valid', certificate } : {}) });
      expect(await acme.orderIds('account', { limit: 2 })).toEqual(['a', 'b']);
      expect(await acme.orderIds('account', { after: 'b', limit: 2 })).toEqual(['c']);
      expect([await acme.openOrders('account', noon), await acme.openOrders('account', later(60)), await acme.openOrders('other', noon)]).toEqual([2, 0, 0]);
      expect([await ordered(acme, 'd', { replaces: 'x' }), await ordered(acme, 'e', { replaces: 'x' }), await ordered(acme, 'f', { replaces: 'y' })]).toEqual([true, false, true]);
      expect(await acme.order('e')).toBeUndefined();
      await acme.deactivateAuthorization('d-a', event);
      expect(await ordered(acme, 'g', { replaces: 'x' })).toBe(true);
      // Nobody finished that one in time.
      expect(await ordered(acme, 'h', { replaces: 'y', createdAt: later(60), expiresAt: later(120) })).toBe(true);
    });

    it('takes a nonce once, and forgets what has expired', async () => {
      const acme = await open();
      expect(await Promise.all([1, 2, 3].map(() => acme.spendNonce('n', later(60), noon)))).toEqual([true, false, false]);
      expect(await acme.spendNonce('n', later(60), later(59))).toBe(false);
      expect(await acme.spendNonce('m', later(120), later(60))).toBe(true);
      // Expired ones are refused before they come here.
      expect(await acme.spendNonce('n', later(60), later(61))).toBe(true);
    });

    it('clears away what came to nothing a week ago and certificates that ended a week ago, with their authorizations', async () => {
      const acme = await open();
      await ordered(acme, 'old');
      await ordered(acme, 'sold', { status: 'valid', certificate });
      const week = 7 * 86_400;
      await ordered(acme, 'new', { createdAt: later(week + 61), expiresAt: later(week + 121) });
      expect([await acme.order('old'), await acme.authorization('old-a')]).toEqual([undefined, undefined]);
      expect((await acme.order('sold'))?.id).toBe('sold');
      await ordered(acme, 'newer', { createdAt: later(week + 3_601), expiresAt: later(week + 4_000) });
      expect(await acme.order('sold')).toBeUndefined();
    });

    it('keeps nothing whose audit entry cannot be written', async () => {
      const acme = await open();
      await underTest.refuseEntriesWith(url, 'acme.orderCreated');
      await expect(ordered(acme, 'order')).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
      expect(await acme.order('order')).toBeUndefined();
      expect(await acme.authorization('order-a')).toBeUndefined();
    });
  });
};
