/** Fills an empty database from the rows of a backup: all of it, or nothing. */
import { sql } from 'kysely';
import type { Transaction } from 'kysely';
import { CaError } from '../../ca/errors.ts';
import type { AuditEvent, Clock } from '../../ca/ports.ts';
import type { Appended } from '../audit/audit-store.ts';
import type { CheckpointSigner } from '../audit/checkpoint.ts';
import { SallyportError } from '../errors.ts';
import { createAuditAppender } from './audit-append.ts';
import { migrateTo, schemaVersion, storedVersion } from './migrations.ts';
import { openDatabase } from './open-store.ts';
import { portions } from './portions.ts';
import { recordPublished } from './restored-revocations.ts';
import type { PublishedRevocations, RecordedRevocations } from './restored-revocations.ts';
import type { Schema } from './schema.ts';
import { tableShapes } from './snapshot.ts';
import type { Cell, TableShape } from './snapshot.ts';

export interface StoreLoader {
  insert(table: TableShape, rows: readonly (readonly Cell[])[]): Promise<void>;
  /** Once all rows are there. What follows from going back in time is part of the same transaction. */
  finish(options: RestorationFacts): Promise<Appended>;
}

export interface RestorationFacts {
  readonly backupAt: Date;
  readonly restoredAt: Date;
  /** Whether tokens that were unspent then may be used: they may have been spent since. */
  readonly tokens: 'expire' | 'keep';
  readonly signer: CheckpointSigner;
  readonly actor: string;
  /** CRLs that were published since. */
  readonly crls: readonly PublishedRevocations[];
  readonly event: (facts: Restoration) => AuditEvent;
}

export interface Restoration {
  readonly crlNumberFloor: bigint;
  readonly tokensExpired: number;
  readonly revocations: Omit<RecordedRevocations, 'events'>;
}

/** @throws SallyportError `ERR_CONFIG_EXISTS` when the database holds a store, CaError `ERR_STORE_*` */
export const loadStore = async <T>(url: string, options: { readonly clock: Clock; readonly schema: number }, work: (loader: StoreLoader) => Promise<T>): Promise<T> => {
  const { clock, schema } = options;
  if (schema > schemaVersion) {
    throw new CaError('ERR_STORE_SCHEMA', `the backup is of a newer Sallyport (schema ${schema}, this one knows ${schemaVersion}); upgrade Sallyport to restore it`, { facts: { version: schema, known: schemaVersion } });
  }
  const database = await openDatabase(url);
  try {
    return await database.inTransaction(async (tx) => {
      const { kind } = database;
      if ((await storedVersion(tx, kind)) > 0) throw new SallyportError('ERR_CONFIG_EXISTS', 'the database holds a store already, and nothing in it was touched: give an empty one with --store');
      // As it was when the backup was made; what has changed in the schema since is then done to the rows too.
      await migrateTo(tx, { kind, clock, version: schema });
      const present = new Map((await tableShapes(tx, kind)).map((shape) => [shape.name, shape]));
      return work({
        insert: (table, rows) => insertRows(tx, checkedShape(table, present.get(table.name)), rows),
        finish: async (facts) => {
          await migrateTo(tx, { kind, clock, version: schemaVersion });
          const crlNumberFloor = await recordRestoration(tx, facts);
          const tokensExpired = facts.tokens === 'keep' ? 0 : await expireTokens(tx, facts.restoredAt);
          const { events, ...revocations } = await recordPublished(tx, facts.crls, { time: facts.restoredAt, actor: facts.actor });
          return createAuditAppender(facts.signer, database)(tx, [facts.event({ crlNumberFloor, tokensExpired, revocations }), ...events]);
        },
      });
    });
  } catch (error) {
    throw database.explain(error).error;
  } finally {
    await database.close();
  }
};

const checkedShape = (given: TableShape, present: TableShape | undefined): TableShape => {
  const describe = (shape: TableShape | undefined): string => (shape?.columns ?? []).map(({ name, type }) => `${name} ${type}`).toSorted().join(', ');
  if (describe(given) !== describe(present)) {
    throw new SallyportError('ERR_BACKUP_INVALID', `the backup has a table ${given.name} that this Sallyport does not know in that form; use the Sallyport that made it, or a newer one`, { facts: { table: given.name } });
  }
  return given;
};

const insertRows = async (tx: Transaction<Schema>, { name, columns }: TableShape, rows: readonly (readonly Cell[])[]): Promise<void> => {
  const into = sql.join(columns.map((column) => sql.ref(column.name)));
  for (const some of portions(rows)) {
    await sql`INSERT INTO ${sql.table(name)} (${into}) VALUES ${sql.join(some.map((row) => sql`(${sql.join(row)})`))}`.execute(tx);
  }
};

/**
 * CRLs of one issuer are at least a second apart, so since the backup there were at most as many as seconds have
 * passed. Counting on by milliseconds since 1970 is beyond them, and beyond those of an earlier restoration of the same backup.
 */
const recordRestoration = async (tx: Transaction<Schema>, { backupAt, restoredAt, crls }: RestorationFacts): Promise<bigint> => {
  const published = (await tx.selectFrom('crl').select('crl_number').execute()).map((row) => BigInt(row.crl_number));
  const floors = (await tx.selectFrom('restoration').select('crl_number_floor').execute()).map((row) => BigInt(row.crl_number_floor));
  const floor = [...published, ...floors, ...crls.map(({ crlNumber }) => crlNumber)].reduce((most, number) => (number > most ? number : most), 0n) + BigInt(restoredAt.getTime());
  await tx.insertInto('restoration').values({ restored_at: restoredAt.getTime(), backup_at: backupAt.getTime(), crl_number_floor: String(floor) }).execute();
  return floor;
};

const expireTokens = async (tx: Transaction<Schema>, now: Date): Promise<number> => {
  // Since the backup they may have been approved, issued and collected.
  await tx.updateTable('certificate_request').set({ expires_at: now.getTime() }).where('state', 'in', ['pending', 'approved']).where('expires_at', '>', now.getTime()).execute();
  const { numUpdatedRows } = await tx.updateTable('enrollment_token').set({ expires_at: now.getTime() }).where('spent_at', 'is', null).where('expires_at', '>', now.getTime()).executeTakeFirstOrThrow();
  return Number(numUpdatedRows);
};
