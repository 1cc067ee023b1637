/** Key and signature algorithms: OIDs, `node:crypto`, and which belong together. */
import { createPublicKey, sign, verify } from 'node:crypto';
import { CaError } from '../errors.ts';
import { DerReader, TAG, decodeAs, invalid, nullValue, oid, sequence } from './der.ts';
import type { KeyObject } from 'node:crypto';
import type { KeyAlgorithm } from '../ports.ts';

const RSA_ENCRYPTION = '1.2.840.113549.1.1.1';
const EC_PUBLIC_KEY = '1.2.840.10045.2.1';
const CURVES = new Map<string, 'p256' | 'p384'>([
  ['1.2.840.10045.3.1.7', 'p256'],
  ['1.3.132.0.34', 'p384'],
]);
/** Algorithms whose parameters are absent (RFC 8410 §3, RFC 9881 §2). */
const BARE_KEYS = new Map<string, KeyAlgorithm>([
  ['1.3.101.112', 'ed25519'],
  ['2.16.840.1.101.3.4.3.17', 'ml-dsa-44'],
  ['2.16.840.1.101.3.4.3.18', 'ml-dsa-65'],
  ['2.16.840.1.101.3.4.3.19', 'ml-dsa-87'],
]);
/** Octets of the public key itself. */
const BARE_KEY_LENGTH: Readonly<Record<string, number>> = { ed25519: 32, 'ml-dsa-44': 1312, 'ml-dsa-65': 1952, 'ml-dsa-87': 2592 };

type KeyType = 'rsa' | 'ec' | 'ed25519' | 'ml-dsa-44' | 'ml-dsa-65' | 'ml-dsa-87';

interface SignatureScheme {
  readonly oid: string;
  readonly keyType: KeyType;
  readonly hash: 'sha256' | 'sha384' | 'sha512' | null;
  readonly parameters: 'null' | 'absent';
}

/** What is accepted on a signature. No SHA-1, no MD5, nothing unsigned. */
const SCHEMES: readonly SignatureScheme[] = [
  { oid: '1.2.840.10045.4.3.2', keyType: 'ec', hash: 'sha256', parameters: 'absent' },
  { oid: '1.2.840.10045.4.3.3', keyType: 'ec', hash: 'sha384', parameters: 'absent' },
  { oid: '1.2.840.10045.4.3.4', keyType: 'ec', hash: 'sha512', parameters: 'absent' },
  // RFC 4055 §5: the parameters of these are NULL.
  { oid: '1.2.840.113549.1.1.11', keyType: 'rsa', hash: 'sha256', parameters: 'null' },
  { oid: '1.2.840.113549.1.1.12', keyType: 'rsa', hash: 'sha384', parameters: 'null' },
  { oid: '1.2.840.113549.1.1.13', keyType: 'rsa', hash: 'sha512', parameters: 'null' },
  { oid: '1.3.101.112', keyType: 'ed25519', hash: null, parameters: 'absent' },
  { oid: '2.16.840.1.101.3.4.3.17', keyType: 'ml-dsa-44', hash: null, parameters: 'absent' },
  { oid: '2.16.840.1.101.3.4.3.18', keyType: 'ml-dsa-65', hash: null, parameters: 'absent' },
  { oid: '2.16.840.1.101.3.4.3.19', keyType: 'ml-dsa-87', hash: null, parameters: 'absent' },
];
const SCHEME_BY_OID = new Map(SCHEMES.map((scheme) => [scheme.oid, scheme]));

/** The scheme a key of ours signs with. */
const SIGNING_OID: Readonly<Record<KeyAlgorithm, string>> = {
  p256: '1.2.840.10045.4.3.2',
  p384: '1.2.840.10045.4.3.3',
  ed25519: '1.3.101.112',
  rsa2048: '1.2.840.113549.1.1.11',
  rsa3072: '1.2.840.113549.1.1.11',
  rsa4096: '1.2.840.113549.1.1.11',
  'ml-dsa-44': '2.16.840.1.101.3.4.3.17',
  'ml-dsa-65': '2.16.840.1.101.3.4.3.18',
  'ml-dsa-87': '2.16.840.1.101.3.4.3.19',
};
const SIGNING_DER = new Map(Object.entries(SIGNING_OID).map(([key, dotted]) => [key, encodeScheme(schemeOf(dotted))]));
const SCHEME_BY_KEY = new WeakMap<KeyObject, SignatureScheme>();

/** Longest SubjectPublicKeyInfo and signature looked at: RSA 8192 and ML-DSA-87 fit. */
const MAX_SPKI = 4096;
const MAX_SIGNATURE = 8192;

/**
 * Reads a SubjectPublicKeyInfo strictly. `ERR_DER_INVALID` when malformed, `ERR_KEY_ALGORITHM` when
 * well-formed but not on the list of `KeyAlgorithm`.
 */
export function keyAlgorithmOfSpki(spki: Uint8Array): KeyAlgorithm {
  if (spki.length > MAX_SPKI) throw unsupported('the public key is longer than any supported one');
  const outer = new DerReader(spki);
  const info = outer.enter();
  outer.finish();
  const algorithm = info.enter();
  const dotted = algorithm.oid();
  const bare = BARE_KEYS.get(dotted);
  if (dotted === RSA_ENCRYPTION) algorithm.null();
  const curve = dotted === EC_PUBLIC_KEY && algorithm.peek() === TAG.oid ? algorithm.oid() : undefined;
  if (bare !== undefined || dotted === RSA_ENCRYPTION || curve !== undefined) algorithm.finish();
  const key = info.bitString();
  info.finish();
  if (dotted === RSA_ENCRYPTION) return rsaAlgorithm(key);
  if (bare !== undefined) {
    if (key.length !== BARE_KEY_LENGTH[bare]) throw invalid('public key has the wrong length', 0);
    return bare;
  }
  const named = CURVES.get(curve ?? '');
  if (named === undefined) throw unsupported('the key algorithm is not supported; use P-256, P-384, Ed25519, RSA from 2048 bits or ML-DSA', dotted);
  // RFC 5480 §2.2: 04 and both coordinates. Compressed points are optional there and refused here.
  if (key[0] !== 4 || key.length !== (named === 'p256' ? 65 : 97)) throw invalid('elliptic curve point is not in uncompressed form', 0);
  return named;
}

/** The list entry for a public or private key. */
export function keyAlgorithmOf(key: KeyObject): KeyAlgorithm {
  return keyAlgorithmOfSpki(spkiOf(key));
}

/** DER SubjectPublicKeyInfo of a public or private key. */
export function spkiOf(key: KeyObject): Uint8Array {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  const der = publicKey.export({ type: 'spki', format: 'der' });
  return new Uint8Array(der.buffer, der.byteOffset, der.length);
}

/** DER AlgorithmIdentifier of the signatures a key of this algorithm makes. */
export function signatureAlgorithmFor(algorithm: KeyAlgorithm): Uint8Array {
  const der = SIGNING_DER.get(algorithm);
  if (der === undefined) throw unsupported('the key algorithm is not supported', algorithm);
  return der;
}

/** Signature in the form X.509 carries, with the scheme of `signatureAlgorithmFor`. */
export function signWith(key: KeyObject, data: Uint8Array): Uint8Array {
  let scheme = SCHEME_BY_KEY.get(key);
  if (scheme === undefined) {
    scheme = schemeOf(SIGNING_OID[keyAlgorithmOf(key)]);
    SCHEME_BY_KEY.set(key, scheme);
  }
  const signature = sign(scheme.hash, data, key);
  return new Uint8Array(signature.buffer, signature.byteOffset, signature.length);
}

export interface SignatureToVerify {
  /** DER SubjectPublicKeyInfo, or the key made of it when many signatures are checked. */
  readonly spki: Uint8Array | KeyObject;
  /** DER AlgorithmIdentifier. */
  readonly algorithm: Uint8Array;
  readonly data: Uint8Array;
  readonly signature: Uint8Array;
}

/** False for anything that does not verify, an unsupported algorithm or a key of another type included. */
export function verifySignature(given: SignatureToVerify): boolean {
  try {
    const means = meansOf(given);
    return means !== undefined && verify(means.hash, given.data, means.key, given.signature);
  } catch {
    // OpenSSL throws, rather than answers false, for keys and signatures it cannot even decode.
    return false;
  }
}

/** The same on a thread of the pool, for an event loop that has other things to do. */
export function verifySignatureAside(given: SignatureToVerify): Promise<boolean> {
  return new Promise((resolve) => {
    try {
      const means = meansOf(given);
      if (means === undefined) resolve(false);
      else verify(means.hash, given.data, means.key, given.signature, (error, verified) => resolve(error === null && verified));
    } catch {
      resolve(false);
    }
  });
}

/** Undefined for what is refused before OpenSSL is asked. */
function meansOf({ spki, algorithm, signature }: SignatureToVerify): { readonly hash: string | null; readonly key: KeyObject } | undefined {
  const scheme = schemeOfIdentifier(algorithm);
  if (scheme === undefined || signature.length > MAX_SIGNATURE) return undefined;
  const key = spki instanceof Uint8Array ? publicKeyOf(spki) : spki;
  return key.asymmetricKeyType === scheme.keyType ? { hash: scheme.hash, key } : undefined;
}

/** Whether `verifySignature` knows the scheme; without it every signature is false. */
export function isSupportedSignature(algorithm: Uint8Array): boolean {
  return schemeOfIdentifier(algorithm) !== undefined;
}

/** Type of the key that signs so, as `KeyObject.asymmetricKeyType` names it; undefined for a scheme that is not known here. */
export function signingKeyTypeOf(algorithm: Uint8Array): string | undefined {
  return schemeOfIdentifier(algorithm)?.keyType;
}

/** The public key, for checking many signatures. Throws `ERR_DER_INVALID` for anything OpenSSL cannot read. */
export function publicKeyOf(spki: Uint8Array): KeyObject {
  if (spki.length > MAX_SPKI) throw invalid('public key longer than the limit', 0);
  try {
    return createPublicKey({ key: Buffer.from(spki.buffer, spki.byteOffset, spki.length), format: 'der', type: 'spki' });
  } catch (cause) {
    throw invalid('public key cannot be read', 0, cause);
  }
}

/** Checks the shape of an AlgorithmIdentifier: an OID and at most one parameter. */
export function readAlgorithmIdentifier(reader: DerReader): Uint8Array {
  const start = reader.offset;
  const fields = reader.enter();
  fields.oid();
  if (!fields.done) fields.raw();
  fields.finish();
  return reader.bytes.subarray(start, reader.offset);
}

function schemeOfIdentifier(der: Uint8Array): SignatureScheme | undefined {
  return decodeAs('ERR_DER_INVALID', 'algorithm identifier', () => {
    const outer = new DerReader(der);
    const fields = outer.enter();
    outer.finish();
    const scheme = SCHEME_BY_OID.get(fields.oid());
    if (scheme === undefined) return undefined;
    const matches = scheme.parameters === 'absent' ? fields.done : fields.peek() === TAG.null && fields.raw().length === 2 && fields.done;
    return matches ? scheme : undefined;
  });
}

function rsaAlgorithm(key: Uint8Array): KeyAlgorithm {
  const outer = new DerReader(key);
  const fields = outer.enter();
  outer.finish();
  const modulus = fields.nonNegativeInteger({ maxOctets: 1024 });
  const exponent = fields.nonNegativeInteger({ maxOctets: 8 });
  fields.finish();
  const bits = modulus.length * 8 - Math.clz32(modulus[0] ?? 0) + 24;
  // FIPS 186-5 §5.4: an odd exponent of at least 65537.
  if (((exponent.at(-1) ?? 0) & 1) === 0 || exponent.length < 3) throw unsupported('the RSA public exponent must be odd and at least 65537', `rsa${bits}`);
  if (bits === 2048 || bits === 3072 || bits === 4096) return `rsa${bits}`;
  throw unsupported(`RSA keys have 2048, 3072 or 4096 bits here, not ${bits}`, `rsa${bits}`);
}

function schemeOf(dotted: string): SignatureScheme {
  const scheme = SCHEME_BY_OID.get(dotted);
  if (scheme === undefined) throw new TypeError('no such signature scheme');
  return scheme;
}

function encodeScheme(scheme: SignatureScheme): Uint8Array {
  return scheme.parameters === 'null' ? sequence(oid(scheme.oid), nullValue()) : sequence(oid(scheme.oid));
}

function unsupported(message: string, algorithm?: string): CaError {
  return new CaError('ERR_KEY_ALGORITHM', message, { facts: { algorithm } });
}
