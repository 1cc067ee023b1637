/** The CA's memory (`CaStore` of ca/ports.ts), on either database. */
import type { CaStore, CertificateRecord } from '../../ca/ports.ts';
import { createIntentBatch, createIssuedBatch, noIntent } from './issuance-batches.ts';
import { certificatePages, matching, recordOfRow } from './certificate-rows.ts';
import { changeRequest, expireRequests, findRequests, insertRequest, unspendableBecause } from './certificate-requests.ts';
import { createCrlStore } from './crls.ts';
import { readingOf } from './database.ts';
import type { Database } from './database.ts';
import { releaseCertificates, revokedPages, revokedText, revokeCertificates } from './revocations.ts';
import { deleteSuccessions, noteFirstUse, readSuccessions } from './successions.ts';
import { deleteToken, listTokens, rowOfToken, tokenOfRow } from './token-rows.ts';
import type { WriteQueue } from './write-queue.ts';

const defaultLimit = 1_000;

export const createCaStore = (database: Database, queue: WriteQueue): CaStore => {
  const reading = readingOf(database);

  const storeIntents = createIntentBatch(database);
  const storeIssued = createIssuedBatch(database);

  return {
    recordIntent: (intent) => queue.runBatched(storeIntents, intent),

    recordIssued: (issued, event) => queue.runBatched(storeIssued, { ...issued, event }),

    discardIntent: (key, event) =>
      queue.run(async ({ tx, record }) => {
        const { numDeletedRows } = await tx
          .deleteFrom('certificate')
          .where('issuer_id', '=', key.issuerId)
          .where('serial', '=', key.serial)
          .where('state', '=', 'intent')
          .executeTakeFirstOrThrow();
        if (numDeletedRows === 0n) throw noIntent(key);
        record(event);
      }),

    recoverIntents: (before, event) =>
      queue.run(async ({ tx, record }) => {
        const found = await tx
          .selectFrom('certificate')
          .selectAll()
          .where('state', '=', 'intent')
          .where('created_at', '<', before.getTime())
          .orderBy('created_at')
          .orderBy('serial')
          .execute();
        if (found.length === 0) return [];
        await tx.updateTable('certificate').set({ state: 'unknownIssued' }).where('state', '=', 'intent').where('created_at', '<', before.getTime()).execute();
        const recovered = found.map((row): CertificateRecord => ({ ...recordOfRow(row), state: 'unknownIssued' }));
        for (const one of recovered) record(event(one));
        return recovered;
      }),

    findCertificates: (query) =>
      reading(async (db) => {
        const rows = await matching(db.selectFrom('certificate').selectAll(), query, database.kind)
          .orderBy('created_at')
          .orderBy('serial')
          .orderBy('issuer_id')
          .limit(query.limit ?? defaultLimit)
          .offset(query.offset ?? 0)
          .execute();
        return rows.map((row) => recordOfRow(row));
      }),

    countCertificates: (query) =>
      reading(async (db) => {
        const counted = await matching(
          db.selectFrom('certificate').select((of) => of.fn.countAll<number>().as('count')),
          query,
          database.kind,
        ).executeTakeFirstOrThrow();
        return counted.count;
      }),

    certificatePages: (options) => certificatePages(reading, options?.pageSize),

    revoke: (keys, reason, at, event) => queue.run((change) => revokeCertificates(change, { keys, reason, at, event })),

    release: (keys, at, event) => queue.run((change) => releaseCertificates(change, { keys, at, event })),

    revokedSerials: (issuerId, options) => revokedPages(reading, issuerId, options?.pageSize),

    revokedText: (issuerId, options) => revokedText(reading, database.kind, { issuerId, ...options }),

    markSeen: async (key, at) => {
      const known = await reading((db) =>
        db.selectFrom('certificate').select('first_seen_at').where('issuer_id', '=', key.issuerId).where('serial', '=', key.serial).executeTakeFirst(),
      );
      if (known === undefined || known.first_seen_at !== null) return;
      await queue.run((change) => noteFirstUse(change, key, at));
    },

    successions: (seenBefore, limit) => reading((db) => readSuccessions(db, seenBefore, limit)),

    settleSuccessions: async (keys) => {
      if (keys.length > 0) await queue.run((change) => deleteSuccessions(change, keys));
    },

    crlNumberFloor: () =>
      reading(async (db) => {
        const row = await db.selectFrom('restoration').select('crl_number_floor').orderBy('restored_at', 'desc').limit(1).executeTakeFirst();
        return BigInt(row?.crl_number_floor ?? 0);
      }),

    ...createCrlStore(reading, queue),

    insertToken: (token, event) =>
      queue.run(async ({ tx, record }) => {
        await tx.insertInto('enrollment_token').values(rowOfToken(token)).execute();
        record(event);
      }),

    spendToken: (secretHash, at, event) =>
      queue.run(async ({ tx, record }) => {
        const row = await tx.selectFrom('enrollment_token').selectAll().where('secret_hash', '=', secretHash).executeTakeFirst();
        const unspendable = unspendableBecause(row, at);
        if (row === undefined || unspendable !== undefined) return { outcome: unspendable ?? 'unknown' };
        // Nobody came between: this transaction holds the write lock.
        await tx.updateTable('enrollment_token').set({ spent_at: at.getTime() }).where('secret_hash', '=', secretHash).execute();
        const token = tokenOfRow(row);
        record(event(token));
        return { outcome: 'spent' as const, token };
      }),

    findToken: (secretHash) =>
      reading(async (db) => {
        const row = await db.selectFrom('enrollment_token').selectAll().where('secret_hash', '=', secretHash).executeTakeFirst();
        return row && { token: tokenOfRow(row), spentAt: row.spent_at === null ? undefined : new Date(row.spent_at) };
      }),

    insertRequest: (request, event, options) => queue.run((change) => insertRequest(change, request, event, options)),

    findRequests: (query) => reading((db) => findRequests(db, query)),

    changeRequest: (id, from, to, event) => queue.run((change) => changeRequest(change, id, { from, to, event })),

    expireRequests: (at, event) => queue.run((change) => expireRequests(change, at, event)),

    tokens: (query) => reading((db) => listTokens(db, query)),

    deleteToken: (secretHash, event) => queue.run((change) => deleteToken(change, secretHash, event)),

    recordEvent: (event) =>
      queue.run(async ({ record }) => {
        record(event);
        await Promise.resolve();
      }),
  };
};
