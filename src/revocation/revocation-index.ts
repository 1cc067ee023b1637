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
  /** Of a source that is asked about one certificate at a time (OCSP): how long its word on this one holds, 0 without one. `freshUntil` is 0 then. */
  readonly freshUntilOf?: ((serial: SerialHex) => number) | undefined;
  /** Whether at this time the source's own word has run out, and only a grace that was configured holds. */
  readonly isBorrowed?: ((at: number, serial: SerialHex) => boolean) | undefined;
}

export type RevocationStatus =
  /** `borrowed`: the word of the source has run out, and a grace was configured. */
  | { readonly status: 'good'; readonly borrowed?: true }
  | { readonly status: 'revoked'; readonly entry: RevocationEntry }
  /** No source, a stale source, or one that does not cover the certificate. */
  | { readonly status: 'unknown'; readonly because: 'noSource' | 'stale' | 'notCovered' };

/** What one source knows, exchanged whole. */
interface Part {
  readonly name: string;
  readonly table: SerialTable;
  coverage: IssuerCoverage;
}

interface IssuerState {
  /** One, unless the issuer divides its CRL or is asked by OCSP too. */
  parts: readonly Part[];
  /** Added one by one; survives every exchange, so that a revocation that arrived during a load cannot vanish. */
  added: SerialTable;
  /** Loads under way. */
  loads: number;
  /** Taken out during a load, which may have read them before. */
  readonly removed: Set<SerialHex>;
}

const good: RevocationStatus = { status: 'good' };
const goodOnBorrowedTime: RevocationStatus = { status: 'good', borrowed: true };
const unknownNoSource: RevocationStatus = { status: 'unknown', because: 'noSource' };
const unknownStale: RevocationStatus = { status: 'unknown', because: 'stale' };
const unknownNotCovered: RevocationStatus = { status: 'unknown', because: 'notCovered' };
const nothing: readonly Part[] = [];

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
    for (const state of this.#issuers.values()) size += sum(state.parts, ({ table }) => table.size) + state.added.size;
    return size;
  }

  get memoryBytes(): number {
    let bytes = 0;
    for (const state of this.#issuers.values()) bytes += sum(state.parts, ({ table }) => table.memoryBytes) + state.added.memoryBytes;
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
    return findIn(state.parts, words, 0);
  }

  /** The answer an enforcement point acts on: what is not known to be good is not good. */
  status(issuerId: IssuerId, serial: SerialHex, at: number, certificate?: Certificate): RevocationStatus {
    const entry = this.lookup(issuerId, serial);
    if (entry !== undefined) return { status: 'revoked', entry };
    let answer = unknownNoSource;
    for (const { coverage } of this.#issuers.get(issuerId)?.parts ?? nothing) {
      if (certificate !== undefined && coverage.covers !== undefined && !coverage.covers(certificate)) {
        if (answer === unknownNoSource) answer = unknownNotCovered;
      } else if (at < (coverage.freshUntilOf?.(serial) ?? coverage.freshUntil)) {
        if (coverage.isBorrowed?.(at, serial) !== true) return good;
        answer = goodOnBorrowedTime;
      } else if (answer !== goodOnBorrowedTime) answer = unknownStale;
    }
    return answer;
  }

  /** Unix milliseconds until which "not revoked" may be said of every certificate that the issuer's sources cover; 0 without a source. */
  freshUntil(issuerId: IssuerId): number {
    const parts = this.#issuers.get(issuerId)?.parts ?? nothing;
    if (parts.length === 0) return 0;
    let least = Number.POSITIVE_INFINITY;
    for (const { coverage } of parts) least = Math.min(least, coverage.freshUntil);
    return least;
  }

  /** A source says how long its silence may be trusted. Nothing about serials changes. */
  setFreshUntil(issuerId: IssuerId, freshUntil: number, part = ''): void {
    const state = this.#stateOf(issuerId);
    const known = state.parts.find(({ name }) => name === part);
    if (known === undefined) state.parts = [...state.parts, { name: part, table: this.newTable(), coverage: { freshUntil } }];
    else known.coverage = { ...known.coverage, freshUntil };
  }

  /** Adds single revocations, at once visible to every lookup. Listeners run before this returns. */
  add(entries: Iterable<RevokedEntry>): number {
    const changed = new Map<IssuerId, SerialHex[]>();
    let count = 0;
    for (const { issuerId, serial, revokedAt, reason } of entries) {
      if (!wordsOfHex(serial, this.#words)) throw new RangeError(`not a serial number: ${serial.slice(0, 64)}`);
      const state = this.#stateOf(issuerId);
      if (state.removed.size > 0) state.removed.delete(hexOfWords(this.#words, 0));
      const known = state.parts.find(({ table }) => table.find(this.#words, 0) !== undefined);
      if (known !== undefined) {
        // Known already, but a hold may have become final.
        known.table.add(this.#words, 0, secondsOf(revokedAt), reasonNumber(reason));
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
    let removed = state.added.remove(this.#words, 0);
    for (const { table } of state.parts) if (table.remove(this.#words, 0)) removed = true;
    return removed;
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

  /** Exchanges the list of one issuer, or one named part of it, whole and in one step. What was added singly stays revoked. */
  replaceIssuer(issuerId: IssuerId, table: SerialTable, coverage: IssuerCoverage, part = ''): void {
    const state = this.#stateOf(issuerId);
    state.parts = [...state.parts.filter(({ name }) => name !== part), { name: part, table, coverage }];
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
      state = { parts: nothing, added: this.newTable(), loads: 0, removed: new Set() };
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

const findIn = (parts: readonly Part[], words: Uint32Array, offset: number): RevocationEntry | undefined => {
  for (const { table } of parts) {
    const entry = table.find(words, offset);
    if (entry !== undefined) return entry;
  }
  return undefined;
};

const sum = (parts: readonly Part[], of: (part: Part) => number): number => parts.reduce((total, part) => total + of(part), 0);

const secondsOf = (date: Date): number => Math.min(0xffffffff, Math.max(0, Math.floor(date.getTime() / 1000)));

const nextTurn = (): Promise<void> => new Promise((resolve) => { setImmediate(resolve); });
