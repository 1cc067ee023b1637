/** The identity directories that arguments stand for: one itself, a folder of them, or a pattern. */
import { glob, readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { hasIdentity } from '../bridge/first-start.ts';

/** Absolute, each once, in order. What holds no identity now is left out: it may hold one later. */
export async function identityDirectories(places: readonly string[], cwd: string): Promise<readonly string[]> {
  const found = new Set<string>();
  for (const place of places) {
    const path = resolve(cwd, place);
    if (await hasIdentity(path)) found.add(path);
    else if (await isDirectory(path)) for (const name of (await readdir(path)).toSorted()) await addIdentity(found, join(path, name));
    else if (/[*?[{]/u.test(place)) await addMatches(found, place, cwd);
  }
  return [...found];
}

async function addMatches(found: Set<string>, pattern: string, cwd: string): Promise<void> {
  const matches: string[] = [];
  for await (const match of glob(pattern, { cwd })) matches.push(resolve(cwd, match));
  for (const match of matches.toSorted()) await addIdentity(found, match);
}

async function addIdentity(found: Set<string>, path: string): Promise<void> {
  if (await hasIdentity(path)) found.add(path);
}

const isDirectory = (path: string): Promise<boolean> => stat(path).then((entry) => entry.isDirectory(), () => false);
