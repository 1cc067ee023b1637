/** What the audit log asks of a store. Implementations live in `src/store`. */
import type { AuditEvent } from '../../ca/ports.ts';
import { parseCheckpoint } from './checkpoint.ts';
import type { StoredEntry } from './entry.ts';

export interface Appended {
  /** Entries in the log after the append (and after others that were committed together with it). */
  readonly size: number;
  /** The signed note over that size; undefined when the store was opened without a signer. */
  readonly checkpoint: string | undefined;
}

export interface AuditStore {
  /** Entries, Merkle frontier and signed checkpoint in one transaction, on disk when the promise resolves. */
  append(events: readonly AuditEvent[]): Promise<Appended>;
  /** Entries from index `from` on, at most `limit`. */
  read(range: { readonly from: number; readonly limit: number }): Promise<readonly StoredEntry[]>;
  size(): Promise<number>;
  latestCheckpoint(): Promise<string | undefined>;
  /** The notes that were kept, ascending by size, the latest last. */
  checkpoints(): Promise<readonly string[]>;
}

/** How long the log is by its latest checkpoint, or by itself when it is not signed. */
export const sizeAt = async (store: AuditStore, checkpoints: readonly string[]): Promise<number> => {
  const latest = checkpoints.at(-1);
  return (latest === undefined ? undefined : parseCheckpoint(latest)?.size) ?? (await store.size());
};

/** Every entry below `size`, page by page; the log may grow meanwhile. */
export async function* allEntries(store: AuditStore, options: { readonly size: number; readonly pageSize?: number }): AsyncGenerator<StoredEntry> {
  let from = 0;
  while (from < options.size) {
    const page = await store.read({ from, limit: options.pageSize ?? 2_000 });
    for (const entry of page) {
      if (entry.index >= options.size) return;
      yield entry;
    }
    const last = page.at(-1);
    if (last === undefined) return;
    from = last.index + 1;
  }
}
