/**
 * A CRL or trust bundle that somebody else publishes, in a file or at an address, with the last good
 * copy kept in the data directory. What was looked up counts only once its reader has accepted it.
 */
import { readFile } from 'node:fs/promises';
import type { Clock } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import type { FetchDocument, FetchRequest } from './fetch-document.ts';
import { KeptDocument, digestOf } from './kept-document.ts';
import type { KeptFacts } from './kept-document.ts';

export interface PublishedDocumentOptions {
  /** Absolute file, or http(s) URL. */
  readonly from: string;
  /** Where the copy is kept. */
  readonly kept: string;
  readonly accept: string;
  readonly maxBytes: number;
  readonly clock: Clock;
  readonly fetch: FetchDocument;
  readonly timeoutMs?: number | undefined;
  readonly tls?: (() => FetchRequest['tls']) | undefined;
}

/** What was found; `keep` makes it the last good copy. */
export interface Sighting {
  readonly bytes: Uint8Array;
  keep(): Promise<void>;
}

const DEFAULT_TIMEOUT_MS = 30_000;

export class PublishedDocument {
  readonly from: string;
  readonly #options: PublishedDocumentOptions;
  readonly #kept: KeptDocument;
  /** Of the octets that are in use. */
  #facts: KeptFacts | undefined;
  #digest: string | undefined;

  constructor(options: PublishedDocumentOptions) {
    this.from = options.from;
    this.#options = options;
    this.#kept = new KeptDocument(options.kept);
  }

  get isRemote(): boolean {
    return this.from.includes('://');
  }

  /** Unix milliseconds of the last time the copy was found to be current. */
  get checkedAt(): number | undefined {
    return this.#facts?.checkedAt;
  }

  /** Of the octets in use; undefined before there are any. */
  get digest(): string | undefined {
    return this.#digest;
  }

  /** The last good copy; undefined without one. */
  async kept(): Promise<Uint8Array | undefined> {
    const kept = await this.#kept.read();
    if (kept === undefined) return undefined;
    // A copy of another place says nothing about this one.
    if (kept.facts !== undefined && kept.facts.from !== this.from) return undefined;
    this.#facts = kept.facts;
    this.#digest = kept.digest;
    return kept.bytes;
  }

  /** @throws SallyportError `ERR_TRUST_FETCH` */
  async look(): Promise<Sighting | 'unchanged'> {
    const { clock } = this.#options;
    const found = this.isRemote ? await this.#fetched() : { status: 'fetched' as const, bytes: await this.#read(), etag: undefined, lastModified: undefined };
    const checkedAt = clock.now().getTime();
    if (found.status === 'unchanged') {
      await this.#checked(checkedAt);
      return 'unchanged';
    }
    const { bytes, etag, lastModified } = found;
    const digest = await digestOf(bytes);
    if (digest === this.#digest) {
      await this.#checked(checkedAt);
      return 'unchanged';
    }
    const facts = { from: this.from, etag, lastModified, checkedAt };
    return {
      bytes,
      keep: async () => {
        await this.#kept.write(bytes, digest, facts);
        this.#facts = facts;
        this.#digest = digest;
      },
    };
  }

  async #checked(checkedAt: number): Promise<void> {
    if (this.#facts === undefined) return;
    this.#facts = { ...this.#facts, checkedAt };
    const kept = await this.#kept.read();
    // Another process may have kept a newer one meanwhile.
    if (kept !== undefined && kept.digest === this.#digest) await this.#kept.note(kept.digest, this.#facts);
  }

  #fetched(): ReturnType<FetchDocument> {
    const { accept, maxBytes, timeoutMs = DEFAULT_TIMEOUT_MS, fetch, tls } = this.#options;
    return fetch({ url: this.from, accept, maxBytes, timeoutMs, etag: this.#facts?.etag, lastModified: this.#facts?.lastModified, tls: tls?.() });
  }

  async #read(): Promise<Uint8Array> {
    let bytes: Uint8Array;
    try {
      bytes = await readFile(this.from);
    } catch (cause) {
      throw new SallyportError('ERR_TRUST_FETCH', `${this.from} cannot be read: check path, owner and mode`, { facts: { file: this.from, reason: (cause as NodeJS.ErrnoException).code }, cause });
    }
    if (bytes.length > this.#options.maxBytes) throw new SallyportError('ERR_TRUST_FETCH', `${this.from} has more than ${this.#options.maxBytes} octets: give the right file`, { facts: { file: this.from } });
    return bytes;
  }
}
