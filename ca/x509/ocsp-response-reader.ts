/** OCSPResponse (RFC 6960 §4.2), read. What it proves is for whoever verifies the signature to say. */
import { readAlgorithmIdentifier } from './algorithm.ts';
import { DerReader, TAG, contextTag, decodeAs, invalid } from './der.ts';
import { OCSP, reasonOf } from './extension.ts';
import { readName } from './name.ts';
import { readCertificateId } from './ocsp-certificate-id.ts';
import { readNonce, skipExtensions } from './ocsp-nonce.ts';
import { OCSP_STATUSES } from './ocsp-response-writer.ts';
import type { OcspCertificateId } from './ocsp-certificate-id.ts';
import type { OcspCertificateStatus, OcspError } from './ocsp-response-writer.ts';

export interface OcspSingleResponse {
  readonly certificateId: OcspCertificateId;
  readonly status: OcspCertificateStatus;
  readonly thisUpdate: Date;
  /** Without it newer information is always available. */
  readonly nextUpdate: Date | undefined;
}

export interface BasicOcspResponse {
  readonly status: 'successful';
  /** The signed octets, a complete SEQUENCE. */
  readonly responseData: Uint8Array;
  /** DER Name, or lower-case hex of the SHA-1 of the key's bits. */
  readonly responder: { readonly nameDer: Uint8Array } | { readonly keyHash: string };
  readonly producedAt: Date;
  readonly responses: readonly OcspSingleResponse[];
  readonly nonce: Uint8Array | undefined;
  /** DER AlgorithmIdentifier. */
  readonly signatureAlgorithm: Uint8Array;
  readonly signature: Uint8Array;
  /** DER, as they came. */
  readonly certificates: readonly Uint8Array[];
}

export type OcspResponse = BasicOcspResponse | { readonly status: OcspError };

/** A signature and a certificate of ML-DSA-87 are 12 KiB. */
const MAX_RESPONSE_OCTETS = 64 * 1024;
const MAX_RESPONSES = 64;
const MAX_CERTIFICATES = 8;

/** Refuses with `ERR_OCSP_INVALID`. */
export function parseOcspResponse(der: Uint8Array): OcspResponse {
  return decodeAs('ERR_OCSP_INVALID', 'OCSP response', () => {
    if (der.length > MAX_RESPONSE_OCTETS) throw invalid(`longer than ${MAX_RESPONSE_OCTETS} octets`, 0);
    const whole = new DerReader(der);
    const outer = whole.enter(TAG.sequence);
    whole.finish();
    const status = OCSP_STATUSES[outer.smallInteger(TAG.enumerated)];
    if (status === undefined) throw invalid('unknown response status', 0);
    const bytes = outer.enterOptional(contextTag(0));
    outer.finish();
    if (status !== 'successful') {
      if (bytes !== undefined) throw invalid('an error with a response', bytes.offset);
      return { status };
    }
    // RFC 6960 §4.2.1: responseBytes is there exactly when the status is successful.
    if (bytes === undefined) throw invalid('no response', 0);
    const typed = bytes.enter(TAG.sequence);
    bytes.finish();
    if (typed.oid() !== OCSP.basic) throw invalid('not a basic response', typed.offset);
    const basic = typed.octetString();
    typed.finish();
    return readBasic(basic);
  });
}

function readBasic(der: Uint8Array): BasicOcspResponse {
  const whole = new DerReader(der);
  const fields = whole.enter(TAG.sequence);
  whole.finish();
  const responseData = fields.raw(TAG.sequence);
  const signatureAlgorithm = readAlgorithmIdentifier(fields);
  const signature = fields.bitString();
  const wrapped = fields.enterOptional(contextTag(0));
  fields.finish();
  const certificates = wrapped === undefined ? [] : readCertificates(wrapped);
  return { status: 'successful', responseData, ...readResponseData(responseData), signatureAlgorithm, signature, certificates };
}

function readCertificates(wrapped: DerReader): readonly Uint8Array[] {
  const list = wrapped.enter(TAG.sequence);
  wrapped.finish();
  const certificates: Uint8Array[] = [];
  while (!list.done) {
    if (certificates.length === MAX_CERTIFICATES) throw invalid('more certificates than the limit', list.offset);
    certificates.push(list.raw(TAG.sequence));
  }
  return certificates;
}

function readResponseData(der: Uint8Array): Pick<BasicOcspResponse, 'responder' | 'producedAt' | 'responses' | 'nonce'> {
  const fields = new DerReader(der).enter(TAG.sequence);
  // X.690 §11.5: version 1 is the default and is not encoded, and there is no other.
  if (fields.peek() === contextTag(0)) throw invalid('version is encoded', fields.offset);
  const responder = readResponder(fields);
  const producedAt = readTime(fields);
  const list = fields.enter(TAG.sequence);
  if (list.done) throw invalid('no status', list.offset);
  const responses: OcspSingleResponse[] = [];
  while (!list.done) {
    if (responses.length === MAX_RESPONSES) throw invalid('more responses than the limit', list.offset);
    responses.push(readSingle(list.enter(TAG.sequence)));
  }
  const extensions = fields.enterOptional(contextTag(1));
  fields.finish();
  const nonce = extensions === undefined ? undefined : readNonce(extensions);
  extensions?.finish();
  return { responder, producedAt, responses, nonce };
}

function readResponder(fields: DerReader): BasicOcspResponse['responder'] {
  const named = fields.enterOptional(contextTag(1));
  if (named !== undefined) {
    const start = named.offset;
    readName(named);
    named.finish();
    return { nameDer: named.bytes.subarray(start, named.end) };
  }
  const keyed = fields.enter(contextTag(2));
  const keyHash = keyed.octetString();
  keyed.finish();
  if (keyHash.length !== 20) throw invalid('hash of the wrong length', keyed.offset);
  return { keyHash: Buffer.from(keyHash).toString('hex') };
}

function readSingle(fields: DerReader): OcspSingleResponse {
  const certificateId = readCertificateId(fields);
  const status = readStatus(fields);
  const thisUpdate = readTime(fields);
  const next = fields.enterOptional(contextTag(0));
  const nextUpdate = next === undefined ? undefined : readTime(next);
  next?.finish();
  if (nextUpdate !== undefined && nextUpdate < thisUpdate) throw invalid('nextUpdate is before thisUpdate', fields.offset);
  const extensions = fields.enterOptional(contextTag(1));
  fields.finish();
  if (extensions !== undefined) skipExtensions(extensions);
  extensions?.finish();
  return { certificateId, status, thisUpdate, nextUpdate };
}

function readStatus(fields: DerReader): OcspCertificateStatus {
  const at = fields.offset;
  const revoked = fields.enterOptional(contextTag(1));
  if (revoked !== undefined) {
    const revokedAt = readTime(revoked);
    const wrapped = revoked.enterOptional(contextTag(0));
    revoked.finish();
    const reason = wrapped === undefined ? 'unspecified' : reasonOf(wrapped.smallInteger(TAG.enumerated));
    wrapped?.finish();
    if (reason === undefined) throw invalid('unknown reason code', at);
    return { status: 'revoked', revokedAt, reason };
  }
  const good = fields.peek() === contextTag(0, 'primitive');
  if (fields.content(contextTag(good ? 0 : 2, 'primitive')).length !== 0) throw invalid('status with content', at);
  return { status: good ? 'good' : 'unknown' };
}

/** RFC 6960 §4.2.1 has GeneralizedTime alone. */
function readTime(fields: DerReader): Date {
  if (fields.peek() !== TAG.generalizedTime) throw invalid('expected a GeneralizedTime', fields.offset);
  return fields.time();
}
