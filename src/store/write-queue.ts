/**
 * Group commit: changes that arrive while one transaction is being written go into the next one
 * together, so that a disk that syncs a thousand times a second carries many thousand changes.
 * To the caller every change is a transaction of its own: it is on disk with its audit entries when
 * the promise resolves, and one that fails takes nothing with it.
 */
import type { Transaction } from 'kysely';
import { CaError } from '../../ca/errors.ts';
import type { AuditEvent } from '../../ca/ports.ts';
import type { Appended } from '../audit/audit-store.ts';
import type { AuditAppender } from './audit-append.ts';
import type { Database } from './database.ts';
import type { Schema } from './schema.ts';

/** What one change may do: rows through `tx`, events through `record`. */
export interface Change {
  readonly tx: Transaction<Schema>;
  /** The events are appended in order at the end of the transaction. */
  record(event: AuditEvent): void;
  /** Rows were added to the change feed. */
  announce(): void;
}

/** Runs again, alone, when something else in its group failed; so it has no effects but those on `Change`. */
export type ChangeWork<T> = (change: Change) => Promise<T>;

/** Thrown by work that has written nothing and does not want to: only this change is refused, the group goes on. */
export class Refusal extends Error {
  override readonly cause: Error;

  constructor(cause: Error) {
    super(cause.message, { cause });
    this.name = 'Refusal';
    this.cause = cause;
  }
}

export interface Done<T> {
  readonly value: T;
  readonly appended: Appended | undefined;
}

/** The same change for several callers at once, in as few statements as it takes. One outcome each, in order: a value or a `Refusal`. */
export type BatchWork<Item, T> = (change: Change, items: readonly Item[]) => Promise<readonly (T | Refusal)[]>;

interface Job {
  readonly work: BatchWork<unknown, unknown>;
  readonly item: unknown;
  resolve(done: Done<unknown>): void;
  reject(error: unknown): void;
}

const largestGroup = 256;

export class WriteQueue {
  readonly #database: Database;
  readonly #appendAudit: AuditAppender;
  readonly #onChanges: () => void;
  #jobs: Job[] = [];
  #running: Promise<void> | undefined;
  #closed = false;

  /** `onChanges` is called after a commit that added to the change feed. */
  constructor(database: Database, options: { appendAudit: AuditAppender; onChanges: () => void }) {
    this.#database = database;
    this.#appendAudit = options.appendAudit;
    this.#onChanges = options.onChanges;
  }

  async run<T>(work: ChangeWork<T>): Promise<T> {
    return (await this.runAudited(work)).value;
  }

  runAudited<T>(work: ChangeWork<T>): Promise<Done<T>> {
    return this.#enqueue(async (change) => [await refusable(work(change))], undefined);
  }

  /** `work` must be the same function for all items that may go together. */
  async runBatched<Item, T>(work: BatchWork<Item, T>, item: Item): Promise<T> {
    return (await this.#enqueue(work, item)).value;
  }

  #enqueue<Item, T>(work: BatchWork<Item, T>, item: Item): Promise<Done<T>> {
    if (this.#closed) return Promise.reject(new CaError('ERR_STORE_UNAVAILABLE', 'the store is closed; open it again'));
    return new Promise<Done<T>>((resolve, reject) => {
      this.#jobs.push({ work: work as Job['work'], item, resolve: resolve as Job['resolve'], reject });
      this.#running ??= this.#drain();
    });
  }

  /** Writes what is waiting, takes nothing new. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #drain(): Promise<void> {
    // Changes asked for in the same turn of the event loop share the first transaction.
    await Promise.resolve();
    while (this.#jobs.length > 0) {
      const group = this.#jobs.splice(0, largestGroup);
      const failed = await this.#commit(group);
      if (failed === undefined) continue;
      for (const job of group) {
        const alone = group.length > 1 && failed.retry ? await this.#commit([job]) : failed;
        if (alone !== undefined) job.reject(alone.error);
      }
    }
    this.#running = undefined;
  }

  /** Resolves the jobs when they are on disk; otherwise says why nothing of them is. */
  async #commit(group: readonly Job[]): Promise<{ error: unknown; retry: boolean } | undefined> {
    let committing = false;
    try {
      let announced = false;
      const done = await this.#database.inTransaction(async (tx) => {
        const events: AuditEvent[] = [];
        const change: Change = {
          tx,
          record: (event) => {
            events.push(event);
          },
          announce: () => {
            announced = true;
          },
        };
        const values: unknown[] = [];
        for (const { work, items } of runsOf(group)) values.push(...(await work(change, items)));
        const appended = events.length === 0 ? undefined : await this.#appendAudit(tx, events);
        if (announced) await this.#database.announceChanges(tx);
        committing = true;
        return { values, appended };
      });
      // Refusals too are told only now: what they rest on may have been written by the same group.
      for (const [at, job] of group.entries()) {
        const value = done.values[at];
        if (value instanceof Refusal) job.reject(value.cause);
        else job.resolve({ value, appended: done.appended });
      }
      if (announced) this.#onChanges();
      return undefined;
    } catch (error) {
      const { error: coded, general } = this.#database.explain(error);
      // A commit that failed is not tried again where it may have happened before the connection was lost.
      return { error: coded, retry: !general && !(committing && this.#database.kind === 'postgres') };
    }
  }
}

/** Neighbours that can go together; the order of the queue stays. */
const runsOf = (group: readonly Job[]): readonly { readonly work: Job['work']; readonly items: unknown[] }[] => {
  const runs: { work: Job['work']; items: unknown[] }[] = [];
  for (const { work, item } of group) {
    const last = runs.at(-1);
    if (last?.work === work) last.items.push(item);
    else runs.push({ work, items: [item] });
  }
  return runs;
};

const refusable = async <T>(work: Promise<T>): Promise<T | Refusal> => {
  try {
    return await work;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
};
