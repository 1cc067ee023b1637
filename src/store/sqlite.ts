/** SQLite: a Kysely dialect over the worker thread, and the `Database` made of it. */
import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Kysely, SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler } from 'kysely';
import type { CompiledQuery, DatabaseConnection, Dialect, Driver, QueryResult } from 'kysely';
import { CaError, CodedError } from '../../ca/errors.ts';
import type { ErrorCode } from '../errors.ts';
import type { Database, Failure } from './database.ts';
import type { Schema } from './schema.ts';
import { SqliteError, SqliteThread } from './sqlite-thread.ts';
import type { SqliteResult, SqliteStatement } from './sqlite-thread.ts';

const busyForMs = 5_000;
const pollEveryMs = 250;
/** The file system tells of the write to the WAL; others see it only once it is synced and committed. */
const lookAgainAfterMs: readonly number[] = [2, 3, 5, 10, 20];

export const openSqlite = async (path: string): Promise<Database> => {
  try {
    // Created here so that database, WAL and shared memory (which take its mode) are the owner's alone.
    await (await open(path, 'a', 0o600)).close();
  } catch (error) {
    if (!isReadOnly(error)) throw explainSqlite(error, path).error;
  }
  const thread = await SqliteThread.open(path).catch((error: unknown) => {
    throw explainSqlite(error, path).error;
  });
  const read = new Kysely<Schema>({ dialect: dialectOver(new ThreadConnection(thread, 'read')) });
  const writer = new ThreadConnection(thread, 'write');
  const write = new Kysely<Schema>({ dialect: dialectOver(writer) });
  return {
    kind: 'sqlite',
    read,
    inTransaction: (work) => write.transaction().execute(work),
    // There is one transaction at a time, on this connection.
    together: (_tx, queries) => writer.executeAll(queries),
    withCommit: async (_tx, queries) => writer.holdForCommit(queries),
    snapshot: async (work) => {
      // A thread of its own: a transaction on the connection that reads would hold up what everybody else sees.
      const own = await SqliteThread.open(path);
      const db = new Kysely<Schema>({ dialect: dialectOver(new ThreadConnection(own, 'read')) });
      try {
        // The first statement that reads fixes the moment.
        await own.runAll('read', [{ sql: 'BEGIN', parameters: [] }, { sql: 'SELECT count(*) FROM sqlite_schema', parameters: [] }]);
        return await work(db);
      } finally {
        await db.destroy();
        await own.close();
      }
    },
    // Other processes see the write-ahead log grow.
    announceChanges: () => Promise.resolve(),
    watchChanges: (wake) => Promise.resolve(watchFile(path, thread, wake)),
    explain: (error) => explainSqlite(error, path),
    close: async () => {
      await read.destroy();
      await write.destroy();
      await thread.close();
    },
  };
};

const dialectOver = (connection: ThreadConnection): Dialect => ({
  createAdapter: () => new SqliteAdapter(),
  createDriver: () => new ThreadDriver(connection),
  createIntrospector: (db) => new SqliteIntrospector(db),
  createQueryCompiler: () => new SqliteQueryCompiler(),
});

/** Transactions do not overlap: the write queue runs one at a time. */
class ThreadDriver implements Driver {
  readonly #connection: ThreadConnection;

  constructor(connection: ThreadConnection) {
    this.#connection = connection;
  }

  async init(): Promise<void> {}

  acquireConnection(): Promise<DatabaseConnection> {
    return Promise.resolve(this.#connection);
  }

  beginTransaction(): Promise<void> {
    this.#connection.begin();
    return Promise.resolve();
  }

  commitTransaction(): Promise<void> {
    return this.#connection.commit();
  }

  rollbackTransaction(): Promise<void> {
    return this.#connection.rollback();
  }

  async releaseConnection(): Promise<void> {}

  async destroy(): Promise<void> {}
}

class ThreadConnection implements DatabaseConnection {
  readonly #thread: SqliteThread;
  readonly #name: 'read' | 'write';
  #beginFirst = false;
  #held: readonly SqliteStatement[] = [];

  constructor(thread: SqliteThread, name: 'read' | 'write') {
    this.#thread = thread;
    this.#name = name;
  }

  /** The transaction begins together with its first statement: one message to the thread less. */
  begin(): void {
    this.#beginFirst = true;
    this.#held = [];
  }

  async commit(): Promise<void> {
    const held = this.#held;
    this.#held = [];
    const end: SqliteStatement = { sql: 'COMMIT', parameters: [] };
    if (this.#beginFirst && held.length > 0) await this.#beginWith([...held, end]);
    // Nothing was done: there is nothing to commit.
    else if (!this.#forgetBegin()) await this.#thread.runAll(this.#name, [...held, end]);
  }

  async rollback(): Promise<void> {
    this.#held = [];
    if (this.#forgetBegin()) return;
    // After a full disk or an I/O error SQLite has rolled back by itself and says so; the first error is the one to report.
    await this.#thread.run(this.#name, 'ROLLBACK').catch(() => undefined);
  }

  /** They go with the commit. */
  holdForCommit(queries: readonly CompiledQuery[]): void {
    this.#held = [...this.#held, ...queries.map(statementOf)];
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    const [result] = await this.executeAll([query]);
    return (result ?? { rows: [] }) as QueryResult<R>;
  }

  async executeAll(queries: readonly CompiledQuery[]): Promise<readonly QueryResult<unknown>[]> {
    const statements = queries.map(statementOf);
    const results = this.#beginFirst ? await this.#beginWith(statements) : await this.#thread.runAll(this.#name, statements);
    return results.map(({ rows, changes }) => ({ rows, numAffectedRows: BigInt(changes) }));
  }

  // eslint-disable-next-line require-yield
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new TypeError('read in pages instead of streaming');
  }

  /** Whether the transaction had yet to begin. */
  #forgetBegin(): boolean {
    const begun = this.#beginFirst;
    this.#beginFirst = false;
    return begun;
  }

  /** Takes the write lock at once: a transaction that begins by reading could not get it later without starting over. */
  async #beginWith(statements: readonly SqliteStatement[]): Promise<readonly SqliteResult[]> {
    const started = performance.now();
    for (let wait = 1; ; wait = Math.min(wait * 2, 15)) {
      try {
        const [, ...results] = await this.#thread.runAll(this.#name, [{ sql: 'BEGIN IMMEDIATE', parameters: [] }, ...statements]);
        this.#beginFirst = false;
        return results;
      } catch (error) {
        if (!isBusy(error) || performance.now() - started > busyForMs) {
          // Whether it was the first statement or a later one that failed: the rollback that follows clears up.
          this.#beginFirst = false;
          throw error;
        }
      }
      await pause(wait);
    }
  }
}

const statementOf = ({ sql, parameters }: CompiledQuery): SqliteStatement => ({ sql, parameters });

/**
 * A commit of another process shows in the WAL file (within a few milliseconds, where the platform
 * tells) and in `PRAGMA data_version` (always, asked every 250 ms).
 */
const watchFile = (path: string, thread: SqliteThread, wake: () => void): (() => Promise<void>) => {
  const file = basename(path);
  let watcher: FSWatcher | undefined;
  let settling: NodeJS.Timeout | undefined;
  const lookAgain = (step: number): void => {
    clearTimeout(settling);
    const pauseMs = lookAgainAfterMs[step];
    if (pauseMs === undefined) return;
    settling = setTimeout(() => {
      wake();
      lookAgain(step + 1);
    }, pauseMs);
    settling.unref();
  };
  try {
    watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
      if (name !== null && !name.startsWith(file)) return;
      wake();
      lookAgain(0);
    });
    watcher.on('error', () => watcher?.close());
  } catch {
    // No more watches to be had (inotify limits): the poll below still sees everything.
  }
  let version: unknown;
  const timer = setInterval(() => {
    thread.run('read', 'PRAGMA data_version').then(
      ({ rows }) => {
        const [row] = rows as { data_version: number }[];
        if (row?.data_version !== version) wake();
        version = row?.data_version;
      },
      () => {
        wake();
      },
    );
  }, pollEveryMs);
  timer.unref();
  return async () => {
    watcher?.close();
    clearTimeout(settling);
    clearInterval(timer);
    await Promise.resolve();
  };
};

const primary = (error: SqliteError): number => error.errcode % 256;

const isBusy = (error: unknown): boolean => error instanceof SqliteError && (primary(error) === 5 || primary(error) === 6);

const isReadOnly = (error: unknown): boolean => error instanceof Error && 'code' in error && (error.code === 'EACCES' || error.code === 'EROFS' || error.code === 'EPERM');

/** https://sqlite.org/rescode.html, and what a person does about each. */
const advice: Readonly<Record<number, string>> = {
  3: 'access to it was denied; give the user that runs Sallyport permission to read and write the file and its directory',
  5: 'another process has kept it locked for five seconds; find and end that process, or try again',
  6: 'another process has kept it locked for five seconds; find and end that process, or try again',
  8: 'it is read-only; give the user that runs Sallyport permission to write the file and its directory',
  10: 'the disk failed to read or write; check the disk and its free space',
  11: 'it is damaged; restore it from a backup',
  13: 'the disk is full; free some space and try again',
  14: 'it cannot be opened; check that the directory exists and that the user that runs Sallyport may write to it',
  26: 'it is not a Sallyport database, or it is damaged; restore it from a backup or name another file',
};

const explainSqlite = (error: unknown, path: string): Failure => {
  if (error instanceof CodedError) return { error: error as CodedError<ErrorCode>, general: false };
  const known = error instanceof SqliteError ? advice[primary(error)] : error instanceof Error && 'syscall' in error ? advice[isReadOnly(error) ? 8 : 14] : undefined;
  const reason = error instanceof Error ? error.message : String(error);
  const stopped = error instanceof SqliteError && error.errcode === 0;
  return {
    error: new CaError('ERR_STORE_UNAVAILABLE', `the store ${path} cannot be used: ${known ?? `the change was not made (${reason}); see the log for the cause`}`, { facts: { path, reason }, cause: error }),
    general: known !== undefined || stopped,
  };
};
