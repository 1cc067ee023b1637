/** Account keys as JWK (RFC 7517, RFC 8037), and their thumbprints (RFC 7638). */
import { createPublicKey, hash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { checkSubjectKey } from '../key-policy.ts';
import type { KeyAlgorithm } from '../ports.ts';
import { spkiOf } from '../x509/algorithm.ts';
import { fromBase64url } from './base64url.ts';
import { AcmeProblem } from './problem.ts';

export interface AccountKey {
  readonly publicKey: KeyObject;
  readonly spki: Uint8Array;
  readonly algorithm: KeyAlgorithm;
  /** The required members in order of their names: what the thumbprint is of. */
  readonly jwk: string;
  readonly thumbprint: string;
}

/** RFC 7638 §3.2: required members, in lexicographic order. */
const membersOf: Readonly<Record<string, readonly string[]>> = { EC: ['crv', 'kty', 'x', 'y'], OKP: ['crv', 'kty', 'x'], RSA: ['e', 'kty', 'n'] };
const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];
const accountKeys: ReadonlySet<KeyAlgorithm> = new Set<KeyAlgorithm>(['p256', 'p384', 'ed25519', 'rsa2048', 'rsa3072', 'rsa4096']);

/** @throws AcmeProblem `badPublicKey` */
export const parseJwk = (value: unknown): AccountKey => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw refused('the key is not a JSON Web Key');
  const given = new Map<string, unknown>(Object.entries(value));
  const kty = given.get('kty');
  const members = typeof kty === 'string' && Object.hasOwn(membersOf, kty) ? membersOf[kty] : undefined;
  if (members === undefined) throw refused('the key type must be EC, OKP or RSA');
  if (privateMembers.some((name) => given.has(name))) throw refused('the key holds private parts; it is compromised now, make a new one');
  const key: Record<string, string> = {};
  for (const name of members) {
    const text = given.get(name);
    if (typeof text !== 'string' || (name !== 'crv' && name !== 'kty' && fromBase64url(text, 1_024) === undefined)) throw refused(`${name} of the key is missing or not base64url`);
    key[name] = text;
  }
  const publicKey = imported(key);
  const spki = spkiOf(publicKey);
  const jwk = JSON.stringify(key);
  return { publicKey, spki, algorithm: usable(spki), jwk, thumbprint: hash('sha256', jwk, 'base64url') };
};

const imported = (jwk: Readonly<Record<string, string>>): KeyObject => {
  try {
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    // One key has one text, else one key could have two accounts.
    const canonical = new Map<string, unknown>(Object.entries(key.export({ format: 'jwk' })));
    for (const [name, text] of Object.entries(jwk)) if (canonical.get(name) !== text) throw refused(`${name} of the key is not in its shortest form`);
    return key;
  } catch (cause) {
    throw cause instanceof AcmeProblem ? cause : refused('the key is not usable', cause);
  }
};

/** The same checks as for keys that are certified: a weak account key gives certificates away just as well. */
const usable = (spki: Uint8Array): KeyAlgorithm => {
  try {
    return checkSubjectKey(spki, { allowed: accountKeys });
  } catch (cause) {
    throw refused(cause instanceof Error ? cause.message : 'the key is not usable', cause);
  }
};

const refused = (detail: string, cause?: unknown): AcmeProblem => new AcmeProblem('badPublicKey', detail, { cause });
