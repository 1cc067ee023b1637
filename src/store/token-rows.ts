/** Enrollment tokens: to rows and back, which there are, and taking one back. */
import { sql } from 'kysely';
import type { Kysely } from 'kysely';
import { CaError } from '../../ca/errors.ts';
import type { AuditEvent, EnrollmentToken, ListedToken, TokenQuery } from '../../ca/ports.ts';
import { textList } from './certificate-rows.ts';
import type { Schema, TokenTable } from './schema.ts';
import { Refusal } from './write-queue.ts';
import type { Change } from './write-queue.ts';

const defaultLimit = 1_000;

export const listTokens = async (db: Kysely<Schema>, { after, limit = defaultLimit }: TokenQuery): Promise<readonly ListedToken[]> => {
  let chosen = db.selectFrom('enrollment_token').selectAll();
  if (after !== undefined) chosen = chosen.where(sql<boolean>`(created_at, secret_hash) > (${after.createdAt.getTime()}, ${after.secretHash})`);
  const rows = await chosen.orderBy('created_at').orderBy('secret_hash').limit(limit).execute();
  return rows.map((row) => ({ ...tokenOfRow(row), spentAt: row.spent_at === null ? undefined : new Date(row.spent_at) }));
};

export const deleteToken = async ({ tx, record }: Change, secretHash: string, event: (token: EnrollmentToken) => AuditEvent): Promise<EnrollmentToken> => {
  const row = await tx.selectFrom('enrollment_token').selectAll().where('secret_hash', '=', secretHash).executeTakeFirst();
  // A spent one stays: that it was used is worth knowing.
  if (row === undefined) throw new Refusal(new CaError('ERR_TOKEN_UNKNOWN', 'there is no token of this id; see sallyport token list', { facts: { token: secretHash } }));
  if (row.spent_at !== null) throw new Refusal(new CaError('ERR_TOKEN_SPENT', 'the token was used already; revoke the certificate it gave', { facts: { token: secretHash } }));
  await tx.deleteFrom('enrollment_token').where('secret_hash', '=', secretHash).execute();
  const token = tokenOfRow(row);
  record(event(token));
  return token;
};

export const rowOfToken = (token: EnrollmentToken): TokenTable => ({
  secret_hash: token.secretHash,
  agent: token.agent,
  organizational_units: JSON.stringify(token.organizationalUnits),
  profile: token.profile,
  ttl_seconds: token.ttlSeconds ?? null,
  created_at: token.createdAt.getTime(),
  expires_at: token.expiresAt.getTime(),
  spent_at: null,
  created_by: token.createdBy ?? null,
});

export const tokenOfRow = (row: TokenTable): EnrollmentToken => ({
  secretHash: row.secret_hash,
  agent: row.agent,
  organizationalUnits: textList(row.organizational_units),
  profile: row.profile,
  ttlSeconds: row.ttl_seconds ?? undefined,
  createdAt: new Date(row.created_at),
  expiresAt: new Date(row.expires_at),
  createdBy: row.created_by ?? undefined,
});
