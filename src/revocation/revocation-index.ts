/**
 * What is revoked, for handshakes and requests: exact, synchronous, the same cost at none and at
 * millions. Sources fill it (`store-source.ts`, `crl-source.ts`); enforcement points ask it and
 * listen to it.
 */
import type { IssuerId, Randomness, RevocationReason, SerialHex } from '../../ca/ports.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import type { HashSeed } from './keyed-hash.ts';
import { SerialTable, reasonNumber } from './serial-table.ts';
import type { RevocationEntry } from './serial-table.ts';
import { WORDS, hexOfWords, wordsOfBytes, wordsOfHex } from './serial-words.ts';

export type { RevocationEntry } from './serial-table.ts';

export interface RevokedEntry {
  readonly issuerId: IssuerId;
  readonly serial: SerialHex;
  readonly revokedAt: Date;
  readonly reason: RevocationReason;
}

/** `serials: 'all'`: the issuer's whole list was exchanged; ask again for each certificate in use. */
export interface RevocationChange {
  readonly issuerId: IssuerId;
  readonly serials: readonly SerialHex[] | 'all';
  readonly epoch: number;
}

/** What a source knows beside the serials. */
export interface IssuerCoverage {
  /** Unix milliseconds until which the answer "not revoked" may be given. */
  readonly freshUntil: number;
  /** Whether the source speaks about this certificate at all (CRL scope). Absent: about every one of the issuer. */
  readonly covers?: ((certificate: Certificate) => boolean) | undefined;
}

export type RevocationStatus =
  | { readonly status: 'good' }
  | { readonly status: 'revoked'; readonly entry: RevocationEntry }
  /** No source, a stale source, or one that does not cover the certificate. */
  | { readonly status: 'unknown'; readonly because: 'noSource' | 'stale' | 'notCovered' };

interface IssuerState {
  /** From the source, exchanged whole. */
  base: SerialTable | undefined;
  /** Added one by one; survives every exchange, so that a revocation that arrived during a load cannot vanish. */
  added: SerialTable;
  coverage: IssuerCoverage | undefined;
  /** Loads under way. */
  loads: number;
  /** Taken out during a load, which may have read them before. */
  readonly removed: Set<SerialHex>;
}

const good: RevocationStatus = { status: 'good' };
const unknownNoSource: RevocationStatus = { status: 'unknown', because: 'noSource' };
const unknownStale: RevocationStatus = { status: 'unknown', because: 'stale' };
const unknownNotCovered: RevocationStatus = { status: 'unknown', because: 'notCovered' };

/** How long a slice of background work may hold the event loop. */
const SLICE_MS = 3;
/** Added entries that a new base contains are dropped at an exchange when looking at them is instant. */
const PRUNE_LIMIT = 5_000;

export class RevocationIndex {
  readonly #issuers = new Map<IssuerId, IssuerState>();
  readonly #listeners = new Set<(change: RevocationChange) => void>();
  readonly #randomness: Randomness;
  readonly #words = new Uint32Array(WORDS);
  #epoch = 0;

  constructor(options: { readonly randomness: Randomness }) {
    this.#randomness = options.randomness;
  }

  /** Grows with every change of what is revoked; a peer checked at this epoch need not be looked up again. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Number of revoked serials, those counted twice that a source and a single addition both named. */
  get size(): number {
    let size = 0;
    for (const state of this.#issuers.values()) size += (state.base?.size ?? 0) + state.added.size;
    return size;
  }

  get memoryBytes(): number {
    let bytes = 0;
    for (const state of this.#issuers.values()) bytes += (state.base?.memoryBytes ?? 0) + state.added.memoryBytes;
    return bytes;
  }

  /** Revoked or not, whatever the freshness. Serials as `SerialHex` or as content octets of the DER INTEGER. */
  lookup(issuerId: IssuerId, serial: SerialHex | Uint8Array): RevocationEntry | undefined {
    const state = this.#issuers.get(issuerId);
    if (state === undefined) return undefined;
    const words = this.#words;
    const readable = typeof serial === 'string' ? wordsOfHex(serial, words) : wordsOfBytes(serial, 0, serial.length, words);
    // What is no serial cannot have been added; `verifyPeer` refuses such certificates before it asks.
    if (!readable) return undefined;
    if (state.added.size > 0) {
      const entry = state.added.find(words, 0);
      if (entry !== undefined) return entry;
    }
    return state.base?.find(words, 0);
  }

  /** The answer an enforcement point acts on: what is not known to be good is not good. */
  status(issuerId: IssuerId, serial: SerialHex, at: number, certificate?: Certificate): RevocationStatus {
    const entry = this.lookup(issuerId, serial);
    if (entry !== undefined) return { status: 'revoked', entry };
    const coverage = this.#issuers.get(issuerId)?.coverage;
    if (coverage === undefined) return unknownNoSource;
    if (at >= coverage.freshUntil) return unknownStale;
    if (certificate !== undefined && coverage.covers !== undefined && !coverage.covers(certificate)) return unknownNotCovered;
    return good;
  }

  /** Unix milliseconds until which "not revoked" may be said for this issuer; 0 without a source. */
  freshUntil(issuerId: IssuerId): number {
    return this.#issuers.get(issuerId)?.coverage?.freshUntil ?? 0;
  }

  /** A source says how long its silence may be trusted. Nothing about serials changes. */
  setFreshUntil(issuerId: IssuerId, freshUntil: number): void {
    const state = this.#stateOf(issuerId);
    state.coverage = { ...state.coverage, freshUntil };
  }

  /** Adds single revocations, at once visible to every lookup. Listeners run before this returns. */
  add(entries: Iterable<RevokedEntry>): number {
    const changed = new Map<IssuerId, SerialHex[]>();
    let count = 0;
    for (const { issuerId, serial, revokedAt, reason } of entries) {
      if (!wordsOfHex(serial, this.#words)) throw new RangeError(`not a serial number: ${serial.slice(0, 64)}`);
      const state = this.#stateOf(issuerId);
      if (state.removed.size > 0) state.removed.delete(hexOfWords(this.#words, 0));
      if (state.base?.find(this.#words, 0) !== undefined) {
        // Known already, but a hold may have become final.
        state.base.add(this.#words, 0, secondsOf(revokedAt), reasonNumber(reason));
        continue;
      }
      if (!state.added.add(this.#words, 0, secondsOf(revokedAt), reasonNumber(reason))) continue;
      count += 1;
      const serials = changed.get(issuerId);
      if (serials === undefined) changed.set(issuerId, [hexOfWords(this.#words, 0)]);
      else serials.push(hexOfWords(this.#words, 0));
    }
    for (const [issuerId, serials] of changed) this.#announce(issuerId, serials);
    return count;
  }

  /**
   * Takes one serial out again, whoever named it: its hold was lifted. Nobody is told and the epoch stays,
   * since nothing that was allowed is less so. True when it was in.
   */
  remove(issuerId: IssuerId, serial: SerialHex): boolean {
    if (!wordsOfHex(serial, this.#words)) throw new RangeError(`not a serial number: ${serial.slice(0, 64)}`);
    const state = this.#stateOf(issuerId);
    if (state.loads > 0) state.removed.add(hexOfWords(this.#words, 0));
    const added = state.added.remove(this.#words, 0);
    return state.base?.remove(this.#words, 0) === true || added;
  }

  /** An empty table to be filled by a source and handed to `replaceIssuer`. */
  newTable(expected = 0): SerialTable {
    return new SerialTable(this.newSeed(), { expected });
  }

  newSeed(): HashSeed {
    const bytes = this.#randomness.bytes(8);
    const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
    return [view.getUint32(0), view.getUint32(4)];
  }

  /** Exchanges the list of one issuer whole, in one step. What was added singly stays revoked. */
  replaceIssuer(issuerId: IssuerId, table: SerialTable, coverage: IssuerCoverage): void {
    const state = this.#stateOf(issuerId);
    state.base = table;
    state.coverage = coverage;
    if (state.added.size > 0 && state.added.size <= PRUNE_LIMIT) state.added = this.#without(state.added, table);
    this.#announce(issuerId, 'all');
  }

  /**
   * Builds the list of one issuer from pages in slices of a few milliseconds, then exchanges it.
   * Lookups see the old list until the end; a failing source leaves it in place.
   */
  async loadInBackground(
    issuerId: IssuerId,
    pages: AsyncIterable<readonly Omit<RevokedEntry, 'issuerId'>[]>,
    coverage: () => IssuerCoverage,
  ): Promise<number> {
    const state = this.#stateOf(issuerId);
    state.loads += 1;
    try {
      const table = await this.#fill(pages);
      const words = new Uint32Array(WORDS);
      for (const serial of state.removed) if (wordsOfHex(serial, words)) table.remove(words, 0);
      this.replaceIssuer(issuerId, table, coverage());
      return table.size;
    } finally {
      state.loads -= 1;
      if (state.loads === 0) state.removed.clear();
    }
  }

  async #fill(pages: AsyncIterable<readonly Omit<RevokedEntry, 'issuerId'>[]>): Promise<SerialTable> {
    const table = this.newTable();
    const words = new Uint32Array(WORDS);
    for await (const page of pages) {
      let started = performance.now();
      for (const [index, entry] of page.entries()) {
        if (!wordsOfHex(entry.serial, words)) throw new RangeError(`not a serial number: ${entry.serial.slice(0, 64)}`);
        table.add(words, 0, secondsOf(entry.revokedAt), reasonNumber(entry.reason));
        if ((index & 0xff) === 0xff && performance.now() - started > SLICE_MS) {
          await nextTurn();
          started = performance.now();
        }
      }
    }
    return table;
  }

  /** Called synchronously after each change; the answer stops the calls. A listener must not throw. */
  onChange(listener: (change: RevocationChange) => void): () => void {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  }

  #announce(issuerId: IssuerId, serials: readonly SerialHex[] | 'all'): void {
    this.#epoch += 1;
    for (const listener of this.#listeners) listener({ issuerId, serials, epoch: this.#epoch });
  }

  #stateOf(issuerId: IssuerId): IssuerState {
    let state = this.#issuers.get(issuerId);
    if (state === undefined) {
      state = { base: undefined, added: this.newTable(), coverage: undefined, loads: 0, removed: new Set() };
      this.#issuers.set(issuerId, state);
    }
    return state;
  }

  #without(added: SerialTable, base: SerialTable): SerialTable {
    const kept = this.newTable();
    added.forEach((words, offset, seconds, reason) => {
      // What became final since the source read it stays as it was added.
      const known = base.find(words, offset);
      if (known === undefined || reasonNumber(known.reason) !== reason) kept.add(words, offset, seconds, reason);
    });
    return kept;
  }
}

const secondsOf = (date: Date): number => Math.min(0xffffffff, Math.max(0, Math.floor(date.getTime() / 1000)));

const nextTurn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve); });
