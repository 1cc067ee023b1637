/** Follows an identity directory: a complete new pair replaces the old one at once, a half-written one never does. */
import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { identityFileName, loadIdentity, parseIdentityFile, partPath } from './identity.ts';
import type { Identity, LoadIdentityOptions } from './identity.ts';

export interface WatchIdentityOptions extends LoadIdentityOptions {
  /** How often modification times are looked at besides file events. Default 1,000. */
  readonly pollMs?: number;
  /** Called once for each unusable state of the files; the last good identity stays in use. */
  readonly onProblem?: (error: Error) => void;
}

/** The identity as of now. */
export interface IdentityWatch {
  readonly current: Identity;
  /** Called after each swap; returns the way out. */
  onChange(listener: (identity: Identity) => void): () => void;
  /** Looks at the files now. */
  refresh(): Promise<void>;
  close(): void;
}

/** Loads and follows a directory. Timers and watches do not keep the process alive. */
export async function watchIdentity(directory: string, options: WatchIdentityOptions = {}): Promise<IdentityWatch> {
  const state = await signatureOf(directory);
  const watcher = new DirectoryIdentity(await loadIdentity(directory, options), state, options);
  watcher.start();
  return watcher;
}

/** Lets the several files of a renewal arrive before they are read. */
const settleMs = 25;

class DirectoryIdentity implements IdentityWatch {
  #current: Identity;
  #seen: string;
  readonly #options: WatchIdentityOptions;
  readonly #listeners = new Set<(identity: Identity) => void>();
  #watcher: FSWatcher | undefined;
  #poll: NodeJS.Timeout | undefined;
  #settle: NodeJS.Timeout | undefined;
  #reading: Promise<void> | undefined;
  #closed = false;

  constructor(identity: Identity, seen: string, options: WatchIdentityOptions) {
    this.#current = identity;
    this.#seen = seen;
    this.#options = options;
  }

  get current(): Identity {
    return this.#current;
  }

  start(): void {
    this.#watchDirectory();
    this.#poll = setInterval(() => void this.refresh(), this.#options.pollMs ?? 1_000);
    this.#poll.unref();
  }

  onChange(listener: (identity: Identity) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  refresh(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#poll);
    clearTimeout(this.#settle);
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#listeners.clear();
  }

  async #read(): Promise<void> {
    const signature = await signatureOf(this.#current.directory);
    if (this.#closed || signature === this.#seen) return;
    // Taken before reading: files that change while they are read differ again at the next look.
    this.#seen = signature;
    let next: Identity;
    try {
      next = await loadIdentity(this.#current.directory, this.#options);
    } catch (error) {
      if (!this.#closed) this.#options.onProblem?.(error as Error);
      return;
    }
    if (this.#closed) return;
    // The whole directory may have been replaced: a watch stays on the old one.
    this.#watcher?.close();
    this.#watchDirectory();
    if (sameIdentity(this.#current, next)) return;
    this.#current = next;
    for (const listener of this.#listeners) listener(next);
  }

  #watchDirectory(): void {
    try {
      this.#watcher = watch(this.#current.directory, { persistent: false }, () => this.#soon());
    } catch {
      // No watch to be had (limits, file system): the poll sees the change.
      return;
    }
    // The directory was replaced or removed; the poll goes on and a later read watches the new one.
    this.#watcher.on('error', () => {
      this.#watcher?.close();
      this.#watcher = undefined;
    });
  }

  #soon(): void {
    if (this.#closed) return;
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => void this.refresh(), settleMs);
    this.#settle.unref();
  }
}

const sameIdentity = (a: Identity, b: Identity): boolean =>
  a.thumbprint === b.thumbprint &&
  a.name === b.name &&
  a.gateway === b.gateway &&
  a.renewal === b.renewal &&
  a.roots.length === b.roots.length &&
  a.roots.every((root, index) => root.raw.equals(b.roots[index]?.raw ?? Buffer.alloc(0)));

/** Inode, size and times of the directory and its files as one comparable text. */
async function signatureOf(directory: string): Promise<string> {
  let names: readonly string[] = [];
  try {
    const file = parseIdentityFile(await readFile(join(directory, identityFileName), 'utf8'), directory);
    names = [file.key, file.certificate, file.ca].map((name) => partPath('', file, name));
  } catch {
    // Unreadable for now: its own times still tell the states apart.
  }
  const states = await Promise.all(
    [identityFileName, ...names].map(async (name) => {
      try {
        const { ino, size, mtimeMs, ctimeMs } = await stat(join(directory, name));
        return `${name}:${ino}:${size}:${mtimeMs}:${ctimeMs}`;
      } catch {
        return `${name}:-`;
      }
    }),
  );
  return states.join('|');
}
