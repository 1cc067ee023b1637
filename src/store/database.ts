/** What SQLite and PostgreSQL have in common for the rest of the store. */
import type { CompiledQuery, Kysely, QueryResult, Transaction } from 'kysely';
import type { CodedError } from '../../ca/errors.ts';
import type { ErrorCode } from '../errors.ts';
import type { Schema } from './schema.ts';

export type StoreKind = 'sqlite' | 'postgres';

/** A failed statement, read by the one who knows the database. */
export interface Failure {
  readonly error: CodedError<ErrorCode>;
  /** The database as a whole is in trouble (full, locked, away), so trying the same thing in smaller parts is no use. */
  readonly general: boolean;
}

/** A read whose failures are explained. */
export type Reading = <T>(read: (db: Kysely<Schema>) => Promise<T>) => Promise<T>;

export interface Database {
  readonly kind: StoreKind;
  /** Sees committed rows only. */
  readonly read: Kysely<Schema>;
  /** One writer at a time over all processes. On disk once the promise resolves; nothing is left of it when it rejects. */
  inTransaction<T>(work: (tx: Transaction<Schema>) => Promise<T>): Promise<T>;
  /** Statements of a transaction that do not need each other's results: on SQLite one message to the thread. */
  together(tx: Transaction<Schema>, queries: readonly CompiledQuery[]): Promise<readonly QueryResult<unknown>[]>;
  /** The last statements of a transaction: on SQLite they go with the commit, and the transaction rejects when one fails. */
  withCommit(tx: Transaction<Schema>, queries: readonly CompiledQuery[]): Promise<void>;
  /** Everything read within `work` is of one moment, while others go on writing. */
  snapshot<T>(work: (read: Kysely<Schema>) => Promise<T>): Promise<T>;
  /** Within a transaction that added rows to `change`. */
  announceChanges(tx: Transaction<Schema>): Promise<void>;
  /** Calls `wake` soon after another process committed something; what it says is only that looking is worthwhile. */
  watchChanges(wake: () => void): Promise<() => Promise<void>>;
  explain(error: unknown): Failure;
  close(): Promise<void>;
}

export const readingOf =
  (database: Database): Reading =>
  async (read) => {
    try {
      return await read(database.read);
    } catch (error) {
      throw database.explain(error).error;
    }
  };
