/** Requests that wait for a second person, in the store. */
import { sql } from 'kysely';
import type { Kysely } from 'kysely';
import type { AuditEvent, CaStore, CertificateRequest, RequestChange, RequestQuery, RequestState, RequestTerms, TokenSpending } from '../../ca/ports.ts';
import type { RequestTable, Schema, TokenTable } from './schema.ts';
import type { Change } from './write-queue.ts';

const defaultLimit = 1_000;
const undecidedOrUnissued: readonly RequestState[] = ['pending', 'approved'];

/** Why a token cannot be spent now; undefined when it can. */
export const unspendableBecause = (row: TokenTable | undefined, at: Date): Exclude<TokenSpending['outcome'], 'spent'> | undefined => {
  if (row === undefined) return 'unknown';
  if (row.spent_at !== null) return 'alreadySpent';
  return row.expires_at <= at.getTime() ? 'expired' : undefined;
};

export const insertRequest = async ({ tx, record }: Change, request: CertificateRequest, event: AuditEvent, { maxPending, spend }: Parameters<CaStore['insertRequest']>[2]): ReturnType<CaStore['insertRequest']> => {
  // Counts no further than the limit, by an index that holds only what waits.
  const waiting = await tx.selectFrom('certificate_request').select('id').where('state', '=', 'pending').limit(maxPending).execute();
  if (waiting.length >= maxPending) return 'full';
  if (spend !== undefined) {
    const token = await tx.selectFrom('enrollment_token').selectAll().where('secret_hash', '=', spend.secretHash).executeTakeFirst();
    const unspendable = unspendableBecause(token, request.createdAt);
    if (unspendable !== undefined) return unspendable;
    await tx.updateTable('enrollment_token').set({ spent_at: request.createdAt.getTime() }).where('secret_hash', '=', spend.secretHash).execute();
    record(spend.event);
  }
  await tx.insertInto('certificate_request').values(rowOf(request)).execute();
  record(event);
  return 'inserted';
};

export const findRequests = async (db: Kysely<Schema>, query: RequestQuery): Promise<readonly CertificateRequest[]> => {
  let chosen = db.selectFrom('certificate_request').selectAll();
  if (query.id !== undefined) chosen = chosen.where('id', '=', query.id);
  if (query.agent !== undefined) chosen = chosen.where('agent', '=', query.agent);
  if (query.credentialHash !== undefined) chosen = chosen.where('credential_hash', '=', query.credentialHash);
  if (query.spkiHash !== undefined) chosen = chosen.where('spki_hash', '=', query.spkiHash);
  if (query.expiresBefore !== undefined) chosen = chosen.where('expires_at', '<=', query.expiresBefore.getTime());
  if (query.states !== undefined) chosen = query.states.length === 0 ? chosen.where(sql<boolean>`1 = 0`) : chosen.where('state', 'in', query.states);
  const rows = await chosen.orderBy('created_at').orderBy('id').limit(query.limit ?? defaultLimit).execute();
  return rows.map(requestOfRow);
};

interface Transition {
  readonly from: { readonly states: readonly RequestState[]; readonly serial?: string };
  readonly to: RequestChange;
  readonly event: AuditEvent | undefined;
}

export const changeRequest = async ({ tx, record }: Change, id: string, { from, to, event }: Transition): Promise<CertificateRequest | undefined> => {
  const row = await tx.selectFrom('certificate_request').selectAll().where('id', '=', id).executeTakeFirst();
  if (row === undefined || !from.states.includes(row.state) || (from.serial !== undefined && row.serial !== from.serial)) return undefined;
  const changed: RequestTable = {
    ...row,
    state: to.to,
    decided_at: to.decidedAt?.getTime() ?? row.decided_at,
    decided_by: to.decidedBy ?? row.decided_by,
    reason: to.reason ?? row.reason,
    issuer_id: to.issuerId ?? row.issuer_id,
    serial: to.serial ?? row.serial,
  };
  const { state, decided_at, decided_by, reason, issuer_id, serial } = changed;
  await tx.updateTable('certificate_request').set({ state, decided_at, decided_by, reason, issuer_id, serial }).where('id', '=', id).execute();
  if (event !== undefined) record(event);
  return requestOfRow(changed);
};

export const expireRequests = async ({ tx, record }: Change, at: Date, event: (request: CertificateRequest) => AuditEvent): Promise<readonly CertificateRequest[]> => {
  const rows = await tx.selectFrom('certificate_request').selectAll().where('state', 'in', undecidedOrUnissued).where('expires_at', '<=', at.getTime()).orderBy('expires_at').limit(defaultLimit).execute();
  const expired = rows.map((row): CertificateRequest => ({ ...requestOfRow(row), state: 'expired' }));
  for (const request of expired) {
    await tx.updateTable('certificate_request').set({ state: 'expired' }).where('id', '=', request.id).execute();
    record(event(request));
  }
  return expired;
};

interface StoredTerms extends Omit<RequestTerms, 'wordGivenAt' | 'email' | 'vouchedBy' | 'address'> {
  readonly email?: string;
  readonly vouchedBy?: string;
  readonly address?: string;
  readonly wordGivenAt?: number;
}

const rowOf = (request: CertificateRequest): RequestTable => {
  const { email, vouchedBy, address, wordGivenAt, ...terms } = request.terms;
  const stored: StoredTerms = {
    ...terms,
    ...(email === undefined ? {} : { email }),
    ...(vouchedBy === undefined ? {} : { vouchedBy }),
    ...(address === undefined ? {} : { address }),
    ...(wordGivenAt === undefined ? {} : { wordGivenAt: wordGivenAt.getTime() }),
  };
  return {
    id: request.id,
    state: request.state,
    agent: request.agent,
    profile: request.profile,
    terms: JSON.stringify(stored),
    csr: request.csr,
    spki_hash: request.spkiHash,
    credential_hash: request.credentialHash,
    created_at: request.createdAt.getTime(),
    expires_at: request.expiresAt.getTime(),
    decided_at: request.decidedAt?.getTime() ?? null,
    decided_by: request.decidedBy ?? null,
    reason: request.reason ?? null,
    issuer_id: request.issuerId ?? null,
    serial: request.serial ?? null,
  };
};

const requestOfRow = (row: RequestTable): CertificateRequest => {
  // Written by us.
  const { email, vouchedBy, address, wordGivenAt, ...terms } = JSON.parse(row.terms) as StoredTerms;
  return {
    id: row.id,
    state: row.state,
    agent: row.agent,
    profile: row.profile,
    terms: { ...terms, email, vouchedBy, address, wordGivenAt: wordGivenAt === undefined ? undefined : new Date(wordGivenAt) },
    csr: row.csr,
    spkiHash: row.spki_hash,
    credentialHash: row.credential_hash,
    createdAt: new Date(row.created_at),
    expiresAt: new Date(row.expires_at),
    decidedAt: row.decided_at === null ? undefined : new Date(row.decided_at),
    decidedBy: row.decided_by ?? undefined,
    reason: row.reason ?? undefined,
    issuerId: row.issuer_id ?? undefined,
    serial: row.serial ?? undefined,
  };
};
