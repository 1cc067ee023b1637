/** The files of a data directory, as a backup takes them. */
import { open, readdir, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { SallyportError } from '../errors.ts';
import { isInside } from './records.ts';

export interface DataEntry {
  /** Relative, with slashes. */
  readonly path: string;
  readonly kind: 'file' | 'directory';
  /** Permission bits. */
  readonly mode: number;
}

export interface DataFiles {
  /** Directories before what is in them. */
  readonly entries: readonly DataEntry[];
  /** What is there and is not taken: sockets, links to directories, names that mean something else elsewhere. */
  readonly skipped: readonly string[];
}

/** A data directory holds keys and configuration. Somebody's home directory is not taken along by mistake. */
const mostFiles = 10_000;
export const largestFile = 256 * 1024 * 1024;

/** `leaveOut` are relative paths. A link to a file is taken as that file. */
export const dataFiles = async (directory: string, leaveOut: (path: string) => boolean): Promise<DataFiles> => {
  const entries: DataEntry[] = [];
  const skipped: string[] = [];
  const walk = async (folder: string): Promise<void> => {
    for (const { name, linked } of await namesIn(join(directory, folder))) {
      const path = folder === '' ? name : `${folder}/${name}`;
      if (leaveOut(path)) continue;
      const found = await stat(join(directory, path)).catch(() => undefined);
      // A file that was renamed into its place meanwhile.
      if (found === undefined) continue;
      if (!isInside(path) || !(found.isFile() || (found.isDirectory() && !linked))) {
        skipped.push(path);
        continue;
      }
      if (found.size > largestFile && found.isFile()) throw new SallyportError('ERR_USAGE', `${join(directory, path)} is larger than ${largestFile / 1_048_576} MiB and does not belong into a data directory: move it elsewhere`, { facts: { file: path } });
      entries.push({ path, kind: found.isFile() ? 'file' : 'directory', mode: found.mode & 0o777 });
      if (entries.length > mostFiles) throw new SallyportError('ERR_USAGE', `${directory} holds more than ${mostFiles} files: move what does not belong into a data directory elsewhere`);
      if (found.isDirectory()) await walk(path);
    }
  };
  await walk('');
  return { entries, skipped };
};

const namesIn = async (folder: string): Promise<readonly { readonly name: string; readonly linked: boolean }[]> =>
  (await readdir(folder, { withFileTypes: true })).map((entry) => ({ name: entry.name, linked: entry.isSymbolicLink() })).toSorted((a, b) => (a.name < b.name ? -1 : 1));

const partLength = 48 * 1024;

/** A file in parts; it is the one that was opened, whatever takes its place meanwhile. */
export async function* partsOf(path: string): AsyncGenerator<Uint8Array> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    throw new SallyportError('ERR_USAGE', `${path} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): run the backup as the user that runs Sallyport`, { facts: { file: path }, cause });
  }
  try {
    for (let at = 0; ; ) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(partLength), 0, partLength, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}
