/** One-time tokens: `sallyport1.<secret>.<SHA-256 of the root certificate>`, both base64url. */
import { hash, timingSafeEqual } from 'node:crypto';
import { CaError } from './errors.ts';
import type { Randomness } from './ports.ts';

export interface ParsedToken {
  /** Lower-case hex SHA-256 of the secret: what the store knows. */
  readonly secretHash: string;
  /** SHA-256 of the root certificate's DER, by which an agent recognizes the CA. */
  readonly rootHash: Uint8Array;
}

/** A fresh token of 256 random bits for an agent that is to pin this root. */
export const createTokenText = (rootDer: Uint8Array, randomness: Randomness): { readonly text: string; readonly secretHash: string } => {
  const secret = Buffer.from(randomness.bytes(32));
  const pin = hash('sha256', rootDer, 'base64url');
  return { text: `sallyport1.${secret.toString('base64url')}.${pin}`, secretHash: hash('sha256', secret, 'hex') };
};

/** `ERR_TOKEN_INVALID` for anything but the canonical spelling, of which every token has exactly one. */
export const parseToken = (text: string): ParsedToken => {
  const [, secretText, pinText] = /^sallyport1\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})$/.exec(text) ?? [];
  const secret = canonicalOctets(secretText);
  const rootHash = canonicalOctets(pinText);
  if (secret === undefined || rootHash === undefined) throw new CaError('ERR_TOKEN_INVALID', 'this is not an enrollment token; copy it whole, it starts with sallyport1.');
  // The store is asked by the hash, so nothing about the secret can be learned from how long a comparison takes.
  return { secretHash: hash('sha256', secret, 'hex'), rootHash: new Uint8Array(rootHash) };
};

/** Whether a token was made for the authority with this root. */
export const isTokenFor = (token: ParsedToken, rootDer: Uint8Array): boolean => timingSafeEqual(token.rootHash, hash('sha256', rootDer, 'buffer'));

/** RFC 4648 §3.5: no stray bits, so that one value has one text. */
const canonicalOctets = (text: string | undefined): Buffer | undefined => {
  const octets = Buffer.from(text ?? '', 'base64url');
  return octets.length === 32 && octets.toString('base64url') === text ? octets : undefined;
};
