/** Revoking certificates, lifting holds, and reading the revoked ones back in pages. */
import { setImmediate as turn } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Kysely } from 'kysely';
import type { AuditEvent, CertificateRecord, CertificateState, IssuerId, RevocationReason, RevokedSerial, SerialHex } from '../../ca/ports.ts';
import { recordOfRow } from './certificate-rows.ts';
import type { Reading, StoreKind } from './database.ts';
import type { CertificateTable, Schema } from './schema.ts';
import type { Change } from './write-queue.ts';

interface Revocation {
  readonly keys: readonly { issuerId: IssuerId; serial: SerialHex }[];
  readonly reason: RevocationReason;
  readonly at: Date;
  readonly event: (record: CertificateRecord) => AuditEvent;
}

const keysPerStatement = 200;

/** A key revoked for one of these stays out of use, whatever else was held. */
const compromises: readonly RevocationReason[] = ['keyCompromise', 'cACompromise', 'aACompromise'];

export const revokeCertificates = async (
  change: Change,
  { keys, reason, at, event }: Revocation,
): Promise<{ readonly revoked: readonly CertificateRecord[]; readonly changeSeq: number }> => {
  const { changed, changeSeq } = await changeState(change, { kind: 'revoked', keys, reason, at, event }, (issuerId, serials) =>
    change.tx
      .updateTable('certificate')
      .set({ state: 'revoked', revoked_at: at.getTime(), revocation_reason: reason })
      .where('issuer_id', '=', issuerId)
      .where('serial', 'in', serials)
      .where((of) =>
        of.or([
          of('state', 'in', ['issued', 'unknownIssued']),
          // A hold gives way to a final reason; nothing else changes once it is revoked.
          ...(reason === 'certificateHold' ? [] : [of.and([of('state', '=', 'revoked'), of('revocation_reason', '=', 'certificateHold')])]),
        ]),
      )
      .returningAll()
      .execute(),
  );
  return { revoked: changed, changeSeq };
};

export const releaseCertificates = async (
  change: Change,
  { keys, at, event }: Omit<Revocation, 'reason'>,
): Promise<{ readonly released: readonly CertificateRecord[]; readonly changeSeq: number }> => {
  const { changed, changeSeq } = await changeState(change, { kind: 'released', keys, reason: 'unspecified', at, event }, (issuerId, serials) =>
    change.tx
      .updateTable('certificate')
      .set({
        // What a crash left behind has no certificate, and is that again.
        state: sql<CertificateState>`CASE WHEN der IS NULL THEN 'unknownIssued' ELSE 'issued' END`,
        revoked_at: null,
        revocation_reason: null,
        released_at: at.getTime(),
      })
      .where('issuer_id', '=', issuerId)
      .where('serial', 'in', serials)
      .where('state', '=', 'revoked')
      .where('revocation_reason', '=', 'certificateHold')
      .where((of) =>
        of.not(
          of.exists(
            of
              .selectFrom('certificate as other')
              .select('other.serial')
              .whereRef('other.spki_hash', '=', 'certificate.spki_hash')
              .where('other.state', '=', 'revoked')
              .where('other.revocation_reason', 'in', compromises),
          ),
        ),
      )
      .returningAll()
      .execute(),
  );
  return { released: changed, changeSeq };
};

/** Rows, changes and events of one kind, portion by portion, in the transaction of `change`. */
const changeState = async (
  change: Change,
  { kind, keys, reason, at, event }: Revocation & { readonly kind: 'revoked' | 'released' },
  update: (issuerId: IssuerId, serials: readonly SerialHex[]) => Promise<readonly CertificateTable[]>,
): Promise<{ readonly changed: readonly CertificateRecord[]; readonly changeSeq: number }> => {
  const changed: CertificateRecord[] = [];
  let seq = await latestSeq(change.tx);
  for (const { issuerId, serials } of batches(keys)) {
    const rows = await update(issuerId, serials);
    if (rows.length === 0) continue;
    // RETURNING has no order; the answer and the feed have the order that was asked for.
    const bySerial = new Map(rows.map((row) => [row.serial, recordOfRow(row)]));
    const records = serials.flatMap((serial) => bySerial.get(serial) ?? []);
    const first = seq + 1;
    await change.tx
      .insertInto('change')
      .values(records.map(({ serial }, offset) => ({ seq: first + offset, kind, issuer_id: issuerId, serial, reason, at: at.getTime() })))
      .execute();
    seq += records.length;
    for (const record of records) change.record(event(record));
    changed.push(...records);
  }
  if (changed.length > 0) change.announce();
  return { changed, changeSeq: seq };
};

/**
 * Serials in order. Each page is read in small portions with the event loop free between them, so
 * that a million does not hold up a handshake. What is revoked meanwhile behind the reader is not
 * in it: subscribe to the change feed first.
 */
export async function* revokedPages(
  reading: Reading,
  issuerId: IssuerId,
  pageSize = 1_000,
): AsyncGenerator<readonly RevokedSerial[]> {
  const portion = Math.min(pageSize, portionSize);
  let after = '';
  let page: RevokedSerial[] = [];
  for (;;) {
    const limit = Math.min(portion, pageSize - page.length);
    const from = after;
    // An answer can be there before the event loop has turned once; this lets everything else in between.
    await turn();
    const rows = await reading((db) =>
      db
        .selectFrom('certificate')
        .select(['serial', 'revoked_at', 'revocation_reason', 'not_after'])
        .where('issuer_id', '=', issuerId)
        .where('state', '=', 'revoked')
        .where('serial', '>', from)
        .orderBy('serial')
        .limit(limit)
        .execute(),
    );
    for (const row of rows) {
      page.push({ issuerId, serial: row.serial, revokedAt: new Date(row.revoked_at ?? 0), reason: row.revocation_reason ?? 'unspecified', notAfter: new Date(row.not_after) });
      after = row.serial;
    }
    const ended = rows.length < limit;
    if (page.length > 0 && (ended || page.length >= pageSize)) {
      yield page;
      page = [];
    }
    if (ended) return;
  }
}

const portionSize = 500;

/** A page is some 350 kB and takes the database about 2 ms. */
const textPageSize = 5_000;
/** More are as quickly read whole, and sorted out by the reader. */
const mostEndings = 64;

/** As `CaStore.revokedText`. The database makes the text: rows as objects would cost several times as much, on the event loop too. */
export async function* revokedText(
  reading: Reading,
  kind: StoreKind,
  { issuerId, pageSize = textPageSize, endings = [] }: { readonly issuerId: IssuerId; readonly pageSize?: number | undefined; readonly endings?: readonly string[] | undefined },
): AsyncGenerator<Uint8Array> {
  const digits = endings[0]?.length ?? 0;
  const entry = sql`serial || ',' || (revoked_at / 1000) || ',' || revocation_reason || ',' || (not_after / 1000) || ';'`;
  const together = kind === 'sqlite' ? sql`CAST(group_concat(${entry}, '') AS BLOB)` : sql`string_agg(${entry}, '' ORDER BY serial)`;
  const ending = kind === 'sqlite' ? sql`substr(serial, ${sql.lit(-digits)})` : sql`right(serial, ${sql.lit(digits)})`;
  const chosen = digits === 0 || endings.length > mostEndings ? sql`` : sql`AND ${ending} IN (${sql.join([...endings])})`;
  const page = (after: string) =>
    reading(async (db) => {
      const { rows } = await sql<{ readonly page: string | Uint8Array | null; readonly last: string | null; readonly count: number }>`
        SELECT ${together} AS page, max(serial) AS last, count(*) AS count FROM (
          SELECT serial, revoked_at, revocation_reason, not_after FROM certificate
          WHERE issuer_id = ${issuerId} AND state = 'revoked' AND serial > ${after} ${chosen} ORDER BY serial LIMIT ${sql.lit(pageSize)}) AS page`.execute(db);
      return rows[0];
    });
  let next = page('');
  for (;;) {
    const read = await next;
    if (read === undefined || read.page === null || read.last === null) return;
    const ended = Number(read.count) < pageSize;
    // The database reads on while this page is worked on.
    if (!ended) {
      next = page(read.last);
      next.catch(() => undefined);
    }
    await turn();
    yield typeof read.page === 'string' ? Buffer.from(read.page, 'latin1') : read.page;
    if (ended) return;
  }
}

export const latestSeq = async (db: Kysely<Schema>): Promise<number> => {
  const row = await db.selectFrom('change').select((of) => of.fn.max('seq').as('seq')).executeTakeFirst();
  // The maximum of no rows is null, whatever the column type says.
  return Number(row?.seq ?? 0);
};

function* batches(keys: Revocation['keys']): Generator<{ issuerId: IssuerId; serials: readonly SerialHex[] }> {
  const byIssuer = new Map<IssuerId, Set<SerialHex>>();
  for (const { issuerId, serial } of keys) {
    const serials = byIssuer.get(issuerId);
    if (serials === undefined) byIssuer.set(issuerId, new Set([serial]));
    else serials.add(serial);
  }
  for (const [issuerId, serials] of byIssuer) {
    const all = [...serials];
    for (let at = 0; at < all.length; at += keysPerStatement) yield { issuerId, serials: all.slice(at, at + keysPerStatement) };
  }
}
