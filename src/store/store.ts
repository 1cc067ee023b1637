/** The state of one deployment: what the CA remembers, the audit log, and the feed between processes. */
import type { CaStore } from '../../ca/ports.ts';
import type { AuditStore } from '../audit/audit-store.ts';
import type { ChangeFeed } from './changes.ts';
import type { StoreKind } from './database.ts';

export type { AuditStore } from '../audit/audit-store.ts';
export type { Change, ChangeFeed } from './changes.ts';
export type { StoreKind } from './database.ts';

export interface Store {
  readonly kind: StoreKind;
  readonly ca: CaStore;
  readonly audit: AuditStore;
  readonly changes: ChangeFeed;
  /** Writes what is waiting, then lets go of the database. */
  close(): Promise<void>;
}
