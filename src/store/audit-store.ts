/** The audit log's store, on either database. */
import type { AuditStore } from '../audit/audit-store.ts';
import { readingOf } from './database.ts';
import type { Database } from './database.ts';
import type { WriteQueue } from './write-queue.ts';

export const createAuditStore = (database: Database, queue: WriteQueue): AuditStore => {
  const reading = readingOf(database);
  const head = (): Promise<{ size: number; note: string | null } | undefined> =>
    reading((db) => db.selectFrom('audit_head').select(['size', 'note']).where('id', '=', 1).executeTakeFirst());
  return {
    append: async (events) => {
      const { appended } = await queue.runAudited(async (change) => {
        for (const event of events) change.record(event);
        await Promise.resolve();
      });
      return appended ?? { size: (await head())?.size ?? 0, checkpoint: (await head())?.note ?? undefined };
    },
    read: ({ from, limit }) =>
      reading(async (db) => {
        const rows = await db.selectFrom('audit_entry').selectAll().where('position', '>=', from).orderBy('position').limit(limit).execute();
        return rows.map((row) => ({ index: row.position, event: row.event, leafHash: row.leaf_hash }));
      }),
    size: async () => (await head())?.size ?? 0,
    latestCheckpoint: async () => (await head())?.note ?? undefined,
    checkpoints: async () => {
      // The head is read first, so that no checkpoint in the list is later than the last one.
      const latest = await head();
      if (latest === undefined) return [];
      const kept = await reading((db) => db.selectFrom('audit_checkpoint').select('note').where('size', '<', latest.size).orderBy('size').execute());
      return [...kept.map((row) => row.note), ...(latest.note === null ? [] : [latest.note])];
    },
  };
};
