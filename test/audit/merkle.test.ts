import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  appendLeaf,
  consistencyProof,
  decodeFrontier,
  emptyFrontier,
  encodeFrontier,
  hashLeaf,
  inclusionProof,
  rootOf,
  rootOfLeaves,
  verifyConsistency,
  verifyInclusion,
} from '../../src/audit/merkle.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const leafOf = (text: string): Uint8Array => hashLeaf(Buffer.from(text, 'hex'));

// The reference inputs and roots of the Certificate Transparency implementation (google/certificate-transparency, merkletree tests).
const inputs = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'];
const roots = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

const tree = (size: number): Uint8Array[] => Array.from({ length: size }, (_, at) => hashLeaf(Buffer.from(`leaf ${at}`)));
const flipped = (bytes: Uint8Array, bit: number): Uint8Array => {
  const copy = new Uint8Array(bytes);
  const at = Math.floor(bit / 8) % copy.length;
  copy[at] = (copy[at] ?? 0) ^ (1 << (bit % 8));
  return copy;
};

describe('Merkle tree', () => {
  it('gives the roots of the reference implementation', () => {
    let frontier = emptyFrontier;
    expect(hex(rootOf(frontier))).toBe(roots[0]);
    for (const [at, input] of inputs.entries()) {
      frontier = appendLeaf(frontier, leafOf(input));
      expect(hex(rootOf(frontier))).toBe(roots[at + 1]);
      expect(hex(rootOfLeaves(inputs.slice(0, at + 1).map((one) => leafOf(one))))).toBe(roots[at + 1]);
    }
  });

  it('gives the inclusion and consistency proofs of the reference implementation', () => {
    const leaves = inputs.map((input) => leafOf(input));
    expect(inclusionProof(leaves, 5).map((node) => hex(node))).toEqual([
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ]);
    expect(consistencyProof(leaves, 6).map((node) => hex(node))).toEqual([
      '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ]);
  });

  it('proves every leaf of every tree, and nothing else with the same proof', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 70 }), fc.nat(), fc.nat(), (size, chosen, bit) => {
        const leaves = tree(size);
        const index = chosen % size;
        const claim = { index, size, leafHash: leaves[index] ?? new Uint8Array(), proof: inclusionProof(leaves, index), root: rootOfLeaves(leaves) };
        expect(verifyInclusion(claim)).toBe(true);
        expect(verifyInclusion({ ...claim, leafHash: flipped(claim.leafHash, bit % 256) })).toBe(false);
        expect(verifyInclusion({ ...claim, root: flipped(claim.root, bit % 256) })).toBe(false);
        expect(verifyInclusion({ ...claim, proof: [...claim.proof, claim.root] })).toBe(false);
        expect(verifyInclusion({ ...claim, index: size })).toBe(false);
        if (claim.proof.length > 0) expect(verifyInclusion({ ...claim, proof: claim.proof.slice(1) })).toBe(false);
        if (size > 1) expect(verifyInclusion({ ...claim, index: (index + 1) % size })).toBe(false);
      }),
      { numRuns: 200 },
    );
  });

  it('proves that a tree is the beginning of a larger one, and of no other', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 70 }), fc.nat(), fc.nat(), (second, chosen, bit) => {
        const leaves = tree(second);
        const first = 1 + (chosen % second);
        const claim = { first, second, firstRoot: rootOfLeaves(leaves.slice(0, first)), secondRoot: rootOfLeaves(leaves), proof: consistencyProof(leaves, first) };
        expect(verifyConsistency(claim)).toBe(true);
        expect(verifyConsistency({ ...claim, firstRoot: flipped(claim.firstRoot, bit % 256) })).toBe(false);
        expect(verifyConsistency({ ...claim, secondRoot: flipped(claim.secondRoot, bit % 256) })).toBe(false);
        expect(verifyConsistency({ ...claim, proof: [...claim.proof, claim.secondRoot] })).toBe(false);
        if (claim.proof.length > 0) expect(verifyConsistency({ ...claim, proof: claim.proof.slice(1) })).toBe(false);
      }),
      { numRuns: 200 },
    );
  });

  it('reads back the frontier it wrote, and no octets that do not fit the size', () => {
    let frontier = emptyFrontier;
    for (const leaf of tree(77)) {
      const bytes = encodeFrontier(frontier);
      expect(decodeFrontier(frontier.size, bytes)).toEqual(frontier);
      expect(decodeFrontier(frontier.size, Buffer.concat([bytes, leaf]))).toBeUndefined();
      frontier = appendLeaf(frontier, leaf);
    }
    expect(decodeFrontier(-1, new Uint8Array())).toBeUndefined();
    expect(decodeFrontier(1.5, new Uint8Array(32))).toBeUndefined();
  });
});
