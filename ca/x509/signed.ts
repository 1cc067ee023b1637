/** `SEQUENCE { to be signed, algorithm, signature }`: the outside of certificates, requests and CRLs. */
import { readAlgorithmIdentifier } from './algorithm.ts';
import { DerReader, TAG, bitString, elementHeader, invalid, sequence } from './der.ts';

export interface SignedParts {
  /** The signed octets, a complete SEQUENCE. */
  readonly tbs: Uint8Array;
  /** DER AlgorithmIdentifier. */
  readonly algorithm: Uint8Array;
  readonly signature: Uint8Array;
}

export function assembleSigned(tbs: Uint8Array, algorithm: Uint8Array, signature: Uint8Array): Uint8Array {
  return sequence(tbs, algorithm, bitString(signature));
}

/** The same in memory that other threads see too: a large CRL crosses to them without a copy. */
export function assembleShared(tbs: Uint8Array, algorithm: Uint8Array, signature: Uint8Array): Uint8Array {
  const end = bitString(signature);
  const header = elementHeader(TAG.sequence, tbs.length + algorithm.length + end.length);
  const out = new Uint8Array(new SharedArrayBuffer(header.length + tbs.length + algorithm.length + end.length));
  let at = 0;
  for (const part of [header, tbs, algorithm, end]) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Takes the three parts out; refuses with `ERR_DER_INVALID`. */
export function readSigned(der: Uint8Array, maxOctets: number): SignedParts {
  if (der.length > maxOctets) throw invalid(`longer than ${maxOctets} octets`, 0);
  const outer = new DerReader(der);
  const parts = outer.enter(TAG.sequence);
  outer.finish();
  const tbs = parts.raw(TAG.sequence);
  const algorithm = readAlgorithmIdentifier(parts);
  const signature = parts.bitString();
  parts.finish();
  return { tbs, algorithm, signature };
}

/** The shape of a SubjectPublicKeyInfo only; which keys are good enough is `keyAlgorithmOfSpki`'s question. */
export function checkSpki(spki: Uint8Array): void {
  const info = new DerReader(spki).enter(TAG.sequence);
  readAlgorithmIdentifier(info);
  info.bitString();
  info.finish();
}
