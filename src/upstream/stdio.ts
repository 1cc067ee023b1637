/**
 * An MCP server started as a child process and spoken to over its stdin and stdout, presented
 * with the semantics of Streamable HTTP, of either era. Every legacy session has a child of its own,
 * and the modern requests of every principal: nothing is shared between principals (mcp.md row 21).
 */
import { Buffer } from 'node:buffer';
import type { Clock, Randomness } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import type { Era } from '../mcp/revisions.ts';
import { abandonedError } from './abandoned.ts';
import type { ResourceLimits } from './resource-limits.ts';
import { probeEras } from './stdio-eras.ts';
import { ChildLauncher } from './stdio-launcher.ts';
import { defaultStdioLimits } from './stdio-limits.ts';
import type { StdioLimits } from './stdio-limits.ts';
import { ModernChildren } from './stdio-modern.ts';
import { Restarts, startKey } from './stdio-restarts.ts';
import { StdioSession } from './stdio-session.ts';
import type { Upstream, UpstreamAnswer, UpstreamRequest } from './upstream.ts';
import type { UpstreamLog } from './upstream-log.ts';

export interface StdioUpstreamOptions {
  readonly name: string;
  /** A program on the PATH or a path; started without a shell. */
  readonly command: string;
  readonly args?: readonly string[] | undefined;
  /** Added to the few variables a child inherits (see child-environment.ts). */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Names of further variables that it inherits. */
  readonly inheritEnv?: readonly string[] | undefined;
  /** What it inherits from. Default: the environment of this process. */
  readonly parentEnv?: Readonly<Record<string, string | undefined>> | undefined;
  readonly cwd?: string | undefined;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly log: UpstreamLog;
  readonly limits?: Partial<StdioLimits> | undefined;
  /** What the server speaks; `auto` (the default) finds out by asking it. */
  readonly era?: 'auto' | Era | 'both' | undefined;
  /** What each process may use of the machine. */
  readonly resourceLimits?: ResourceLimits | undefined;
}

/** @throws SallyportError `ERR_CONFIG_INVALID` when resource limits cannot be enforced on this machine */
export const createStdioUpstream = (options: StdioUpstreamOptions): Upstream => new StdioUpstream(options);

class StdioUpstream implements Upstream {
  readonly name: string;
  readonly #options: StdioUpstreamOptions;
  readonly #limits: StdioLimits;
  readonly #launcher: ChildLauncher;
  readonly #restarts: Restarts;
  readonly #modern: ModernChildren;
  readonly #sessions = new Map<string, StdioSession>();
  #starting = 0;
  #eras: Promise<readonly Era[]> | undefined;

  constructor(options: StdioUpstreamOptions) {
    this.name = options.name;
    this.#options = options;
    const { name, log, clock, env, inheritEnv, parentEnv = process.env, cwd, resourceLimits } = options;
    const limits = { ...defaultStdioLimits, ...options.limits };
    this.#limits = limits;
    this.#launcher = new ChildLauncher({ name, command: options.command, args: options.args ?? [], env, inheritEnv, parentEnv, cwd, resourceLimits, clock, log, limits });
    this.#restarts = new Restarts(clock);
    this.#modern = new ModernChildren({ upstream: name, launcher: this.#launcher, restarts: this.#restarts, limits, log, makeRoom: () => this.#makeRoom() });
  }

  async exchange(request: UpstreamRequest): Promise<UpstreamAnswer> {
    if (this.#launcher.closed) throw this.#launcher.drainingError();
    if (request.era === 'modern') return this.#modern.exchange(request);
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

  async headerless(): Promise<boolean> {
    return true;
  }

  eras(): Promise<readonly Era[]> {
    const { era = 'auto' } = this.#options;
    if (era !== 'auto') return Promise.resolve(era === 'both' ? ['legacy', 'modern'] : [era]);
    // Those who ask meanwhile share the probe; after a failure it is made again.
    this.#eras ??= probeEras({ upstream: this.name, launcher: this.#launcher, restarts: this.#restarts, limits: this.#limits, log: this.#options.log }).catch((error: unknown) => {
      this.#eras = undefined;
      throw error;
    });
    return this.#eras;
  }

  async endPrincipal(principalId: string): Promise<void> {
    const own = [...this.#sessions].filter(([, session]) => session.principalId === principalId);
    await Promise.all([this.#modern.end(principalId), ...own.map(([id]) => this.endSession(id))]);
  }

  async healthy(): Promise<boolean> {
    if (this.#launcher.closed || this.#restarts.waitMs(startKey) > 0) return false;
    try {
      await this.#launcher.check();
      return true;
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    const gone = this.#launcher.close();
    await Promise.all([gone, this.#modern.endAll(), ...[...this.#sessions.keys()].map((id) => this.endSession(id))]);
  }

  /** @throws SallyportError `ERR_LIMIT_SESSIONS` */
  #makeRoom(): void {
    if (this.#sessions.size + this.#starting + this.#modern.size < this.#limits.sessions) return;
    // A session is somebody's until it ends; an idle child of modern requests can be started again at any time.
    if (this.#modern.endIdlest()) return;
    throw new SallyportError('ERR_LIMIT_SESSIONS', 'the upstream has as many sessions as it may: end some, or raise its limit', {
      facts: { upstream: this.name, limit: this.#limits.sessions },
    });
  }

  async #initialize(request: UpstreamRequest): Promise<UpstreamAnswer> {
    if (request.messages.length !== 1) {
      throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'initialize must be sent on its own', { facts: { upstream: this.name } });
    }
    const { id: principalId } = request.principal;
    this.#restarts.check(startKey, { upstream: this.name });
    this.#restarts.check(principalId, { upstream: this.name });
    this.#makeRoom();
    const id = Buffer.from(this.#options.randomness.bytes(16)).toString('base64url');
    this.#starting += 1;
    const session = await this.#start(id, request).finally(() => {
      this.#starting -= 1;
    });
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
    const { log } = this.#options;
    const principalId = request.principal.id;
    const session = new StdioSession({ upstream: this.name, principalId, limits: this.#limits, log });
    const child = await this.#launcher.launch({
      next: 'initialize a new session',
      ending: () => session.dismissed,
      onLine: (line) => {
        const { initialized } = session;
        session.receive(line);
        if (!initialized && session.initialized) this.#restarts.recovered(startKey);
      },
      onExit: (error, startedAt) => {
        this.#sessions.delete(id);
        if (!session.dismissed) this.#restarts.died(session.initialized ? principalId : startKey, startedAt);
        session.finish(error);
      },
    });
    if (request.signal.aborted) {
      session.start(child);
      await session.end(abandonedError(request.signal));
      throw abandonedError(request.signal);
    }
    session.start(child);
    this.#sessions.set(id, session);
    return session;
  }
}
