/**
 * The latest checkpoint, kept in a file beside the store: whoever rolls the store back must roll
 * this back too, so keep copies of it elsewhere.
 */
import { randomUUID } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { SallyportError } from '../errors.ts';
import { parseCheckpoint } from './checkpoint.ts';

/** `undefined` when there is no file yet. */
export const readKeptCheckpoint = async (path: string): Promise<string | undefined> => {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw new SallyportError('ERR_AUDIT_UNAVAILABLE', 'the checkpoint kept outside the store cannot be read; check the permissions of the file', { facts: { path }, cause: error });
  }
};

/** Replaces the file as a whole. A note of a smaller log never replaces one of a larger: that is for `verify` to report. */
export const keepCheckpoint = async (path: string, note: string): Promise<void> => {
  const size = parseCheckpoint(note)?.size;
  if (size === undefined) throw new TypeError('not a checkpoint');
  const kept = await readKeptCheckpoint(path);
  if (kept !== undefined && (parseCheckpoint(kept)?.size ?? Infinity) >= size) return;
  // A gateway and a command of one process may keep the same checkpoint at the same time.
  const temporary = `${path}.${size}.${randomUUID()}.tmp`;
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(note);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new SallyportError('ERR_AUDIT_UNAVAILABLE', 'the checkpoint could not be kept outside the store; check the disk and the permissions of the directory', { facts: { path }, cause: error });
  }
};

/** Keeps the newest of the notes it is given, at most one write at a time and one a second. */
export class CheckpointKeeper {
  readonly #path: string;
  readonly #onError: (error: unknown) => void;
  readonly #everyMs: number;
  #newest: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string, options: { onError: (error: unknown) => void; everyMs?: number }) {
    this.#path = path;
    this.#onError = options.onError;
    this.#everyMs = options.everyMs ?? 1_000;
  }

  offer(note: string): void {
    this.#newest = note;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.flush();
    }, this.#everyMs).unref();
  }

  /** Resolves once the newest note is in the file (or its failure reported). */
  flush(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      const note = this.#newest;
      this.#newest = undefined;
      if (note !== undefined) await keepCheckpoint(this.#path, note).catch(this.#onError);
    });
    return this.#writing;
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer);
    await this.flush();
  }
}
