/** Whoever writes the configuration decides which programs the gateway starts; whoever writes the policy, what is allowed. */
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SallyportError } from '../errors.ts';

export interface Writable {
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
}

/** Of a file and its directory, what others than the owner may write to. Nothing where there are no file modes, nor for a file that is not there. */
export const writableByOthers = async (file: string, platform: NodeJS.Platform = process.platform): Promise<readonly Writable[]> => {
  if (platform === 'win32') return [];
  const directory = dirname(file);
  const entries = await Promise.all([stat(directory), stat(file)]).catch(() => undefined);
  if (entries === undefined) return [];
  const [around, own] = entries.map(({ mode }) => mode & 0o7777) as [number, number];
  // A mode says nothing behind a directory that lets nobody through.
  const passable = (around & 0o011) << 1;
  // In a directory such as /tmp only the owner may replace a file.
  const sticky = (around & 0o1000) !== 0;
  return [
    { path: directory, mode: sticky ? around & ~0o022 : around },
    { path: file, mode: own },
  ].filter(({ mode }) => (mode & 0o022 & passable) !== 0);
};

/** @throws SallyportError `ERR_CONFIG_WRITABLE` */
export const assertOwnerWritesAlone = async (file: string): Promise<void> => {
  const [open] = await writableByOthers(file);
  if (open === undefined) return;
  throw new SallyportError('ERR_CONFIG_WRITABLE', `${open.path} is ${formatMode(open.mode)}: others may write to it, and so decide what the gateway does; see what was written, then run chmod go-w ${open.path}`, { facts: { ...open } });
};

export const formatMode = (mode: number): string => (mode & 0o777).toString(8).padStart(4, '0');
