/**
 * HalfSipHash-1-3 over the five words of a serial: the hash the Linux kernel uses for tables whose
 * keys an adversary chooses. Serials of an external CA are chosen by whoever enrolls there, so a
 * hash without a secret would let them line up every entry in one probe sequence.
 */

/** Two 32-bit words, random per process. */
export type HashSeed = readonly [number, number];

export const hashWords = (words: Uint32Array, offset: number, seed: HashSeed): number => {
  const k0 = seed[0];
  const k1 = seed[1];
  let v0 = k0 | 0;
  let v1 = k1 | 0;
  let v2 = (k0 ^ 0x6c796765) | 0;
  let v3 = (k1 ^ 0x74656462) | 0;
  for (let word = 0; word < 6; word += 1) {
    // The sixth block carries the length in octets, as SipHash pads.
    const block = word < 5 ? (words[offset + word] as number) : 20 << 24;
    v3 ^= block;
    v0 = (v0 + v1) | 0; v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0; v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0; v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0; v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0; v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2; v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= block;
  }
  v2 ^= 0xff;
  for (let round = 0; round < 3; round += 1) {
    v0 = (v0 + v1) | 0; v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0; v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0; v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0; v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0; v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2; v2 = (v2 << 16) | (v2 >>> 16);
  }
  return (v1 ^ v3) >>> 0;
};
