/** How well a key file is encrypted, read from its AlgorithmIdentifier without opening it. */
import { pbkdf2Iterations } from './pkcs8-encryption.ts';
import { DerReader, TAG } from './x509/der.ts';
import { decodePem } from './x509/pem.ts';

const PBES2 = '1.2.840.113549.1.5.13';
const PBKDF2 = '1.2.840.113549.1.5.12';
const SCRYPT = '1.3.6.1.4.1.11591.4.11';
const AES_256 = new Set(['2.16.840.1.101.3.4.1.42', '2.16.840.1.101.3.4.1.46']);
const STRONG_PRF = new Set(['1.2.840.113549.2.9', '1.2.840.113549.2.10', '1.2.840.113549.2.11']);
/** RFC 7914 §2 and OWASP: 16 MiB at least. */
const LEAST_SCRYPT_OCTETS = 16 * 1024 * 1024;
/** Hours of work: not strength but a trap. */
const MOST_ITERATIONS = 100_000_000;

/** What falls short, or undefined. Refuses with `ERR_DER_INVALID` or `ERR_PEM_INVALID`. */
export function encryptionWeakness(pem: string): string | undefined {
  const [block] = decodePem(pem, 'ENCRYPTED PRIVATE KEY');
  if (block === undefined) return undefined;
  const algorithm = new DerReader(block.der).enter().enter();
  if (algorithm.oid() !== PBES2) return 'an encryption older than PBES2';
  const parameters = algorithm.enter();
  const derivation = parameters.enter();
  if (!AES_256.has(parameters.enter().oid())) return 'a cipher other than AES-256';
  const kind = derivation.oid();
  const fields = derivation.enter();
  fields.octetString();
  if (kind === SCRYPT) return fields.smallInteger() * fields.smallInteger() * 128 < LEAST_SCRYPT_OCTETS ? 'scrypt with less than 16 MiB of memory' : undefined;
  if (kind !== PBKDF2) return 'a key derivation other than PBKDF2 and scrypt';
  const iterations = fields.smallInteger();
  if (fields.peek() === TAG.integer) fields.smallInteger();
  if (fields.done || !STRONG_PRF.has(fields.enter().oid())) return 'PBKDF2 with SHA-1';
  if (iterations < pbkdf2Iterations) return `PBKDF2 with ${iterations} iterations, fewer than ${pbkdf2Iterations}`;
  return iterations > MOST_ITERATIONS ? `PBKDF2 with ${iterations} iterations, which takes hours` : undefined;
}
