/**
 * The files of a renewal. The new certificate lies beside the old one until it has been used, and only then
 * takes its place, by one rename; the key stays. Of several bridges with one identity one renews.
 */
import { randomUUID } from 'node:crypto';
import { open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SallyportError } from '../errors.ts';
import { identityFileName, parseIdentityFile } from './identity.ts';

/** A lock whose owner died is taken over after this; a renewal takes seconds. */
const lockLifetimeMs = 120_000;

export class RenewalStore {
  readonly #directory: string;
  readonly #lock: string;

  constructor(directory: string) {
    this.#directory = directory;
    this.#lock = join(directory, 'renewal.lock');
  }

  /**
   * Runs `work` while no other process renews here; undefined without running it when another does.
   * Rejects with `ERR_BRIDGE_IDENTITY` when the directory cannot be written, before anything was asked for.
   */
  async alone<T>(work: () => Promise<T>, now: Date): Promise<T | undefined> {
    if (!(await this.#take(now))) return undefined;
    try {
      return await work();
    } finally {
      await rm(this.#lock, { force: true });
    }
  }

  /** The certificate that waits to be used first, leaf and chain in PEM. */
  async waiting(): Promise<string | undefined> {
    try {
      return await readFile(`${await this.#certificatePath()}.next`, 'utf8');
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw cause;
    }
  }

  async keepWaiting(certificatePem: string): Promise<void> {
    const path = `${await this.#certificatePath()}.next`;
    const draft = `${path}.${randomUUID()}`;
    try {
      const file = await open(draft, 'wx', 0o644);
      try {
        await file.writeFile(certificatePem);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(draft, path);
      await this.#syncDirectory();
    } catch (cause) {
      await rm(draft, { force: true });
      throw this.#notWritten(cause);
    }
  }

  async discardWaiting(): Promise<void> {
    await rm(`${await this.#certificatePath()}.next`, { force: true });
  }

  /** The certificate that waited takes the place of the old one, at once and whole. */
  async takeIntoUse(): Promise<void> {
    const path = await this.#certificatePath();
    try {
      await rename(`${path}.next`, path);
      await this.#syncDirectory();
    } catch (cause) {
      throw this.#notWritten(cause);
    }
  }

  async #certificatePath(): Promise<string> {
    const text = await readFile(join(this.#directory, identityFileName), 'utf8');
    return join(this.#directory, parseIdentityFile(text, this.#directory).certificate);
  }

  async #take(now: Date): Promise<boolean> {
    for (let attempt = 0; attempt < 2; attempt += 1) {
      try {
        const file = await open(this.#lock, 'wx', 0o600);
        await file.close();
        return true;
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw this.#notWritten(cause);
      }
      const age = await stat(this.#lock).then(({ mtimeMs }) => Math.abs(now.getTime() - mtimeMs), () => Number.POSITIVE_INFINITY);
      if (age < lockLifetimeMs) return false;
      await rm(this.#lock, { force: true });
    }
    return false;
  }

  async #syncDirectory(): Promise<void> {
    // Windows cannot open directories.
    if (process.platform === 'win32') return;
    const directory = await open(this.#directory, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  #notWritten(cause: unknown): SallyportError {
    const { code } = cause as NodeJS.ErrnoException;
    return new SallyportError('ERR_BRIDGE_IDENTITY', `the identity in ${this.#directory} cannot be renewed, because its directory cannot be written (${code ?? 'unknown'}); give this user the right to, or renew it where it comes from and connect with --no-renew`, {
      facts: { directory: this.#directory, reason: code },
      cause,
    });
  }
}
