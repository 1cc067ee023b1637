/**
 * One child process: started without a shell in a process group of its own, so that ending it
 * ends everything it started (npx starts the server as a grandchild).
 */
import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { SallyportError } from '../errors.ts';
import type { Invocation } from './command.ts';

export interface ChildExit {
  readonly code: number | undefined;
  readonly signal: string | undefined;
}

export interface ChildOptions {
  readonly invocation: Invocation;
  readonly environment: Readonly<Record<string, string>>;
  readonly cwd: string | undefined;
  /** Between SIGTERM and SIGKILL. */
  readonly killAfterMs: number;
  readonly onStdout: (chunk: Buffer) => void;
  readonly onStderr: (chunk: Buffer) => void;
  /** Once, after the last output. */
  readonly onExit: (exit: ChildExit) => void;
}

/**
 * @throws SallyportError `ERR_UPSTREAM_UNREACHABLE` when the operating system refuses to start it.
 */
export const startChild = async (options: ChildOptions): Promise<StdioChild> => {
  const { invocation, environment, cwd } = options;
  const child = spawn(invocation.file, [...invocation.args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: environment,
    ...(cwd === undefined ? {} : { cwd }),
    shell: false,
    // POSIX: a new session and process group. Windows has no groups, and a detached child opens a console there.
    detached: process.platform !== 'win32',
    windowsHide: true,
    windowsVerbatimArguments: invocation.verbatim,
  });
  try {
    await once(child, 'spawn');
  } catch (cause) {
    throw new SallyportError(
      'ERR_UPSTREAM_UNREACHABLE',
      `the command ${JSON.stringify(invocation.file)} of the upstream could not be started: check that it may be executed and that its cwd exists`,
      { cause, facts: { command: invocation.file, cwd, reason: (cause as NodeJS.ErrnoException).code } },
    );
  }
  const { pid } = child;
  if (pid === undefined) throw new TypeError('a spawned child has a pid');
  return new StdioChild(child, pid, options);
};

/** How long output may still arrive through pipes that a descendant outside the group holds open. */
const drainMs = 500;

export class StdioChild {
  readonly pid: number;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #killAfterMs: number;
  readonly #gone: Promise<void>;
  #exited = false;
  #ending: Promise<void> | undefined;
  #draining: Promise<unknown> | undefined;

  constructor(child: ChildProcessWithoutNullStreams, pid: number, options: ChildOptions) {
    this.pid = pid;
    this.#child = child;
    this.#killAfterMs = options.killAfterMs;
    guard(pid);
    child.stdout.on('data', options.onStdout);
    child.stderr.on('data', options.onStderr);
    child.on('error', () => undefined);
    // A server that closed one of its pipes cannot be spoken to any more, even if it still runs.
    child.stdin.on('error', () => void this.end());
    child.stdout.on('end', () => void this.end());
    this.#gone = once(child, 'exit').then(async ([code, signal]: unknown[]) => {
      this.#exited = true;
      // What the child leaves behind in its group serves nobody.
      killGroup(pid, 'SIGKILL');
      await this.#closed();
      liveGroups.delete(pid);
      options.onExit({ code: typeof code === 'number' ? code : undefined, signal: typeof signal === 'string' ? signal : undefined });
    });
  }

  /** Resolves when the text is on its way, having waited for the child to take what came before; rejects when the child is gone. */
  async write(text: string): Promise<void> {
    const { stdin } = this.#child;
    while (stdin.writableNeedDrain) {
      this.#draining ??= Promise.race([once(stdin, 'drain'), this.#gone]).finally(() => {
        this.#draining = undefined;
      });
      await this.#draining;
    }
    if (!stdin.writable) throw new Error('the child takes no more input');
    stdin.write(text);
  }

  /** Stops and restarts reading stdout: the child blocks when the pipe is full. */
  pause(paused: boolean): void {
    if (paused && !this.#exited) this.#child.stdout.pause();
    else this.#child.stdout.resume();
  }

  /** Closes stdin, asks with SIGTERM, then insists with SIGKILL. Resolves when nothing is left of the group. */
  end(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async #end(): Promise<void> {
    this.#child.stdin.end();
    this.#child.stdout.resume();
    if (!this.#exited) killGroup(this.pid, 'SIGTERM');
    const insist = setTimeout(() => killGroup(this.pid, 'SIGKILL'), this.#killAfterMs);
    await this.#gone;
    clearTimeout(insist);
  }

  async #closed(): Promise<void> {
    const { stdout, stderr } = this.#child;
    stdout.resume();
    if (stdout.closed && stderr.closed) return;
    const late = setTimeout(() => {
      stdout.destroy();
      stderr.destroy();
    }, drainMs);
    await once(this.#child, 'close');
    clearTimeout(late);
  }
}

const killGroup = (pid: number, signal: 'SIGTERM' | 'SIGKILL'): void => {
  try {
    if (process.platform === 'win32') spawn('taskkill', ['/pid', String(pid), '/t', '/f'], { windowsHide: true, stdio: 'ignore' }).on('error', () => undefined);
    else process.kill(-pid, signal);
  } catch {
    // ESRCH: nothing of the group is left.
  }
};

/** Groups that must not outlive this process, however it ends. */
const liveGroups = new Set<number>();
let guarded = false;

const guard = (pid: number): void => {
  liveGroups.add(pid);
  if (guarded) return;
  guarded = true;
  process.on('exit', () => {
    for (const pid of liveGroups) killGroup(pid, 'SIGKILL');
  });
};
