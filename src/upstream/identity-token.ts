/**
 * What an HTTP upstream learns about the caller in a signed token (JWT, RFC 7519): short-lived, for this
 * upstream only, and verifiable with the public key that the gateway publishes.
 */
import { createHash, createPublicKey, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Clock, Randomness } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import { ownTrust } from '../identity/principal.ts';
import type { Principal } from '../identity/principal.ts';
import type { IdentityHeaders } from './identity-headers.ts';

export const identityTokenHeader = 'x-sallyport-identity';

/** Longer than a request takes to arrive, with clocks that differ a little. */
const lifetimeSeconds = 60;

export interface IdentityTokenOptions {
  /** P-256. */
  readonly key: KeyObject;
  /** What the gateway is known by. */
  readonly issuer: string;
  /** The url of the upstream. */
  readonly audience: string;
  readonly clock: Clock;
  readonly randomness: Randomness;
}

/** @throws SallyportError `ERR_CONFIG_INVALID` for a key of another kind */
export const identityTokens = ({ key, issuer, audience, clock, randomness }: IdentityTokenOptions): IdentityHeaders => {
  // RFC 7515 §4.1.9: `typ` keeps a token made for one use from passing in another (RFC 8725 §3.11).
  const head = encoded({ alg: 'ES256', typ: 'sallyport-identity+jwt', kid: keyId(key) });
  return (principal, roles) => {
    const now = Math.floor(clock.now().getTime() / 1_000);
    const payload = encoded({
      iss: issuer, aud: audience, sub: principal.id,
      // What another authority wrote must not pass for a name of ours.
      ...(principal.trust === ownTrust ? ownNames(principal) : { trust: principal.trust }), roles, serial: principal.serial,
      // RFC 8705 §3.1: the certificate the caller proved to hold.
      cnf: { 'x5t#S256': Buffer.from(principal.thumbprint, 'hex').toString('base64url') },
      iat: now, exp: now + lifetimeSeconds, jti: Buffer.from(randomness.bytes(16)).toString('base64url'),
    });
    // RFC 7518 §3.4: r and s side by side, not in DER.
    const signature = sign('sha256', Buffer.from(`${head}.${payload}`), { key, dsaEncoding: 'ieee-p1363' });
    return { [identityTokenHeader]: `${head}.${payload}.${signature.toString('base64url')}` };
  };
};

const ownNames = ({ commonName, organizationalUnits }: Principal): object => ({ ...(commonName === undefined ? {} : { cn: commonName }), ou: organizationalUnits });

/** JWK Set (RFC 7517 §5) of the public key. */
export const identityKeySet = (key: KeyObject): { readonly keys: readonly Readonly<Record<string, string>>[] } => ({
  keys: [{ ...publicJwk(key), kid: keyId(key), alg: 'ES256', use: 'sig' }],
});

/** RFC 7638: the thumbprint of the key names it. */
const keyId = (key: KeyObject): string => {
  const { crv, kty, x, y } = publicJwk(key);
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
};

const publicJwk = (key: KeyObject): Readonly<{ crv: string; kty: string; x: string; y: string }> => {
  const { crv, kty, x, y } = createPublicKey(key).export({ format: 'jwk' });
  if (kty !== 'EC' || crv !== 'P-256' || x === undefined || y === undefined) {
    throw new SallyportError('ERR_CONFIG_INVALID', 'the key that signs identities for upstreams must be of the P-256 curve: move keys/identity.key.pem away, a new one is made at start');
  }
  return { crv, kty, x, y };
};

const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
