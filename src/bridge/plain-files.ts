/**
 * The plain names of an identity, `key.pem` and `cert.pem`, for programs that know nothing of `identity.json`.
 * They are links through one link, `current`, so that they change at the same moment.
 */
import { randomUUID } from 'node:crypto';
import { copyFile, readFile, readlink, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { IdentityFile } from './identity.ts';

const currentName = 'current';

/** Whether the plain names say what this pair says. */
export async function isShown(directory: string, file: IdentityFile, pair: string): Promise<boolean> {
  const same = namesOf(file).map((name) => sameContent(join(directory, pair, name), join(directory, name)));
  return (await Promise.all(same)).every(Boolean);
}

/** Lets the plain names lead to this pair. Safe to repeat: each step leaves names that work. */
export async function showPlain(directory: string, file: IdentityFile, pair: string): Promise<void> {
  if (process.platform === 'win32') return copyPlain(directory, file, pair);
  try {
    await linkTo(directory, currentName, pair);
    for (const name of namesOf(file)) await linkTo(directory, name, `${currentName}/${name}`);
  } catch (cause) {
    // A file system without links, such as FAT or some mounts.
    if (!withoutLinks.has((cause as NodeJS.ErrnoException).code ?? '')) throw cause;
    await copyPlain(directory, file, pair);
  }
}

const withoutLinks: ReadonlySet<string> = new Set(['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP']);

const namesOf = (file: IdentityFile): readonly string[] => [file.key, file.certificate, file.ca];

async function linkTo(directory: string, name: string, target: string): Promise<void> {
  const path = join(directory, name);
  if ((await readlink(path).catch(() => undefined)) === target) return;
  const draft = join(directory, `.pair-${randomUUID()}.link`);
  await symlink(target, draft);
  try {
    await rename(draft, path);
  } catch (cause) {
    await rm(draft, { force: true });
    throw cause;
  }
}

/** One after the other: for a moment two halves, which is why our own programs read `identity.json` instead. */
async function copyPlain(directory: string, file: IdentityFile, pair: string): Promise<void> {
  for (const name of namesOf(file)) {
    const from = join(directory, pair, name);
    if (await sameContent(from, join(directory, name))) continue;
    const draft = join(directory, `.pair-${randomUUID()}.copy`);
    await copyFile(from, draft);
    await rename(draft, join(directory, name));
  }
}

const sameContent = (one: string, other: string): Promise<boolean> => Promise.all([readFile(one), readFile(other)]).then(([a, b]) => a.equals(b), () => false);
