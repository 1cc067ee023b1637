import { generateKeyPairSync, generatePrimeSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { spkiHashOf } from '../../ca/issuance.ts';
import { checkSubjectKey } from '../../ca/key-policy.ts';
import { generatePrivateKey } from '../../ca/key-store.ts';
import { keyAlgorithms } from '../../ca/profile.ts';
import { spkiOf } from '../../ca/x509/algorithm.ts';
import { bitString, integer, nullValue, oid, sequence } from '../../ca/x509/der.ts';
import { codeOfRefusal, newKey } from '../support/authority.ts';

const allowed = new Set(keyAlgorithms);
const check = (spki: Uint8Array) => codeOfRefusal(() => checkSubjectKey(spki, { allowed }));
const toNumber = (buffer: ArrayBuffer): bigint => BigInt(`0x${Buffer.from(buffer).toString('hex')}`);
const rsa = (modulus: bigint, exponent = 65_537n) => sequence(sequence(oid('1.2.840.113549.1.1.1'), nullValue()), bitString(sequence(integer(modulus), integer(exponent))));
const ed25519 = (point: string) => sequence(sequence(oid('1.3.101.112')), bitString(Buffer.from(point, 'hex')));

describe('subject keys', () => {
  it.each(keyAlgorithms.filter((each) => !each.startsWith('ml')))('takes a sound %s key', async (algorithm) => {
    expect(checkSubjectKey(spkiOf(await generatePrivateKey(algorithm)), { allowed })).toBe(algorithm);
  });
  it('refuses an algorithm the profile does not list', async () => {
    expect(await codeOfRefusal(() => checkSubjectKey(spkiOf(newKey()), { allowed: new Set(['ed25519']) }))).toBe('ERR_KEY_ALGORITHM');
  });
  it('refuses a key on the list of refused ones', async () => {
    const spki = spkiOf(newKey());
    expect(await codeOfRefusal(() => checkSubjectKey(spki, { allowed, refusedSpkiHashes: new Set([spkiHashOf(spki)]) }))).toBe('ERR_CA_KEY_REFUSED');
  });
  it.each([
    ['RSA with 1024 bits', () => spkiOf(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey)],
    ['RSA with exponent 3', () => spkiOf(generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 }).publicKey)],
    ['secp256k1', () => spkiOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey)],
    ['X25519', () => spkiOf(generateKeyPairSync('x25519').publicKey)],
  ])('refuses %s', async (_, make) => {
    expect(await check(make())).toBe('ERR_KEY_ALGORITHM');
  });

  it('refuses a modulus with a small factor', async () => {
    let cofactor = (1n << 2047n) / 751n + 1n;
    cofactor |= 1n;
    expect((cofactor * 751n).toString(2).length).toBe(2048);
    expect(await check(rsa(cofactor * 751n))).toBe('ERR_CA_KEY_REFUSED');
  });
  it('refuses a modulus of two primes close together', async () => {
    // A prime with its highest bits set, and the next prime after it.
    const p = toNumber(generatePrimeSync(1024));
    let q = p + 2n;
    while (!isProbablePrime(q)) q += 2n;
    expect(await check(rsa(p * q))).toBe('ERR_CA_KEY_REFUSED');
  });
  it('refuses the fingerprint of ROCA', async () => {
    // Primes of the form k·M + (65537^a mod M), with M the product of the first 39 primes.
    const primes = Array.from({ length: 166 }, (_, i) => i + 2).filter((n) => Array.from({ length: n - 2 }, (_, i) => i + 2).every((d) => n % d !== 0));
    const M = primes.slice(0, 39).reduce((product, prime) => product * BigInt(prime), 1n);
    const make = (a: bigint, low: bigint): bigint => {
      const residue = power(65_537n, a, M);
      for (let k = low; ; k += 1n) if (isProbablePrime(k * M + residue)) return k * M + residue;
    };
    const floor = (3n << 1022n) / M;
    const weak = make(11n, floor + 1n) * make(29n, floor + (1n << 500n));
    expect(weak.toString(2).length).toBe(2048);
    expect(await check(rsa(weak))).toBe('ERR_CA_KEY_REFUSED');
  });
  it.each([
    ['the neutral element', '0100000000000000000000000000000000000000000000000000000000000000'],
    ['order 2', 'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'],
    ['order 4', '0000000000000000000000000000000000000000000000000000000000000000'],
    ['order 8', 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a'],
    ['another order 8', '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85'],
    ['a coordinate beyond the field', 'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f'],
  ])('refuses an Ed25519 point that is %s', async (_, point) => {
    expect(await check(ed25519(point))).toBe('ERR_CA_KEY_REFUSED');
  });
});

const power = (base: bigint, exponent: bigint, modulus: bigint): bigint => {
  let result = 1n;
  for (let b = base % modulus, e = exponent; e > 0n; e >>= 1n, b = (b * b) % modulus) if (e & 1n) result = (result * b) % modulus;
  return result;
};

/** Fermat to base 2: enough for a test. */
const isProbablePrime = (n: bigint): boolean => power(2n, n - 1n, n) === 1n;
