/** What the path verifier answers, and how a check says no. */
import type { CaErrorCode } from '../../errors.ts';
import type { RevocationReason } from '../../ports.ts';
import type { Certificate } from '../certificate.ts';

declare const verified: unique symbol;

export type PathCode = Extract<CaErrorCode, `ERR_PATH_${string}` | 'ERR_CERTIFICATE_INVALID'>;

/** A path in which every check held. Only `verify-path.ts` makes one. */
export interface VerifiedPath {
  readonly [verified]: true;
  readonly ok: true;
  /** The certificate that was asked about, then its issuers up to the one that the anchor signed. */
  readonly path: readonly Certificate[];
  readonly anchor: Certificate;
  /** Beside each certificate of `path`. */
  readonly statuses: readonly CertificateStatus[];
  /** RFC 5280 §6.1.6: policies under which the path is valid, in the anchor's terms; `2.5.29.32.0` is any. */
  readonly policies: readonly string[];
  /** First instant at which a certificate of the path or the anchor is no longer valid. */
  readonly expiresAt: Date;
  readonly warnings: readonly PathWarning[];
}

export interface PathWarning {
  readonly at: Certificate;
  readonly text: string;
}

export interface PathRefusal extends Problem {
  readonly ok: false;
  /** As far as the search came: the certificate that was asked about first, the anchor last when it was reached. */
  readonly path: readonly Certificate[];
}

export type PathVerdict = VerifiedPath | PathRefusal;

export interface Problem {
  readonly code: PathCode;
  /** What is wrong, in lower case. */
  readonly reason: string;
  /** The rule that is broken. */
  readonly clause: string;
  /** The certificate at fault. */
  readonly at: Certificate;
}

export type CertificateStatus =
  | { readonly status: 'good'; readonly source: string }
  /** RFC 9608: the issuer publishes no status, and says so. */
  | { readonly status: 'notPublished' }
  | { readonly status: 'revoked'; readonly reason: RevocationReason; readonly revokedAt: Date }
  | { readonly status: 'unknown'; readonly because: string };

/** Says how a certificate stands that this issuer signed. */
export type StatusSource = (certificate: Certificate, issuer: Certificate) => CertificateStatus;
