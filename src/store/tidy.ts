/**
 * What is long over and may go. A table that keeps growing has its rule here; the audit log has none.
 * Each removal is a transaction of its own with its audit entry, short enough that nobody waits for it.
 */
import { sql } from 'kysely';
import type { Kysely, RawBuilder } from 'kysely';
import type { AuditEvent, IssuerId, SerialHex } from '../../ca/ports.ts';
import { readingOf } from './database.ts';
import type { Database } from './database.ts';
import type { Schema } from './schema.ts';
import type { WriteQueue } from './write-queue.ts';

export interface TidyBounds {
  /** Certificates that ended before. */
  readonly certificates: Date;
  /** Everything else that was over before. */
  readonly records: Date;
}

export interface TidyOptions extends TidyBounds {
  /** Whether a CRL of this issuer lists the serial now. */
  readonly isListed: (issuerId: IssuerId, serial: SerialHex) => boolean;
  /** Nothing revoked since a CRL of its issuer was last built; undefined for an issuer without one. */
  readonly crlBuiltAt: (issuerId: IssuerId) => Date | undefined;
}

export interface TidyResult {
  readonly rule: string;
  readonly rows: number;
}

export interface Tidying {
  count(options: TidyOptions): Promise<readonly TidyResult[]>;
  /** @param event the entry for one batch */
  remove(options: TidyOptions, event: (batch: TidyResult) => AuditEvent, signal?: AbortSignal): Promise<readonly TidyResult[]>;
}

interface TidyRule {
  readonly name: string;
  readonly table: keyof Schema;
  readonly key: readonly string[];
  readonly over: (bounds: { readonly certificates: number; readonly records: number }) => RawBuilder<boolean>;
  /** Rows that belong to those that go, and go with them. */
  readonly along?: { readonly table: keyof Schema; readonly column: string };
}

/** Never live ones, never those of CAs, whose signatures `ca audit` verifies; revoked ones have their own way below. */
const rules: readonly TidyRule[] = [
  { name: 'certificates', table: 'certificate', key: ['issuer_id', 'serial'], over: ({ certificates }) => sql`not_after < ${certificates} AND state IN ('issued', 'unknownIssued') AND agent NOT LIKE 'ca:%'` },
  { name: 'tokens', table: 'enrollment_token', key: ['secret_hash'], over: ({ records }) => sql`(spent_at IS NOT NULL AND spent_at < ${records}) OR expires_at < ${records}` },
  { name: 'requests', table: 'certificate_request', key: ['id'], over: ({ records }) => sql`state IN ('collected', 'denied', 'expired') AND expires_at < ${records}` },
  { name: 'acmeOrders', table: 'acme_order', key: ['id'], over: ({ records }) => sql`keep_until < ${records}`, along: { table: 'acme_authorization', column: 'order_id' } },
  { name: 'acmeNonces', table: 'acme_nonce', key: ['nonce'], over: ({ records }) => sql`expires_at < ${records}` },
  { name: 'apiRequests', table: 'api_request', key: ['principal', 'request_key'], over: ({ records }) => sql`at < ${records}` },
  // The last one stays: the next gets the number after it.
  { name: 'changes', table: 'change', key: ['seq'], over: ({ records }) => sql`at < ${records} AND seq < (SELECT max(seq) FROM change)` },
  { name: 'nodes', table: 'node', key: ['node_id'], over: ({ records }) => sql`seen_at < ${records}` },
];

const rowsAtOnce = 500;

export const createTidying = (database: Database, queue: WriteQueue): Tidying => {
  const reading = readingOf(database);
  return {
    count: async (options) => {
      const bounds = { certificates: options.certificates.getTime(), records: options.records.getTime() };
      const results: TidyResult[] = [];
      for (const { name, table, over } of rules) {
        const { rows } = await reading((db) => sql<{ rows: number }>`SELECT count(*) AS rows FROM ${sql.table(table)} WHERE ${over(bounds)}`.execute(db));
        results.push({ rule: name, rows: Number(rows[0]?.rows ?? 0) });
      }
      let superseded = 0;
      for await (const some of supersededPages(reading, options)) superseded += some.length;
      return [...results, { rule: supersededRule, rows: superseded }];
    },

    remove: async (options, event, signal) => {
      const bounds = { certificates: options.certificates.getTime(), records: options.records.getTime() };
      const results: TidyResult[] = [];
      for (const { name, table, key, over, along } of rules) {
        const columns = sql.join(key.map((column) => sql.ref(column)));
        let removed = 0;
        for (;;) {
          if (signal?.aborted === true) break;
          const last = await queue.run(async ({ tx, record }) => {
            const chosen = sql`SELECT ${columns} FROM ${sql.table(table)} WHERE ${over(bounds)} ${along === undefined ? sql`` : sql`ORDER BY ${columns}`} LIMIT ${rowsAtOnce}`;
            if (along !== undefined) await sql`DELETE FROM ${sql.table(along.table)} WHERE ${sql.ref(along.column)} IN (${chosen})`.execute(tx);
            const { numAffectedRows = 0n } = await sql`DELETE FROM ${sql.table(table)} WHERE (${columns}) IN (${chosen})`.execute(tx);
            const rows = Number(numAffectedRows);
            if (rows > 0) record(event({ rule: name, rows }));
            return rows;
          });
          removed += last;
          if (last < rowsAtOnce) break;
        }
        results.push({ rule: name, rows: removed });
      }
      let superseded = 0;
      for await (const some of supersededPages(reading, options)) {
        if (signal?.aborted === true) break;
        superseded += await queue.run(async ({ tx, record }) => {
          const keys = sql.join(some.map(({ issuerId, serial }) => sql`(${issuerId}, ${serial})`));
          const { numAffectedRows = 0n } = await sql`DELETE FROM certificate WHERE (issuer_id, serial) IN (${keys}) AND state = 'revoked' AND revocation_reason = 'superseded'`.execute(tx);
          const rows = Number(numAffectedRows);
          if (rows > 0) record(event({ rule: supersededRule, rows }));
          return rows;
        });
      }
      return [...results, { rule: supersededRule, rows: superseded }];
    },
  };
};

const supersededRule = 'supersededCertificates';

interface Key {
  readonly issuerId: IssuerId;
  readonly serial: SerialHex;
}

/**
 * Of the revoked ones only what was superseded in the course of renewal: any other revocation keeps an agent or a key out, and must be
 * found for as long as there is an authority. RFC 5280 §3.3: a certificate stays on CRLs until one was issued after its end, so
 * those that a CRL still lists stay too, and those that no CRL has had the time to list.
 */
async function* supersededPages(reading: <T>(read: (db: Kysely<Schema>) => Promise<T>) => Promise<T>, { certificates, isListed, crlBuiltAt }: TidyOptions): AsyncGenerator<readonly Key[]> {
  let after: Key = { issuerId: '', serial: '' };
  for (;;) {
    const from = after;
    const rows = await reading((db) =>
      db
        .selectFrom('certificate')
        .select(['issuer_id', 'serial', 'revoked_at'])
        .where('state', '=', 'revoked')
        .where('revocation_reason', '=', 'superseded')
        .where('not_after', '<', certificates.getTime())
        .where('agent', 'not like', 'ca:%')
        .where(sql<boolean>`(issuer_id, serial) > (${from.issuerId}, ${from.serial})`)
        .orderBy('issuer_id')
        .orderBy('serial')
        .limit(rowsAtOnce)
        .execute(),
    );
    const over = rows
      .filter(({ issuer_id: issuerId, serial, revoked_at: revokedAt }) => (revokedAt ?? Infinity) < (crlBuiltAt(issuerId)?.getTime() ?? 0) && !isListed(issuerId, serial))
      .map(({ issuer_id: issuerId, serial }) => ({ issuerId, serial }));
    if (over.length > 0) yield over;
    const last = rows.at(-1);
    if (last === undefined || rows.length < rowsAtOnce) return;
    after = { issuerId: last.issuer_id, serial: last.serial };
  }
}
