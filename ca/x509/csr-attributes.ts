/** CsrAttrs (RFC 7030 §4.5.2, RFC 8951 §4): what a request had better hold. */
import { oid, sequence, set } from './der.ts';
import type { KeyAlgorithm } from '../ports.ts';

const EC_PUBLIC_KEY = '1.2.840.10045.2.1';
const RSA_ENCRYPTION = '1.2.840.113549.1.1.1';

type AttrOrOid = Uint8Array;

/** The key to make, and how to sign the request with it. Names are not asked for: the enrollment says them. */
export const encodeCsrAttributes = (algorithm: KeyAlgorithm): Uint8Array => sequence(...attributes[algorithm]);

const curve = (named: string): AttrOrOid => sequence(oid(EC_PUBLIC_KEY), set(oid(named)));

/** An RSA key has its length as an INTEGER (RFC 8951 §4, after RFC 7030 §4.5.2). */
const rsa = (bits: number): AttrOrOid => sequence(oid(RSA_ENCRYPTION), set(Uint8Array.of(0x02, 0x02, bits >> 8, bits & 0xff)));

const attributes: Readonly<Record<KeyAlgorithm, readonly AttrOrOid[]>> = {
  p256: [curve('1.2.840.10045.3.1.7'), oid('1.2.840.10045.4.3.2')],
  p384: [curve('1.3.132.0.34'), oid('1.2.840.10045.4.3.3')],
  ed25519: [oid('1.3.101.112')],
  rsa2048: [rsa(2_048), oid('1.2.840.113549.1.1.11')],
  rsa3072: [rsa(3_072), oid('1.2.840.113549.1.1.11')],
  rsa4096: [rsa(4_096), oid('1.2.840.113549.1.1.11')],
  'ml-dsa-44': [oid('2.16.840.1.101.3.4.3.17')],
  'ml-dsa-65': [oid('2.16.840.1.101.3.4.3.18')],
  'ml-dsa-87': [oid('2.16.840.1.101.3.4.3.19')],
};
