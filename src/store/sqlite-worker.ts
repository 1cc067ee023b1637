/**
 * The thread that owns the SQLite connections: one that writes, one that reads and so never sees
 * what is not committed. node:sqlite is synchronous; here it blocks nobody.
 */
import { parentPort, workerData } from 'node:worker_threads';
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import type { SqliteRequest, SqliteResponse } from './sqlite-thread.ts';

// Node 24 still announces node:sqlite as experimental, in the middle of a command's output.
process.removeAllListeners('warning');
const { DatabaseSync: Connection } = await import('node:sqlite');

const port = parentPort;
if (port === null) throw new Error('this file runs as a worker thread');
const statementsKept = 200;

class CachedConnection {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, { statement: StatementSync; reads: boolean }>();

  constructor(path: string) {
    this.#database = new Connection(path, { timeout: 5_000, enableForeignKeyConstraints: true });
    try {
      this.#database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864');
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  run(sql: string, parameters: readonly unknown[]): { rows: unknown[]; changes: number } {
    const { statement, reads } = this.#prepared(sql);
    const values = parameters as readonly SQLInputValue[];
    if (reads) return { rows: statement.all(...values), changes: 0 };
    return { rows: [], changes: Number(statement.run(...values).changes) };
  }

  /** 0: answer `busy` at once, so that the caller waits without holding up the readers. */
  setBusyTimeout(milliseconds: number): void {
    this.#database.exec(`PRAGMA busy_timeout = ${milliseconds}`);
  }

  close(): void {
    this.#database.close();
  }

  #prepared(sql: string): { statement: StatementSync; reads: boolean } {
    const kept = this.#statements.get(sql);
    if (kept !== undefined) return kept;
    const statement = this.#database.prepare(sql);
    const prepared = { statement, reads: statement.columns().length > 0 };
    if (this.#statements.size >= statementsKept) this.#statements.clear();
    this.#statements.set(sql, prepared);
    return prepared;
  }
}

/** Moved rather than copied: what this thread has read is nobody else's. */
const largeBuffers = (results: readonly { readonly rows: readonly unknown[] }[]): ArrayBuffer[] =>
  results.flatMap(({ rows }) => rows.length === 1 ? Object.values(rows[0] as object) : []).flatMap((value: unknown) => (value instanceof Uint8Array && value.byteLength > 65_536 && value.buffer instanceof ArrayBuffer && value.byteLength === value.buffer.byteLength ? [value.buffer] : []));

const failure = (error: unknown): { message: string; errcode: number } => ({
  message: error instanceof Error ? error.message : String(error),
  errcode: error instanceof Error && 'errcode' in error && typeof error.errcode === 'number' ? error.errcode : 0,
});

const open = (path: string): { write: CachedConnection; read: CachedConnection } | undefined => {
  try {
    const write = new CachedConnection(path);
    const read = new CachedConnection(path);
    write.setBusyTimeout(0);
    return { write, read };
  } catch (error) {
    port.postMessage({ id: 0, failure: failure(error) } satisfies SqliteResponse);
    return undefined;
  }
};

const connections = open((workerData as { path: string }).path);
if (connections !== undefined) {
  port.on('message', (request: SqliteRequest) => {
    if (request.close) {
      connections.read.close();
      connections.write.close();
      port.postMessage({ id: request.id, results: [] } satisfies SqliteResponse);
      port.close();
      return;
    }
    const results: { rows: unknown[]; changes: number }[] = [];
    try {
      for (const { sql, parameters } of request.statements) results.push(connections[request.connection].run(sql, parameters));
      port.postMessage({ id: request.id, results } satisfies SqliteResponse, largeBuffers(results));
    } catch (error) {
      port.postMessage({ id: request.id, failure: failure(error) } satisfies SqliteResponse);
    }
  });
  port.postMessage({ id: 0, results: [] } satisfies SqliteResponse);
}
