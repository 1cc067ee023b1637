/** Of several processes that look after one directory, one changes it. */
import { randomUUID } from 'node:crypto';
import { link, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';

/** A lock of another machine whose owner may have died is taken over after this; a change takes seconds. */
const lifetimeMs = 120_000;

export class ProcessLock {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * Runs `work` while no other process holds the lock; undefined without running it when another does.
   * Rejects with the error of the system when the file cannot be written, before `work` was begun.
   */
  async alone<T>(work: () => Promise<T>, now: Date): Promise<T | undefined> {
    const own = JSON.stringify({ pid: process.pid, host: hostname(), id: randomUUID() });
    if (!(await this.#take(own, now))) return undefined;
    try {
      return await work();
    } finally {
      // Taken over by someone who thought us dead: his now.
      if ((await this.#holder()) === own) await rm(this.#path, { force: true });
    }
  }

  async #take(own: string, now: Date): Promise<boolean> {
    for (let attempt = 0; attempt < 2; attempt += 1) {
      // Linked into place with its content: no one sees a lock that does not say whose it is.
      const draft = `${this.#path}.${randomUUID()}`;
      const file = await open(draft, 'wx', 0o600);
      try {
        await file.writeFile(own);
        await file.close();
        await link(draft, this.#path);
        return true;
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
      } finally {
        await rm(draft, { force: true });
      }
      if (!(await this.#abandoned(now))) return false;
    }
    return false;
  }

  /** Whether the owner is gone; the lock is then out of the way. */
  async #abandoned(now: Date): Promise<boolean> {
    const holder = await this.#holder();
    if (holder === undefined) return true;
    const age = await stat(this.#path).then(({ mtimeMs }) => Math.abs(now.getTime() - mtimeMs), () => Number.POSITIVE_INFINITY);
    if (age < lifetimeMs && !diedHere(holder)) return false;
    const aside = `${this.#path}.${randomUUID()}`;
    const moved = await rename(this.#path, aside).then(() => true, () => false);
    // Somebody else may have found it abandoned, too, and what was moved is his new one.
    const right = moved && (await readFile(aside, 'utf8').catch(() => undefined)) === holder;
    if (moved && !right) await link(aside, this.#path).catch(() => undefined);
    await rm(aside, { force: true });
    return right;
  }

  async #holder(): Promise<string | undefined> {
    return readFile(this.#path, 'utf8').catch(() => undefined);
  }
}

/** Killed in the middle, on this machine: what it began may not have two minutes to wait. */
function diedHere(holder: string): boolean {
  try {
    const { pid, host } = JSON.parse(holder) as { readonly pid?: unknown; readonly host?: unknown };
    if (typeof pid !== 'number' || !Number.isInteger(pid) || pid < 1 || host !== hostname() || pid === process.pid) return false;
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}
