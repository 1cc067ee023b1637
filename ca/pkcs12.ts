/**
 * PKCS#12 (RFC 7292), written only: one key with its certificates. Everything is under PBES2, as for a
 * key file, and the MAC costs a guess as much: the cheaper of the two is what an attacker would try.
 */
import { createHmac, hash } from 'node:crypto';
import type { KeyObject, X509Certificate } from 'node:crypto';
import { encryptPbes2, encryptPkcs8, pbkdf2Iterations } from './pkcs8-encryption.ts';
import type { Pbes2Options } from './pkcs8-encryption.ts';
import { TAG, element, explicit, implicit, integer, nullValue, octetString, oid, sequence, set } from './x509/der.ts';

export interface Pkcs12Parts {
  readonly key: KeyObject;
  /** Certificate of the key. */
  readonly leaf: X509Certificate;
  /** Its issuing CAs and the root. */
  readonly authorities: readonly X509Certificate[];
  /** What key stores show, and call alias. */
  readonly friendlyName: string;
}

/** DER of the PFX. */
export const encodePkcs12 = async (parts: Pkcs12Parts, options: Pbes2Options): Promise<Uint8Array> => {
  // The same octets at the key and at its certificate say that they belong together (RFC 2985 §5.5.2).
  const attributes = set(attribute(LOCAL_KEY_ID, octetString(hash('sha256', parts.leaf.raw, 'buffer'))), attribute(FRIENDLY_NAME, element(TAG.bmpString, bmp(parts.friendlyName))));
  const certificates = sequence(certificateBag(parts.leaf, attributes), ...parts.authorities.map((authority) => certificateBag(authority)));
  const pkcs8 = parts.key.export({ type: 'pkcs8', format: 'der' });
  const [shrouded, { algorithm, encrypted }] = await Promise.all([encryptPkcs8(pkcs8, options), encryptPbes2(certificates, options)]);
  pkcs8.fill(0);
  // RFC 5652 §8: EncryptedData version 0, the content IMPLICIT.
  const encryptedData = sequence(integer(0), sequence(oid(DATA), algorithm, implicit(0, octetString(encrypted))));
  const authenticatedSafe = sequence(
    sequence(oid('1.2.840.113549.1.7.6'), explicit(0, encryptedData)),
    data(sequence(sequence(oid('1.2.840.113549.1.12.10.1.2'), explicit(0, shrouded), attributes))),
  );
  return sequence(integer(3), data(authenticatedSafe), macData(authenticatedSafe, options));
};

const DATA = '1.2.840.113549.1.7.1';
const FRIENDLY_NAME = '1.2.840.113549.1.9.20';
const LOCAL_KEY_ID = '1.2.840.113549.1.9.21';

const data = (content: Uint8Array): Uint8Array => sequence(oid(DATA), explicit(0, octetString(content)));

const attribute = (type: string, value: Uint8Array): Uint8Array => sequence(oid(type), set(value));

/** RFC 7292 §4.2.3: x509Certificate. */
const certificateBag = (certificate: X509Certificate, ...attributes: readonly Uint8Array[]): Uint8Array =>
  sequence(oid('1.2.840.113549.1.12.10.1.3'), explicit(0, sequence(oid('1.2.840.113549.1.9.22.1'), explicit(0, octetString(certificate.raw)))), ...attributes);

/** RFC 7292 §4. PBMAC1 (RFC 9579) would use PBKDF2, but neither OpenSSL before 3.4 nor Java reads it. */
function macData(authenticatedSafe: Uint8Array, { passphrase, randomness }: Pbes2Options): Uint8Array {
  const salt = randomness.bytes(16);
  const key = macKey(passphrase, salt);
  const digest = createHmac('sha256', key).update(authenticatedSafe).digest();
  key.fill(0);
  return sequence(sequence(sequence(oid('2.16.840.1.101.3.4.2.1'), nullValue()), octetString(digest)), octetString(salt), integer(pbkdf2Iterations));
}

/** RFC 7292 §B.2 for SHA-256 and 32 octets, which is its first block. */
function macKey(passphrase: string, salt: Uint8Array): Buffer {
  // §B.1: the terminating NUL is part of the password.
  const password = bmp(`${passphrase}\0`);
  let block = Buffer.concat([Buffer.alloc(BLOCK, 3), filled(salt), filled(password)]);
  for (let round = 0; round < pbkdf2Iterations; round++) block = hash('sha256', block, 'buffer');
  return block;
}

const BLOCK = 64;

/** Repeated up to a whole number of blocks. */
const filled = (octets: Uint8Array): Buffer => Buffer.alloc(Math.ceil(octets.length / BLOCK) * BLOCK, octets);

/** BMPString; what is beyond it goes as surrogates, as OpenSSL and Java write it. */
const bmp = (text: string): Buffer => Buffer.from(text, 'utf16le').swap16();
