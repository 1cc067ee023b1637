/**
 * EncryptedPrivateKeyInfo (RFC 5958 §3) under PBES2 (RFC 8018 §6.2). Written here because
 * `KeyObject.export` fixes PBKDF2 at 2,048 iterations; OpenSSL, GnuTLS and Node read the result.
 */
import { createCipheriv, pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';
import type { Randomness } from './ports.ts';
import { integer, nullValue, octetString, oid, sequence } from './x509/der.ts';

/** OWASP's figure for PBKDF2-HMAC-SHA256: about a tenth of a second, each time a key is opened. */
export const pbkdf2Iterations = 600_000;

const derive = promisify(pbkdf2);

export interface Pbes2Options {
  readonly passphrase: string;
  readonly randomness: Randomness;
}

export const encryptPkcs8 = async (pkcs8: Uint8Array, options: Pbes2Options): Promise<Uint8Array> => {
  const { algorithm, encrypted } = await encryptPbes2(pkcs8, options);
  return sequence(algorithm, octetString(encrypted));
};

/** The AlgorithmIdentifier and the octets encrypted under it: what every format that carries PBES2 puts together. */
export const encryptPbes2 = async (plain: Uint8Array, options: Pbes2Options): Promise<{ readonly algorithm: Uint8Array; readonly encrypted: Uint8Array }> => {
  const salt = options.randomness.bytes(16);
  const iv = options.randomness.bytes(16);
  const key = await derive(options.passphrase, salt, pbkdf2Iterations, 32, 'sha256');
  const cipher = createCipheriv('aes-256-cbc', key, iv);
  const encrypted = Buffer.concat([cipher.update(plain), cipher.final()]);
  key.fill(0);
  const pbkdf2Parameters = sequence(octetString(salt), integer(pbkdf2Iterations), sequence(oid('1.2.840.113549.2.9'), nullValue()));
  const algorithm = sequence(
    oid('1.2.840.113549.1.5.13'),
    sequence(sequence(oid('1.2.840.113549.1.5.12'), pbkdf2Parameters), sequence(oid('2.16.840.1.101.3.4.1.42'), octetString(iv))),
  );
  return { algorithm, encrypted };
};
