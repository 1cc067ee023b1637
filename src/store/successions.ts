/** Renewals whose new certificate is in use and whose old one waits to be retired. */
import type { Kysely } from 'kysely';
import type { IssuerId, SerialHex, Succession } from '../../ca/ports.ts';
import type { Schema } from './schema.ts';
import type { Change } from './write-queue.ts';

/** The first use of a certificate; what it replaces waits from now on. */
export const noteFirstUse = async ({ tx }: Change, key: { readonly issuerId: IssuerId; readonly serial: SerialHex }, at: Date): Promise<void> => {
  const noted = await tx
    .updateTable('certificate')
    .set({ first_seen_at: at.getTime() })
    .where('issuer_id', '=', key.issuerId)
    .where('serial', '=', key.serial)
    .where('first_seen_at', 'is', null)
    .returning(['agent', 'replaces'])
    .executeTakeFirst();
  if (noted === undefined || noted.replaces === null) return;
  await tx.insertInto('succession').values({ issuer_id: key.issuerId, serial: key.serial, agent: noted.agent, replaces: noted.replaces, seen_at: at.getTime() }).execute();
};

/** Oldest first. */
export const readSuccessions = async (db: Kysely<Schema>, seenBefore: Date, limit: number): Promise<readonly Succession[]> => {
  const rows = await db.selectFrom('succession').selectAll().where('seen_at', '<=', seenBefore.getTime()).orderBy('seen_at').orderBy('serial').limit(limit).execute();
  return rows.map((row) => ({ issuerId: row.issuer_id, serial: row.serial, agent: row.agent, replaces: row.replaces, seenAt: new Date(row.seen_at) }));
};

export const deleteSuccessions = async ({ tx }: Change, keys: readonly { readonly issuerId: IssuerId; readonly serial: SerialHex }[]): Promise<void> => {
  for (const { issuerId, serial } of keys) await tx.deleteFrom('succession').where('issuer_id', '=', issuerId).where('serial', '=', serial).execute();
};
