/** The tables, as Kysely sees them. Times are milliseconds since 1970; lists are JSON text. */
import type { AccountStatus, AcmeAuthorization, AcmeOrder, IdentifierType } from '../../ca/acme/ports.ts';
import type { CertificateState, RequestState, RevocationReason } from '../../ca/ports.ts';

export interface CertificateTable {
  readonly issuer_id: string;
  readonly serial: string;
  readonly state: CertificateState;
  readonly tbs: Uint8Array;
  readonly der: Uint8Array | null;
  readonly thumbprint: string | null;
  readonly agent: string;
  readonly profile: string;
  readonly subject: string;
  readonly common_name: string;
  readonly organizational_units: string;
  readonly uri: string | null;
  readonly dns_names: string;
  readonly spki_hash: string;
  readonly not_before: number;
  readonly not_after: number;
  readonly created_at: number;
  readonly replaces: string | null;
  readonly revoked_at: number | null;
  readonly revocation_reason: RevocationReason | null;
  readonly first_seen_at: number | null;
  readonly released_at: number | null;
}

/** A renewal whose new certificate (issuer, serial) is in use, and whose old one waits to be retired. */
export interface SuccessionTable {
  readonly issuer_id: string;
  readonly serial: string;
  readonly agent: string;
  readonly replaces: string;
  readonly seen_at: number;
}

/** One row per issuer and scope: the latest complete CRL, and what belongs to its delta CRL. */
export interface CrlTable {
  readonly issuer_id: string;
  readonly partitions: number;
  readonly partition: number;
  /** Decimal text: CRL numbers have up to 20 octets. */
  readonly crl_number: string;
  readonly this_update: number;
  readonly next_update: number;
  readonly entries: number;
  /** Names of octets in `crl_part`. */
  readonly octets: string;
  readonly delta_octets: string | null;
  readonly delta_entries: number | null;
  readonly delta_next_update: number | null;
  readonly base_octets: string | null;
  readonly base_number: string | null;
  readonly next_base_octets: string | null;
  readonly next_base_number: string | null;
  readonly next_base_this_update: number | null;
}

/** CRLs in parts, so that none of the statements for a large one takes long. */
export interface CrlPartTable {
  readonly issuer_id: string;
  readonly partitions: number;
  readonly partition: number;
  /** SHA-256 of the last octets, signature included, and the length. */
  readonly octets: string;
  readonly part: number;
  readonly content: Uint8Array;
}

export interface CrlSeriesTable {
  readonly issuer_id: string;
  readonly partitions: number;
  readonly point: string;
  readonly until: number;
}

export interface TokenTable {
  readonly secret_hash: string;
  readonly agent: string;
  readonly organizational_units: string;
  readonly profile: string;
  readonly ttl_seconds: number | null;
  readonly created_at: number;
  readonly expires_at: number;
  readonly spent_at: number | null;
  readonly created_by: string | null;
}

/** `terms` is JSON: what only people and the authority read. */
export interface RequestTable {
  readonly id: string;
  readonly state: RequestState;
  readonly agent: string;
  readonly profile: string;
  readonly terms: string;
  readonly csr: Uint8Array;
  readonly spki_hash: string;
  readonly credential_hash: string;
  readonly created_at: number;
  readonly expires_at: number;
  readonly decided_at: number | null;
  readonly decided_by: string | null;
  readonly reason: string | null;
  readonly issuer_id: string | null;
  readonly serial: string | null;
}

export interface AuditEntryTable {
  readonly position: number;
  readonly event: string;
  readonly leaf_hash: Uint8Array;
}

/** One row: how far the log has grown, and the latest signed checkpoint. */
export interface AuditHeadTable {
  readonly id: 1;
  readonly size: number;
  readonly frontier: Uint8Array;
  readonly note: string | null;
  /** Size at which a checkpoint was last kept for good. */
  readonly kept_size: number;
}

/** Checkpoints kept for good; `verify` narrows an alteration down to the stretch between two of them. */
export interface AuditCheckpointTable {
  readonly size: number;
  readonly note: string;
}

/** Of a `tools` change `issuer_id` is the upstream, and `serial` is empty. Only that of `revoked` has a reason that means something. */
export interface ChangeTable {
  readonly seq: number;
  readonly kind: 'revoked' | 'released' | 'tools';
  readonly issuer_id: string;
  readonly serial: string;
  readonly reason: RevocationReason;
  readonly at: number;
}

/** Definitions are canonical JSON (src/mcp/tool-definition.ts). */
export interface ToolDefinitionTable {
  readonly upstream: string;
  readonly tool: string;
  /** What it is held against: as first seen, or as approved since. */
  readonly approved_digest: string;
  readonly approved_definition: string;
  readonly approved_at: number;
  /** Null while nobody has approved a tool that came after the others. */
  readonly approved_by: string | null;
  readonly current_digest: string;
  readonly current_definition: string;
  readonly current_at: number;
  readonly first_seen_at: number;
  readonly removed_at: number | null;
}

/** Upstreams whose tools were once seen to the end of the list. */
export interface ToolUpstreamTable {
  readonly upstream: string;
  readonly met_at: number;
}

export interface AcmeExternalAccountTable {
  readonly kid: string;
  readonly agent: string | null;
  readonly organizational_units: string;
  readonly profile: string | null;
  readonly ttl_seconds: number | null;
  readonly names: string;
  readonly created_at: number;
  readonly created_by: string;
  readonly expires_at: number;
  readonly removed_at: number | null;
  readonly account_id: string | null;
}

export interface AcmeAccountTable {
  readonly id: string;
  readonly status: AccountStatus;
  readonly jwk: string;
  readonly thumbprint: string;
  readonly contacts: string;
  readonly kid: string | null;
  readonly created_at: number;
}

/** `identifiers`, `authorization_ids` and `error` are JSON. */
export interface AcmeOrderTable {
  readonly id: string;
  readonly account_id: string;
  readonly status: AcmeOrder['status'];
  readonly identifiers: string;
  readonly authorization_ids: string;
  readonly profile: string;
  readonly replaces: string | null;
  readonly created_at: number;
  readonly expires_at: number;
  readonly error: string | null;
  readonly csr: string | null;
  readonly spki_hash: string | null;
  readonly finalized_at: number | null;
  readonly issuer_id: string | null;
  readonly serial: string | null;
  readonly chain: string | null;
  readonly not_after: number | null;
  /** After this nobody needs it any more. */
  readonly keep_until: number;
}

/** `challenges` is JSON with times in milliseconds. */
export interface AcmeAuthorizationTable {
  readonly id: string;
  readonly order_id: string;
  readonly account_id: string;
  readonly identifier_type: IdentifierType;
  readonly identifier: string;
  readonly status: AcmeAuthorization['status'];
  readonly expires_at: number;
  readonly challenges: string;
}

/** Spent, not yet expired. */
export interface AcmeNonceTable {
  readonly nonce: string;
  readonly expires_at: number;
}

export interface NodeTable {
  readonly node_id: string;
  readonly applied_seq: number;
  readonly seen_at: number;
  readonly facts: string;
}

/** A request of the HTTP API that carried an idempotency key, and what it led to. */
export interface ApiRequestTable {
  readonly principal: string;
  readonly request_key: string;
  readonly digest: string;
  readonly at: number;
  readonly issuer_id: string | null;
  readonly serial: string | null;
}

/** One row for each time the store was filled from a backup. */
export interface RestorationTable {
  readonly restored_at: number;
  readonly backup_at: number;
  /** Decimal text: no CRL of any issuer gets this number or a lower one. */
  readonly crl_number_floor: string;
}

export interface MigrationTable {
  readonly version: number;
  readonly name: string;
  readonly applied_at: number;
}

export interface Schema {
  certificate: CertificateTable;
  succession: SuccessionTable;
  crl: CrlTable;
  crl_part: CrlPartTable;
  crl_series: CrlSeriesTable;
  enrollment_token: TokenTable;
  certificate_request: RequestTable;
  audit_entry: AuditEntryTable;
  audit_head: AuditHeadTable;
  audit_checkpoint: AuditCheckpointTable;
  change: ChangeTable;
  tool_definition: ToolDefinitionTable;
  tool_upstream: ToolUpstreamTable;
  acme_external_account: AcmeExternalAccountTable;
  acme_account: AcmeAccountTable;
  acme_order: AcmeOrderTable;
  acme_authorization: AcmeAuthorizationTable;
  acme_nonce: AcmeNonceTable;
  node: NodeTable;
  restoration: RestorationTable;
  api_request: ApiRequestTable;
  schema_migration: MigrationTable;
}
