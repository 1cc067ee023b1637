/** The state of one deployment: what the CA remembers, the audit log, tool definitions, and the feed between processes. */
import type { AcmeStore } from '../../ca/acme/ports.ts';
import type { CaStore } from '../../ca/ports.ts';
import type { AuditStore } from '../audit/audit-store.ts';
import type { AnsweredRequests } from './answered-requests.ts';
import type { ChangeFeed } from './changes.ts';
import type { StoreKind } from './database.ts';
import type { StoreSnapshot } from './snapshot.ts';
import type { Tidying } from './tidy.ts';
import type { ToolStore } from './tool-definitions.ts';

export type { AuditStore } from '../audit/audit-store.ts';
export type { Change, ChangeFeed } from './changes.ts';
export type { StoreKind } from './database.ts';
export type { ToolStore } from './tool-definitions.ts';

export interface Store {
  readonly kind: StoreKind;
  readonly ca: CaStore;
  readonly audit: AuditStore;
  readonly changes: ChangeFeed;
  readonly tools: ToolStore;
  readonly answered: AnsweredRequests;
  /** Removing what is long over. */
  readonly tidy: Tidying;
  /** Every row of every table, as of one moment. */
  snapshot<T>(work: (of: StoreSnapshot) => Promise<T>): Promise<T>;
  readonly acme: AcmeStore;
  /** Writes what is waiting, then lets go of the database. */
  close(): Promise<void>;
}
