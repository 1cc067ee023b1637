/** What intents meet, looked up for all of a group at once. */
import { sql } from 'kysely';
import type { CompiledQuery, QueryResult, Transaction } from 'kysely';
import type { CertificateIntent, Contender, Contenders } from '../../ca/ports.ts';
import { dateOf } from './certificate-rows.ts';
import type { StoreKind } from './database.ts';
import type { CertificateTable, Schema } from './schema.ts';

type AgentRow = Pick<CertificateTable, 'issuer_id' | 'serial' | 'state' | 'agent' | 'profile' | 'replaces' | 'not_after' | 'revoked_at' | 'revocation_reason' | 'first_seen_at'>;
type KeyRow = Pick<CertificateTable, 'spki_hash' | 'agent' | 'profile' | 'revocation_reason'>;

const columns = sql.raw('issuer_id serial state agent profile replaces not_after revoked_at revocation_reason first_seen_at created_at'.replaceAll(/\w+/gu, 'found.$&').replaceAll(' ', ', '));

export interface ContenderQueries {
  readonly queries: readonly CompiledQuery[];
  /** The results of the two, in their order. */
  read(agents: QueryResult<unknown> | undefined, keys: QueryResult<unknown> | undefined): (intent: CertificateIntent) => Contenders;
}

/** Two queries, and what their results mean. The rows of the intents themselves are in the table already. */
export const contendersOf = (tx: Transaction<Schema>, intents: readonly CertificateIntent[], kind: StoreKind): ContenderQueries => {
  // One text for groups of every size, so that it is prepared once.
  const oneOf = (values: readonly string[]) => (kind === 'sqlite' ? sql`IN (SELECT value FROM json_each(${JSON.stringify(values)}))` : sql`= ANY(${values})`);
  const earliest = Math.min(...intents.map(({ createdAt }) => createdAt.getTime())) - 1_000;
  const agents = unique(intents.map(({ agent }) => agent));
  // Two ways, each along an index of its own, whatever the agents had before; of old revocations the latest says it all.
  const latest = (what: string, along = '') => sql`SELECT ${sql.raw(what)} FROM certificate ${sql.raw(along)} WHERE agent = asked.agent AND state = 'revoked' AND revocation_reason <> 'superseded' ORDER BY revoked_at DESC LIMIT 1`;
  const old = kind === 'sqlite'
    ? sql`(SELECT value AS agent FROM json_each(${JSON.stringify(agents)})) AS asked JOIN certificate AS found ON found.rowid = (${latest('rowid', 'INDEXED BY certificate_revoked_by_agent')})`
    : sql`unnest(${agents}::text[]) AS asked (agent) CROSS JOIN LATERAL (${latest('*')}) AS found`;
  const queries = [
    sql<AgentRow>`SELECT ${columns} FROM certificate AS found WHERE agent ${oneOf(agents)} AND not_after >= ${earliest}
      UNION ALL SELECT ${columns} FROM ${old} WHERE found.not_after < ${earliest}
      ORDER BY created_at, serial`.compile(tx),
    sql<KeyRow>`SELECT DISTINCT spki_hash, agent, profile, revocation_reason FROM certificate
      WHERE spki_hash ${oneOf(unique(intents.map(({ spkiHash }) => spkiHash)))}`.compile(tx),
  ];
  return {
    queries,
    read: (ofAgents, keys) => {
      const ofAgent = Map.groupBy((ofAgents?.rows ?? []) as AgentRow[], ({ agent }) => agent);
      const ofKey = Map.groupBy((keys?.rows ?? []) as KeyRow[], ({ spki_hash: spkiHash }) => spkiHash);
      return (intent) => ({
        ofAgent: (ofAgent.get(intent.agent) ?? []).filter((row) => row.serial !== intent.serial || row.issuer_id !== intent.issuerId).map(contenderOf),
        ofKey: (ofKey.get(intent.spkiHash) ?? []).map(({ agent, profile, revocation_reason: reason }) => ({ agent, profile, revocationReason: reason ?? undefined })),
      });
    },
  };
};

const contenderOf = (row: AgentRow): Contender => ({
  issuerId: row.issuer_id,
  serial: row.serial,
  state: row.state,
  agent: row.agent,
  profile: row.profile,
  replaces: row.replaces ?? undefined,
  notAfter: new Date(row.not_after),
  revokedAt: dateOf(row.revoked_at),
  revocationReason: row.revocation_reason ?? undefined,
  firstSeenAt: dateOf(row.first_seen_at),
});

const unique = (values: readonly string[]): readonly string[] => [...new Set(values)];
