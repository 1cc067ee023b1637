/**
 * SPIFFE trust bundles (SPIFFE Trust Domain and Bundle §4): a JWK Set whose keys for `x509-svid`
 * each carry one CA certificate. Read within bounds; a bundle that is malformed anywhere is refused
 * whole.
 */
import { createPublicKey } from 'node:crypto';
import type { webcrypto } from 'node:crypto';
import { spkiOf } from '../../ca/x509/algorithm.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { SallyportError } from '../errors.ts';
import { parseSpiffeId } from './spiffe-id.ts';

export interface SpiffeBundle {
  /** Empty when the trust domain has withdrawn all its keys: nobody is believed then. */
  readonly roots: readonly Certificate[];
  /** Grows with each change; undefined when the bundle does not count. */
  readonly sequence: bigint | undefined;
  /** Milliseconds; undefined when the bundle does not say. */
  readonly refreshHintMs: number | undefined;
}

export const MAX_BUNDLE_OCTETS = 1024 * 1024;
const MAX_KEYS = 64;
const MAX_CERTIFICATE_TEXT = 64 * 1024;

/** @throws SallyportError `ERR_TRUST_BUNDLE` */
export const parseSpiffeBundle = (octets: Uint8Array, options: { readonly trustDomain: string }): SpiffeBundle => {
  if (octets.length > MAX_BUNDLE_OCTETS) throw invalid(`it has more than ${MAX_BUNDLE_OCTETS} octets`);
  const bundle = objectIn(jsonIn(octets), 'the bundle');
  const { keys, spiffe_sequence: sequence, spiffe_refresh_hint: hint } = bundle;
  if (!Array.isArray(keys)) throw invalid('it has no list of keys');
  if (keys.length > MAX_KEYS) throw invalid(`it has more than ${MAX_KEYS} keys`);
  const roots = keys.flatMap((key: unknown) => {
    const jwk = objectIn(key, 'a key');
    // §4.2.2: keys of another use, or of none, are for somebody else.
    return jwk['use'] === 'x509-svid' ? [rootIn(jwk, options.trustDomain)] : [];
  });
  return { roots, sequence: sequenceIn(sequence), refreshHintMs: hintIn(hint) };
};

const rootIn = (jwk: Readonly<Record<string, unknown>>, trustDomain: string): Certificate => {
  const { kty, x5c } = jwk;
  if (typeof kty !== 'string') throw invalid('a key has no kty');
  // §4.2.2: the certificate of the authority, and no other.
  const [text, ...others] = Array.isArray(x5c) ? (x5c as readonly unknown[]) : [];
  if (typeof text !== 'string' || others.length > 0) throw invalid('a key for x509-svid has no x5c with exactly one certificate');
  if (text.length > MAX_CERTIFICATE_TEXT || !/^[A-Za-z0-9+/]+={0,2}$/u.test(text)) throw invalid('an x5c is not base64');
  let certificate: Certificate;
  try {
    certificate = parseCertificate(Uint8Array.from(Buffer.from(text, 'base64')));
  } catch (cause) {
    throw invalid('an x5c is not a certificate', cause);
  }
  if (certificate.basicConstraints?.ca !== true || certificate.keyUsage?.has('keyCertSign') !== true) throw invalid('an x5c is not the certificate of a CA');
  // X.509-SVID §3.1: a signing certificate that has a SPIFFE ID has one of its trust domain.
  if (certificate.uris.some((uri) => parseSpiffeId(uri)?.trustDomain !== trustDomain)) throw invalid(`a CA certificate is of another trust domain than ${trustDomain}`);
  if (!sameKey(jwk, certificate)) throw invalid('a key is another than that of its certificate');
  return certificate;
};

const sameKey = (jwk: Readonly<Record<string, unknown>>, certificate: Certificate): boolean => {
  try {
    return Buffer.compare(spkiOf(createPublicKey({ key: jwk as webcrypto.JsonWebKey, format: 'jwk' })), certificate.spki) === 0;
  } catch {
    return false;
  }
};

const sequenceIn = (value: unknown): bigint | undefined => {
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw invalid('its spiffe_sequence is not a whole number');
  return BigInt(value);
};

/** Longer than a year means never; so it is cut. */
const LONGEST_HINT_SECONDS = 31_536_000;

const hintIn = (value: unknown): number | undefined => {
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw invalid('its spiffe_refresh_hint is not a number of seconds');
  return value === 0 ? undefined : Math.min(value, LONGEST_HINT_SECONDS) * 1_000;
};

const jsonIn = (octets: Uint8Array): unknown => {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(octets));
  } catch (cause) {
    throw invalid('it is not JSON in UTF-8', cause);
  }
};

const objectIn = (value: unknown, what: string): Readonly<Record<string, unknown>> => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${what} is not an object`);
  return value as Readonly<Record<string, unknown>>;
};

const invalid = (reason: string, cause?: unknown): SallyportError =>
  new SallyportError('ERR_TRUST_BUNDLE', `the SPIFFE trust bundle cannot be used: ${reason}`, { facts: { reason }, cause });
