/** What intents meet, looked up for all of a group at once. */
import { sql } from 'kysely';
import type { CompiledQuery, QueryResult, Transaction } from 'kysely';
import type { CertificateIntent, Contender, Contenders } from '../../ca/ports.ts';
import { dateOf } from './certificate-rows.ts';
import type { StoreKind } from './database.ts';
import type { CertificateTable, Schema } from './schema.ts';

type AgentRow = Pick<CertificateTable, 'issuer_id' | 'serial' | 'state' | 'agent' | 'profile' | 'replaces' | 'not_after' | 'revoked_at' | 'revocation_reason' | 'first_seen_at'>;
type KeyRow = Pick<CertificateTable, 'spki_hash' | 'agent' | 'profile' | 'revocation_reason'>;

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
  const queries = [
    sql<AgentRow>`SELECT issuer_id, serial, state, agent, profile, replaces, not_after, revoked_at, revocation_reason, first_seen_at FROM certificate
      WHERE agent ${oneOf(unique(intents.map(({ agent }) => agent)))} AND (not_after >= ${earliest} OR (state = 'revoked' AND revocation_reason <> 'superseded'))
      ORDER BY created_at, serial`.compile(tx),
    sql<KeyRow>`SELECT DISTINCT spki_hash, agent, profile, revocation_reason FROM certificate
      WHERE spki_hash ${oneOf(unique(intents.map(({ spkiHash }) => spkiHash)))}`.compile(tx),
  ];
  return {
    queries,
    read: (agents, keys) => {
      const ofAgent = Map.groupBy((agents?.rows ?? []) as AgentRow[], ({ agent }) => agent);
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
