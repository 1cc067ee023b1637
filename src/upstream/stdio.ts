/**
 * An MCP server started as a child process and spoken to over its stdin and stdout, presented
 * with the semantics of Streamable HTTP (revisions 2025-03-26 to 2025-11-25).
 * Every session has a child of its own: nothing is shared between principals or sessions.
 */
import { Buffer } from 'node:buffer';
import type { Clock, Randomness } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import { abandonedError } from './abandoned.ts';
import { childEnvironment } from './child-environment.ts';
import { resolveCommand } from './command.ts';
import type { CommandSurroundings } from './command.ts';
import { LineReader } from './line-reader.ts';
import { StderrLog } from './stderr-log.ts';
import { defaultStdioLimits } from './stdio-limits.ts';
import type { StdioLimits } from './stdio-limits.ts';
import { startChild } from './stdio-process.ts';
import type { ChildExit, StdioChild } from './stdio-process.ts';
import { StdioSession } from './stdio-session.ts';
import type { Era } from '../mcp/revisions.ts';
import type { Upstream, UpstreamAnswer, UpstreamRequest } from './upstream.ts';
import type { UpstreamLog } from './upstream-log.ts';

export interface StdioUpstreamOptions {
  readonly name: string;
  /** A program on the PATH or a path; started without a shell. */
  readonly command: string;
  readonly args?: readonly string[] | undefined;
  /** Added to the few variables a child inherits (see child-environment.ts). */
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly log: UpstreamLog;
  readonly limits?: Partial<StdioLimits> | undefined;
}

export const createStdioUpstream = (options: StdioUpstreamOptions): Upstream => new StdioUpstream(options);

class StdioUpstream implements Upstream {
  readonly name: string;
  readonly #options: StdioUpstreamOptions;
  readonly #limits: StdioLimits;
  readonly #surroundings: CommandSurroundings;
  readonly #sessions = new Map<string, StdioSession>();
  /** Children that were told to end but are not gone yet, too. */
  readonly #children = new Set<StdioChild>();
  readonly #starting = new Set<Promise<StdioSession>>();
  #closed = false;

  constructor(options: StdioUpstreamOptions) {
    this.name = options.name;
    this.#options = options;
    this.#limits = { ...defaultStdioLimits, ...options.limits };
    this.#surroundings = {
      cwd: options.cwd ?? process.cwd(),
      environment: childEnvironment(process.env, options.env),
      platform: process.platform,
    };
  }

  async exchange(request: UpstreamRequest): Promise<UpstreamAnswer> {
    if (this.#closed) throw this.#drainingError();
    const initializes = request.messages.some((message) => message.kind === 'request' && message.method === 'initialize');
    if (request.session === undefined) {
      if (request.method === 'POST' && initializes) return this.#initialize(request);
      throw new SallyportError('ERR_MCP_SESSION_REQUIRED', 'a stdio upstream is used within a session: initialize first, then send its Mcp-Session-Id', {
        facts: { upstream: this.name },
      });
    }
    const session = this.#sessions.get(request.session);
    // mcp.md row 21: the gateway has checked whose session it is; a child is worth checking twice.
    if (session === undefined || session.ended || session.principalId !== request.principal.id) {
      throw new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'the session has ended: initialize a new one', { facts: { upstream: this.name } });
    }
    if (initializes) throw new SallyportError('ERR_MCP_ALREADY_INITIALIZED', 'the session is initialized already', { facts: { upstream: this.name } });
    switch (request.method) {
      case 'POST':
        return session.post(request);
      case 'GET':
        return session.get(request);
      case 'DELETE':
        await this.endSession(request.session);
        return { kind: 'empty', status: 200 };
    }
  }

  async endSession(id: string): Promise<void> {
    const session = this.#sessions.get(id);
    this.#sessions.delete(id);
    await session?.end(new SallyportError('ERR_UPSTREAM_EXITED', 'the session was ended: initialize a new one', { facts: { upstream: this.name } }));
  }

  async eras(): Promise<readonly Era[]> {
    return ['legacy'];
  }

  async endPrincipal(principalId: string): Promise<void> {
    const own = [...this.#sessions].filter(([, session]) => session.principalId === principalId);
    await Promise.all(own.map(([id]) => this.endSession(id)));
  }

  async healthy(): Promise<boolean> {
    if (this.#closed) return false;
    try {
      await this.#resolve();
      return true;
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#starting);
    await Promise.all([...this.#sessions.keys()].map((id) => this.endSession(id)));
    await Promise.all([...this.#children].map((child) => child.end()));
  }

  #resolve(): ReturnType<typeof resolveCommand> {
    return resolveCommand(this.#options.command, this.#options.args ?? [], this.#surroundings);
  }

  async #initialize(request: UpstreamRequest): Promise<UpstreamAnswer> {
    if (request.messages.length !== 1) {
      throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'initialize must be sent on its own', { facts: { upstream: this.name } });
    }
    if (this.#sessions.size + this.#starting.size >= this.#limits.sessions) {
      throw new SallyportError('ERR_LIMIT_SESSIONS', 'the upstream has as many sessions as it may: end some, or raise its limit', {
        facts: { upstream: this.name, limit: this.#limits.sessions },
      });
    }
    const id = Buffer.from(this.#options.randomness.bytes(16)).toString('base64url');
    const starting = this.#start(id, request);
    this.#starting.add(starting);
    const session = await starting.finally(() => this.#starting.delete(starting));
    try {
      const answer = await session.post(request);
      return session.refused ? answer : { ...answer, session: id };
    } catch (error) {
      // Nobody knows the session's id, so nobody could end it.
      await this.endSession(id);
      throw error;
    }
  }

  async #start(id: string, request: UpstreamRequest): Promise<StdioSession> {
    const { log, clock } = this.#options;
    const session = new StdioSession({ upstream: this.name, principalId: request.principal.id, limits: this.#limits, log });
    const lines = new LineReader({
      maxBytes: this.#limits.lineBytes,
      onLine: (line) => session.receive(line),
      onDropped: (reason, bytes) => log.warn({ upstream: this.name, reason, bytes }, 'upstream wrote a line that was dropped'),
    });
    const stderr = new StderrLog({ log, clock, facts: { upstream: this.name }, lineBytes: this.#limits.stderrLineBytes, linesPerMinute: this.#limits.stderrLinesPerMinute });
    const startedAt = clock.now().getTime();
    const child = await startChild({
      invocation: await this.#resolve(),
      environment: this.#surroundings.environment,
      cwd: this.#options.cwd,
      killAfterMs: this.#limits.killAfterMs,
      onStdout: (chunk) => lines.push(chunk),
      onStderr: (chunk) => stderr.push(chunk),
      onExit: (exit) => {
        lines.end();
        stderr.end();
        this.#children.delete(child);
        this.#sessions.delete(id);
        const facts = { upstream: this.name, pid: child.pid, ...exit, uptimeMs: clock.now().getTime() - startedAt };
        if (session.ended) log.debug(facts, 'upstream process ended');
        else log.warn(facts, 'upstream process exited');
        session.finish(this.#exitError(exit));
      },
    });
    this.#children.add(child);
    log.debug({ upstream: this.name, pid: child.pid }, 'upstream process started');
    if (request.signal.aborted || this.#closed) {
      await child.end();
      throw this.#closed ? this.#drainingError() : abandonedError(request.signal);
    }
    session.start(child);
    this.#sessions.set(id, session);
    return session;
  }

  #drainingError(): SallyportError {
    return new SallyportError('ERR_DRAINING', 'the upstream is being shut down', { facts: { upstream: this.name } });
  }

  #exitError({ code, signal }: ChildExit): SallyportError {
    return new SallyportError(
      'ERR_UPSTREAM_EXITED',
      `the upstream's command ${JSON.stringify(this.#options.command)} ended (${signal ?? `exit code ${code ?? 'unknown'}`}): see what it wrote to stderr in the log, then initialize a new session`,
      { facts: { upstream: this.name, command: this.#options.command, exitCode: code, signal } },
    );
  }
}
