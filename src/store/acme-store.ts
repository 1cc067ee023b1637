/** The memory of the ACME server (`AcmeStore` of ca/acme/ports.ts), on either database. */
import type { Kysely } from 'kysely';
import type { AcmeAuthorization, AcmeStore, ChallengeKey, ProblemDocument } from '../../ca/acme/ports.ts';
import type { AuditEvent } from '../../ca/ports.ts';
import { accountOf, authorizationOf, challengesText, externalAccountOf, orderOf, rowOfAccount, rowOfAuthorization, rowOfExternalAccount, rowOfOrder } from './acme-rows.ts';
import { readingOf } from './database.ts';
import type { Database } from './database.ts';
import type { Schema } from './schema.ts';
import type { Change, WriteQueue } from './write-queue.ts';

/** Rows cleared away at one time, so that no request pays for what others left. */
const clearedAtOnce = 20;

export const createAcmeStore = (database: Database, queue: WriteQueue): AcmeStore => {
  const reading = readingOf(database);

  return {
    insertExternalAccount: (account, event) =>
      queue.run(async ({ tx, record }) => {
        await tx.insertInto('acme_external_account').values(rowOfExternalAccount(account)).execute();
        record(event);
      }),
    externalAccount: (kid) =>
      reading(async (db) => {
        const row = await db.selectFrom('acme_external_account').selectAll().where('kid', '=', kid).executeTakeFirst();
        return row && externalAccountOf(row);
      }),
    externalAccounts: (limit) => reading(async (db) => (await db.selectFrom('acme_external_account').selectAll().orderBy('created_at', 'desc').orderBy('kid').limit(limit).execute()).map(externalAccountOf)),
    removeExternalAccount: (kid, at, event) =>
      queue.run(async ({ tx, record }) => {
        const { numUpdatedRows } = await tx.updateTable('acme_external_account').set({ removed_at: at.getTime() }).where('kid', '=', kid).where('removed_at', 'is', null).executeTakeFirstOrThrow();
        if (numUpdatedRows > 0n) record(event);
        return numUpdatedRows > 0n;
      }),

    createAccount: (account, event) =>
      queue.run(async ({ tx, record }) => {
        const existing = await tx.selectFrom('acme_account').selectAll().where('thumbprint', '=', account.thumbprint).executeTakeFirst();
        if (existing !== undefined) return { outcome: 'exists' as const, account: accountOf(existing) };
        if (account.kid !== undefined) {
          const { numUpdatedRows } = await tx
            .updateTable('acme_external_account')
            .set({ account_id: account.id })
            .where('kid', '=', account.kid)
            .where('account_id', 'is', null)
            .where('removed_at', 'is', null)
            .where('expires_at', '>', account.createdAt.getTime())
            .executeTakeFirstOrThrow();
          if (numUpdatedRows === 0n) return { outcome: 'bound' as const };
        }
        await tx.insertInto('acme_account').values(rowOfAccount(account)).execute();
        record(event);
        return { outcome: 'created' as const, account };
      }),
    account: (id) => reading((db) => accountWhere(db, 'id', id)),
    accountByKey: (thumbprint) => reading((db) => accountWhere(db, 'thumbprint', thumbprint)),
    openAccounts: (limit) => reading(async (db) => (await db.selectFrom('acme_account').selectAll().where('kid', 'is', null).orderBy('created_at', 'desc').orderBy('id').limit(limit).execute()).map(accountOf)),
    changeAccount: (id, { contacts, status }, event) =>
      queue.run(async ({ tx, record }) => {
        const set = { ...(contacts === undefined ? {} : { contacts: JSON.stringify(contacts) }), ...(status === undefined ? {} : { status }) };
        const row = await tx.updateTable('acme_account').set(set).where('id', '=', id).where('status', '=', 'valid').returningAll().executeTakeFirst();
        if (row !== undefined) record(event);
        return row && accountOf(row);
      }),
    changeKey: (id, { jwk, thumbprint }, event) =>
      queue.run(async ({ tx, record }) => {
        const taken = await accountWhere(tx, 'thumbprint', thumbprint);
        if (taken !== undefined) return taken;
        await tx.updateTable('acme_account').set({ jwk, thumbprint }).where('id', '=', id).where('status', '=', 'valid').execute();
        record(event);
        return undefined;
      }),

    createOrder: (order, authorizations, event) =>
      queue.run(async ({ tx, record }) => {
        await clearOrders(tx, order.createdAt.getTime());
        if (order.replaces !== undefined) {
          const others = await tx.selectFrom('acme_order').select(['status', 'expires_at']).where('replaces', '=', order.replaces).where('status', '<>', 'invalid').execute();
          if (others.some(({ status, expires_at }) => status === 'valid' || status === 'processing' || expires_at > order.createdAt.getTime())) return false;
        }
        await tx.insertInto('acme_order').values(rowOfOrder(order)).execute();
        await tx.insertInto('acme_authorization').values(authorizations.map(rowOfAuthorization)).execute();
        record(event);
        return true;
      }),
    order: (id) => reading((db) => orderWhere(db, id)),
    orderOfCertificate: (issuerId, serial) =>
      reading(async (db) => {
        const row = await db.selectFrom('acme_order').selectAll().where('issuer_id', '=', issuerId).where('serial', '=', serial).executeTakeFirst();
        return row && orderOf(row);
      }),
    orderIds: (accountId, { after, limit }) =>
      reading(async (db) => {
        const from = after === undefined ? undefined : await db.selectFrom('acme_order').select(['created_at', 'id']).where('id', '=', after).where('account_id', '=', accountId).executeTakeFirst();
        let query = db.selectFrom('acme_order').select('id').where('account_id', '=', accountId);
        if (from !== undefined) query = query.where((where) => where.or([where('created_at', '>', from.created_at), where.and([where('created_at', '=', from.created_at), where('id', '>', from.id)])]));
        return (await query.orderBy('created_at').orderBy('id').limit(limit).execute()).map(({ id }) => id);
      }),
    certificatesOf: (accountId, now) =>
      reading(async (db) => {
        const rows = await db
          .selectFrom('acme_order')
          .select(['issuer_id', 'serial'])
          .where('account_id', '=', accountId)
          .where('not_after', '>=', now.getTime() - 1_000)
          .orderBy('created_at')
          .orderBy('id')
          .limit(1_000)
          .execute();
        return rows.flatMap(({ issuer_id: issuerId, serial }) => (issuerId === null || serial === null ? [] : [{ issuerId, serial }]));
      }),
    openOrders: (accountId, now) =>
      reading(async (db) => {
        const { count } = await db
          .selectFrom('acme_order')
          .select((of) => of.fn.countAll<number>().as('count'))
          .where('account_id', '=', accountId)
          .where('status', 'in', ['pending', 'ready', 'processing'])
          .where('expires_at', '>', now.getTime())
          .executeTakeFirstOrThrow();
        return Number(count);
      }),
    authorization: (id) => reading((db) => authorizationWhere(db, id)),
    isAuthorized: (accountId, { type, value }, now) =>
      reading(async (db) => {
        const row = await db
          .selectFrom('acme_authorization')
          .select('id')
          .where('account_id', '=', accountId)
          .where('identifier', '=', value)
          .where('identifier_type', '=', type)
          .where('status', '=', 'valid')
          .where('expires_at', '>', now.getTime())
          .limit(1)
          .executeTakeFirst();
        return row !== undefined;
      }),

    beginValidation: (key, at, staleBefore) =>
      queue.run(async ({ tx }) => {
        const found = await authorizationWhere(tx, key.authorizationId);
        const challenge = found?.challenges.find(({ type }) => type === key.type);
        if (found === undefined || challenge === undefined || found.status !== 'pending' || found.expiresAt <= at) return undefined;
        if (challenge.status === 'processing' ? (challenge.attemptedAt ?? at) >= staleBefore : challenge.status !== 'pending') return undefined;
        const challenges = found.challenges.map((each) => (each.type === key.type ? { ...each, status: 'processing' as const, attemptedAt: at } : each));
        await tx.updateTable('acme_authorization').set({ challenges: challengesText(challenges) }).where('id', '=', found.id).execute();
        return { ...found, challenges };
      }),
    settleChallenge: (key, result, event) => queue.run((change) => settleChallenge(change, key, { ...result, event })),
    deactivateAuthorization: (id, event) =>
      queue.run(async ({ tx, record }) => {
        const row = await tx.updateTable('acme_authorization').set({ status: 'deactivated' }).where('id', '=', id).where('status', 'in', ['pending', 'valid']).returningAll().executeTakeFirst();
        if (row === undefined) return undefined;
        await tx.updateTable('acme_order').set({ status: 'invalid' }).where('id', '=', row.order_id).where('status', 'in', ['pending', 'ready']).execute();
        record(event);
        return authorizationOf(row);
      }),

    claimOrder: (id, { csr, spkiHash, at }) =>
      queue.run(async ({ tx }) => {
        const { numUpdatedRows } = await tx.updateTable('acme_order').set({ status: 'processing', csr, spki_hash: spkiHash, finalized_at: at.getTime() }).where('id', '=', id).where('status', '=', 'ready').executeTakeFirstOrThrow();
        return numUpdatedRows > 0n;
      }),
    releaseOrder: (id) =>
      queue.run(async ({ tx }) => {
        await tx.updateTable('acme_order').set({ status: 'ready', csr: null, spki_hash: null, finalized_at: null }).where('id', '=', id).where('status', '=', 'processing').execute();
      }),
    settleOrder: (id, result, event) =>
      queue.run(async ({ tx, record }) => {
        const order = await orderWhere(tx, id);
        if (order?.status !== 'processing') return;
        const { id: _id, ...row } = rowOfOrder('certificate' in result ? { ...order, status: 'valid', certificate: result.certificate } : { ...order, status: 'invalid', error: result.error });
        await tx.updateTable('acme_order').set(row).where('id', '=', id).execute();
        record(event);
      }),

    spendNonce: (nonce, expiresAt, now) =>
      queue.run(async ({ tx }) => {
        const old = tx.selectFrom('acme_nonce').select('nonce').where('expires_at', '<=', now.getTime()).orderBy('expires_at').limit(clearedAtOnce);
        await tx.deleteFrom('acme_nonce').where('nonce', 'in', old).execute();
        const { numInsertedOrUpdatedRows = 0n } = await tx.insertInto('acme_nonce').values({ nonce, expires_at: expiresAt.getTime() }).onConflict((on) => on.column('nonce').doNothing()).executeTakeFirstOrThrow();
        return numInsertedOrUpdatedRows > 0n;
      }),
  };
};

/** RFC 8555 §7.1.6: one proof makes an authorization valid, one failure invalid, and the order follows. */
const settleChallenge = async ({ tx, record }: Change, { authorizationId, type }: ChallengeKey, { at, error, event }: { readonly at: Date; readonly error?: ProblemDocument | undefined; readonly event: AuditEvent }): Promise<void> => {
  const found = await authorizationWhere(tx, authorizationId);
  if (found?.status !== 'pending') return;
  const status = error === undefined ? ('valid' as const) : ('invalid' as const);
  const challenges = found.challenges.map((each) => (each.type === type ? { ...each, status, error, ...(error === undefined ? { validatedAt: at } : {}) } : each));
  await tx.updateTable('acme_authorization').set({ status, challenges: challengesText(challenges) }).where('id', '=', found.id).execute();
  record(event);
  if (error !== undefined) {
    const { identifier } = found;
    await tx.updateTable('acme_order').set({ status: 'invalid', error: JSON.stringify({ ...error, identifier }) }).where('id', '=', found.orderId).where('status', '=', 'pending').execute();
    return;
  }
  const open = await tx.selectFrom('acme_authorization').select('id').where('order_id', '=', found.orderId).where('status', '<>', 'valid').limit(1).executeTakeFirst();
  if (open === undefined) await tx.updateTable('acme_order').set({ status: 'ready' }).where('id', '=', found.orderId).where('status', '=', 'pending').execute();
};

const clearOrders = async (tx: Change['tx'], now: number): Promise<void> => {
  const old = (await tx.selectFrom('acme_order').select('id').where('keep_until', '<', now).orderBy('keep_until').limit(clearedAtOnce).execute()).map(({ id }) => id);
  if (old.length === 0) return;
  await tx.deleteFrom('acme_authorization').where('order_id', 'in', old).execute();
  await tx.deleteFrom('acme_order').where('id', 'in', old).execute();
};

const accountWhere = async (db: Kysely<Schema>, column: 'id' | 'thumbprint', value: string) => {
  const row = await db.selectFrom('acme_account').selectAll().where(column, '=', value).executeTakeFirst();
  return row && accountOf(row);
};

const orderWhere = async (db: Kysely<Schema>, id: string) => {
  const row = await db.selectFrom('acme_order').selectAll().where('id', '=', id).executeTakeFirst();
  return row && orderOf(row);
};

const authorizationWhere = async (db: Kysely<Schema>, id: string): Promise<AcmeAuthorization | undefined> => {
  const row = await db.selectFrom('acme_authorization').selectAll().where('id', '=', id).executeTakeFirst();
  return row && authorizationOf(row);
};
