/**
 * The children of modern requests, one for each principal (mcp.md row 21): started by its first request,
 * ended when it has been idle, when it lost its right, and with the upstream.
 */
import { SallyportError } from '../errors.ts';
import { abandonedError } from './abandoned.ts';
import { readChildLine } from './child-message.ts';
import { discoverId, discoverLine } from './stdio-asking.ts';
import type { ChildLauncher } from './stdio-launcher.ts';
import type { StdioLimits } from './stdio-limits.ts';
import { ModernChannel } from './stdio-modern-channel.ts';
import type { StdioChild } from './stdio-process.ts';
import { startKey } from './stdio-restarts.ts';
import type { Restarts } from './stdio-restarts.ts';
import type { UpstreamAnswer, UpstreamRequest } from './upstream.ts';
import type { UpstreamLog } from './upstream-log.ts';

export interface ModernChildrenOptions {
  readonly upstream: string;
  readonly launcher: ChildLauncher;
  readonly restarts: Restarts;
  readonly limits: StdioLimits;
  readonly log: UpstreamLog;
  /** @throws SallyportError `ERR_LIMIT_SESSIONS` when no further child may be started */
  readonly makeRoom: () => void;
}

interface Member {
  /** Rejects when it could not be started. */
  readonly ready: Promise<ModernChannel>;
  /** Requests that are about to be posted. */
  waiting: number;
  channel: ModernChannel | undefined;
  child: StdioChild | undefined;
  dismissed: boolean;
}

export class ModernChildren {
  readonly #options: ModernChildrenOptions;
  readonly #members = new Map<string, Member>();

  constructor(options: ModernChildrenOptions) {
    this.#options = options;
  }

  /** Children running or about to. */
  get size(): number {
    return this.#members.size;
  }

  async exchange(request: UpstreamRequest): Promise<UpstreamAnswer> {
    const { signal, principal } = request;
    if (signal.aborted) throw abandonedError(signal);
    const member = this.#memberOf(principal.id);
    member.waiting += 1;
    let posted: Promise<UpstreamAnswer>;
    try {
      // The child goes on starting for whoever else waits for it.
      posted = (await abandonable(member.ready, signal)).post(request);
    } finally {
      member.waiting -= 1;
    }
    return posted;
  }

  /** Ends the one that has been idle for longest. False: every one is at work. */
  endIdlest(): boolean {
    const idle = [...this.#members].find(([, member]) => isIdle(member));
    if (idle === undefined) return false;
    void this.end(idle[0]);
    return true;
  }

  /** Streams end before it returns; resolves when nothing is left of the child. */
  async end(principalId: string): Promise<void> {
    const member = this.#members.get(principalId);
    if (member === undefined) return;
    this.#members.delete(principalId);
    member.dismissed = true;
    member.channel?.finish(new SallyportError('ERR_UPSTREAM_EXITED', 'the upstream process of this principal was ended: ask again', { facts: { upstream: this.#options.upstream } }), 'end');
    await member.child?.end();
    await member.ready.catch(() => undefined);
  }

  async endAll(): Promise<void> {
    await Promise.all([...this.#members.keys()].map((principalId) => this.end(principalId)));
  }

  #memberOf(principalId: string): Member {
    const existing = this.#members.get(principalId);
    if (existing !== undefined && existing.channel?.ended !== true) {
      // The most recently used are last.
      this.#members.delete(principalId);
      this.#members.set(principalId, existing);
      return existing;
    }
    const { restarts, upstream, makeRoom } = this.#options;
    restarts.check(startKey, { upstream });
    restarts.check(principalId, { upstream });
    this.#members.delete(principalId);
    makeRoom();
    const { promise, resolve, reject } = Promise.withResolvers<ModernChannel>();
    const member: Member = { ready: promise, waiting: 0, channel: undefined, child: undefined, dismissed: false };
    this.#members.set(principalId, member);
    this.#start(principalId, member).then(resolve, (error: unknown) => {
      this.#remove(principalId, member);
      reject(error as Error);
    });
    // Whoever asked for it may be gone.
    promise.catch(() => undefined);
    return member;
  }

  async #start(principalId: string, member: Member): Promise<ModernChannel> {
    const { upstream, launcher, restarts, limits, log } = this.#options;
    const answered = Promise.withResolvers<void>();
    answered.promise.catch(() => undefined);
    const child = await launcher.launch({
      next: 'ask again',
      ending: () => member.dismissed,
      onLine: (line) => {
        if (member.channel !== undefined) member.channel.receive(line);
        else if (readChildLine(line)?.some((message) => message.kind === 'response' && message.id === discoverId) === true) answered.resolve();
      },
      onExit: (error, startedAt) => {
        // Before it answered us it had seen nothing of its principal, so nobody can start it.
        if (!member.dismissed) restarts.died(member.channel === undefined ? startKey : principalId, startedAt);
        this.#remove(principalId, member);
        member.channel?.finish(error, 'fail');
        answered.reject(error);
      },
    });
    member.child = child;
    if (member.dismissed) {
      await child.end();
      throw new SallyportError('ERR_UPSTREAM_EXITED', 'the upstream process of this principal was ended: ask again', { facts: { upstream } });
    }
    const late = setTimeout(() => {
      answered.reject(new SallyportError('ERR_UPSTREAM_TIMEOUT', 'the upstream does not answer server/discover: see what it wrote to stderr in the log', { facts: { upstream } }));
      void child.end();
    }, limits.eraStartMs);
    await child.write(discoverLine()).catch(() => undefined);
    await answered.promise.finally(() => clearTimeout(late));
    restarts.recovered(startKey);
    const channel = new ModernChannel({ upstream, child, limits, log, onIdle: () => {
        if (isIdle(member)) void this.end(principalId);
      } });
    member.channel = channel;
    return channel;
  }

  #remove(principalId: string, member: Member): void {
    if (this.#members.get(principalId) === member) this.#members.delete(principalId);
  }
}

const isIdle = ({ channel, waiting }: Member): boolean => channel?.idle === true && waiting === 0;

const abandonable = async <T>(promise: Promise<T>, signal: AbortSignal): Promise<T> => {
  const { promise: abandoned, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(abandonedError(signal));
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, abandoned]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
};
