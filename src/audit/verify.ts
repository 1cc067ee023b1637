/**
 * Checks an audit log against its signed checkpoints, and says what is wrong where. It trusts the
 * verifier key and nothing else: not the store, not the leaf hashes in it.
 */
import { allEntries, sizeAt } from './audit-store.ts';
import type { AuditStore } from './audit-store.ts';
import { parseCheckpoint, verifyCheckpoint } from './checkpoint.ts';
import type { Checkpoint } from './checkpoint.ts';
import { leafHashOf, readEvent } from './entry.ts';
import type { StoredEntry } from './entry.ts';
import { appendLeaf, emptyFrontier, rootOf, sameHash } from './merkle.ts';
import type { Frontier, MerkleHash } from './merkle.ts';

export type FindingKind =
  /** The entry is not the one that was recorded. */
  | 'changed'
  /** An entry that was recorded is not there. */
  | 'removed'
  /** The entry stands at another place than the one it was recorded at. */
  | 'reordered'
  /** An entry that was not recorded there. */
  | 'added'
  /** The log ends before a checkpoint says it did. */
  | 'truncated'
  /** Entries that no checkpoint vouches for. */
  | 'unsigned'
  /** A checkpoint that the log key has not signed. */
  | 'checkpointSignature'
  /** A checkpoint that is signed but of another history than the entries. */
  | 'checkpointMismatch'
  /** The store has an older state than the checkpoint that was kept outside it. */
  | 'rolledBack';

export interface Finding {
  readonly kind: FindingKind;
  /** The first entry concerned. */
  readonly index: number;
  readonly message: string;
}

export interface Verification {
  readonly ok: boolean;
  /** Entries read. */
  readonly size: number;
  /** Entries that the latest valid checkpoint vouches for. */
  readonly signedSize: number;
  readonly findings: readonly Finding[];
}

export interface Evidence {
  /** Notes in the store or export, in any order. */
  readonly checkpoints: readonly string[];
  readonly verifierKey: string;
  /** A note that was kept where the store's writer could not reach it (`audit.checkpoint`). */
  readonly keptCheckpoint?: string | undefined;
}

const mostFindings = 100;

/** Entries in ascending order of index, as the store holds them. Reads them once and keeps none. */
export const verifyLog = async (entries: AsyncIterable<StoredEntry> | Iterable<StoredEntry>, evidence: Evidence): Promise<Verification> => {
  const findings: Finding[] = [];
  const find: Find = (kind, index, message) => {
    if (findings.length < mostFindings) findings.push({ kind, index, message });
  };
  const checkpoints = trustedCheckpoints(evidence, find);
  const tree = new TreeWalk(checkpoints);
  const order = new OrderWalk();
  for await (const entry of entries) {
    // What is in the tree is the stored hash, and the content is held against it: a clumsy change here does not hide a careful one elsewhere.
    const intact = sameHash(leafHashOf(entry.event), entry.leafHash);
    const recorded = intact ? readEvent(entry.event)?.index : undefined;
    if (!intact) find('changed', entry.index, `entry ${entry.index} was changed: its content does not match the hash it was recorded with`);
    else if (recorded === undefined) find('changed', entry.index, `entry ${entry.index} is not an audit event`);
    order.next(entry.index, recorded ?? entry.index);
    tree.next(entry.leafHash);
  }

  const signedSize = checkpoints.at(-1)?.checkpoint.size ?? 0;
  const sizeInStore = checkpoints.filter(({ outside }) => !outside).at(-1)?.checkpoint.size ?? 0;
  const misplaced = order.report(signedSize, sizeInStore, find);
  if (!misplaced) {
    tree.report(find);
    const unsigned = tree.size - signedSize;
    if (unsigned > 0) find('unsigned', signedSize, `${count(unsigned)} from index ${signedSize} on ${unsigned === 1 ? 'stands' : 'stand'} behind the latest checkpoint; nothing proves who recorded ${unsigned === 1 ? 'it' : 'them'}`);
  }
  return { ok: findings.length === 0, size: tree.size, signedSize: Math.min(signedSize, tree.size), findings: findings.sort((x, y) => x.index - y.index) };
};

/** Verifies what a store holds now, also while others append to it. */
export const verifyStore = async (store: AuditStore, options: { readonly verifierKey: string; readonly keptCheckpoint?: string | undefined }): Promise<Verification> => {
  const checkpoints = await store.checkpoints();
  const size = await sizeAt(store, checkpoints);
  const verification = await verifyLog(allEntries(store, { size }), { checkpoints, ...options });
  // Rows behind the head: by now either the head has moved past them, or they were put there by hand.
  const [behind] = await store.read({ from: size, limit: 1 });
  if (behind === undefined) return verification;
  const [stray] = await store.read({ from: Math.max(size, await store.size()), limit: 1 });
  if (stray === undefined || stray.index !== behind.index) return verification;
  const finding: Finding = { kind: 'added', index: stray.index, message: `entry ${stray.index} stands behind the end of the log; it was not recorded by Sallyport` };
  return { ...verification, ok: false, findings: [...verification.findings, finding] };
};

type Find = (kind: FindingKind, index: number, message: string) => void;

interface Trusted {
  readonly checkpoint: Checkpoint;
  /** Kept outside the store. */
  readonly outside: boolean;
}

const trustedCheckpoints = (evidence: Evidence, find: Find): readonly Trusted[] => {
  const trusted: Trusted[] = [];
  const check = (note: string, outside: boolean): void => {
    const verdict = verifyCheckpoint(note, evidence.verifierKey);
    if (verdict.ok) trusted.push({ checkpoint: verdict.checkpoint, outside });
    else {
      const size = parseCheckpoint(note)?.size;
      const which = `the checkpoint ${outside ? 'kept outside the store' : `of size ${size ?? 'unknown'}`}`;
      find('checkpointSignature', size ?? 0, `${which} is not valid: ${verdict.problem}`);
    }
  };
  for (const note of evidence.checkpoints) check(note, false);
  if (evidence.keptCheckpoint !== undefined) check(evidence.keptCheckpoint, true);
  return trusted.sort((a, b) => a.checkpoint.size - b.checkpoint.size);
};

/** Compares the tree with every checkpoint on the way. */
class TreeWalk {
  readonly #checkpoints: readonly Trusted[];
  #frontier: Frontier = emptyFrontier;
  #next = 0;
  /** Up to here the entries are proved. */
  #proved = 0;
  /** The first checkpoint that differs; all later ones differ too and say nothing new. */
  #different: Trusted | undefined;

  constructor(checkpoints: readonly Trusted[]) {
    this.#checkpoints = checkpoints;
    this.#compare();
  }

  get size(): number {
    return this.#frontier.size;
  }

  next(leafHash: MerkleHash): void {
    this.#frontier = appendLeaf(this.#frontier, leafHash);
    this.#compare();
  }

  report(find: Find): void {
    if (this.#different === undefined) return;
    const { checkpoint, outside } = this.#different;
    const stretch = `entries ${this.#proved} to ${checkpoint.size - 1}`;
    if (outside) find('rolledBack', this.#proved, `the log is not the one of the checkpoint kept outside the store: it was rewritten somewhere in ${stretch}`);
    else find('checkpointMismatch', this.#proved, `${stretch} are not those of the signed checkpoint of size ${checkpoint.size}: something in them was changed together with its hash`);
  }

  #compare(): void {
    const { size } = this.#frontier;
    for (let next = this.#checkpoints[this.#next]; next?.checkpoint.size === size; next = this.#checkpoints[this.#next]) {
      this.#next += 1;
      if (this.#different !== undefined) continue;
      if (sameHash(rootOf(this.#frontier), next.checkpoint.root)) this.#proved = size;
      else this.#different = next;
    }
  }
}

/** Entries that follow each other as they were recorded. */
interface Run {
  /** Where the first of them stands now. */
  readonly at: number;
  readonly first: number;
  last: number;
}

/** The index an entry was recorded at is part of its content, so entries say themselves which are missing or moved. */
class OrderWalk {
  readonly #runs: Run[] = [];

  next(at: number, recorded: number): void {
    const run = this.#runs.at(-1);
    if (run !== undefined && recorded === run.last + 1) run.last = recorded;
    else this.#runs.push({ at, first: recorded, last: recorded });
  }

  /** `size` is what the checkpoints vouch for, `sizeInStore` without the one kept outside. True when something is not in its place. */
  report(size: number, sizeInStore: number, find: Find): boolean {
    const sorted = this.#runs.map((run, place) => ({ run, place })).sort((a, b) => a.run.first - b.run.first || a.place - b.place);
    let misplaced = false;
    let expected = 0;
    for (const [rank, { run, place }] of sorted.entries()) {
      if (run.first > expected) {
        misplaced = true;
        // Without a checkpoint this far nothing was promised to stand here.
        if (expected < size) reportMissing(expected, Math.min(run.first, size), find);
        else find('added', run.at, `entry ${run.at} was not recorded by Sallyport: it claims index ${run.first}`);
      } else if (run.first < expected) {
        misplaced = true;
        find('added', run.at, `entry ${run.at} is there twice: index ${run.first} was recorded once`);
      } else if (rank !== place) {
        misplaced = true;
        find('reordered', run.at, `entry ${run.at} was recorded as entry ${run.first}`);
      }
      expected = Math.max(expected, run.last + 1);
    }
    if (expected >= size) return misplaced;
    const missing = count(size - expected);
    if (expected < sizeInStore) find('truncated', expected, `the log ends at index ${expected}, but a checkpoint vouches for ${size}: ${missing} at the end ${size - expected === 1 ? 'is' : 'are'} missing`);
    else find('rolledBack', expected, `the store holds ${count(expected)}, but the checkpoint kept outside it vouches for ${size}: ${missing} ${size - expected === 1 ? 'was' : 'were'} taken back`);
    return true;
  }
}

const reportMissing = (from: number, to: number, find: Find): void => {
  if (to - from === 1) find('removed', from, `entry ${from} was removed`);
  else find('removed', from, `entries ${from} to ${to - 1} were removed`);
};

const count = (entries: number): string => (entries === 1 ? '1 entry' : `${entries} entries`);
