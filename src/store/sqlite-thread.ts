/** The main thread's end of the SQLite worker: numbered requests, answers in order. */
import { Worker } from 'node:worker_threads';

export interface SqliteStatement {
  readonly sql: string;
  readonly parameters: readonly unknown[];
}

export interface SqliteRequest {
  readonly id: number;
  readonly connection: 'read' | 'write';
  readonly statements: readonly SqliteStatement[];
  readonly close: boolean;
}

export interface SqliteResult {
  readonly rows: unknown[];
  readonly changes: number;
}

export type SqliteResponse =
  | { readonly id: number; readonly results: readonly SqliteResult[] }
  | { readonly id: number; readonly failure: { readonly message: string; readonly errcode: number } };

/** An error of SQLite, with its extended result code (https://sqlite.org/rescode.html); 0 when the thread itself failed. */
export class SqliteError extends Error {
  readonly errcode: number;

  constructor(message: string, errcode: number) {
    super(message);
    this.name = 'SqliteError';
    this.errcode = errcode;
  }
}

interface Waiting {
  resolve(results: readonly SqliteResult[]): void;
  reject(error: SqliteError): void;
}

// The worker is started from a file: the source in development, its compiled form in the package.
const workerFile = new URL(`./sqlite-worker${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url);

export class SqliteThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #ended: SqliteError | undefined;

  private constructor(path: string) {
    this.#worker = new Worker(workerFile, { workerData: { path }, execArgv: [], name: 'sallyport-sqlite' });
    this.#worker.on('message', (response: SqliteResponse) => {
      this.#settle(response);
    });
    this.#worker.on('error', (error) => {
      this.#end(new SqliteError(`the SQLite thread failed: ${error instanceof Error ? error.message : String(error)}`, 0));
    });
    this.#worker.on('exit', () => {
      this.#end(new SqliteError('the SQLite thread ended', 0));
    });
  }

  static async open(path: string): Promise<SqliteThread> {
    const thread = new SqliteThread(path);
    try {
      // The worker speaks first, as number 0.
      await new Promise<readonly SqliteResult[]>((resolve, reject) => {
        thread.#waiting.set(0, { resolve, reject });
      });
    } catch (error) {
      await thread.#worker.terminate();
      throw error;
    }
    thread.#worker.unref();
    return thread;
  }

  async run(connection: 'read' | 'write', sql: string, parameters: readonly unknown[] = []): Promise<SqliteResult> {
    const [result] = await this.runAll(connection, [{ sql, parameters }]);
    if (result === undefined) throw new SqliteError('the SQLite thread gave no result', 0);
    return result;
  }

  /** Several statements in one message; the first that fails ends the list. */
  runAll(connection: 'read' | 'write', statements: readonly SqliteStatement[]): Promise<readonly SqliteResult[]> {
    return this.#send(connection, statements, false);
  }

  async close(): Promise<void> {
    if (this.#ended !== undefined) return;
    await this.#send('write', [], true).catch(() => undefined);
    await this.#worker.terminate();
  }

  #send(connection: 'read' | 'write', statements: readonly SqliteStatement[], close: boolean): Promise<readonly SqliteResult[]> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      // The thread keeps the process alive only while an answer is awaited.
      if (this.#waiting.size === 0) this.#worker.ref();
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, connection, statements, close } satisfies SqliteRequest, []);
    });
  }

  #settle(response: SqliteResponse): void {
    const waiting = this.#waiting.get(response.id);
    this.#waiting.delete(response.id);
    if (this.#waiting.size === 0) this.#worker.unref();
    if ('results' in response) waiting?.resolve(response.results);
    else waiting?.reject(new SqliteError(response.failure.message, response.failure.errcode));
  }

  #end(error: SqliteError): void {
    this.#ended ??= error;
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}
