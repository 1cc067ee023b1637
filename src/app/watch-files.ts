import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';

/** An editor writes a file in several steps; what is read in between would be half of it. */
const settleMs = 100;
/** Network file systems and bind mounts announce nothing. */
const pollMs = 2_000;

/** Calls `onChange` after any of the files was written or replaced. Answers with what ends it. */
export const watchFiles = (paths: readonly string[], onChange: () => void): (() => void) => {
  let settling: NodeJS.Timeout | undefined;
  let seen = new Map<string, string>();
  const changed = (): void => {
    clearTimeout(settling);
    settling = setTimeout(onChange, settleMs);
  };
  const names = new Set(paths.map((path) => basename(path)));
  const watchers: FSWatcher[] = [];
  for (const directory of new Set(paths.map((path) => dirname(path)))) {
    try {
      const watcher = watch(directory, { persistent: false }, (_event, name) => {
        if (name === null || names.has(name)) changed();
      });
      watcher.on('error', () => watcher.close());
      watchers.push(watcher);
    } catch {
      // No more watches to be had: the poll sees the change.
    }
  }
  const look = async (): Promise<void> => {
    const now = new Map(await Promise.all(paths.map(async (path) => [path, await stampOf(path)] as const)));
    const differs = seen.size > 0 && paths.some((path) => seen.get(path) !== now.get(path));
    seen = now;
    if (differs) changed();
  };
  void look();
  const poll = setInterval(() => void look(), pollMs);
  poll.unref();
  return () => {
    clearInterval(poll);
    clearTimeout(settling);
    for (const watcher of watchers) watcher.close();
  };
};

const stampOf = async (path: string): Promise<string> => {
  try {
    const { mtimeMs, size, ino } = await stat(path);
    return `${mtimeMs}:${size}:${ino}`;
  } catch {
    return 'absent';
  }
};
