/**
 * The Merkle tree of RFC 6962 §2.1 (RFC 9162 §2.1) over SHA-256: the hash of a leaf and of a node,
 * a compact frontier that grows without the old leaves, roots, inclusion and consistency proofs.
 */
import { hash } from 'node:crypto';

/** 32 octets. */
export type MerkleHash = Uint8Array;

const hashLength = 32;

const sha256 = (...parts: readonly Uint8Array[]): MerkleHash => new Uint8Array(hash('sha256', Buffer.concat(parts), 'buffer'));

// RFC 6962 §2.1: different first octets for leaves and nodes, so that one can never be passed off as the other.
const leafPrefix = Uint8Array.of(0);
const nodePrefix = Uint8Array.of(1);

export const hashLeaf = (data: Uint8Array): MerkleHash => sha256(leafPrefix, data);

export const hashNode = (left: MerkleHash, right: MerkleHash): MerkleHash => sha256(nodePrefix, left, right);

/** Root of the tree without leaves: the hash of nothing. */
export const emptyRoot: MerkleHash = sha256();

/**
 * The roots of the complete subtrees that a tree of `size` leaves consists of, largest first: all
 * that is needed to append and to compute the root.
 */
export interface Frontier {
  readonly size: number;
  readonly nodes: readonly MerkleHash[];
}

export const emptyFrontier: Frontier = { size: 0, nodes: [] };

export const appendLeaf = (frontier: Frontier, leafHash: MerkleHash): Frontier => {
  const nodes = [...frontier.nodes];
  let node = leafHash;
  // Each trailing one bit of the size is a complete subtree that the new node completes to a larger one.
  for (let rest = frontier.size; rest % 2 === 1; rest = Math.floor(rest / 2)) {
    const left = nodes.pop();
    if (left === undefined) throw new TypeError('frontier does not fit its size');
    node = hashNode(left, node);
  }
  nodes.push(node);
  return { size: frontier.size + 1, nodes };
};

export const rootOf = (frontier: Frontier): MerkleHash => {
  if (frontier.size === 0) return emptyRoot;
  return frontier.nodes.reduceRight((right, left) => hashNode(left, right));
};

/** One octet string for the database: the nodes one after the other; the size says how many there are. */
export const encodeFrontier = (frontier: Frontier): Uint8Array => new Uint8Array(Buffer.concat(frontier.nodes));

/** `undefined` when the octets cannot be the frontier of a tree of that size. */
export const decodeFrontier = (size: number, bytes: Uint8Array): Frontier | undefined => {
  if (!Number.isSafeInteger(size) || size < 0 || bytes.length !== onesIn(size) * hashLength) return undefined;
  const nodes: MerkleHash[] = [];
  for (let at = 0; at < bytes.length; at += hashLength) nodes.push(bytes.slice(at, at + hashLength));
  return { size, nodes };
};

/** MTH of RFC 6962 §2.1 over leaf hashes. */
export const rootOfLeaves = (leaves: readonly MerkleHash[]): MerkleHash => subtree(leaves, 0, leaves.length);

/** PATH(m, D[n]) of RFC 6962 §2.1.1: proves that leaf `index` is in the tree over `leaves`. */
export const inclusionProof = (leaves: readonly MerkleHash[], index: number): readonly MerkleHash[] => {
  if (!Number.isSafeInteger(index) || index < 0 || index >= leaves.length) throw new TypeError('no such leaf');
  const path = (start: number, end: number): MerkleHash[] => {
    if (end - start === 1) return [];
    const split = start + largestPowerBelow(end - start);
    return index < split ? [...path(start, split), subtree(leaves, split, end)] : [...path(split, end), subtree(leaves, start, split)];
  };
  return path(0, leaves.length);
};

/** RFC 9162 §2.1.3.2. */
export const verifyInclusion = (claim: { index: number; size: number; leafHash: MerkleHash; proof: readonly MerkleHash[]; root: MerkleHash }): boolean => {
  if (!Number.isSafeInteger(claim.index) || !Number.isSafeInteger(claim.size) || claim.index < 0 || claim.index >= claim.size) return false;
  let position = claim.index;
  let last = claim.size - 1;
  let node = claim.leafHash;
  for (const sibling of claim.proof) {
    if (last === 0) return false;
    if (position % 2 === 1 || position === last) {
      node = hashNode(sibling, node);
      while (position % 2 === 0 && position !== 0) {
        position = half(position);
        last = half(last);
      }
    } else {
      node = hashNode(node, sibling);
    }
    position = half(position);
    last = half(last);
  }
  return last === 0 && sameHash(node, claim.root);
};

/** PROOF(m, D[n]) of RFC 6962 §2.1.2: proves that the tree of `first` leaves is a prefix of the tree over `leaves`. */
export const consistencyProof = (leaves: readonly MerkleHash[], first: number): readonly MerkleHash[] => {
  if (!Number.isSafeInteger(first) || first < 1 || first > leaves.length) throw new TypeError('the older size must be between 1 and the newer size');
  const walk = (size: number, start: number, end: number, whole: boolean): MerkleHash[] => {
    if (size === end - start) return whole ? [] : [subtree(leaves, start, end)];
    const split = largestPowerBelow(end - start);
    if (size <= split) return [...walk(size, start, start + split, whole), subtree(leaves, start + split, end)];
    return [...walk(size - split, start + split, end, false), subtree(leaves, start, start + split)];
  };
  return walk(first, 0, leaves.length, true);
};

/** RFC 9162 §2.1.4.2. */
export const verifyConsistency = (claim: {
  first: number;
  second: number;
  firstRoot: MerkleHash;
  secondRoot: MerkleHash;
  proof: readonly MerkleHash[];
}): boolean => {
  if (!Number.isSafeInteger(claim.first) || !Number.isSafeInteger(claim.second) || claim.first < 1 || claim.first > claim.second) return false;
  if (claim.first === claim.second) return claim.proof.length === 0 && sameHash(claim.firstRoot, claim.secondRoot);
  const proof = onesIn(claim.first) === 1 ? [claim.firstRoot, ...claim.proof] : [...claim.proof];
  let position = claim.first - 1;
  let last = claim.second - 1;
  while (position % 2 === 1) {
    position = half(position);
    last = half(last);
  }
  const start = proof.shift();
  if (start === undefined) return false;
  let older = start;
  let newer = start;
  for (const node of proof) {
    if (last === 0) return false;
    if (position % 2 === 1 || position === last) {
      older = hashNode(node, older);
      newer = hashNode(node, newer);
      while (position % 2 === 0 && position !== 0) {
        position = half(position);
        last = half(last);
      }
    } else {
      newer = hashNode(newer, node);
    }
    position = half(position);
    last = half(last);
  }
  return last === 0 && sameHash(older, claim.firstRoot) && sameHash(newer, claim.secondRoot);
};

export const sameHash = (a: MerkleHash, b: MerkleHash): boolean => Buffer.compare(a, b) === 0;

const subtree = (leaves: readonly MerkleHash[], start: number, end: number): MerkleHash => {
  let frontier = emptyFrontier;
  for (let at = start; at < end; at += 1) {
    const leaf = leaves[at];
    if (leaf === undefined) throw new TypeError('no such leaf');
    frontier = appendLeaf(frontier, leaf);
  }
  return rootOf(frontier);
};

// Sizes may exceed 32 bits, so no bitwise operators.
const half = (value: number): number => Math.floor(value / 2);

const largestPowerBelow = (size: number): number => {
  let power = 1;
  while (power * 2 < size) power *= 2;
  return power;
};

const onesIn = (value: number): number => {
  let ones = 0;
  for (let rest = value; rest > 0; rest = half(rest)) ones += rest % 2;
  return ones;
};
