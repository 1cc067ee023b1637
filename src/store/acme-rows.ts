/** Rows of ACME ↔ what the server works with. */
import type { AcmeAccount, AcmeAuthorization, AcmeChallenge, AcmeOrder, ExternalAccount, Identifier, ProblemDocument } from '../../ca/acme/ports.ts';
import { textList } from './certificate-rows.ts';
import type { AcmeAccountTable, AcmeAuthorizationTable, AcmeExternalAccountTable, AcmeOrderTable } from './schema.ts';

/** How long what came to nothing is kept, so that its client can still learn why. */
const keepFailedMs = 7 * 86_400_000;

export const rowOfExternalAccount = (account: ExternalAccount): AcmeExternalAccountTable => ({
  kid: account.kid,
  agent: account.agent ?? null,
  organizational_units: JSON.stringify(account.organizationalUnits),
  profile: account.profile ?? null,
  ttl_seconds: account.ttlSeconds ?? null,
  names: JSON.stringify(account.names),
  created_at: account.createdAt.getTime(),
  created_by: account.createdBy,
  expires_at: account.expiresAt.getTime(),
  removed_at: account.removedAt?.getTime() ?? null,
  account_id: account.accountId ?? null,
});

export const externalAccountOf = (row: AcmeExternalAccountTable): ExternalAccount => ({
  kid: row.kid,
  agent: row.agent ?? undefined,
  organizationalUnits: textList(row.organizational_units),
  profile: row.profile ?? undefined,
  ttlSeconds: row.ttl_seconds ?? undefined,
  names: textList(row.names),
  createdAt: new Date(row.created_at),
  createdBy: row.created_by,
  expiresAt: new Date(row.expires_at),
  removedAt: dateOf(row.removed_at),
  accountId: row.account_id ?? undefined,
});

export const rowOfAccount = (account: AcmeAccount): AcmeAccountTable => ({
  id: account.id,
  status: account.status,
  jwk: account.jwk,
  thumbprint: account.thumbprint,
  contacts: JSON.stringify(account.contacts),
  kid: account.kid ?? null,
  created_at: account.createdAt.getTime(),
});

export const accountOf = (row: AcmeAccountTable): AcmeAccount => ({
  id: row.id,
  status: row.status,
  jwk: row.jwk,
  thumbprint: row.thumbprint,
  contacts: textList(row.contacts),
  kid: row.kid ?? undefined,
  createdAt: new Date(row.created_at),
});

export const rowOfOrder = (order: AcmeOrder): AcmeOrderTable => ({
  id: order.id,
  account_id: order.accountId,
  status: order.status,
  identifiers: JSON.stringify(order.identifiers),
  authorization_ids: JSON.stringify(order.authorizationIds),
  profile: order.profile,
  replaces: order.replaces ?? null,
  created_at: order.createdAt.getTime(),
  expires_at: order.expiresAt.getTime(),
  error: order.error === undefined ? null : JSON.stringify(order.error),
  csr: order.csr ?? null,
  spki_hash: order.spkiHash ?? null,
  finalized_at: order.finalizedAt?.getTime() ?? null,
  issuer_id: order.certificate?.issuerId ?? null,
  serial: order.certificate?.serial ?? null,
  chain: order.certificate?.chain ?? null,
  not_after: order.certificate?.notAfter.getTime() ?? null,
  keep_until: (order.certificate?.notAfter ?? order.expiresAt).getTime() + keepFailedMs,
});

export const orderOf = (row: AcmeOrderTable): AcmeOrder => ({
  id: row.id,
  accountId: row.account_id,
  status: row.status,
  identifiers: JSON.parse(row.identifiers) as readonly Identifier[],
  authorizationIds: textList(row.authorization_ids),
  profile: row.profile,
  replaces: row.replaces ?? undefined,
  createdAt: new Date(row.created_at),
  expiresAt: new Date(row.expires_at),
  error: row.error === null ? undefined : (JSON.parse(row.error) as ProblemDocument),
  csr: row.csr ?? undefined,
  spkiHash: row.spki_hash ?? undefined,
  finalizedAt: dateOf(row.finalized_at),
  certificate:
    row.issuer_id === null || row.serial === null || row.chain === null || row.not_after === null
      ? undefined
      : { issuerId: row.issuer_id, serial: row.serial, chain: row.chain, notAfter: new Date(row.not_after) },
});

export const rowOfAuthorization = (authorization: AcmeAuthorization): AcmeAuthorizationTable => ({
  id: authorization.id,
  order_id: authorization.orderId,
  account_id: authorization.accountId,
  identifier_type: authorization.identifier.type,
  identifier: authorization.identifier.value,
  status: authorization.status,
  expires_at: authorization.expiresAt.getTime(),
  challenges: challengesText(authorization.challenges),
});

export const authorizationOf = (row: AcmeAuthorizationTable): AcmeAuthorization => ({
  id: row.id,
  orderId: row.order_id,
  accountId: row.account_id,
  identifier: { type: row.identifier_type, value: row.identifier },
  status: row.status,
  expiresAt: new Date(row.expires_at),
  challenges: (JSON.parse(row.challenges) as readonly StoredChallenge[]).map(({ type, status, token, attemptedAt, validatedAt, error }): AcmeChallenge => ({
    type, status, token, attemptedAt: dateOf(attemptedAt ?? null), validatedAt: dateOf(validatedAt ?? null), error,
  })),
});

export const challengesText = (challenges: readonly AcmeChallenge[]): string =>
  JSON.stringify(challenges.map(({ attemptedAt, validatedAt, ...rest }): StoredChallenge => ({ ...rest, attemptedAt: attemptedAt?.getTime(), validatedAt: validatedAt?.getTime() })));

interface StoredChallenge extends Omit<AcmeChallenge, 'attemptedAt' | 'validatedAt'> {
  readonly attemptedAt: number | undefined;
  readonly validatedAt: number | undefined;
}

const dateOf = (millis: number | null): Date | undefined => (millis === null ? undefined : new Date(millis));
