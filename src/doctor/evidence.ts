/** The audit log, quickly: is its latest checkpoint genuine, and has nothing been taken back? */
import { readKeptCheckpoint } from '../audit/checkpoint-file.ts';
import { verifyCheckpoint } from '../audit/checkpoint.ts';
import type { AuditStore } from '../audit/audit-store.ts';
import { fail, pass, warn } from './check.ts';
import type { Finding } from './check.ts';

export interface EvidenceOptions {
  readonly store: Pick<AuditStore, 'latestCheckpoint' | 'size'>;
  readonly verifierKey: string;
  /** Where the latest checkpoint is kept outside the store. */
  readonly checkpointFile: string;
}

const next = 'sallyport audit verify says what was altered; compare with copies of the store and of audit.checkpoint kept elsewhere';

export const examineAudit = async ({ store, verifierKey, checkpointFile }: EvidenceOptions): Promise<Finding> => {
  // In this order: the log may grow meanwhile, and never shrinks.
  const kept = await readKeptCheckpoint(checkpointFile);
  const note = await store.latestCheckpoint();
  const size = await store.size();
  if (note === undefined) return fail(`${size} entries without a signed checkpoint`, next);
  const latest = verifyCheckpoint(note, verifierKey);
  if (!latest.ok) return fail(`the latest checkpoint is not valid: ${latest.problem}`, next);
  if (latest.checkpoint.size > size) return fail(`the log holds ${size} entries, its checkpoint vouches for ${latest.checkpoint.size}`, next);
  if (kept === undefined) return warn('there is no checkpoint outside the store', 'start the gateway, which keeps one in audit.checkpoint, and keep copies elsewhere');
  const outside = verifyCheckpoint(kept, verifierKey);
  if (!outside.ok) return fail(`the checkpoint kept outside the store is not valid: ${outside.problem}`, next);
  if (outside.checkpoint.size > latest.checkpoint.size) return fail(`the store holds ${latest.checkpoint.size} entries, the checkpoint kept outside it vouches for ${outside.checkpoint.size}`, next);
  return pass(`signed checkpoint over ${latest.checkpoint.size} entries; sallyport audit verify looks at each`);
};
