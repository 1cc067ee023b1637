/** What each upstream's tools said about themselves when they were approved, and what they say now. */
import type { Kysely, UpdateQueryBuilder, UpdateResult } from 'kysely';
import type { AuditEvent } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import { readingOf } from './database.ts';
import type { Database } from './database.ts';
import { latestSeq } from './revocations.ts';
import type { Schema, ToolDefinitionTable } from './schema.ts';
import { Refusal } from './write-queue.ts';
import type { Change, WriteQueue } from './write-queue.ts';

/** A definition as `tools/list` gave it, in canonical form. */
export interface SeenTool {
  readonly name: string;
  readonly digest: string;
  readonly definition: string;
}

/** What a gateway has to know to judge a tool. */
export interface ToolStanding {
  readonly upstream: string;
  readonly name: string;
  /** What it is held against. */
  readonly approvedDigest: string;
  /** False for a tool that came after the others and that nobody has approved. */
  readonly approved: boolean;
  readonly currentDigest: string;
  readonly removed: boolean;
}

/** Everything that is known, for people. */
export interface ToolRecord extends ToolStanding {
  readonly approvedDefinition: string;
  readonly approvedAt: Date;
  /** `firstSight`, or who approved it; undefined when nobody has. */
  readonly approvedBy: string | undefined;
  readonly currentDefinition: string;
  readonly currentAt: Date;
  readonly firstSeenAt: Date;
  readonly removedAt: Date | undefined;
}

export interface Sighting {
  readonly upstream: string;
  readonly seen: readonly SeenTool[];
  /** Tools that no list names any more. */
  readonly removed: readonly string[];
  /** The list was seen to its end: tools that come later are new. */
  readonly complete: boolean;
  readonly at: Date;
}

export interface SightingEvents {
  added(tool: SeenTool): AuditEvent;
  /** `before` is what was last seen of it; `approvedDigest` what it is held against. */
  changed(tool: SeenTool, facts: { readonly before: SeenTool; readonly approvedDigest: string }): AuditEvent;
}

export interface Approval {
  readonly upstream: string;
  /** By name, also those that are gone; or all that are there and wait for it. */
  readonly tools: readonly string[] | 'all';
  /** Only when this is what would be approved. */
  readonly digest?: string | undefined;
  readonly by: string;
  readonly at: Date;
}

export interface ToolStore {
  /** Of one upstream or of all. */
  standings(upstream?: string): Promise<readonly ToolStanding[]>;
  /** Upstreams whose tools were once seen to the end of the list. */
  met(): Promise<readonly string[]>;
  /** In the order of upstream and name. */
  records(query?: { readonly upstream?: string | undefined; readonly tool?: string | undefined }): Promise<readonly ToolRecord[]>;
  /**
   * Keeps what was seen, its audit entries in the same transaction. A tool without a record is held
   * against what it is now: approved when the upstream was not met before, otherwise new.
   * Answers with the standing of the tools seen; of those beyond `maxTools` nothing is kept.
   */
  observe(sighting: Sighting, events: SightingEvents): Promise<readonly ToolStanding[]>;
  /**
   * Approves what the tools say now. `changeSeq` is the feed's number for it.
   * Rejects with `ERR_TOOL_UNKNOWN` or `ERR_TOOL_CHANGED`, and then approves none.
   */
  approve(approval: Approval, event: (before: ToolRecord) => AuditEvent): Promise<{ readonly approved: readonly ToolRecord[]; readonly changeSeq: number }>;
}

/** Records of one upstream. No MCP server has as many tools; one that makes up names must not fill the disk. */
export const maxTools = 10_000;

export const firstSight = 'firstSight';

export const createToolStore = (database: Database, queue: WriteQueue): ToolStore => {
  const reading = readingOf(database);
  return {
    standings: (upstream) => reading((db) => standingsOf(db, upstream)),
    met: () => reading(async (db) => (await db.selectFrom('tool_upstream').select('upstream').execute()).map((row) => row.upstream)),
    records: ({ upstream, tool } = {}) =>
      reading(async (db) => {
        let query = db.selectFrom('tool_definition').selectAll();
        if (upstream !== undefined) query = query.where('upstream', '=', upstream);
        if (tool !== undefined) query = query.where('tool', '=', tool);
        return (await query.orderBy('upstream').orderBy('tool').execute()).map(recordOfRow);
      }),
    observe: (sighting, events) => queue.run((change) => keepSighting(change, sighting, events)),
    approve: (approval, event) => queue.run((change) => approveTools(change, approval, event)),
  };
};

const keepSighting = async (change: Change, { upstream, seen, removed, complete, at }: Sighting, events: SightingEvents): Promise<readonly ToolStanding[]> => {
  const { tx } = change;
  const now = at.getTime();
  const known = new Map((await standingsOf(tx, upstream)).map((standing) => [standing.name, standing]));
  const met = (await tx.selectFrom('tool_upstream').select('met_at').where('upstream', '=', upstream).executeTakeFirst()) !== undefined;
  const fresh = seen.filter(({ name }) => !known.has(name)).slice(0, Math.max(0, maxTools - known.size));
  const rows = fresh.map((tool) => rowOfNew(upstream, tool, { now, approvedBy: met ? null : firstSight }));
  for (let from = 0; from < rows.length; from += rowsPerStatement) await tx.insertInto('tool_definition').values(rows.slice(from, from + rowsPerStatement)).execute();
  if (met) for (const tool of fresh) change.record(events.added(tool));
  const standings = rows.map(standingOfRow);
  let altered = rows.length > 0;
  for (const tool of seen) {
    const standing = known.get(tool.name);
    if (standing === undefined) continue;
    standings.push({ ...standing, currentDigest: tool.digest, removed: false });
    if (standing.currentDigest !== tool.digest) await keepChange(change, { standing, tool, now }, events);
    else if (standing.removed) await recordOf(tx.updateTable('tool_definition'), standing).set({ removed_at: null }).execute();
    else continue;
    altered = true;
  }
  for (const name of removed) {
    const { numUpdatedRows } = await recordOf(tx.updateTable('tool_definition'), { upstream, name }).set({ removed_at: now }).where('removed_at', 'is', null).executeTakeFirstOrThrow();
    altered ||= numUpdatedRows > 0n;
  }
  if (complete && !met) await tx.insertInto('tool_upstream').values({ upstream, met_at: now }).execute();
  if (altered) await announce(change, upstream, now);
  return standings;
};

const rowsPerStatement = 200;

const keepChange = async ({ tx, record }: Change, { standing, tool, now }: { standing: ToolStanding; tool: SeenTool; now: number }, events: SightingEvents): Promise<void> => {
  const { upstream, name, currentDigest: digest, approvedDigest } = standing;
  const { current_definition: definition } = await tx.selectFrom('tool_definition').select('current_definition').where('upstream', '=', upstream).where('tool', '=', name).executeTakeFirstOrThrow();
  record(events.changed(tool, { before: { name, digest, definition }, approvedDigest }));
  await recordOf(tx.updateTable('tool_definition'), standing).set({ current_digest: tool.digest, current_definition: tool.definition, current_at: now, removed_at: null }).execute();
};

const recordOf = (update: UpdateQueryBuilder<Schema, 'tool_definition', 'tool_definition', UpdateResult>, { upstream, name }: { upstream: string; name: string }) =>
  update.where('upstream', '=', upstream).where('tool', '=', name);

const approveTools = async (change: Change, { upstream, tools, digest, by, at }: Approval, event: (before: ToolRecord) => AuditEvent) => {
  const { tx } = change;
  const records = (await tx.selectFrom('tool_definition').selectAll().where('upstream', '=', upstream).orderBy('tool').execute()).map(recordOfRow);
  // Nothing to approve under a name that nobody has seen is a mistyped name.
  if (records.length === 0) return unknownUpstream(upstream);
  const wanted = tools === 'all' ? records.filter((record) => !record.removed) : tools.map((name) => records.find((record) => record.name === name) ?? unknownTool(upstream, name));
  for (const { name, currentDigest } of wanted) {
    if (digest !== undefined && currentDigest !== digest) {
      throw new Refusal(new SallyportError('ERR_TOOL_CHANGED', `${name} of ${upstream} is not what was to be approved: look at it with sallyport tools diff ${upstream} ${name}`, { facts: { upstream, tool: name, digest, current: currentDigest } }));
    }
  }
  const waiting = wanted.filter((record) => !record.approved || record.currentDigest !== record.approvedDigest);
  for (const record of waiting) {
    const approved = { approved_digest: record.currentDigest, approved_definition: record.currentDefinition, approved_at: at.getTime(), approved_by: by };
    await recordOf(tx.updateTable('tool_definition'), record).set(approved).execute();
    change.record(event(record));
  }
  const changeSeq = waiting.length === 0 ? await latestSeq(tx) : await announce(change, upstream, at.getTime());
  return {
    approved: waiting.map((record): ToolRecord => ({ ...record, approved: true, approvedDigest: record.currentDigest, approvedDefinition: record.currentDefinition, approvedAt: at, approvedBy: by })),
    changeSeq,
  };
};

const unknownUpstream = (upstream: string): never => {
  throw new Refusal(new SallyportError('ERR_TOOL_UNKNOWN', `nothing is known of the upstream ${upstream}: see sallyport tools list`, { facts: { upstream } }));
};

const unknownTool = (upstream: string, name: string): never => {
  throw new Refusal(new SallyportError('ERR_TOOL_UNKNOWN', `${upstream} has shown no tool ${name}: see sallyport tools list --upstream ${upstream}`, { facts: { upstream, tool: name } }));
};

/** All gateways read the upstream's standings again. */
const announce = async (change: Change, upstream: string, at: number): Promise<number> => {
  const seq = (await latestSeq(change.tx)) + 1;
  await change.tx.insertInto('change').values({ seq, kind: 'tools', issuer_id: upstream, serial: '', reason: 'unspecified', at }).execute();
  change.announce();
  return seq;
};

const standingsOf = async (db: Kysely<Schema>, upstream: string | undefined): Promise<readonly ToolStanding[]> => {
  // Without the definitions: they are most of the table.
  let query = db.selectFrom('tool_definition').select(['upstream', 'tool', 'approved_digest', 'approved_by', 'current_digest', 'removed_at']);
  if (upstream !== undefined) query = query.where('upstream', '=', upstream);
  return (await query.execute()).map(standingOfRow);
};

const standingOfRow = (row: Pick<ToolDefinitionTable, 'upstream' | 'tool' | 'approved_digest' | 'approved_by' | 'current_digest' | 'removed_at'>): ToolStanding => ({
  upstream: row.upstream,
  name: row.tool,
  approvedDigest: row.approved_digest,
  approved: row.approved_by !== null,
  currentDigest: row.current_digest,
  removed: row.removed_at !== null,
});

const recordOfRow = (row: ToolDefinitionTable): ToolRecord => ({
  ...standingOfRow(row),
  approvedDefinition: row.approved_definition,
  approvedAt: new Date(row.approved_at),
  approvedBy: row.approved_by ?? undefined,
  currentDefinition: row.current_definition,
  currentAt: new Date(row.current_at),
  firstSeenAt: new Date(row.first_seen_at),
  removedAt: row.removed_at === null ? undefined : new Date(row.removed_at),
});

const rowOfNew = (upstream: string, { name, digest, definition }: SeenTool, { now, approvedBy }: { now: number; approvedBy: string | null }): ToolDefinitionTable => ({
  upstream, tool: name,
  approved_digest: digest, approved_definition: definition, approved_at: now, approved_by: approvedBy,
  current_digest: digest, current_definition: definition, current_at: now,
  first_seen_at: now, removed_at: null,
});
