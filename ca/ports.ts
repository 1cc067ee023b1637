/**
 * What the issuing side asks of the world. Implementations live in `src/store` (SQLite and
 * PostgreSQL), `src/system.ts` (clock, randomness) and `ca/key-store.ts` (signers on files).
 */

/** Wall clock. */
export interface Clock {
  now(): Date;
}

/** Cryptographically secure random octets. */
export interface Randomness {
  bytes(length: number): Uint8Array;
}

/** Signs with a private key that may live elsewhere. */
export interface Signer {
  /** DER SubjectPublicKeyInfo of the signing key. */
  readonly spki: Uint8Array;
  readonly algorithm: KeyAlgorithm;
  /** Signature in the form X.509 carries (ECDSA: DER Ecdsa-Sig-Value). */
  sign(data: Uint8Array): Promise<Uint8Array>;
}

export type KeyAlgorithm = 'p256' | 'p384' | 'ed25519' | 'rsa2048' | 'rsa3072' | 'rsa4096' | 'ml-dsa-44' | 'ml-dsa-65' | 'ml-dsa-87';

/** How a certificate comes about: an operator at the command line, a one-time token, EST, ACME, a certificate that is to be renewed, the HTTP API. */
export type IssuanceWay = 'operator' | 'token' | 'est' | 'acme' | 'renewal' | 'api';

/** CRLReason names of RFC 5280 §5.3.1; `removeFromCRL` never appears in a complete CRL. */
export type RevocationReason =
  | 'unspecified'
  | 'keyCompromise'
  | 'cACompromise'
  | 'affiliationChanged'
  | 'superseded'
  | 'cessationOfOperation'
  | 'certificateHold'
  | 'privilegeWithdrawn'
  | 'aACompromise';

/**
 * `intent`: serial reserved, nothing signed yet as far as we know.
 * `unknownIssued`: an intent that a crash left behind; a signed certificate may exist, so it is listed and revocable.
 */
export type CertificateState = 'intent' | 'issued' | 'unknownIssued' | 'revoked';

/** Issuers are named by the lower-case hex SHA-256 of their SubjectPublicKeyInfo. */
export type IssuerId = string;
/** Lower-case hex of the serial's content octets, no leading 00. */
export type SerialHex = string;

/** What is stored, in full sync, before the signer is asked. */
export interface CertificateIntent {
  readonly issuerId: IssuerId;
  readonly serial: SerialHex;
  /** The DER TBSCertificate that is about to be signed. */
  readonly tbs: Uint8Array;
  readonly agent: string;
  readonly profile: string;
  readonly subject: string;
  readonly commonName: string;
  readonly organizationalUnits: readonly string[];
  readonly uri: string | undefined;
  readonly dnsNames: readonly string[];
  /** Lower-case hex SHA-256 of the subject's SubjectPublicKeyInfo. */
  readonly spkiHash: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly createdAt: Date;
  /** Serial of the certificate, of this issuer or of the one before it, that this one renews. */
  readonly replaces: SerialHex | undefined;
}

export interface CertificateRecord extends CertificateIntent {
  readonly state: CertificateState;
  /** Lower-case hex SHA-256 of the DER; undefined until issued. */
  readonly thumbprint: string | undefined;
  readonly der: Uint8Array | undefined;
  readonly revokedAt: Date | undefined;
  readonly revocationReason: RevocationReason | undefined;
  /** When a hold was last lifted. */
  readonly releasedAt: Date | undefined;
  /** Set by the gateway when it first accepted this certificate. */
  readonly firstSeenAt: Date | undefined;
}

/** What an intent meets. */
export interface Contenders {
  /** Of its agent, without the intent: not expired when it was made, and the one revoked last for another reason than `superseded`. By createdAt, then serial. */
  readonly ofAgent: readonly Contender[];
  /** Who holds the key or held it, the intent's own agent among them: each agent, profile and reason of revocation once. */
  readonly ofKey: readonly Pick<CertificateRecord, 'agent' | 'profile' | 'revocationReason'>[];
}

export type Contender = Pick<CertificateRecord, 'issuerId' | 'serial' | 'state' | 'agent' | 'profile' | 'replaces' | 'notAfter' | 'revokedAt' | 'revocationReason' | 'firstSeenAt'>;

export interface CertificateQuery {
  readonly agent?: string;
  readonly serial?: SerialHex;
  readonly thumbprint?: string;
  readonly spkiHash?: string;
  readonly issuerId?: IssuerId;
  readonly states?: readonly CertificateState[];
  readonly organizationalUnit?: string;
  readonly profile?: string;
  /** Only revoked ones, for one of these reasons. */
  readonly revocationReasons?: readonly RevocationReason[];
  /** Issued (createdAt) at or after this instant. */
  readonly createdFrom?: Date;
  /** Issued (createdAt) before this instant. */
  readonly createdBefore?: Date;
  /** notAfter at or after this instant. */
  readonly validAt?: Date;
  /** notAfter before this instant. */
  readonly expiresBefore?: Date;
  /** Only those behind this one, in the order of the answer: each page costs the same, wherever it is. */
  readonly after?: { readonly createdAt: Date; readonly serial: SerialHex; readonly issuerId: IssuerId };
  /** Default 1,000. Ordered by createdAt, then serial, then issuer. */
  readonly limit?: number;
  readonly offset?: number;
}

export interface RevokedSerial {
  readonly issuerId: IssuerId;
  readonly serial: SerialHex;
  readonly revokedAt: Date;
  readonly reason: RevocationReason;
  readonly notAfter: Date;
}

/** A renewal whose new certificate is in use, and whose old one waits to be retired. */
export interface Succession {
  /** Of the new one. */
  readonly issuerId: IssuerId;
  readonly serial: SerialHex;
  readonly agent: string;
  readonly replaces: SerialHex;
  readonly seenAt: Date;
}

/**
 * Which certificates of an issuer a CRL speaks about: those whose serial ends in `partition`, of
 * `partitions`, a power of two. 0 of 1 is all of them.
 */
export interface CrlScope {
  readonly partitions: number;
  readonly partition: number;
}

/** The current complete CRL of a scope, and the delta CRL of the same number and moment, without their octets. */
export interface CrlState {
  readonly issuerId: IssuerId;
  readonly scope: CrlScope;
  readonly crlNumber: bigint;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly entries: number;
  readonly delta: CrlDeltaState | undefined;
}

export interface CrlDeltaState {
  readonly baseCrlNumber: bigint;
  readonly nextUpdate: Date;
  readonly entries: number;
  /** Since when the complete CRL is current that the deltas will start from next. */
  readonly nextBaseThisUpdate: Date;
}

export interface CrlRecord {
  readonly issuerId: IssuerId;
  readonly scope: CrlScope;
  readonly crlNumber: bigint;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly entries: number;
  readonly der: Uint8Array;
}

/** A complete CRL, with the delta CRL of the same number that is published with it. */
export interface CrlPublication extends CrlRecord {
  readonly delta?: {
    readonly baseCrlNumber: bigint;
    readonly nextUpdate: Date;
    readonly entries: number;
    readonly der: Uint8Array;
    /**
     * Two complete CRLs are kept for deltas: the one they start from, and the one they start from
     * next. `first`: both are this one. `moved`: this delta starts from the next one, and this complete one is next.
     */
    readonly bases: 'first' | 'moved' | 'kept';
  };
}

/** Places that certificates name for their CRLs, and until when one of them may be valid. */
export interface CrlSeries {
  readonly issuerId: IssuerId;
  readonly partitions: number;
  /** What comes before `/<partition>.crl` in certificates; empty where the CRL is one, and its place does not matter. */
  readonly point: string;
  readonly until: Date;
}

/** One-time enrollment token; only its hash is stored. */
export interface EnrollmentToken {
  /** Lower-case hex SHA-256 of the secret. */
  readonly secretHash: string;
  readonly agent: string;
  readonly organizationalUnits: readonly string[];
  readonly profile: string;
  readonly ttlSeconds: number | undefined;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  /** Who made it; undefined for one made before that was recorded. */
  readonly createdBy?: string | undefined;
}

export interface ListedToken extends EnrollmentToken {
  readonly spentAt: Date | undefined;
}

export interface TokenQuery {
  readonly after?: { readonly createdAt: Date; readonly secretHash: string };
  /** Default 1,000. Ordered by createdAt, then secretHash. */
  readonly limit?: number;
}

export type TokenSpending = { readonly outcome: 'spent'; readonly token: EnrollmentToken } | { readonly outcome: 'unknown' | 'alreadySpent' | 'expired' };

/**
 * `pending`: waits for a second person. `approved`: may be issued, under the serial that is reserved for it.
 * `issued`: the certificate is there. `collected`: whoever asked has it. `denied` and `expired` are ends.
 */
export type RequestState = 'pending' | 'approved' | 'issued' | 'collected' | 'denied' | 'expired';

/** What a certificate request asks for that waits for approval; everything the approver needs to judge it. */
export interface RequestTerms {
  readonly way: IssuanceWay;
  readonly organizationalUnits: readonly string[];
  /** Of a server. */
  readonly hosts: readonly string[];
  /** Of a person. */
  readonly email: string | undefined;
  readonly ttlSeconds: number;
  /** Who asked: `cli:<os user>`, `token:<agent>`, `acme:<account>` … */
  readonly requestedBy: string;
  /** Who vouched for whoever asked: the maker of the token. Like who asked, he cannot approve. */
  readonly vouchedBy: string | undefined;
  readonly address: string | undefined;
  /** Revocations of this name since then stand; undefined when the operator who asked knew of them. */
  readonly wordGivenAt: Date | undefined;
  /** Names in the request that stand for the agent, and that the certificate does not get. */
  readonly standIns?: readonly string[] | undefined;
}

export interface CertificateRequest {
  readonly id: string;
  readonly state: RequestState;
  readonly agent: string;
  readonly profile: string;
  readonly terms: RequestTerms;
  /** DER PKCS#10. */
  readonly csr: Uint8Array;
  readonly spkiHash: string;
  /** Lower-case hex SHA-256 of what proves who asked; the same proof and key find the request again. */
  readonly credentialHash: string;
  readonly createdAt: Date;
  /** Of a request nobody has decided or collected. */
  readonly expiresAt: Date;
  readonly decidedAt: Date | undefined;
  readonly decidedBy: string | undefined;
  /** Of a denial. */
  readonly reason: string | undefined;
  /** Reserved at approval, so that no crash can make two certificates of one approval. */
  readonly issuerId: IssuerId | undefined;
  readonly serial: SerialHex | undefined;
}

export interface RequestQuery {
  readonly id?: string;
  readonly states?: readonly RequestState[];
  readonly agent?: string;
  readonly credentialHash?: string;
  readonly spkiHash?: string;
  /** expiresAt at or before this instant. */
  readonly expiresBefore?: Date;
  /** Default 1,000. Ordered by createdAt, then id. */
  readonly limit?: number;
}

/** What changes when a request goes on. */
export interface RequestChange {
  readonly to: RequestState;
  readonly decidedAt?: Date;
  readonly decidedBy?: string;
  readonly reason?: string;
  readonly issuerId?: IssuerId;
  readonly serial?: SerialHex;
}

/**
 * A fact for the audit log. Flat on purpose: every field is a column an auditor can filter by.
 * Undefined fields are left out of the canonical form.
 */
export interface AuditEvent {
  /** Dotted verb, past tense: `certificate.issued`, `handshake.refused`, `request.decided`. */
  readonly action: string;
  readonly outcome: 'allowed' | 'denied' | 'done' | 'failed';
  readonly time: Date;
  /** Reason code of a denial or failure, e.g. `ERR_PEER_REVOKED` or `noGrant`. */
  readonly reason?: string | undefined;
  /** Who acted: `cli:<os user>`, `token:<agent>`, `gateway`, or a principal id. */
  readonly actor?: string | undefined;
  readonly agent?: string | undefined;
  readonly subject?: string | undefined;
  readonly serial?: SerialHex | undefined;
  readonly issuer?: IssuerId | undefined;
  readonly thumbprint?: string | undefined;
  readonly roles?: readonly string[] | undefined;
  readonly upstream?: string | undefined;
  readonly method?: string | undefined;
  /** Tool or prompt name, or resource URI. */
  readonly name?: string | undefined;
  /** The rule that decided, as `policy explain` names it. */
  readonly rule?: string | undefined;
  readonly session?: string | undefined;
  readonly address?: string | undefined;
  readonly durationMs?: number | undefined;
  /** `sha256:<hex>` of the canonical arguments. */
  readonly argumentDigest?: string | undefined;
  /** Further facts, JSON values only, no secrets. */
  readonly detail?: Readonly<Record<string, string | number | boolean | null | readonly string[]>> | undefined;
}

/**
 * The CA's memory. Every method that changes something resolves only once the change is on disk
 * (SQLite: WAL with synchronous=FULL; PostgreSQL: synchronous_commit on), and writes its audit
 * event in the same transaction: no event, no change.
 * All methods reject with `CaError` `ERR_STORE_UNAVAILABLE` when the store cannot be reached or is full.
 */
export interface CaStore {
  /**
   * Answers with what the certificate has to be admitted beside, read in the transaction that records the intent: of two
   * that are asked for at the same time, the later one sees the earlier.
   * Rejects with `ERR_STORE_DUPLICATE_SERIAL` when (issuerId, serial) exists in any state.
   */
  recordIntent(intent: CertificateIntent): Promise<Contenders>;
  /** intent → issued. */
  recordIssued(issued: { issuerId: IssuerId; serial: SerialHex; der: Uint8Array; thumbprint: string }, event: AuditEvent): Promise<void>;
  /** Removes an intent for which nothing was signed (lint failed before the signer was asked). */
  discardIntent(key: { issuerId: IssuerId; serial: SerialHex }, event: AuditEvent): Promise<void>;
  /** Turns every intent created before `before` into `unknownIssued`, one audit event each made by `event`, and returns them. */
  recoverIntents(before: Date, event: (record: CertificateRecord) => AuditEvent): Promise<readonly CertificateRecord[]>;

  findCertificates(query: CertificateQuery): Promise<readonly CertificateRecord[]>;
  countCertificates(query: CertificateQuery): Promise<number>;
  /**
   * Every certificate in every state, in pages (default 500), ordered by createdAt, then serial, then issuer; the last
   * page costs as much as the first. A list that cannot be read comes as its raw text, for whoever looks for alterations.
   */
  certificatePages(options?: { pageSize?: number }): AsyncIterable<readonly CertificateRecord[]>;

  /**
   * issued or unknownIssued → revoked, row and audit event and change feed in one transaction; a hold
   * gives way to any other reason. Serials otherwise revoked or unknown are left out of the answer. `changeSeq` is the feed's number of the last change.
   */
  revoke(
    keys: readonly { issuerId: IssuerId; serial: SerialHex }[],
    reason: RevocationReason,
    at: Date,
    event: (record: CertificateRecord) => AuditEvent,
  ): Promise<{ readonly revoked: readonly CertificateRecord[]; readonly changeSeq: number }>;
  /**
   * Lifts holds: back to issued or unknownIssued, with the same care as `revoke`. Left out of the answer
   * is what is not revoked, what is revoked for another reason, and what has the SubjectPublicKeyInfo of
   * a certificate revoked for keyCompromise, cACompromise or aACompromise. `event` gets the record as it is then.
   */
  release(
    keys: readonly { issuerId: IssuerId; serial: SerialHex }[],
    at: Date,
    event: (record: CertificateRecord) => AuditEvent,
  ): Promise<{ readonly released: readonly CertificateRecord[]; readonly changeSeq: number }>;
  /** Every revoked certificate of an issuer, in pages, ordered by serial. Default page 1,000: larger ones stay alive long enough for the garbage collector to stall the event loop. */
  revokedSerials(issuerId: IssuerId, options?: { pageSize?: number }): AsyncIterable<readonly RevokedSerial[]>;

  /**
   * The same for building CRLs, as octets of a text, which the reader may move to another thread:
   * `serial,revokedAt,reason,notAfter;` for each, times in whole seconds since 1970. Only those whose
   * serial ends in one of `endings` (lower-case hex, all of one length), when given.
   */
  revokedText(issuerId: IssuerId, options?: { pageSize?: number; endings?: readonly string[] }): AsyncIterable<Uint8Array>;

  /** Certificate first accepted by a gateway. Idempotent. The first time of one that replaces another makes a succession. */
  markSeen(key: { issuerId: IssuerId; serial: SerialHex }, at: Date): Promise<void>;
  /** Those seen then or before, oldest first, that are not settled. */
  successions(seenBefore: Date, limit: number): Promise<readonly Succession[]>;
  /** Idempotent. */
  settleSuccessions(keys: readonly { issuerId: IssuerId; serial: SerialHex }[]): Promise<void>;

  /** Current CRLs of every scope, ordered by issuer, partitions and partition. */
  crlStates(issuerId?: IssuerId, scope?: CrlScope): Promise<readonly CrlState[]>;
  /** Default: the complete CRL of all certificates. `base` and `nextBase` are complete CRLs that deltas start from. The octets are the caller's alone, who may hand their memory on. */
  latestCrl(issuerId: IssuerId, options?: { scope?: CrlScope; kind?: 'complete' | 'delta' | 'base' | 'nextBase' }): Promise<CrlRecord | undefined>;
  /** No CRL may have this number or a lower one: what was published since the backup that the store comes from. 0 when it comes from none. */
  crlNumberFloor(): Promise<bigint>;
  /** Rejects with `ERR_CRL_STALE` unless crlNumber and thisUpdate are both greater than those stored for the scope. Without a delta CRL none is kept. */
  saveCrl(publication: CrlPublication, event: AuditEvent): Promise<void>;
  /** Forgets the CRLs of a scope that no certificate names any more. */
  dropCrl(issuerId: IssuerId, scope: CrlScope, event: AuditEvent): Promise<void>;
  crlSeries(issuerId: IssuerId): Promise<readonly CrlSeries[]>;
  /** Adds a series, or lengthens its time. Without an event: it follows from issuances, which have theirs. */
  extendCrlSeries(series: CrlSeries): Promise<void>;

  insertToken(token: EnrollmentToken, event: AuditEvent): Promise<void>;
  /** Atomic: of any number of concurrent calls with one hash exactly one is answered `spent`. */
  spendToken(secretHash: string, at: Date, event: (token: EnrollmentToken) => AuditEvent): Promise<TokenSpending>;

  /** Without spending it. */
  findToken(secretHash: string): Promise<{ readonly token: EnrollmentToken; readonly spentAt: Date | undefined } | undefined>;
  /**
   * Leaves a request in state `pending` and, with `spend`, spends that token, in one transaction. `full` when as many as
   * `maxPending` wait; the outcomes of `spendToken` when the token cannot be spent; nothing is written then.
   */
  insertRequest(
    request: CertificateRequest,
    event: AuditEvent,
    options: { readonly maxPending: number; readonly spend?: { readonly secretHash: string; readonly event: AuditEvent } | undefined },
  ): Promise<'inserted' | 'full' | Exclude<TokenSpending['outcome'], 'spent'>>;
  findRequests(query: RequestQuery): Promise<readonly CertificateRequest[]>;
  /** Atomic: of any number of concurrent calls that would take a request out of one state exactly one is answered with it. */
  changeRequest(id: string, from: { readonly states: readonly RequestState[]; readonly serial?: SerialHex }, change: RequestChange, event: AuditEvent | undefined): Promise<CertificateRequest | undefined>;
  /** Every request that nobody decided or collected in time → `expired`. */
  expireRequests(at: Date, event: (request: CertificateRequest) => AuditEvent): Promise<readonly CertificateRequest[]>;
  tokens(query: TokenQuery): Promise<readonly ListedToken[]>;
  /** Rejects with `ERR_TOKEN_UNKNOWN`, and with `ERR_TOKEN_SPENT` when it was used. */
  deleteToken(secretHash: string, event: (token: EnrollmentToken) => AuditEvent): Promise<EnrollmentToken>;

  /** An audit event on its own, durable when the promise resolves. */
  recordEvent(event: AuditEvent): Promise<void>;
}
