/** Files that are either wholly there or not there at all, also after a power cut. */
import { randomUUID } from 'node:crypto';
import { chmod, link, mkdir, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** A directory only its owner may enter; one that exists is left with the mode it has unless others may enter it. */
export const makePrivateDirectory = async (directory: string): Promise<void> => {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
};

export interface DurableWrite {
  /** Default 0o644. */
  readonly mode?: number;
  /** `replace` an existing file (default), or `refuse` with the EEXIST of the system. */
  readonly existing?: 'replace' | 'refuse';
  /** Looks at the finished, synced temporary file; what it throws leaves the old file in place. */
  readonly verify?: (temporary: string) => Promise<void>;
}

/** Temporary file in the same directory, synced, renamed, directory synced. */
export const writeDurably = async (path: string, content: string | Uint8Array, options: DurableWrite = {}): Promise<void> => {
  const directory = dirname(path);
  const temporary = join(directory, `.${basename(path)}.${randomUUID()}.tmp`);
  try {
    const file = await open(temporary, 'wx', options.mode ?? 0o644);
    try {
      await file.writeFile(content);
      // The umask only ever takes bits away; say exactly which there are.
      await file.chmod(options.mode ?? 0o644);
      await file.sync();
    } finally {
      await file.close();
    }
    await options.verify?.(temporary);
    if (options.existing === 'refuse') await link(temporary, path);
    else await rename(temporary, path);
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
  await syncDirectory(directory);
};

export const syncDirectory = async (directory: string): Promise<void> => {
  // Windows has no handle on a directory to sync; its file system journals renames.
  if (process.platform === 'win32') return;
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};
