/**
 * Finds the program of a configured command the way a shell would, so that it can be started
 * without one, and so that a missing one is named before anything is started.
 */
import { access, constants, stat } from 'node:fs/promises';
import { delimiter, isAbsolute, join, resolve } from 'node:path';
import { SallyportError } from '../errors.ts';

export interface CommandSurroundings {
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly platform: NodeJS.Platform;
}

/** What `spawn` is given. `verbatim`: the arguments are quoted already (Windows batch files only). */
export interface Invocation {
  readonly file: string;
  readonly args: readonly string[];
  readonly verbatim: boolean;
}

/**
 * @throws SallyportError `ERR_UPSTREAM_UNREACHABLE` when there is no such program.
 */
export const resolveCommand = async (command: string, args: readonly string[], surroundings: CommandSurroundings): Promise<Invocation> => {
  for (const candidate of candidates(command, surroundings)) {
    if (await isExecutable(candidate)) return invocationOf(candidate, args, surroundings);
  }
  throw new SallyportError(
    'ERR_UPSTREAM_UNREACHABLE',
    `the command ${JSON.stringify(command)} of the upstream was not found: install it, or give its full path in sallyport.yaml`,
    { facts: { command } },
  );
};

const candidates = (command: string, { cwd, environment, platform }: CommandSurroundings): string[] => {
  const windows = platform === 'win32';
  const isPath = command.includes('/') || (windows && command.includes('\\'));
  const bases = isPath
    ? [isAbsolute(command) ? command : resolve(cwd, command)]
    : pathOf(environment, windows).map((directory) => join(resolve(cwd, directory), command));
  if (!windows) return bases;
  const extensions = (environment['PATHEXT'] ?? '.COM;.EXE;.BAT;.CMD').split(';').filter((extension) => extension !== '');
  return bases.flatMap((base) => (/\.[^.\\/]+$/u.test(base) ? [base] : extensions.map((extension) => base + extension.toLowerCase())));
};

const pathOf = (environment: Readonly<Record<string, string>>, windows: boolean): string[] => {
  const name = windows ? Object.keys(environment).find((key) => key.toUpperCase() === 'PATH') : 'PATH';
  const path = name === undefined ? undefined : environment[name];
  // An empty element of PATH would mean the working directory: never run what happens to lie there.
  return (path ?? '').split(delimiter).filter((directory) => directory !== '');
};

const isExecutable = async (file: string): Promise<boolean> => {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
};

/**
 * Batch files (npx.cmd) need cmd.exe. Its quoting is the operator's configuration only: nothing an
 * agent sends ever becomes an argument.
 */
const invocationOf = (file: string, args: readonly string[], { environment, platform }: CommandSurroundings): Invocation => {
  if (platform !== 'win32' || !/\.(?:cmd|bat)$/iu.test(file)) return { file, args, verbatim: false };
  const line = [file, ...args].map(quoteForCmd).join(' ');
  return { file: environment['ComSpec'] ?? 'cmd.exe', args: ['/d', '/s', '/c', `"${line}"`], verbatim: true };
};

/** Quoted for the program's own parsing, then every character cmd.exe could act on is escaped. */
const quoteForCmd = (argument: string): string => {
  const quoted = `"${argument.replace(/(\\*)"/gu, String.raw`$1$1\"`).replace(/(\\*)$/u, '$1$1')}"`;
  return quoted.replace(/[()\][%!^"`<>&|;, *?]/gu, '^$&');
};
