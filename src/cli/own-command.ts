/** How another program starts this very Sallyport, whatever its PATH holds: both parts are absolute. */
import { existsSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface OwnCommand {
  /** Node. */
  readonly command: string;
  /** The launcher. */
  readonly script: string;
  /** The launcher lies in a place that is emptied now and then. */
  readonly passing: boolean;
}

export async function ownCommand(env: Readonly<Record<string, string | undefined>>): Promise<OwnCommand> {
  // From src/cli in the repository, from dist/src/cli in the package.
  const [script = ''] = ['../../bin/sallyport.js', '../../../bin/sallyport.js'].map((place) => fileURLToPath(new URL(place, import.meta.url))).filter((path) => existsSync(path));
  return { command: await lastingNode(env), script, passing: /[\\/]_npx[\\/]/u.test(script) };
}

/**
 * The name under which this Node is found: package managers move what `process.execPath` names at every
 * update, and keep the link in the PATH.
 */
async function lastingNode(env: Readonly<Record<string, string | undefined>>): Promise<string> {
  const running = await realpath(process.execPath);
  for (const directory of (env['PATH'] ?? '').split(delimiter)) {
    if (!isAbsolute(directory) || /[\\/](?:node_modules|_npx|fnm_multishells)[\\/]/u.test(`${directory}/`)) continue;
    const candidate = join(directory, process.platform === 'win32' ? 'node.exe' : 'node');
    if ((await realpath(candidate).catch(() => undefined)) === running) return candidate;
  }
  return process.execPath;
}
