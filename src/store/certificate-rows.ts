/** Certificate records to rows and back, and queries over them. */
import { sql } from 'kysely';
import type { Kysely, SelectQueryBuilder } from 'kysely';
import type { CertificateIntent, CertificateQuery, CertificateRecord } from '../../ca/ports.ts';
import type { StoreKind } from './database.ts';
import type { CertificateTable, Schema } from './schema.ts';

export const rowOfIntent = (intent: CertificateIntent): CertificateTable => ({
  issuer_id: intent.issuerId,
  serial: intent.serial,
  state: 'intent',
  tbs: intent.tbs,
  der: null,
  thumbprint: null,
  agent: intent.agent,
  profile: intent.profile,
  subject: intent.subject,
  common_name: intent.commonName,
  organizational_units: JSON.stringify(intent.organizationalUnits),
  uri: intent.uri ?? null,
  dns_names: JSON.stringify(intent.dnsNames),
  spki_hash: intent.spkiHash,
  not_before: intent.notBefore.getTime(),
  not_after: intent.notAfter.getTime(),
  created_at: intent.createdAt.getTime(),
  replaces: intent.replaces ?? null,
  revoked_at: null,
  revocation_reason: null,
  first_seen_at: null,
  released_at: null,
});

export const recordOfRow = (row: CertificateTable): CertificateRecord => ({
  issuerId: row.issuer_id,
  serial: row.serial,
  state: row.state,
  tbs: row.tbs,
  der: row.der ?? undefined,
  thumbprint: row.thumbprint ?? undefined,
  agent: row.agent,
  profile: row.profile,
  subject: row.subject,
  commonName: row.common_name,
  organizationalUnits: textList(row.organizational_units),
  uri: row.uri ?? undefined,
  dnsNames: textList(row.dns_names),
  spkiHash: row.spki_hash,
  notBefore: new Date(row.not_before),
  notAfter: new Date(row.not_after),
  createdAt: new Date(row.created_at),
  replaces: row.replaces ?? undefined,
  revokedAt: dateOf(row.revoked_at),
  revocationReason: row.revocation_reason ?? undefined,
  firstSeenAt: dateOf(row.first_seen_at),
  releasedAt: dateOf(row.released_at),
});

/** A row that somebody else may have written: what is no list of texts becomes a list of that one text. */
export const recordOfAnyRow = (row: CertificateTable): CertificateRecord => {
  const list = (json: string): string => {
    try {
      const value: unknown = JSON.parse(json);
      if (Array.isArray(value) && value.every((each) => typeof each === 'string')) return json;
    } catch {
      // Not even JSON.
    }
    return JSON.stringify([json]);
  };
  return recordOfRow({ ...row, organizational_units: list(row.organizational_units), dns_names: list(row.dns_names) });
};

/** Every row in pages. Each starts after the last row of the one before, so that none is skipped and the end is as near as the start. */
export async function* certificatePages(reading: <T>(read: (db: Kysely<Schema>) => Promise<T>) => Promise<T>, pageSize = 500): AsyncGenerator<readonly CertificateRecord[]> {
  let last: CertificateTable | undefined;
  for (;;) {
    const after = last;
    const rows = await reading((db) => {
      const ordered = db.selectFrom('certificate').selectAll().orderBy('created_at').orderBy('serial').orderBy('issuer_id').limit(pageSize);
      return (after === undefined ? ordered : ordered.where(sql<boolean>`(created_at, serial, issuer_id) > (${after.created_at}, ${after.serial}, ${after.issuer_id})`)).execute();
    });
    if (rows.length > 0) yield rows.map(recordOfAnyRow);
    if (rows.length < pageSize) return;
    last = rows.at(-1);
  }
}

/** Lists are written by us as JSON text. */
export const textList = (json: string): readonly string[] => JSON.parse(json) as readonly string[];

/** The conditions of a query; order and limits are the caller's. */
export const matching = <Output>(
  select: SelectQueryBuilder<Schema, 'certificate', Output>,
  query: CertificateQuery,
  kind: StoreKind,
): SelectQueryBuilder<Schema, 'certificate', Output> => {
  let chosen = select;
  if (query.agent !== undefined) chosen = chosen.where('agent', '=', query.agent);
  if (query.serial !== undefined) chosen = chosen.where('serial', '=', query.serial);
  if (query.thumbprint !== undefined) chosen = chosen.where('thumbprint', '=', query.thumbprint);
  if (query.spkiHash !== undefined) chosen = chosen.where('spki_hash', '=', query.spkiHash);
  if (query.issuerId !== undefined) chosen = chosen.where('issuer_id', '=', query.issuerId);
  if (query.states !== undefined) chosen = query.states.length === 0 ? chosen.where(sql<boolean>`1 = 0`) : chosen.where('state', 'in', query.states);
  if (query.validAt !== undefined) chosen = chosen.where('not_after', '>=', query.validAt.getTime());
  if (query.expiresBefore !== undefined) chosen = chosen.where('not_after', '<', query.expiresBefore.getTime());
  if (query.profile !== undefined) chosen = chosen.where('profile', '=', query.profile);
  if (query.revocationReasons !== undefined) chosen = query.revocationReasons.length === 0 ? chosen.where(sql<boolean>`1 = 0`) : chosen.where('state', '=', 'revoked').where('revocation_reason', 'in', query.revocationReasons);
  if (query.createdFrom !== undefined) chosen = chosen.where('created_at', '>=', query.createdFrom.getTime());
  if (query.createdBefore !== undefined) chosen = chosen.where('created_at', '<', query.createdBefore.getTime());
  if (query.after !== undefined) chosen = chosen.where(sql<boolean>`(created_at, serial, issuer_id) > (${query.after.createdAt.getTime()}, ${query.after.serial}, ${query.after.issuerId})`);
  if (query.organizationalUnit !== undefined) chosen = chosen.where(hasUnit(query.organizationalUnit, kind));
  return chosen;
};

const hasUnit = (unit: string, kind: StoreKind): ReturnType<typeof sql<boolean>> =>
  kind === 'sqlite'
    ? sql<boolean>`EXISTS (SELECT 1 FROM json_each(organizational_units) WHERE value = ${unit})`
    : sql<boolean>`jsonb_exists(organizational_units::jsonb, ${unit})`;

export const dateOf = (milliseconds: number | null): Date | undefined => (milliseconds === null ? undefined : new Date(milliseconds));
