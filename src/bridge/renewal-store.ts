/**
 * The files of a renewal. Key, certificate and roots lie together in a directory of their own, written whole
 * before it gets its name; `identity.json` names the one in use, and renaming that one file exchanges all
 * three. A process that is killed between any two steps leaves a pair that works.
 */
import { createHash, randomUUID } from 'node:crypto';
import { chmod, chown, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory } from '../../ca/durable-file.ts';
import { SallyportError } from '../errors.ts';
import { certificatesOf, identityFileName, isEncrypted, parseIdentityFile, partPath } from './identity.ts';
import type { IdentityFile } from './identity.ts';
import { isShown, showPlain } from './plain-files.ts';
import { ProcessLock } from '../../ca/process-lock.ts';

/** What is exchanged at once, in PEM. */
export interface PairTexts {
  readonly key: string;
  /** Leaf and chain. */
  readonly certificate: string;
  readonly ca: string;
}

/** A pair that waits to be used first. */
export interface WaitingPair extends PairTexts {
  readonly id: string;
}

const pairName = /^pair-[0-9a-f]{16}$/u;
const draftPrefix = '.pair-';

export class RenewalStore {
  readonly #directory: string;
  readonly #lock: ProcessLock;

  constructor(directory: string) {
    this.#directory = directory;
    this.#lock = new ProcessLock(join(directory, 'renewal.lock'));
  }

  /**
   * Runs `work` while no other process renews here; undefined without running it when another does.
   * Rejects with `ERR_BRIDGE_IDENTITY` when the directory cannot be written, before anything was asked for.
   */
  async alone<T>(work: () => Promise<T>, now: Date): Promise<T | undefined> {
    let begun = false;
    try {
      return await this.#lock.alone(() => {
        begun = true;
        return work();
      }, now);
    } catch (cause) {
      throw begun ? cause : this.#notWritten(cause);
    }
  }

  /** The pairs that are not in use: successors nobody has tried, the one before, and what a crash left. */
  async waiting(): Promise<readonly WaitingPair[]> {
    const file = await this.#file();
    const found: WaitingPair[] = [];
    for (const id of await readdir(this.#directory)) {
      if (!pairName.test(id) || id === file.pair) continue;
      const texts = await this.#texts({ ...file, pair: id }).catch(() => undefined);
      if (texts !== undefined) found.push({ id, ...texts });
    }
    return found;
  }

  /** Puts a pair on disk beside the one in use. */
  async keepWaiting(texts: PairTexts): Promise<string> {
    try {
      return await this.#writePair(texts, await this.#file());
    } catch (cause) {
      throw this.#notWritten(cause);
    }
  }

  async discard(id: string): Promise<void> {
    if (pairName.test(id)) await rm(join(this.#directory, id), { recursive: true, force: true });
  }

  /** The pair that waited takes the place of the one in use, at once and whole. The one before stays for whoever reads it right now. */
  async takeIntoUse(id: string): Promise<void> {
    try {
      const file = await this.#file();
      // What lay here plainly becomes a pair like the others first, so that the plain names can follow without a moment of two halves.
      const before = file.pair ?? (await this.#writePair(await this.#texts(file), file));
      await showPlain(this.#directory, file, before);
      await this.#name({ ...file, pair: id });
      await showPlain(this.#directory, file, id);
      await this.#prune(new Set([id, before]));
    } catch (cause) {
      throw this.#notWritten(cause);
    }
  }

  /** Ends what a process began that was killed in the middle: the plain names lead to the pair in use. */
  async repair(now: Date): Promise<void> {
    if (await this.#inOrder()) return;
    await this.alone(async () => {
      const file = await this.#file();
      if (file.pair === undefined || (await this.#inOrder())) return;
      try {
        await showPlain(this.#directory, file, file.pair);
      } catch (cause) {
        throw this.#notWritten(cause);
      }
    }, now);
  }

  async #inOrder(): Promise<boolean> {
    const file = await this.#file();
    return file.pair === undefined || isShown(this.#directory, file, file.pair);
  }

  /** Whether the key in use is encrypted. */
  async keyIsEncrypted(): Promise<boolean> {
    return isEncrypted((await this.#texts(await this.#file())).key);
  }

  async #file(): Promise<IdentityFile> {
    return parseIdentityFile(await readFile(join(this.#directory, identityFileName), 'utf8'), this.#directory);
  }

  async #texts(file: IdentityFile): Promise<PairTexts> {
    const read = (name: string): Promise<string> => readFile(partPath(this.#directory, file, name), 'utf8');
    const [key, certificate, ca] = await Promise.all([read(file.key), read(file.certificate), read(file.ca)]);
    return { key, certificate, ca };
  }

  async #writePair({ key, certificate, ca }: PairTexts, file: IdentityFile): Promise<string> {
    const [leaf] = certificatesOf(certificate);
    const id = `pair-${createHash('sha256').update(leaf?.raw ?? certificate).digest('hex').slice(0, 16)}`;
    const draft = join(this.#directory, `${draftPrefix}${randomUUID()}`);
    const owner = await ownerOf(this.#directory, file);
    // The same pair again, from an attempt that was killed; the plain names may lead there already.
    const there = await this.#texts({ ...file, pair: id }).catch(() => undefined);
    if (there?.key === key && there.certificate === certificate && there.ca === ca) return id;
    try {
      await mkdir(draft, { mode: 0o700 });
      await writeSynced(join(draft, file.key), key, 0o600, owner);
      await writeSynced(join(draft, file.certificate), certificate, 0o644, owner);
      await writeSynced(join(draft, file.ca), ca, 0o644, owner);
      // Whoever may enter the identity may enter its pairs.
      await chmod(draft, owner.directoryMode);
      if (owner.change) await chown(draft, owner.uid, owner.gid);
      await syncDirectory(draft);
      if (id !== file.pair) await rm(join(this.#directory, id), { recursive: true, force: true });
      await rename(draft, join(this.#directory, id));
      await syncDirectory(this.#directory);
      return id;
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
  }

  async #name(file: IdentityFile): Promise<void> {
    const draft = join(this.#directory, `${draftPrefix}${randomUUID()}.json`);
    try {
      await writeSynced(draft, `${JSON.stringify(file, undefined, 2)}\n`, 0o644, await ownerOf(this.#directory, file));
      await rename(draft, join(this.#directory, identityFileName));
      await syncDirectory(this.#directory);
    } finally {
      await rm(draft, { force: true });
    }
  }

  async #prune(kept: ReadonlySet<string>): Promise<void> {
    for (const name of await readdir(this.#directory)) {
      const left = pairName.test(name) ? !kept.has(name) : name.startsWith(draftPrefix);
      if (left) await rm(join(this.#directory, name), { recursive: true, force: true });
    }
  }

  #notWritten(cause: unknown): unknown {
    if (cause instanceof SallyportError) return cause;
    const { code } = cause as NodeJS.ErrnoException;
    return new SallyportError('ERR_BRIDGE_IDENTITY', `the identity in ${this.#directory} cannot be renewed, because its directory cannot be written (${code ?? 'unknown'}); give this user the right to, or renew it where it comes from and connect with --no-renew`, {
      facts: { directory: this.#directory, reason: code },
      cause,
    });
  }
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
  readonly directoryMode: number;
  /** A renewal as root must leave the agent able to read its key. */
  readonly change: boolean;
}

async function ownerOf(directory: string, file: IdentityFile): Promise<Owner> {
  const { uid, gid } = await stat(partPath(directory, file, file.key)).catch(() => stat(directory));
  const { mode } = await stat(directory);
  return { uid, gid, directoryMode: mode & 0o777, change: process.getuid?.() === 0 && (uid !== 0 || gid !== process.getgid?.()) };
}

async function writeSynced(path: string, text: string, mode: number, owner: Owner): Promise<void> {
  const file: FileHandle = await open(path, 'wx', mode);
  try {
    await file.writeFile(text);
    await file.chmod(mode);
    if (owner.change) await file.chown(owner.uid, owner.gid);
    await file.sync();
  } finally {
    await file.close();
  }
}
