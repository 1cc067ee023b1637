/** CertID (RFC 6960 §4.1.1): whose certificate is asked about, by hashes of its issuer and its serial. */
import { hash } from 'node:crypto';
import { DerReader, TAG, invalid, integer, nullValue, octetString, oid, sequence } from './der.ts';
import { serialFromHex, serialToHex } from './serial.ts';
import type { SerialHex } from '../ports.ts';

export type OcspHash = 'sha1' | 'sha256';

/** What a CertID says of the issuer. */
export interface OcspIssuer {
  /** DER Name, the issuer's subject. */
  readonly subjectNameDer: Uint8Array;
  readonly spki: Uint8Array;
}

export interface OcspCertificateId {
  /** As it came, to be repeated in the answer. */
  readonly der: Uint8Array;
  /** Undefined for a hash that nobody here could compare. */
  readonly hash: OcspHash | undefined;
  /** Lower-case hex. */
  readonly issuerNameHash: string;
  readonly issuerKeyHash: string;
  readonly serial: SerialHex;
}

const OIDS: Readonly<Record<OcspHash, string>> = { sha1: '1.3.14.3.2.26', sha256: '2.16.840.1.101.3.4.2.1' };
const HASH_OF = new Map<string, OcspHash>([[OIDS.sha1, 'sha1'], [OIDS.sha256, 'sha256']]);
const OCTETS: Readonly<Record<OcspHash, number>> = { sha1: 20, sha256: 32 };
const MAX_HASH_OCTETS = 64;

export function readCertificateId(reader: DerReader): OcspCertificateId {
  const start = reader.offset;
  const fields = reader.enter(TAG.sequence);
  const algorithm = fields.enter(TAG.sequence);
  const hashed = HASH_OF.get(algorithm.oid());
  // RFC 5754 §2: the parameters of SHA-2 are absent, of SHA-1 absent or NULL; clients write either for both.
  if (!algorithm.done) algorithm.null();
  algorithm.finish();
  const name = fields.octetString();
  const key = fields.octetString();
  const at = fields.offset;
  const serial = fields.nonNegativeInteger({ maxOctets: 20 });
  fields.finish();
  if (name.length !== key.length || (hashed === undefined ? name.length > MAX_HASH_OCTETS : name.length !== OCTETS[hashed])) throw invalid('hash of the wrong length', start);
  if (serial.length === 1 && serial[0] === 0) throw invalid('serial is not positive', at);
  return { der: reader.bytes.subarray(start, reader.offset), hash: hashed, issuerNameHash: hexOf(name), issuerKeyHash: hexOf(key), serial: serialToHex(serial) };
}

export function encodeCertificateId({ hash: hashed, issuer, serial }: { readonly hash: OcspHash; readonly issuer: OcspIssuer; readonly serial: SerialHex }): Uint8Array {
  const { name, key } = issuerHashes(issuer, hashed);
  return sequence(sequence(oid(OIDS[hashed]), nullValue()), octetString(Buffer.from(name, 'hex')), octetString(Buffer.from(key, 'hex')), integer(serialFromHex(serial)));
}

/** Lower-case hex of the hashes of the issuer's name and of its key's bits. */
export function issuerHashes({ subjectNameDer, spki }: OcspIssuer, hashed: OcspHash): { readonly name: string; readonly key: string } {
  return { name: hash(hashed, subjectNameDer, 'hex'), key: hash(hashed, keyBits(spki), 'hex') };
}

/** The public key without tag, length and number of unused bits. */
export function keyBits(spki: Uint8Array): Uint8Array {
  const info = new DerReader(spki).enter();
  info.raw();
  return info.bitString();
}

function hexOf(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('hex');
}
