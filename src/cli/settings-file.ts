/** Changes a file that belongs to another program: a backup first, the new text whole or not at all. */
import { isUtf8 } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, mkdir, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { SallyportError } from '../errors.ts';

export interface SettingsChange {
  readonly changed: boolean;
  /** Where the text before is kept; undefined when there was none, or nothing changed. */
  readonly backup: string | undefined;
  /** Other users of this machine may read the file. */
  readonly readableByOthers: boolean;
}

export interface SettingsOptions {
  /** What is put in is for its owner alone. */
  readonly secret?: boolean;
}

/** Rejects with `ERR_CONFIG_INVALID` when the file cannot be read, was changed meanwhile, or cannot be written; then it is as it was. */
export async function changeSettings(file: string, change: (text: string) => string, { secret = false }: SettingsOptions = {}): Promise<SettingsChange> {
  // A link of a dotfiles repository stays a link.
  const path = await realpath(file).catch(() => file);
  const before = await readSettings(path);
  const after = change(before?.text ?? '');
  const mode = before?.mode ?? (secret ? 0o600 : 0o644);
  // Windows has no such bits.
  const readableByOthers = process.platform !== 'win32' && (mode & 0o044) !== 0;
  if (before !== undefined && after === before.text) return { changed: false, backup: undefined, readableByOthers };
  const draft = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeSynced(draft, after, mode);
    const backup = before === undefined ? undefined : await keepBackup(path);
    // Its own program may have written it while we thought.
    if ((await readSettings(path))?.text !== before?.text) throw new SallyportError('ERR_CONFIG_INVALID', `${path} was changed by another program just now: run the command again`, { facts: { file: path } });
    await rename(draft, path);
    return { changed: true, backup, readableByOthers };
  } catch (cause) {
    await rm(draft, { force: true });
    if (cause instanceof SallyportError) throw cause;
    throw new SallyportError('ERR_CONFIG_INVALID', `${path} cannot be written (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): check its owner and mode, or put in by hand what this command prints without --write`, { facts: { file: path }, cause });
  }
}

async function readSettings(path: string): Promise<{ readonly text: string; readonly mode: number } | undefined> {
  let bytes: Buffer;
  let mode: number;
  try {
    [bytes, { mode }] = await Promise.all([readFile(path), stat(path)]);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new SallyportError('ERR_CONFIG_INVALID', `${path} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): check its owner and mode`, { facts: { file: path }, cause });
  }
  if (!isUtf8(bytes)) throw new SallyportError('ERR_CONFIG_INVALID', `${path} is not UTF-8: save it as such first`, { facts: { file: path } });
  // Decoded so that a byte order mark stays.
  return { text: bytes.toString('utf8'), mode: mode & 0o7777 };
}

async function writeSynced(path: string, text: string, mode: number): Promise<void> {
  const file = await open(path, 'wx', mode);
  try {
    // What the mask took away at creation.
    await file.chmod(mode);
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Beside the file, under the first name that is free: an older backup is never written over. */
async function keepBackup(path: string): Promise<string> {
  for (let number = 1; ; number += 1) {
    const backup = `${path}.backup${number === 1 ? '' : `-${number}`}`;
    try {
      await copyFile(path, backup, constants.COPYFILE_EXCL);
      return backup;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    }
  }
}
