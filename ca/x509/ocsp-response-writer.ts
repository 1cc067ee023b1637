/** OCSPResponse (RFC 6960 §4.2), written: what is signed, then what surrounds the signature. */
import { hash } from 'node:crypto';
import { bitString, contextTag, element, enumerated, explicit, generalizedTime, implicit, nullValue, octetString, oid, sequence } from './der.ts';
import { OCSP, reasonCodeOf } from './extension.ts';
import { keyBits } from './ocsp-certificate-id.ts';
import { encodeNonce } from './ocsp-nonce.ts';
import type { RevocationReason } from '../ports.ts';

/** What is said of one certificate. */
export type OcspCertificateStatus =
  | { readonly status: 'good' | 'unknown' }
  | { readonly status: 'revoked'; readonly revokedAt: Date; readonly reason: RevocationReason };

/** Who signs: by the hash of its key or by its name. */
export type OcspResponderId = { readonly spki: Uint8Array } | { readonly nameDer: Uint8Array };

/** Answers without a status, and without a signature. */
export type OcspError = 'malformedRequest' | 'internalError' | 'tryLater' | 'sigRequired' | 'unauthorized';

export interface OcspStatusFields {
  /** DER CertID, as it was asked for. */
  readonly certificateId: Uint8Array;
  readonly status: OcspCertificateStatus;
}

export interface OcspResponseFields {
  readonly responder: OcspResponderId;
  readonly producedAt: Date;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly statuses: readonly OcspStatusFields[];
  readonly nonce?: Uint8Array | undefined;
}

/** OCSPResponseStatus by number; 4 is not used. */
export const OCSP_STATUSES = ['successful', 'malformedRequest', 'internalError', 'tryLater', undefined, 'sigRequired', 'unauthorized'] as const;

/** DER ResponseData, to be signed. */
export function encodeOcspResponseData(fields: OcspResponseFields): Uint8Array {
  if (fields.statuses.length === 0) throw new TypeError('an OCSP response speaks about at least one certificate');
  if (!(fields.nextUpdate > fields.thisUpdate)) throw new RangeError('nextUpdate must be later than thisUpdate');
  return sequence(
    encodeResponder(fields.responder),
    generalizedTime(fields.producedAt),
    sequence(
      ...fields.statuses.map(({ certificateId, status }) =>
        sequence(certificateId, encodeStatus(status), generalizedTime(fields.thisUpdate), explicit(0, generalizedTime(fields.nextUpdate))),
      ),
    ),
    ...(fields.nonce === undefined ? [] : [explicit(1, sequence(encodeNonce(fields.nonce)))]),
  );
}

export interface OcspSignature {
  /** DER AlgorithmIdentifier. */
  readonly algorithm: Uint8Array;
  readonly signature: Uint8Array;
  /** DER certificates that lead from the signature to the issuer: the responder's. */
  readonly certificates: readonly Uint8Array[];
}

/** The complete `successful` response. */
export function assembleOcspResponse(responseData: Uint8Array, { algorithm, signature, certificates }: OcspSignature): Uint8Array {
  const basic = sequence(responseData, algorithm, bitString(signature), ...(certificates.length === 0 ? [] : [explicit(0, sequence(...certificates))]));
  return sequence(enumerated(0), explicit(0, sequence(oid(OCSP.basic), octetString(basic))));
}

export function encodeOcspError(error: OcspError): Uint8Array {
  return sequence(enumerated(OCSP_STATUSES.indexOf(error)));
}

function encodeResponder(responder: OcspResponderId): Uint8Array {
  // RFC 6960 §4.2.1: KeyHash is the SHA-1 of the key's bits, a name for the key and nothing that security rests on.
  return 'spki' in responder ? explicit(2, octetString(hash('sha1', keyBits(responder.spki), 'buffer'))) : explicit(1, responder.nameDer);
}

function encodeStatus(status: OcspCertificateStatus): Uint8Array {
  if (status.status !== 'revoked') return implicit(status.status === 'good' ? 0 : 2, nullValue());
  // As in CRLs, RFC 5280 §5.3.1: absent rather than unspecified.
  const reason = status.reason === 'unspecified' ? [] : [explicit(0, enumerated(reasonCodeOf(status.reason)))];
  return element(contextTag(1), generalizedTime(status.revokedAt), ...reason);
}
