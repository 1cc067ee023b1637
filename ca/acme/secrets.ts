/** Keys drawn from the one secret that is kept beside the other keys: what the store holds is not enough to bind an account or to make a nonce. */
import { hkdfSync } from 'node:crypto';
import type { Randomness } from '../ports.ts';
import { toBase64url } from './base64url.ts';

export class AcmeSecrets {
  readonly #secret: Uint8Array;

  constructor(secret: Uint8Array) {
    if (secret.length < 32) throw new TypeError('the secret of ACME has 32 octets at least');
    this.#secret = secret;
  }

  /** MAC key of an external account. RFC 8555 §7.3.4 leaves how it comes about to the CA. */
  macKey(kid: string): Uint8Array {
    return new Uint8Array(hkdfSync('sha256', this.#secret, kid, 'sallyport acme external account', 32));
  }

  nonceKey(): Uint8Array {
    return new Uint8Array(hkdfSync('sha256', this.#secret, '', 'sallyport acme nonce', 32));
  }
}

/** 128 random bits, as names of accounts, orders and the like. */
export const randomName = (randomness: Randomness): string => toBase64url(randomness.bytes(16));
