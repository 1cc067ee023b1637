/** The extensions of an OCSP message, of which the nonce alone means something here (RFC 9654). */
import { DerReader, invalid, octetString } from './der.ts';
import { OCSP, encodeExtension, readExtensions } from './extension.ts';

/** RFC 9654 §2.1: 1 to 128 octets. */
export const MAX_NONCE_OCTETS = 128;

/** Reads `Extensions` for a nonce. RFC 6960 §4.4: what is unknown is ignored, unless it is critical. */
export function readNonce(reader: DerReader): Uint8Array | undefined {
  const extensions = readExtensions(reader);
  for (const { oid, critical } of extensions.values()) if (critical && oid !== OCSP.nonce) throw invalid(`critical extension ${oid} is not supported`, reader.offset);
  const extension = extensions.get(OCSP.nonce);
  if (extension === undefined) return undefined;
  const value = new DerReader(extension.value);
  const nonce = value.octetString();
  value.finish();
  if (nonce.length === 0 || nonce.length > MAX_NONCE_OCTETS) throw invalid(`nonce is not of 1 to ${MAX_NONCE_OCTETS} octets`, 0);
  return nonce;
}

/** Reads `Extensions` of which none matters, and refuses critical ones. */
export function skipExtensions(reader: DerReader): void {
  for (const { oid, critical } of readExtensions(reader).values()) if (critical) throw invalid(`critical extension ${oid} is not supported`, reader.offset);
}

export function encodeNonce(nonce: Uint8Array): Uint8Array {
  if (nonce.length === 0 || nonce.length > MAX_NONCE_OCTETS) throw new RangeError(`a nonce has 1 to ${MAX_NONCE_OCTETS} octets`);
  return encodeExtension(OCSP.nonce, 'nonCritical', octetString(nonce));
}
