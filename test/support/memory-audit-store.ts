/** An audit store in memory that can be made to fail. */
import type { AuditStore } from '../../src/audit/audit-store.ts';
import type { CheckpointSigner } from '../../src/audit/checkpoint.ts';
import { storedEntry } from '../../src/audit/entry.ts';
import type { StoredEntry } from '../../src/audit/entry.ts';
import { rootOfLeaves } from '../../src/audit/merkle.ts';

export interface MemoryAuditStore extends AuditStore {
  readonly entries: readonly StoredEntry[];
  /** Sizes of the appends that succeeded. */
  readonly appends: readonly number[];
  fail(error: Error | undefined): void;
}

export const memoryAuditStore = (signer?: CheckpointSigner): MemoryAuditStore => {
  const entries: StoredEntry[] = [];
  const appends: number[] = [];
  let note: string | undefined;
  let failure: Error | undefined;
  return {
    entries,
    appends,
    fail: (error) => {
      failure = error;
    },
    append: async (events) => {
      await Promise.resolve();
      if (failure !== undefined) throw failure;
      for (const event of events) entries.push(storedEntry(event, entries.length));
      appends.push(events.length);
      note = signer?.sign({ size: entries.length, root: rootOfLeaves(entries.map(({ leafHash }) => leafHash)) });
      return { size: entries.length, checkpoint: note };
    },
    read: ({ from, limit }) => Promise.resolve(entries.filter(({ index }) => index >= from).slice(0, limit)),
    size: () => Promise.resolve(entries.length),
    latestCheckpoint: () => Promise.resolve(note),
    checkpoints: () => Promise.resolve(note === undefined ? [] : [note]),
  };
};
