/** What callers ask of a `CertificateAuthority` and what they get back. */
import type { KeyObject } from 'node:crypto';
import type { CertificateRecord, CertificateRequest, IssuanceWay, IssuerId, KeyAlgorithm, RevocationReason, SerialHex } from './ports.ts';

/** A CA of the hierarchy, as its files are named: `root` and `issuing`, later generations `root-2`, `issuing-2` and so on. */
export type IssuerName = string;

/** One certificate of one issuer. */
export interface CertificateKey {
  readonly issuerId: IssuerId;
  readonly serial: SerialHex;
}

/** Who asks, and how; what a profile that demands approval, or restricts who may issue it, is asked with. */
export interface Asking {
  /** Who asks, for the audit log: `cli:<os user>`. Default `ca`. */
  readonly actor?: string;
  /** Default `operator`. */
  readonly way?: Exclude<IssuanceWay, 'renewal'>;
  /**
   * What proves who asks, such as the id of an ACME order: whoever asks again with it and the same key gets the
   * certificate once it is approved. Default: the actor and the name.
   */
  readonly credential?: string;
  /** Who vouched for whoever asks, and so cannot approve: the maker of an ACME account key. */
  readonly vouchedBy?: string;
  /** Remote address, for the audit log. */
  readonly address?: string | undefined;
}

/** An operator's word: this agent gets a certificate with these attributes. */
export interface IssueRequest extends Asking {
  /** Agent name: commonName and last segment of the SPIFFE ID. */
  readonly agent: string;
  readonly organizationalUnits?: readonly string[];
  /** Of a person: profiles of kind `console-user` only. */
  readonly email?: string;
  /** Name of a profile of another kind than `server`. Default `agent`. */
  readonly profile?: string;
  /** Lifetime, `24h` or seconds. Default and bound come from the profile. */
  readonly ttl?: string | number;
  /** DER or PEM PKCS#10. Only its key is used; what else it asks for must be what is granted here. Without it the CA makes a key. */
  readonly csr?: Uint8Array | string;
  /** Algorithm of the key the CA makes when there is no `csr`. Default `p256`. */
  readonly keyAlgorithm?: KeyAlgorithm;
  /** Names that the `csr` may hold although they are not granted, because they stand for the agent where the request was made. */
  readonly standIns?: readonly string[];
  /** The certificate of the same agent that this one succeeds, when the order comes from whoever got that one. */
  readonly replaces?: CertificateKey;
  /** When an operator vouched for the agent: revocations from before do not count. Default: all count. */
  readonly wordGivenAt?: Date;
  /** What to do when this agent was revoked before (for any reason but `superseded`). Default `deny`; `allow` is the operator's word. */
  readonly onRevokedIdentity?: 'deny' | 'allow';
  /** Signs with the root instead of the issuing CA. Relying parties must refuse such a leaf; only `doctor` has a use for it. */
  readonly dangerouslyIssuer?: 'root';
}

/** A certificate for a TLS server. */
export interface IssueServerRequest extends Asking {
  /** DNS names and IP addresses; the first is the commonName and the name in the inventory. */
  readonly hosts: readonly string[];
  /** Name of a profile of kind `server`. Default `server`. */
  readonly profile?: string;
  readonly ttl?: string | number;
  readonly csr?: Uint8Array | string;
  /** Certify this existing key instead of making one, as when a server keeps its key. */
  readonly publicKey?: KeyObject;
  readonly keyAlgorithm?: KeyAlgorithm;
}

export interface RenewRequest {
  /** DER or PEM PKCS#10 with the same key (renew) or a new one (rekey). */
  readonly csr: Uint8Array | string;
  readonly actor?: string;
  /** Over EST the profile must allow that too. */
  readonly way?: 'est';
  /** Profile the certificate must be of; any when absent. */
  readonly profile?: string | undefined;
}

export interface IssuedCertificate extends CertificateKey {
  readonly thumbprint: string;
  readonly agent: string;
  readonly profile: string;
  /** RFC 4514 string. */
  readonly subject: string;
  readonly commonName: string;
  readonly organizationalUnits: readonly string[];
  readonly uri: string | undefined;
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly notBefore: Date;
  /** Inclusive. */
  readonly notAfter: Date;
  readonly replaces: SerialHex | undefined;
  readonly der: Uint8Array;
  /** The leaf alone. */
  readonly pem: string;
  /** Leaf, issuing CA, and what leads from there to the oldest root still trusted: what goes into `cert.pem`. */
  readonly chain: string;
  /** Every root to be trusted: what goes into `ca.pem`. */
  readonly ca: string;
  /** What roots certified of one another, by which whoever knows one recognizes the others. Undefined while there is but one. */
  readonly crossCertificates: string | undefined;
  /** Only when the CA made the key; it keeps no copy. */
  readonly privateKey: KeyObject | undefined;
}

/**
 * Which certificates to revoke: those that match everything that is given. `serial`, `thumbprint` and
 * `spkiHash` also reach expired ones; certificates of CAs are only reached by one of these or by `agent`.
 */
export interface RevokeSelector {
  readonly agent?: string;
  readonly serial?: SerialHex;
  readonly thumbprint?: string;
  /** Hex SHA-256 of the SubjectPublicKeyInfo. */
  readonly spkiHash?: string;
  readonly organizationalUnit?: string;
  readonly issuerId?: IssuerId;
  readonly profile?: string;
  /** Issued at or after this instant. */
  readonly issuedFrom?: Date;
  /** Issued before this instant. */
  readonly issuedBefore?: Date;
}

export interface RevokeOptions {
  /** Default `unspecified`. `certificateHold` can be taken back with `release`, or made final with another reason. */
  readonly reason?: RevocationReason;
  readonly actor?: string;
  /** Only these of the selection: what an admin with a part of the inventory may touch. */
  readonly among?: (record: CertificateRecord) => boolean;
  /** Called after each transaction of at most 200 certificates. */
  readonly onProgress?: (progress: { readonly done: number; readonly of: number }) => void;
}

/** What `revoke` would do now. */
export interface RevocationPreview {
  readonly due: readonly CertificateRecord[];
  readonly alreadyRevoked: readonly CertificateRecord[];
}

export interface RevokeResult {
  readonly revoked: readonly CertificateRecord[];
  /** Certificates of the selection that had been revoked before. */
  readonly alreadyRevoked: readonly CertificateRecord[];
  /** Position in the change feed; every enforcement point that acknowledged it enforces this revocation. */
  readonly changeSeq: number;
}

/** Whose hold to lift: every one of an agent, or one certificate. */
export type ReleaseSelector = Pick<RevokeSelector, 'agent' | 'serial' | 'issuerId' | 'thumbprint'>;

export interface ReleaseResult {
  readonly released: readonly CertificateRecord[];
  /** As that of `RevokeResult`. */
  readonly changeSeq: number;
}

export interface TokenRequest {
  readonly agent: string;
  readonly organizationalUnits?: readonly string[];
  /** Profile of the certificate, of kind `agent` or `agent-spiffe`. Default `agent`. */
  readonly profile?: string;
  /** Lifetime of the certificate. Default: the profile's. */
  readonly certificateTtl?: string | number;
  /** How long the token may be used. Default `15m`, at most `7d`. */
  readonly ttl?: string | number;
  readonly actor?: string;
}

export interface CreatedToken {
  /** `sallyport1.<secret>.<hash of the root certificate>`; shown once, never stored. */
  readonly token: string;
  readonly agent: string;
  readonly organizationalUnits: readonly string[];
  readonly profile: string;
  readonly expiresAt: Date;
}

export interface EnrollRequest {
  readonly token: string;
  /** DER or PEM PKCS#10. */
  readonly csr: Uint8Array | string;
  /** Default `token`. */
  readonly way?: 'token' | 'est';
  /** Profile the token must be for; any when absent. */
  readonly profile?: string | undefined;
  /** Remote address, for the audit log. */
  readonly address?: string | undefined;
}

/** An approved request and what it became. */
export interface ApprovedRequest {
  readonly request: CertificateRequest;
  readonly certificate: IssuedCertificate;
}
