/** The key derivation of PKCS#12 (RFC 7292 appendix B). */
import { hash } from 'node:crypto';
import type { WorkBudget } from './work-budget.ts';

export type Pkcs12Hash = 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512';

export interface Pkcs12Derivation {
  readonly hash: Pkcs12Hash;
  /** §B.3: 1 is a key, 2 an initialization vector, 3 a MAC key. */
  readonly purpose: 1 | 2 | 3;
  /** As `bmpPassphrase` writes it. */
  readonly passphrase: Uint8Array;
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly length: number;
}

/** §B.1: two octets a character, big end first, and a terminating NUL, which is part of it. */
export const bmpPassphrase = (passphrase: string): Uint8Array => Buffer.from(`${passphrase}\0`, 'utf16le').swap16();

export function derivePkcs12(wanted: Pkcs12Derivation, budget: WorkBudget): Uint8Array {
  const { length, iterations, salt, passphrase } = wanted;
  const block = wanted.hash === 'sha384' || wanted.hash === 'sha512' ? 128 : 64;
  const out = Buffer.alloc(length);
  const diversifier = Buffer.alloc(block, wanted.purpose);
  let text: Uint8Array = Buffer.concat([filled(salt, block), filled(passphrase, block)]);
  for (let done = 0; done < length; ) {
    budget.pkcs12(iterations);
    let digest = hash(wanted.hash, Buffer.concat([diversifier, text]), 'buffer');
    for (let round = 1; round < iterations; round++) digest = hash(wanted.hash, digest, 'buffer');
    done += digest.copy(out, done);
    if (done < length) text = advanced(text, digest, block);
  }
  return out;
}

/** Repeated up to a whole number of blocks. */
const filled = (octets: Uint8Array, block: number): Uint8Array => (octets.length === 0 ? Buffer.alloc(0) : Buffer.alloc(Math.ceil(octets.length / block) * block, octets));

/** Step 6C: every block plus the digest plus one, modulo 2^(8 · block). */
function advanced(text: Uint8Array, digest: Uint8Array, block: number): Uint8Array {
  const addend = Buffer.alloc(block, digest);
  const next = Buffer.from(text);
  for (let start = 0; start < next.length; start += block) {
    let carry = 1;
    for (let i = block - 1; i >= 0; i--) {
      carry += (next[start + i] ?? 0) + (addend[i] ?? 0);
      next[start + i] = carry & 0xff;
      carry >>= 8;
    }
  }
  return next;
}
