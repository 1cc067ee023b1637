/** OCSPRequest (RFC 6960 §4.1), both ways. */
import { readAlgorithmIdentifier } from './algorithm.ts';
import { DerReader, TAG, contextTag, decodeAs, explicit, invalid, sequence } from './der.ts';
import { readCertificateId } from './ocsp-certificate-id.ts';
import { encodeNonce, readNonce, skipExtensions } from './ocsp-nonce.ts';
import type { OcspCertificateId } from './ocsp-certificate-id.ts';

export interface OcspRequest {
  /** 1 to 8. */
  readonly certificateIds: readonly OcspCertificateId[];
  readonly nonce: Uint8Array | undefined;
}

/** Eight certificates, a nonce and a signature with its certificate have room. */
export const MAX_OCSP_REQUEST_OCTETS = 4_096;
export const MAX_OCSP_REQUESTS = 8;

/**
 * Refuses with `ERR_OCSP_INVALID`. A signature on the request is neither demanded nor looked at
 * (RFC 6960 §4.1.2 leaves it to the responder): status is public.
 */
export function parseOcspRequest(der: Uint8Array): OcspRequest {
  return decodeAs('ERR_OCSP_INVALID', 'OCSP request', () => {
    if (der.length > MAX_OCSP_REQUEST_OCTETS) throw invalid(`longer than ${MAX_OCSP_REQUEST_OCTETS} octets`, 0);
    const whole = new DerReader(der);
    const outer = whole.enter(TAG.sequence);
    whole.finish();
    const tbs = outer.enter(TAG.sequence);
    const signature = outer.enterOptional(contextTag(0));
    outer.finish();
    if (signature !== undefined) checkSignatureForm(signature);
    return readTbsRequest(tbs);
  });
}

/** An unsigned request for CertIDs in DER. */
export function encodeOcspRequest({ certificateIds, nonce }: { readonly certificateIds: readonly Uint8Array[]; readonly nonce?: Uint8Array | undefined }): Uint8Array {
  if (certificateIds.length === 0) throw new TypeError('an OCSP request asks about at least one certificate');
  return sequence(sequence(sequence(...certificateIds.map((id) => sequence(id))), ...(nonce === undefined ? [] : [explicit(2, sequence(encodeNonce(nonce)))])));
}

function readTbsRequest(fields: DerReader): OcspRequest {
  // X.690 §11.5: version 1 is the default and is not encoded, and there is no other.
  if (fields.peek() === contextTag(0)) throw invalid('version is encoded', fields.offset);
  const requestor = fields.enterOptional(contextTag(1));
  // GeneralName: who asks does not matter.
  requestor?.raw();
  requestor?.finish();
  const list = fields.enter(TAG.sequence);
  if (list.done) throw invalid('no certificate is asked about', list.offset);
  const certificateIds: OcspCertificateId[] = [];
  while (!list.done) {
    if (certificateIds.length === MAX_OCSP_REQUESTS) throw invalid(`more than ${MAX_OCSP_REQUESTS} certificates are asked about`, list.offset);
    certificateIds.push(readRequest(list.enter(TAG.sequence)));
  }
  const extensions = fields.enterOptional(contextTag(2));
  fields.finish();
  const nonce = extensions === undefined ? undefined : readNonce(extensions);
  extensions?.finish();
  return { certificateIds, nonce };
}

function readRequest(fields: DerReader): OcspCertificateId {
  const id = readCertificateId(fields);
  const extensions = fields.enterOptional(contextTag(0));
  fields.finish();
  if (extensions !== undefined) skipExtensions(extensions);
  extensions?.finish();
  return id;
}

function checkSignatureForm(reader: DerReader): void {
  const fields = reader.enter(TAG.sequence);
  reader.finish();
  readAlgorithmIdentifier(fields);
  fields.bitString();
  const certificates = fields.enterOptional(contextTag(0));
  certificates?.raw(TAG.sequence);
  certificates?.finish();
  fields.finish();
}
