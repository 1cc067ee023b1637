/** Starts the children of one stdio upstream, all in the same way, and knows each until nothing is left of it. */
import { stat } from 'node:fs/promises';
import type { Clock } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import { childEnvironment } from './child-environment.ts';
import { resolveCommand } from './command.ts';
import type { CommandSurroundings, Invocation } from './command.ts';
import { LineReader } from './line-reader.ts';
import { limitedInvocation } from './resource-limits.ts';
import type { LimitedInvocation, ResourceLimits } from './resource-limits.ts';
import { secretsIn } from './secret-redaction.ts';
import { StderrLog } from './stderr-log.ts';
import type { StdioLimits } from './stdio-limits.ts';
import { startChild } from './stdio-process.ts';
import type { ChildExit, StdioChild } from './stdio-process.ts';
import type { UpstreamLog } from './upstream-log.ts';

export interface LauncherOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>> | undefined;
  readonly inheritEnv: readonly string[] | undefined;
  readonly parentEnv: Readonly<Record<string, string | undefined>>;
  readonly cwd: string | undefined;
  readonly resourceLimits: ResourceLimits | undefined;
  readonly clock: Clock;
  readonly log: UpstreamLog;
  readonly limits: StdioLimits;
}

/** What whoever wants a child does with it. */
export interface ChildUse {
  readonly onLine: (line: string) => void;
  /** Once, when it is gone. `startedAt` in milliseconds. */
  readonly onExit: (error: SallyportError, startedAt: number) => void;
  /** Whether it was told to end, so that its end is no news. */
  readonly ending: () => boolean;
  /** What a person can do when it ended, for the message: `initialize a new session`. */
  readonly next: string;
}

export class ChildLauncher {
  readonly #options: LauncherOptions;
  readonly #surroundings: CommandSurroundings;
  readonly #limited: LimitedInvocation;
  readonly #secrets: readonly string[];
  /** Children that were told to end but are not gone yet, too. */
  readonly #children = new Set<StdioChild>();
  readonly #starting = new Set<Promise<StdioChild>>();
  #closed = false;

  /** @throws SallyportError `ERR_CONFIG_INVALID` when its resource limits cannot be enforced here */
  constructor(options: LauncherOptions) {
    this.#options = options;
    this.#limited = limitedInvocation(options.name, options.resourceLimits ?? {});
    const environment = childEnvironment(options.parentEnv, { configured: options.env, inherit: options.inheritEnv });
    this.#surroundings = { cwd: options.cwd ?? process.cwd(), environment, platform: process.platform };
    this.#secrets = secretsIn(environment);
  }

  /**
   * Whether a child could be started now.
   * @throws SallyportError `ERR_UPSTREAM_UNREACHABLE`
   */
  async check(): Promise<Invocation> {
    const { name, cwd } = this.#options;
    if (cwd !== undefined) await checkDirectory(name, cwd);
    return this.#limited(await resolveCommand(this.#options.command, this.#options.args, this.#surroundings));
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** @throws SallyportError `ERR_UPSTREAM_UNREACHABLE`, `ERR_DRAINING` */
  async launch(use: ChildUse): Promise<StdioChild> {
    if (this.#closed) throw this.drainingError();
    const starting = this.#launch(use);
    this.#starting.add(starting);
    const child = await starting.finally(() => this.#starting.delete(starting));
    if (!this.#closed) return child;
    await child.end();
    throw this.drainingError();
  }

  /** Starts no more children; resolves when nothing is left of any. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#starting);
    await Promise.all([...this.#children].map((child) => child.end()));
  }

  drainingError(): SallyportError {
    return new SallyportError('ERR_DRAINING', 'the upstream is being shut down', { facts: { upstream: this.#options.name } });
  }

  async #launch(use: ChildUse): Promise<StdioChild> {
    const { name, log, clock, limits, cwd } = this.#options;
    const lines = new LineReader({
      maxBytes: limits.lineBytes,
      onLine: use.onLine,
      onDropped: (reason, bytes) => log.warn({ upstream: name, reason, bytes }, 'upstream wrote a line that was dropped'),
    });
    const stderr = new StderrLog({ log, clock, facts: { upstream: name }, lineBytes: limits.stderrLineBytes, linesPerMinute: limits.stderrLinesPerMinute, secrets: this.#secrets });
    const startedAt = clock.now().getTime();
    const child = await startChild({
      invocation: await this.check(),
      environment: this.#surroundings.environment,
      cwd,
      killAfterMs: limits.killAfterMs,
      onStdout: (chunk) => lines.push(chunk),
      onStderr: (chunk) => stderr.push(chunk),
      onExit: (exit) => {
        lines.end();
        stderr.end();
        this.#children.delete(child);
        const facts = { upstream: name, pid: child.pid, ...exit, uptimeMs: clock.now().getTime() - startedAt };
        if (use.ending() || this.#closed) log.debug(facts, 'upstream process ended');
        else log.warn(facts, 'upstream process exited');
        use.onExit(this.#exitError(exit, use.next), startedAt);
      },
    });
    this.#children.add(child);
    log.debug({ upstream: name, pid: child.pid }, 'upstream process started');
    return child;
  }

  #exitError({ code, signal }: ChildExit, next: string): SallyportError {
    const { name, command } = this.#options;
    return new SallyportError(
      'ERR_UPSTREAM_EXITED',
      `the upstream's command ${JSON.stringify(command)} ended (${signal ?? `exit code ${code ?? 'unknown'}`}): see what it wrote to stderr in the log, then ${next}`,
      { facts: { upstream: name, command, exitCode: code, signal } },
    );
  }
}

/** Without this, the operating system reports a missing directory as a missing program. */
const checkDirectory = async (upstream: string, cwd: string): Promise<void> => {
  const reason = await stat(cwd).then(
    (found) => (found.isDirectory() ? undefined : 'ENOTDIR'),
    (error: unknown) => (error as NodeJS.ErrnoException).code ?? 'unknown',
  );
  if (reason !== undefined) {
    throw new SallyportError('ERR_UPSTREAM_UNREACHABLE', `the working directory ${JSON.stringify(cwd)} of the upstream cannot be used: create it, or correct cwd in sallyport.yaml`, { facts: { upstream, cwd, reason } });
  }
};
