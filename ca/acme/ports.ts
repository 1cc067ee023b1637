/** What the ACME server remembers. The store behind it is `src/store/acme-store.ts`. */
import type { AuditEvent, IssuerId, SerialHex } from '../ports.ts';

/** RFC 8555 §9.7.7, RFC 8738, and the name of an agent (draft-ietf-acme-device-attest). */
export type IdentifierType = 'dns' | 'ip' | 'permanent-identifier';

export interface Identifier {
  readonly type: IdentifierType;
  readonly value: string;
}

/** A problem as it is kept and shown, RFC 7807. */
export interface ProblemDocument {
  readonly type: string;
  readonly detail: string;
  readonly status?: number;
  readonly identifier?: Identifier;
  readonly subproblems?: readonly ProblemDocument[];
}

/** An operator's word for one ACME account, RFC 8555 §7.3.4. Its MAC key is derived, not kept. */
export interface ExternalAccount {
  readonly kid: string;
  /** The agent whose certificates the account may order; undefined when it is for servers. */
  readonly agent: string | undefined;
  readonly organizationalUnits: readonly string[];
  /** Of an agent's certificates. */
  readonly profile: string | undefined;
  readonly ttlSeconds: number | undefined;
  /** Names a server account is confined to; empty for all that configuration allows. */
  readonly names: readonly string[];
  readonly createdAt: Date;
  /** Who vouched for it, and so cannot approve what it orders. */
  readonly createdBy: string;
  /** Until when an account may be bound to it. */
  readonly expiresAt: Date;
  readonly removedAt: Date | undefined;
  /** The account bound to it. */
  readonly accountId: string | undefined;
}

/** `revoked`: ended by the operator. */
export type AccountStatus = 'valid' | 'deactivated' | 'revoked';

export interface AcmeAccount {
  readonly id: string;
  readonly status: AccountStatus;
  /** Canonical JSON of the public key, RFC 7638. */
  readonly jwk: string;
  readonly thumbprint: string;
  readonly contacts: readonly string[];
  /** Of the external account it is bound to. */
  readonly kid: string | undefined;
  readonly createdAt: Date;
}

export type ChallengeType = 'http-01' | 'tls-alpn-01';

export interface AcmeChallenge {
  readonly type: ChallengeType;
  readonly status: 'pending' | 'processing' | 'valid' | 'invalid';
  readonly token: string;
  /** When validation was last begun. */
  readonly attemptedAt: Date | undefined;
  readonly validatedAt: Date | undefined;
  readonly error: ProblemDocument | undefined;
}

/** Of one order; valid ones are not reused. One without challenges was given with the account. */
export interface AcmeAuthorization {
  readonly id: string;
  readonly orderId: string;
  readonly accountId: string;
  readonly identifier: Identifier;
  readonly status: 'pending' | 'valid' | 'invalid' | 'deactivated';
  readonly expiresAt: Date;
  readonly challenges: readonly AcmeChallenge[];
}

export interface AcmeOrder {
  readonly id: string;
  readonly accountId: string;
  readonly status: 'pending' | 'ready' | 'processing' | 'valid' | 'invalid';
  readonly identifiers: readonly Identifier[];
  readonly authorizationIds: readonly string[];
  readonly profile: string;
  /** The certificate identifier that the order replaces, RFC 9773 §5. */
  readonly replaces: string | undefined;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly error: ProblemDocument | undefined;
  /** base64url of the certificate request, and lower-case hex SHA-256 of its key, once finalized. */
  readonly csr: string | undefined;
  readonly spkiHash: string | undefined;
  readonly finalizedAt: Date | undefined;
  readonly certificate: OrderedCertificate | undefined;
}

export interface OrderedCertificate {
  readonly issuerId: IssuerId;
  readonly serial: SerialHex;
  /** PEM of leaf and issuing CA. */
  readonly chain: string;
  readonly notAfter: Date;
}

/**
 * Every method that changes something resolves once it is on disk, together with its audit event.
 * All reject with `CaError` `ERR_STORE_UNAVAILABLE` when the store cannot be reached or is full.
 */
export interface AcmeStore {
  insertExternalAccount(account: ExternalAccount, event: AuditEvent): Promise<void>;
  externalAccount(kid: string): Promise<ExternalAccount | undefined>;
  /** Newest first. */
  externalAccounts(limit: number): Promise<readonly ExternalAccount[]>;
  /** Its account can do nothing from here on. False when there is none, or it was removed before. */
  removeExternalAccount(kid: string, at: Date, event: AuditEvent): Promise<boolean>;

  /**
   * `exists`: the key has an account, which is given back. `bound`: the external account is gone, expired, or has another account.
   */
  createAccount(account: AcmeAccount, event: AuditEvent): Promise<{ readonly outcome: 'created' | 'exists'; readonly account: AcmeAccount } | { readonly outcome: 'bound' }>;
  account(id: string): Promise<AcmeAccount | undefined>;
  accountByKey(thumbprint: string): Promise<AcmeAccount | undefined>;
  /** Accounts without an external account, newest first. */
  openAccounts(limit: number): Promise<readonly AcmeAccount[]>;
  /** Only of a valid account; undefined when it is not. */
  changeAccount(id: string, changes: { readonly contacts?: readonly string[]; readonly status?: AccountStatus }, event: AuditEvent): Promise<AcmeAccount | undefined>;
  /** Undefined when done, else the account that has the new key. */
  changeKey(id: string, key: { readonly jwk: string; readonly thumbprint: string }, event: AuditEvent): Promise<AcmeAccount | undefined>;

  /** False, and nothing kept, when another order that is not invalid replaces the same certificate. Also clears away what nobody needs any more. */
  createOrder(order: AcmeOrder, authorizations: readonly AcmeAuthorization[], event: AuditEvent): Promise<boolean>;
  order(id: string): Promise<AcmeOrder | undefined>;
  orderOfCertificate(issuerId: IssuerId, serial: SerialHex): Promise<AcmeOrder | undefined>;
  /** Ids, oldest first, after `after`. */
  orderIds(accountId: string, options: { readonly after?: string | undefined; readonly limit: number }): Promise<readonly string[]>;
  /** Certificates that the account has ordered and that have not expired, oldest first. */
  certificatesOf(accountId: string, now: Date): Promise<readonly Pick<OrderedCertificate, 'issuerId' | 'serial'>[]>;
  /** Orders that are neither valid nor invalid. */
  openOrders(accountId: string, now: Date): Promise<number>;
  authorization(id: string): Promise<AcmeAuthorization | undefined>;
  /** Whether the account holds a valid authorization for the identifier. */
  isAuthorized(accountId: string, identifier: Identifier, now: Date): Promise<boolean>;

  /** pending → processing, or processing since before `staleBefore` → processing anew. Undefined when the challenge is in no such state. */
  beginValidation(key: ChallengeKey, at: Date, staleBefore: Date): Promise<AcmeAuthorization | undefined>;
  /** What came of it, for challenge, authorization and order in one. Nothing when it was settled meanwhile. */
  settleChallenge(key: ChallengeKey, result: { readonly at: Date; readonly error?: ProblemDocument | undefined }, event: AuditEvent): Promise<void>;
  /** The order with it becomes invalid, unless it is valid. */
  deactivateAuthorization(id: string, event: AuditEvent): Promise<AcmeAuthorization | undefined>;

  /** ready → processing; of any number of concurrent calls exactly one is answered true. */
  claimOrder(id: string, claim: { readonly csr: string; readonly spkiHash: string; readonly at: Date }): Promise<boolean>;
  /** processing → ready, when nothing was signed. */
  releaseOrder(id: string): Promise<void>;
  /** processing → valid or invalid. */
  settleOrder(id: string, result: { readonly certificate: OrderedCertificate } | { readonly error: ProblemDocument }, event: AuditEvent): Promise<void>;

  /** True the first time only. */
  spendNonce(nonce: string, expiresAt: Date, now: Date): Promise<boolean>;
}

export interface ChallengeKey {
  readonly authorizationId: string;
  readonly type: ChallengeType;
}
