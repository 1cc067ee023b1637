/** The change feed on either database: rows in order, read after a wake-up. */
import { sql } from 'kysely';
import type { Kysely } from 'kysely';
import type { Clock } from '../../ca/ports.ts';
import type { AppliedFacts, Change, ChangeFeed } from './changes.ts';
import type { Database } from './database.ts';
import { latestSeq } from './revocations.ts';
import type { ChangeTable, Schema } from './schema.ts';
import type { WriteQueue } from './write-queue.ts';

const pageSize = 1_000;

interface Subscriber {
  readonly listener: (change: Change) => void;
  seq: number;
}

export class StoredChangeFeed implements ChangeFeed {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #subscribers = new Set<Subscriber>();
  #queue: WriteQueue | undefined;
  #stopWatching: Promise<() => Promise<void>> | undefined;
  #reading: Promise<void> | undefined;
  #again = false;
  #currentAsOf: Date | undefined;

  constructor(database: Database, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** Queue and feed need each other: the queue wakes the feed, the feed writes acknowledgements. */
  useQueue(queue: WriteQueue): void {
    this.#queue = queue;
  }

  async subscribe(listener: (change: Change) => void, options: { readonly after?: number } = {}): Promise<() => Promise<void>> {
    const subscriber: Subscriber = { listener, seq: options.after ?? (await this.latest()) };
    this.#subscribers.add(subscriber);
    this.#stopWatching ??= this.#database.watchChanges(() => {
      this.wake();
    });
    await this.#stopWatching;
    this.wake();
    await this.#reading;
    return async () => {
      this.#subscribers.delete(subscriber);
      if (this.#subscribers.size === 0) await this.close();
    };
  }

  /** Something may have been committed. */
  wake(): void {
    if (this.#subscribers.size === 0) return;
    if (this.#reading !== undefined) {
      this.#again = true;
      return;
    }
    this.#reading = this.#readOn().finally(() => {
      this.#reading = undefined;
      if (this.#again) {
        this.#again = false;
        this.wake();
      }
    });
  }

  latest(): Promise<number> {
    return this.#attempt(() => latestSeq(this.#database.read));
  }

  currentAsOf(): Date | undefined {
    return this.#currentAsOf;
  }

  acknowledge(nodeId: string, seq: number, facts: AppliedFacts): Promise<void> {
    return this.#saveNode({ node_id: nodeId, applied_seq: seq, facts: JSON.stringify(facts) }, true);
  }

  heartbeat(nodeId: string): Promise<void> {
    return this.#saveNode({ node_id: nodeId, applied_seq: 0, facts: JSON.stringify({ connectionsCut: 0, millis: 0 } satisfies AppliedFacts) }, false);
  }

  async nodes(): ReturnType<ChangeFeed['nodes']> {
    const rows = await this.#attempt(() => this.#database.read.selectFrom('node').selectAll().orderBy('node_id').execute());
    return rows.map((row) => ({ nodeId: row.node_id, appliedSeq: row.applied_seq, seenAt: new Date(row.seen_at), facts: JSON.parse(row.facts) as AppliedFacts }));
  }

  async forget(nodeId: string): Promise<void> {
    await this.#queue?.run(({ tx }) => tx.deleteFrom('node').where('node_id', '=', nodeId).execute());
  }

  async close(): Promise<void> {
    const stop = this.#stopWatching;
    this.#stopWatching = undefined;
    this.#currentAsOf = undefined;
    await (await stop)?.();
    await this.#reading;
  }

  async #saveNode(node: { node_id: string; applied_seq: number; facts: string }, applied: boolean): Promise<void> {
    const seenAt = this.#clock.now().getTime();
    await this.#queue?.run(({ tx }) =>
      tx
        .insertInto('node')
        .values({ ...node, seen_at: seenAt })
        .onConflict((on) =>
          on.column('node_id').doUpdateSet({
            seen_at: seenAt,
            ...(applied && {
              applied_seq: sql<number>`CASE WHEN excluded.applied_seq > node.applied_seq THEN excluded.applied_seq ELSE node.applied_seq END`,
              facts: node.facts,
            }),
          }),
        )
        .execute(),
    );
  }

  /** Delivers what the subscribers have not had. A store that cannot be read is asked again at the next wake-up. */
  async #readOn(): Promise<void> {
    try {
      for (;;) {
        const asked = this.#clock.now();
        const from = Math.min(...[...this.#subscribers].map(({ seq }) => seq));
        if (!Number.isFinite(from)) return;
        const changes = await this.#changesAfter(from);
        for (const change of changes) this.#deliver(change);
        if (changes.length < pageSize) {
          this.#currentAsOf = asked;
          return;
        }
      }
    } catch {
      // `currentAsOf` grows old, which is what tells the gateway.
    }
  }

  #deliver(change: Change): void {
    for (const subscriber of this.#subscribers) {
      if (change.seq <= subscriber.seq) continue;
      subscriber.seq = change.seq;
      subscriber.listener(change);
    }
  }

  async #changesAfter(seq: number): Promise<readonly Change[]> {
    const db: Kysely<Schema> = this.#database.read;
    const rows = await db.selectFrom('change').selectAll().where('seq', '>', seq).orderBy('seq').limit(pageSize).execute();
    return rows.map(changeOfRow);
  }

  async #attempt<T>(read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      throw this.#database.explain(error).error;
    }
  }
}

const changeOfRow = ({ seq, kind, issuer_id: name, serial, reason, at: milliseconds }: ChangeTable): Change => {
  const at = new Date(milliseconds);
  if (kind === 'tools') return { seq, kind, upstream: name, at };
  if (kind === 'released') return { seq, kind, issuerId: name, serial, at };
  return { seq, kind, issuerId: name, serial, reason, at };
};
