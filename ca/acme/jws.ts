/** JSON Web Signatures as RFC 8555 §6.2 narrows them: flattened JSON, one signature, everything in the protected header. */
import { createHmac, timingSafeEqual, verify } from 'node:crypto';
import { fromBase64url } from './base64url.ts';
import type { AccountKey } from './jwk.ts';
import { AcmeProblem, malformed } from './problem.ts';

export interface ProtectedHeader {
  readonly alg: string;
  readonly url: string;
  readonly nonce: string | undefined;
  readonly kid: string | undefined;
  readonly jwk: unknown;
}

export interface Jws {
  readonly header: ProtectedHeader;
  readonly payload: Uint8Array;
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
}

const maxOctets = 64 * 1024;
const members = ['payload', 'protected', 'signature'];

/** `alg` → the keys it goes with. RFC 8555 §6.2: no `none`, no MAC. */
const algorithms: Readonly<Record<string, { readonly keys: ReadonlySet<string>; readonly hash: string | null }>> = {
  ES256: { keys: new Set(['p256']), hash: 'sha256' },
  ES384: { keys: new Set(['p384']), hash: 'sha384' },
  EdDSA: { keys: new Set(['ed25519']), hash: null },
  RS256: { keys: new Set(['rsa2048', 'rsa3072', 'rsa4096']), hash: 'sha256' },
};
export const signatureAlgorithms: readonly string[] = Object.keys(algorithms);
const macAlgorithms: Readonly<Record<string, string>> = { HS256: 'sha256', HS384: 'sha384', HS512: 'sha512' };

/** Reads, verifies nothing. @throws AcmeProblem `malformed` */
export const parseJws = (input: unknown): Jws => {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) throw malformed('the request is not a JWS in flattened JSON');
  const given = new Map<string, unknown>(Object.entries(input));
  // RFC 8555 §6.2: neither an unprotected header nor several signatures.
  if ([...given.keys()].toSorted().join() !== members.join()) throw malformed(`a JWS here has the members ${members.join(', ')}, and no others`);
  const [payload, protectedHeader, signature] = members.map((name) => {
    const text = given.get(name);
    const octets = typeof text === 'string' ? fromBase64url(text, maxOctets) : undefined;
    if (octets === undefined) throw malformed(`${name} is not base64url without padding`);
    return octets;
  });
  if (payload === undefined || protectedHeader === undefined || signature === undefined) throw malformed('the request is not a JWS');
  const signed = new TextEncoder().encode(`${String(given.get('protected'))}.${String(given.get('payload'))}`);
  return { header: readHeader(parseJsonObject(protectedHeader, 'protected header')), payload, signed, signature };
};

const knownFields: ReadonlySet<string> = new Set(['alg', 'url', 'nonce', 'kid', 'jwk', 'typ', 'cty']);

const readHeader = (header: ReadonlyMap<string, unknown>): ProtectedHeader => {
  // RFC 7515 §4.1.11: what is critical must be understood; nothing that could be is. `b64` would change what is signed.
  const foreign = [...header.keys()].find((name) => !knownFields.has(name));
  if (foreign !== undefined) throw malformed(`${JSON.stringify(foreign.slice(0, 40))} is not known in a protected header`);
  const text = (name: string): string | undefined => {
    const value = header.get(name);
    if (value !== undefined && typeof value !== 'string') throw malformed(`${name} of the protected header is not a text`);
    return value;
  };
  const alg = text('alg');
  const url = text('url');
  if (alg === undefined || url === undefined) throw malformed('the protected header needs alg and url');
  return { alg, url, nonce: text('nonce'), kid: text('kid'), jwk: header.get('jwk') };
};

/** @throws AcmeProblem `badSignatureAlgorithm`, or `malformed` when the signature is not of this key */
export const verifyJws = (jws: Jws, key: AccountKey): void => {
  const { alg } = jws.header;
  checkAlgorithm(jws);
  const { keys, hash } = algorithms[alg] ?? { keys: new Set<string>(), hash: null };
  if (!keys.has(key.algorithm)) throw badAlgorithm(`${alg} does not go with a key of kind ${key.algorithm}`);
  if (!isSignedBy(jws, key, hash)) throw malformed('the signature does not verify with the key of the account');
};

const isSignedBy = ({ signed, signature }: Jws, { publicKey }: AccountKey, hash: string | null): boolean => {
  try {
    // RFC 7518 §3.4: both halves side by side, not DER.
    return verify(hash, signed, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature);
  } catch {
    return false;
  }
};

/** Before anything is looked up. RFC 8555 §6.2: the answer lists what would be accepted. */
export const checkAlgorithm = ({ header: { alg } }: Jws): void => {
  if (!Object.hasOwn(algorithms, alg)) throw badAlgorithm(`${JSON.stringify(alg.slice(0, 40))} is not accepted`);
};

const badAlgorithm = (detail: string): AcmeProblem => new AcmeProblem('badSignatureAlgorithm', `${detail}; use one of ${signatureAlgorithms.join(', ')}`, { members: { algorithms: signatureAlgorithms } });

/** Of an external account binding, RFC 8555 §7.3.4. */
export const isMacOf = ({ header: { alg }, signed, signature }: Jws, key: Uint8Array): boolean => {
  const digest = Object.hasOwn(macAlgorithms, alg) ? macAlgorithms[alg] : undefined;
  if (digest === undefined) throw malformed(`the external account binding is protected with ${JSON.stringify(alg.slice(0, 40))}; use HS256`);
  const expected = createHmac(digest, key).update(signed).digest();
  return expected.length === signature.length && timingSafeEqual(expected, signature);
};

/** @throws AcmeProblem `malformed` */
export const parseJsonObject = (octets: Uint8Array, what: string): ReadonlyMap<string, unknown> => {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(octets));
  } catch (cause) {
    throw malformed(`the ${what} is not JSON in UTF-8`, { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(`the ${what} is not a JSON object`);
  return new Map(Object.entries(value));
};
