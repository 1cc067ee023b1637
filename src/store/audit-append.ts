/** Appends to the audit log within the transaction of the change that the entries are about. */
import { sql } from 'kysely';
import type { CompiledQuery, Transaction } from 'kysely';
import type { AuditEvent } from '../../ca/ports.ts';
import type { Appended } from '../audit/audit-store.ts';
import { verifyCheckpoint } from '../audit/checkpoint.ts';
import type { CheckpointSigner } from '../audit/checkpoint.ts';
import { storedEntry } from '../audit/entry.ts';
import { appendLeaf, decodeFrontier, emptyFrontier, encodeFrontier, rootOf, sameHash } from '../audit/merkle.ts';
import type { Frontier } from '../audit/merkle.ts';
import { SallyportError } from '../errors.ts';
import type { Database } from './database.ts';
import { portions } from './portions.ts';
import type { AuditEntryTable, Schema } from './schema.ts';

/** Nothing of the transaction may come after it. */
export type AuditAppender = (tx: Transaction<Schema>, events: readonly AuditEvent[]) => Promise<Appended>;

/** One checkpoint in this many entries is kept for good: some 1 octet an entry, and an alteration is narrowed down to so many. */
const keepEvery = 256;

/** Without a signer the log has no checkpoints, and a log that has them is not extended. */
export const createAuditAppender = (signer: CheckpointSigner | undefined, { withCommit }: Pick<Database, 'withCommit'>): AuditAppender => {
  let lastChecked: { readonly note: string; readonly size: number; readonly root: Uint8Array } | undefined;

  /**
   * A checkpoint vouches for all entries before it, so what it is built on is proved first: else
   * whoever can write to the database could have us sign entries of his own.
   */
  const checkHead = (frontier: Frontier, note: string | null): void => {
    if (note === null) {
      if (signer !== undefined && frontier.size > 0) {
        throw tampered('the audit log has entries but no checkpoint; nothing more is recorded until `sallyport audit verify` has been answered for', frontier.size);
      }
      return;
    }
    if (signer === undefined) {
      throw new SallyportError('ERR_AUDIT_KEY', 'the audit log is signed and can only be extended with its key; open the store with keys/audit.key.pem');
    }
    if (lastChecked?.note !== note) {
      const verdict = verifyCheckpoint(note, signer.verifierKey);
      if (!verdict.ok) throw tampered(`the latest checkpoint of the audit log is not ours (${verdict.problem}); run \`sallyport audit verify\``, frontier.size);
      lastChecked = { note, size: verdict.checkpoint.size, root: verdict.checkpoint.root };
    }
    if (lastChecked.size !== frontier.size || !sameHash(lastChecked.root, rootOf(frontier))) {
      throw tampered('the audit log does not match its latest checkpoint; run `sallyport audit verify`', frontier.size);
    }
  };

  return async (tx, events) => {
    const head = await tx.selectFrom('audit_head').select(['size', 'frontier', 'note', 'kept_size']).where('id', '=', 1).executeTakeFirst();
    let frontier = head === undefined ? emptyFrontier : decodeFrontier(head.size, head.frontier);
    if (frontier === undefined) throw tampered('the head of the audit log is damaged; run `sallyport audit verify`', head?.size ?? 0);
    checkHead(frontier, head?.note ?? null);

    const rows: AuditEntryTable[] = [];
    for (const event of events) {
      const entry = storedEntry(event, frontier.size);
      rows.push({ position: entry.index, event: entry.event, leaf_hash: entry.leafHash });
      frontier = appendLeaf(frontier, entry.leafHash);
    }
    const last: CompiledQuery[] = [...portions(rows)].map((some) => tx.insertInto('audit_entry').values(some).compile());
    const { size } = frontier;
    const root = rootOf(frontier);
    const note = signer?.sign({ size, root });
    const keep = note !== undefined && size - (head?.kept_size ?? 0) >= keepEvery;
    if (keep) last.push(tx.insertInto('audit_checkpoint').values({ size, note }).compile());
    last.push(
      tx
        .insertInto('audit_head')
        .values({ id: 1, size, frontier: encodeFrontier(frontier), note: note ?? null, kept_size: keep ? size : (head?.kept_size ?? 0) })
        .onConflict((on) =>
          on.column('id').doUpdateSet({
            size: sql.ref('excluded.size'),
            frontier: sql.ref('excluded.frontier'),
            note: sql.ref('excluded.note'),
            kept_size: sql.ref('excluded.kept_size'),
          }),
        )
        .compile(),
    );
    await withCommit(tx, last);
    if (note !== undefined) lastChecked = { note, size, root };
    return { size, checkpoint: note };
  };
};

const tampered = (message: string, size: number): SallyportError => new SallyportError('ERR_AUDIT_TAMPERED', message, { facts: { size } });
