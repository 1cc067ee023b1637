/** Opens the store that a URL names. */
import { CaError } from '../../ca/errors.ts';
import type { Clock } from '../../ca/ports.ts';
import type { CheckpointSigner } from '../audit/checkpoint.ts';
import { createAcmeStore } from './acme-store.ts';
import { createAnsweredRequests } from './answered-requests.ts';
import { createAuditAppender } from './audit-append.ts';
import { createAuditStore } from './audit-store.ts';
import { createCaStore } from './ca-store.ts';
import { StoredChangeFeed } from './change-feed.ts';
import type { Database } from './database.ts';
import { migrate } from './migrations.ts';
import { openPostgres } from './postgres.ts';
import { openSqlite } from './sqlite.ts';
import { snapshotOf } from './snapshot.ts';
import type { Store } from './store.ts';
import { createTidying } from './tidy.ts';
import { createToolStore } from './tool-definitions.ts';
import { WriteQueue } from './write-queue.ts';

export interface StoreOptions {
  readonly clock: Clock;
  /** Signs a checkpoint with every append. Once a log is signed it can only be extended with its key. */
  readonly checkpointSigner?: CheckpointSigner | undefined;
}

/** `sqlite:<path>` or `postgres://user:password@host/database`. Brings the schema up to date. */
export const openStore = async (url: string, options: StoreOptions): Promise<Store> => {
  const database = await openDatabase(url);
  try {
    await migrate(database, options.clock);
  } catch (error) {
    await database.close();
    throw database.explain(error).error;
  }
  const changes = new StoredChangeFeed(database, options.clock);
  const queue = new WriteQueue(database, {
    appendAudit: createAuditAppender(options.checkpointSigner, database),
    onChanges: () => {
      changes.wake();
    },
  });
  changes.useQueue(queue);
  return {
    kind: database.kind,
    ca: createCaStore(database, queue),
    audit: createAuditStore(database, queue),
    changes,
    tools: createToolStore(database, queue),
    answered: createAnsweredRequests(queue),
    tidy: createTidying(database, queue),
    snapshot: (work) => snapshotOf(database, work),
    acme: createAcmeStore(database, queue),
    close: async () => {
      await queue.close();
      await changes.close();
      await database.close();
    },
  };
};

export const openDatabase = (url: string): Promise<Database> => {
  if (url.startsWith('sqlite:')) return openSqlite(url.slice('sqlite:'.length));
  if (url.startsWith('postgres:') || url.startsWith('postgresql:')) return openPostgres(url);
  return Promise.reject(new CaError('ERR_STORE_UNAVAILABLE', 'the store address must start with sqlite: or postgres:; correct `store` in sallyport.yaml'));
};
