/** The schema, version by version. A version that was released is never edited: add another. */
import { sql } from 'kysely';
import type { Kysely, Transaction } from 'kysely';
import { CaError } from '../../ca/errors.ts';
import type { Clock } from '../../ca/ports.ts';
import type { Database, StoreKind } from './database.ts';
import type { Schema } from './schema.ts';

interface Types {
  readonly integer: string;
  readonly text: string;
  readonly bytes: string;
  /** What follows the closing parenthesis of a table. */
  readonly table: string;
}

const types: Readonly<Record<StoreKind, Types>> = {
  sqlite: { integer: 'INTEGER', text: 'TEXT', bytes: 'BLOB', table: ' STRICT' },
  // Collation C: hexadecimal serials are paged in octet order whatever the database's locale.
  postgres: { integer: 'BIGINT', text: 'TEXT COLLATE "C"', bytes: 'BYTEA', table: '' },
};

interface Migration {
  readonly name: string;
  statements(types: Types): readonly string[];
}

const migrations: readonly Migration[] = [
  {
    name: 'certificates, CRLs, tokens, audit log, change feed',
    statements: ({ integer, text, bytes, table }) => [
      `CREATE TABLE certificate (
        issuer_id ${text} NOT NULL, serial ${text} NOT NULL, state ${text} NOT NULL,
        tbs ${bytes} NOT NULL, der ${bytes}, thumbprint ${text},
        agent ${text} NOT NULL, profile ${text} NOT NULL, subject ${text} NOT NULL, common_name ${text} NOT NULL,
        organizational_units ${text} NOT NULL, uri ${text}, dns_names ${text} NOT NULL, spki_hash ${text} NOT NULL,
        not_before ${integer} NOT NULL, not_after ${integer} NOT NULL, created_at ${integer} NOT NULL, replaces ${text},
        revoked_at ${integer}, revocation_reason ${text}, first_seen_at ${integer},
        PRIMARY KEY (issuer_id, serial),
        CHECK (state IN ('intent', 'issued', 'unknownIssued', 'revoked')),
        CHECK (state <> 'issued' OR (der IS NOT NULL AND thumbprint IS NOT NULL)),
        CHECK (state <> 'revoked' OR (revoked_at IS NOT NULL AND revocation_reason IS NOT NULL)))${table}`,
      'CREATE INDEX certificate_by_agent ON certificate (agent)',
      'CREATE INDEX certificate_by_spki ON certificate (spki_hash)',
      'CREATE INDEX certificate_by_thumbprint ON certificate (thumbprint) WHERE thumbprint IS NOT NULL',
      'CREATE INDEX certificate_by_creation ON certificate (created_at, serial)',
      'CREATE INDEX certificate_by_expiry ON certificate (not_after)',
      "CREATE INDEX certificate_intent ON certificate (created_at) WHERE state = 'intent'",
      // Covers what an index of revoked serials needs, so that loading a million reads no certificate.
      "CREATE INDEX certificate_revoked ON certificate (issuer_id, serial, revoked_at, revocation_reason, not_after) WHERE state = 'revoked'",
      `CREATE TABLE crl (
        issuer_id ${text} NOT NULL PRIMARY KEY, crl_number ${text} NOT NULL, this_update ${integer} NOT NULL,
        next_update ${integer} NOT NULL, entries ${integer} NOT NULL, der ${bytes} NOT NULL)${table}`,
      `CREATE TABLE enrollment_token (
        secret_hash ${text} NOT NULL PRIMARY KEY, agent ${text} NOT NULL, organizational_units ${text} NOT NULL, profile ${text} NOT NULL,
        ttl_seconds ${integer}, created_at ${integer} NOT NULL, expires_at ${integer} NOT NULL, spent_at ${integer})${table}`,
      `CREATE TABLE audit_entry (position ${integer} NOT NULL PRIMARY KEY, event ${text} NOT NULL, leaf_hash ${bytes} NOT NULL)${table}`,
      `CREATE TABLE audit_head (
        id ${integer} NOT NULL PRIMARY KEY CHECK (id = 1), size ${integer} NOT NULL, frontier ${bytes} NOT NULL, note ${text}, kept_size ${integer} NOT NULL)${table}`,
      `CREATE TABLE audit_checkpoint (size ${integer} NOT NULL PRIMARY KEY, note ${text} NOT NULL)${table}`,
      `CREATE TABLE change (
        seq ${integer} NOT NULL PRIMARY KEY, kind ${text} NOT NULL, issuer_id ${text} NOT NULL, serial ${text} NOT NULL, reason ${text} NOT NULL, at ${integer} NOT NULL)${table}`,
      `CREATE TABLE node (node_id ${text} NOT NULL PRIMARY KEY, applied_seq ${integer} NOT NULL, seen_at ${integer} NOT NULL, facts ${text} NOT NULL)${table}`,
    ],
  },
  {
    name: 'tool definitions',
    statements: ({ integer, text, table }) => [
      `CREATE TABLE tool_definition (
        upstream ${text} NOT NULL, tool ${text} NOT NULL,
        approved_digest ${text} NOT NULL, approved_definition ${text} NOT NULL, approved_at ${integer} NOT NULL, approved_by ${text},
        current_digest ${text} NOT NULL, current_definition ${text} NOT NULL, current_at ${integer} NOT NULL,
        first_seen_at ${integer} NOT NULL, removed_at ${integer},
        PRIMARY KEY (upstream, tool))${table}`,
      `CREATE TABLE tool_upstream (upstream ${text} NOT NULL PRIMARY KEY, met_at ${integer} NOT NULL)${table}`,
    ],
  },
  {
    name: 'holds that were lifted',
    statements: ({ integer }) => [`ALTER TABLE certificate ADD COLUMN released_at ${integer}`],
  },
  {
    name: 'restored backups',
    statements: ({ integer, text, table }) => [
      `CREATE TABLE restoration (
        restored_at ${integer} NOT NULL PRIMARY KEY, backup_at ${integer} NOT NULL, crl_number_floor ${text} NOT NULL)${table}`,
    ],
  },
  {
    name: 'certificate requests that wait for approval',
    statements: ({ integer, text, bytes, table }) => [
      `ALTER TABLE enrollment_token ADD COLUMN created_by ${text}`,
      `CREATE TABLE certificate_request (
        id ${text} NOT NULL PRIMARY KEY, state ${text} NOT NULL, agent ${text} NOT NULL, profile ${text} NOT NULL, terms ${text} NOT NULL,
        csr ${bytes} NOT NULL, spki_hash ${text} NOT NULL, credential_hash ${text} NOT NULL, created_at ${integer} NOT NULL, expires_at ${integer} NOT NULL,
        decided_at ${integer}, decided_by ${text}, reason ${text}, issuer_id ${text}, serial ${text},
        CHECK (state IN ('pending', 'approved', 'issued', 'collected', 'denied', 'expired')),
        CHECK (state NOT IN ('approved', 'issued', 'collected') OR (issuer_id IS NOT NULL AND serial IS NOT NULL AND decided_by IS NOT NULL)))${table}`,
      'CREATE INDEX certificate_request_by_credential ON certificate_request (credential_hash, spki_hash)',
      'CREATE INDEX certificate_request_by_creation ON certificate_request (created_at, id)',
      "CREATE INDEX certificate_request_open ON certificate_request (state, expires_at) WHERE state IN ('pending', 'approved')",
    ],
  },
  {
    name: 'successions',
    statements: ({ integer, text, table }) => [
      `CREATE TABLE succession (
        issuer_id ${text} NOT NULL, serial ${text} NOT NULL, agent ${text} NOT NULL, replaces ${text} NOT NULL, seen_at ${integer} NOT NULL,
        PRIMARY KEY (issuer_id, serial))${table}`,
      'CREATE INDEX succession_by_use ON succession (seen_at, serial)',
      // An agent with certificates of a minute has thousands behind it: those that count are found without them.
      'DROP INDEX certificate_by_agent',
      'CREATE INDEX certificate_by_agent ON certificate (agent, not_after)',
    ],
  },
  {
    name: 'CRLs by partition, delta CRLs',
    statements: ({ integer, text, bytes, table }) => [
      'ALTER TABLE crl RENAME TO crl_whole',
      `CREATE TABLE crl (
        issuer_id ${text} NOT NULL, partitions ${integer} NOT NULL, partition ${integer} NOT NULL, crl_number ${text} NOT NULL,
        this_update ${integer} NOT NULL, next_update ${integer} NOT NULL, entries ${integer} NOT NULL, octets ${text} NOT NULL,
        delta_octets ${text}, delta_entries ${integer}, delta_next_update ${integer}, base_octets ${text}, base_number ${text},
        next_base_octets ${text}, next_base_number ${text}, next_base_this_update ${integer},
        PRIMARY KEY (issuer_id, partitions, partition))${table}`,
      `CREATE TABLE crl_part (
        issuer_id ${text} NOT NULL, partitions ${integer} NOT NULL, partition ${integer} NOT NULL, octets ${text} NOT NULL,
        part ${integer} NOT NULL, content ${bytes} NOT NULL,
        PRIMARY KEY (issuer_id, partitions, partition, octets, part))${table}`,
      `INSERT INTO crl (issuer_id, partitions, partition, crl_number, this_update, next_update, entries, octets)
        SELECT issuer_id, 1, 0, crl_number, this_update, next_update, entries, crl_number FROM crl_whole`,
      'INSERT INTO crl_part (issuer_id, partitions, partition, octets, part, content) SELECT issuer_id, 1, 0, crl_number, 0, der FROM crl_whole',
      'DROP TABLE crl_whole',
      `CREATE TABLE crl_series (
        issuer_id ${text} NOT NULL, partitions ${integer} NOT NULL, point ${text} NOT NULL, until ${integer} NOT NULL,
        PRIMARY KEY (issuer_id, partitions, point))${table}`,
      // What was issued before has one CRL.
      "INSERT INTO crl_series (issuer_id, partitions, point, until) SELECT issuer_id, 1, '', max(not_after) FROM certificate GROUP BY issuer_id",
    ],
  },
  {
    name: 'ACME accounts and orders',
    statements: ({ integer, text, table }) => [
      `CREATE TABLE acme_external_account (
        kid ${text} NOT NULL PRIMARY KEY, agent ${text}, organizational_units ${text} NOT NULL, profile ${text}, ttl_seconds ${integer}, names ${text} NOT NULL,
        created_at ${integer} NOT NULL, created_by ${text} NOT NULL, expires_at ${integer} NOT NULL, removed_at ${integer}, account_id ${text})${table}`,
      'CREATE INDEX acme_external_account_by_creation ON acme_external_account (created_at)',
      `CREATE TABLE acme_account (
        id ${text} NOT NULL PRIMARY KEY, status ${text} NOT NULL, jwk ${text} NOT NULL, thumbprint ${text} NOT NULL UNIQUE, contacts ${text} NOT NULL, kid ${text} UNIQUE,
        created_at ${integer} NOT NULL, CHECK (status IN ('valid', 'deactivated', 'revoked')))${table}`,
      'CREATE INDEX acme_account_open ON acme_account (created_at) WHERE kid IS NULL',
      `CREATE TABLE acme_order (
        id ${text} NOT NULL PRIMARY KEY, account_id ${text} NOT NULL, status ${text} NOT NULL, identifiers ${text} NOT NULL, authorization_ids ${text} NOT NULL,
        profile ${text} NOT NULL, replaces ${text}, created_at ${integer} NOT NULL, expires_at ${integer} NOT NULL, error ${text},
        csr ${text}, spki_hash ${text}, finalized_at ${integer}, issuer_id ${text}, serial ${text}, chain ${text}, not_after ${integer}, keep_until ${integer} NOT NULL,
        CHECK (status IN ('pending', 'ready', 'processing', 'valid', 'invalid')),
        CHECK (status <> 'valid' OR chain IS NOT NULL))${table}`,
      'CREATE INDEX acme_order_by_account ON acme_order (account_id, created_at, id)',
      'CREATE INDEX acme_order_by_certificate ON acme_order (issuer_id, serial) WHERE serial IS NOT NULL',
      'CREATE INDEX acme_order_by_replaced ON acme_order (replaces) WHERE replaces IS NOT NULL',
      'CREATE INDEX acme_order_by_end ON acme_order (keep_until)',
      `CREATE TABLE acme_authorization (
        id ${text} NOT NULL PRIMARY KEY, order_id ${text} NOT NULL, account_id ${text} NOT NULL, identifier_type ${text} NOT NULL, identifier ${text} NOT NULL,
        status ${text} NOT NULL, expires_at ${integer} NOT NULL, challenges ${text} NOT NULL,
        CHECK (status IN ('pending', 'valid', 'invalid', 'deactivated')))${table}`,
      'CREATE INDEX acme_authorization_by_order ON acme_authorization (order_id)',
      'CREATE INDEX acme_authorization_by_account ON acme_authorization (account_id, identifier)',
      `CREATE TABLE acme_nonce (nonce ${text} NOT NULL PRIMARY KEY, expires_at ${integer} NOT NULL)${table}`,
      'CREATE INDEX acme_nonce_by_expiry ON acme_nonce (expires_at)',
    ],
  },
  {
    name: 'requests of the HTTP API',
    statements: ({ integer, text, table }) => [
      `CREATE TABLE api_request (
        principal ${text} NOT NULL, request_key ${text} NOT NULL, digest ${text} NOT NULL, at ${integer} NOT NULL, issuer_id ${text}, serial ${text},
        PRIMARY KEY (principal, request_key))${table}`,
      'CREATE INDEX api_request_by_time ON api_request (at)',
    ],
  },
  {
    name: 'last revocation of an agent',
    statements: () => [
      "CREATE INDEX certificate_revoked_by_agent ON certificate (agent, revoked_at) WHERE state = 'revoked' AND revocation_reason <> 'superseded'",
    ],
  },
];

export const schemaVersion = migrations.length;

/** Brings the database to `schemaVersion` under the write lock; does nothing when it is there already. */
export const migrate = async (database: Database, clock: Clock): Promise<void> => {
  // Looking first keeps a store that is only read usable from a file that cannot be written.
  if ((await storedVersion(database.read, database.kind)) === schemaVersion) return;
  await database.inTransaction((tx) => migrateTo(tx, { kind: database.kind, clock, version: schemaVersion }));
};

/** Within a transaction, from whatever version it has, to this one at least. */
export const migrateTo = async (tx: Transaction<Schema>, { kind, clock, version }: { readonly kind: StoreKind; readonly clock: Clock; readonly version: number }): Promise<void> => {
  const { integer, text, table } = types[kind];
  await sql
    .raw(`CREATE TABLE IF NOT EXISTS schema_migration (version ${integer} NOT NULL PRIMARY KEY, name ${text} NOT NULL, applied_at ${integer} NOT NULL)${table}`)
    .execute(tx);
  const present = await storedVersion(tx, kind);
  for (const [at, migration] of migrations.slice(0, version).entries()) {
    if (at < present) continue;
    for (const statement of migration.statements(types[kind])) await sql.raw(statement).execute(tx);
    await tx
      .insertInto('schema_migration')
      .values({ version: at + 1, name: migration.name, applied_at: clock.now().getTime() })
      .execute();
  }
};

/** 0 when the database has nothing of ours. */
export const storedVersion = async (db: Kysely<Schema> | Transaction<Schema>, kind: StoreKind): Promise<number> => {
  const present =
    kind === 'sqlite'
      ? await sql`SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migration'`.execute(db)
      : await sql`SELECT 1 WHERE to_regclass('schema_migration') IS NOT NULL`.execute(db);
  if (present.rows.length === 0) return 0;
  const row = await db.selectFrom('schema_migration').select((of) => of.fn.max('version').as('version')).executeTakeFirst();
  const version = Number(row?.version ?? 0);
  if (version > schemaVersion) {
    throw new CaError('ERR_STORE_SCHEMA', `the store was written by a newer Sallyport (schema ${version}, this one knows ${schemaVersion}); upgrade Sallyport to open it`, {
      facts: { version, known: schemaVersion },
    });
  }
  return version;
};
