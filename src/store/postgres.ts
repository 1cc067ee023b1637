/** PostgreSQL: a pool behind Kysely's dialect, one writer at a time by an advisory lock, LISTEN for changes. */
import { Kysely, PostgresDialect, sql } from 'kysely';
import type { QueryResult } from 'kysely';
import { Client, Pool, types } from 'pg';
import type { ClientConfig, CustomTypesConfig } from 'pg';
import { CaError, CodedError } from '../../ca/errors.ts';
import type { ErrorCode } from '../errors.ts';
import type { Database, Failure } from './database.ts';
import type { Schema } from './schema.ts';

const channel = 'sallyport_change';
/** "sallyport" on a phone; the lock is per database. */
const writeLock = 725597678;
const pollEveryMs = 1_000;

export const openPostgres = async (url: string): Promise<Database> => {
  const config = readUrl(url);
  const pool = new Pool({ ...config, max: 8 });
  // A connection that breaks while idle is replaced at the next use, which reports what is wrong.
  pool.on('error', () => undefined);
  const place = placeOf(url);
  const db = new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) });
  const explain = (error: unknown): Failure => explainPostgres(error, place);
  try {
    await sql`SELECT 1`.execute(db);
  } catch (error) {
    await db.destroy();
    throw explain(error).error;
  }
  return {
    kind: 'postgres',
    read: db,
    inTransaction: (work) =>
      db.transaction().execute(async (tx) => {
        // Several gateways and CAs write to one log: who holds the lock is the one that appends.
        // A database whose synchronous_commit is off would answer before the change is on disk.
        await sql
          .raw(`SET LOCAL lock_timeout = 5000; SET LOCAL synchronous_commit = on; SELECT pg_advisory_xact_lock(${writeLock})`)
          .execute(tx);
        return work(tx);
      }),
    together: async (tx, queries) => {
      const results: QueryResult<unknown>[] = [];
      for (const query of queries) results.push(await tx.executeQuery(query));
      return results;
    },
    withCommit: async (tx, queries) => {
      for (const query of queries) await tx.executeQuery(query);
    },
    snapshot: (work) => db.transaction().setIsolationLevel('repeatable read').setAccessMode('read only').execute(work),
    announceChanges: async (tx) => {
      await sql`SELECT pg_notify(${channel}, '')`.execute(tx);
    },
    watchChanges: (wake) => listen(config, wake),
    explain,
    close: () => db.destroy(),
  };
};

/** Wakes on NOTIFY, after every reconnection, and once a second. */
const listen = async (config: ClientConfig, wake: () => void): Promise<() => Promise<void>> => {
  let client: Client | undefined;
  let ended = false;
  let connecting: Promise<void> = Promise.resolve();

  const connect = async (): Promise<void> => {
    const fresh = new Client(config);
    const lost = (): void => {
      if (client === fresh) client = undefined;
      fresh.removeAllListeners('notification');
      void fresh.end().catch(() => undefined);
    };
    fresh.on('error', lost);
    fresh.on('end', () => {
      if (client === fresh) client = undefined;
    });
    fresh.on('notification', wake);
    try {
      await fresh.connect();
      await fresh.query(`LISTEN ${channel}`);
      client = fresh;
    } catch {
      lost();
    }
    if (ended) lost();
    // What was notified while nobody listened is read now.
    wake();
  };

  connecting = connect();
  await connecting;
  let busy = false;
  const timer = setInterval(() => {
    if (busy) return;
    if (client !== undefined) {
      wake();
      return;
    }
    busy = true;
    connecting = connect().finally(() => {
      busy = false;
    });
  }, pollEveryMs);
  timer.unref();
  return async () => {
    ended = true;
    clearInterval(timer);
    await connecting;
    await client?.end().catch(() => undefined);
  };
};

const readUrl = (url: string): ClientConfig => ({
  connectionString: url,
  application_name: 'sallyport',
  connectionTimeoutMillis: 5_000,
  query_timeout: 30_000,
  keepAlive: true,
  types: { getTypeParser },
});

// BIGINT (OID 20) arrives as text by default; ours are times and counts below 2^53.
const getTypeParser: CustomTypesConfig['getTypeParser'] = (oid: number, format?: 'text' | 'binary') =>
  oid === 20 && format !== 'binary' ? Number : types.getTypeParser(oid, format as 'text');

/** Where the server is, without user and password. */
const placeOf = (url: string): string => {
  try {
    const { hostname, port, pathname } = new URL(url);
    return `${hostname === '' ? 'localhost' : hostname}:${port === '' ? '5432' : port}${pathname}`;
  } catch {
    throw new CaError('ERR_STORE_UNAVAILABLE', 'the address of the PostgreSQL store is not a URL; write it as postgres://user:password@host:5432/database');
  }
};

/** https://www.postgresql.org/docs/current/errcodes-appendix.html, by class. */
const adviceByClass: Readonly<Record<string, string>> = {
  '08': 'the connection was lost; check the server and the network',
  '25': 'it is read-only; connect to the primary server',
  '28': 'it refused the user or password; check the store address',
  '3D': 'the database does not exist; create it or correct the store address',
  '42': 'the user lacks a permission or the schema is not ours; check the store address and the permissions of its user',
  '53': 'the server is out of disk, memory or connections; free some and try again',
  '55': 'another process has kept it locked for five seconds; find and end that process, or try again',
  '57': 'the server is shutting down or cancelled the query; try again',
  '58': 'the server reports an I/O error; check its disk',
  XX: 'the server reports damaged data; restore it from a backup',
};

const explainPostgres = (error: unknown, place: string): Failure => {
  if (error instanceof CodedError) return { error: error as CodedError<ErrorCode>, general: false };
  const reason = error instanceof AggregateError ? error.errors.map((one) => messageOf(one)).join(', ') : messageOf(error);
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  // A statement that failed by itself carries a five-character SQLSTATE; what has none is a connection that could not be used.
  const fromServer = /^[0-9A-Z]{5}$/.test(code);
  const known = fromServer ? adviceByClass[code.slice(0, 2)] : `it cannot be reached (${reason}); check that PostgreSQL runs there and that the network lets us through`;
  return {
    error: new CaError('ERR_STORE_UNAVAILABLE', `the store at ${place} cannot be used: ${known ?? `the change was not made (${reason}); see the log for the cause`}`, { facts: { place, reason, sqlState: fromServer ? code : undefined }, cause: error }),
    general: known !== undefined,
  };
};

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
