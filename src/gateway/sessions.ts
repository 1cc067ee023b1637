/**
 * MCP sessions as the gateway hands them out: its own ids, bound to a principal and an upstream.
 * A renewed certificate keeps the session, since it belongs to the principal; a revoked one ends
 * the sessions that it used last.
 */
import type { Clock, IssuerId, Randomness, SerialHex } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import type { Principal } from '../identity/principal.ts';
import type { RequestId } from '../mcp/message.ts';

/** A request of the session that the upstream has not answered yet. */
export interface InFlight {
  readonly method: string;
  readonly params: Readonly<Record<string, unknown>> | undefined;
}

export interface Session {
  /** What the MCP client knows. */
  readonly id: string;
  readonly principalId: string;
  readonly upstream: string;
  /** What the upstream knows; never leaves the gateway. */
  readonly upstreamSession: string;
  /** What `initialize` agreed on; undefined until its answer was seen. */
  protocolVersion: string | undefined;
  /** The certificate that used the session last. */
  lastCertificate: { readonly issuerId: IssuerId; readonly serial: SerialHex };
  lastUsedAt: number;
  /** HTTP requests of any kind that are open now; such a session is not idle. */
  openStreams: number;
  /** Of those, POSTs. */
  openCalls: number;
  /** Requests of the MCP client awaiting an answer; a late answer on a resumed stream is filtered by what was asked. */
  readonly inFlight: Map<RequestId, InFlight>;
  /** Requests of the MCP server awaiting the client's response, each answerable once. */
  readonly awaited: Set<RequestId>;
  /** Progress tokens the MCP server put into its requests. */
  readonly progressTokens: Set<RequestId>;
}

export interface SessionLimits {
  readonly sessionsPerPrincipal: number;
  readonly sessionIdleMs: number;
}

export interface SessionTableOptions {
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly limits: SessionLimits;
  /** Called once for every session that ended, for whatever cause. */
  readonly onEnd: (session: Session, cause: SessionEnd) => void;
}

export type SessionEnd = 'deleted' | 'idle' | 'revoked' | 'upstream' | 'closed';

export class SessionTable {
  readonly #options: SessionTableOptions;
  readonly #byId = new Map<string, Session>();
  readonly #byPrincipal = new Map<string, Set<Session>>();
  readonly #sweeper: NodeJS.Timeout;

  constructor(options: SessionTableOptions) {
    this.#options = options;
    this.#sweeper = setInterval(() => this.#sweep(), Math.min(60_000, Math.max(1_000, options.limits.sessionIdleMs / 4)));
    this.#sweeper.unref();
  }

  get size(): number {
    return this.#byId.size;
  }

  /** @throws SallyportError `ERR_LIMIT_SESSIONS` */
  assertRoom(principal: Principal): void {
    if ((this.#byPrincipal.get(principal.id)?.size ?? 0) >= this.#options.limits.sessionsPerPrincipal) {
      throw new SallyportError('ERR_LIMIT_SESSIONS', 'the principal holds as many sessions as it may: end one with DELETE or raise gateway.limits.sessionsPerPrincipal', {
        facts: { principal: principal.id, sessionsPerPrincipal: this.#options.limits.sessionsPerPrincipal },
      });
    }
  }

  create(principal: Principal, facts: { upstream: string; upstreamSession: string }): Session {
    const session: Session = {
      id: Buffer.from(this.#options.randomness.bytes(24)).toString('base64url'),
      principalId: principal.id,
      ...facts,
      protocolVersion: undefined,
      lastCertificate: { issuerId: principal.issuerId, serial: principal.serial },
      lastUsedAt: this.#now(),
      openStreams: 0,
      openCalls: 0,
      inFlight: new Map(),
      awaited: new Set(),
      progressTokens: new Set(),
    };
    this.#byId.set(session.id, session);
    const own = this.#byPrincipal.get(principal.id);
    if (own === undefined) this.#byPrincipal.set(principal.id, new Set([session]));
    else own.add(session);
    return session;
  }

  /**
   * The session of that id if it belongs to this principal and upstream; a foreign one is answered
   * exactly as an unknown one (mcp.md row 8).
   * @throws SallyportError `ERR_MCP_SESSION_UNKNOWN`
   */
  use(id: string, principal: Principal, upstream: string): Session {
    const session = this.#byId.get(id);
    if (session === undefined || session.principalId !== principal.id || session.upstream !== upstream) {
      throw new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'no session of this principal has that id: initialize again');
    }
    session.lastUsedAt = this.#now();
    if (session.lastCertificate.serial !== principal.serial || session.lastCertificate.issuerId !== principal.issuerId) {
      session.lastCertificate = { issuerId: principal.issuerId, serial: principal.serial };
    }
    return session;
  }

  end(session: Session, cause: SessionEnd): void {
    if (!this.#byId.delete(session.id)) return;
    const own = this.#byPrincipal.get(session.principalId);
    own?.delete(session);
    if (own?.size === 0) this.#byPrincipal.delete(session.principalId);
    this.#options.onEnd(session, cause);
  }

  /** Ends the sessions a revoked certificate used last. The principal's own id narrows the search. */
  endByCertificate(issuerId: IssuerId, serial: SerialHex, cause: SessionEnd = 'revoked'): number {
    let ended = 0;
    for (const session of this.#byId.values()) {
      if (session.lastCertificate.serial !== serial || session.lastCertificate.issuerId !== issuerId) continue;
      this.end(session, cause);
      ended += 1;
    }
    return ended;
  }

  /** Whether the answer to some request is still awaited by an open HTTP request. */
  hasCalls(): boolean {
    for (const session of this.#byId.values()) if (session.openCalls > 0) return true;
    return false;
  }

  closeAll(): void {
    clearInterval(this.#sweeper);
    for (const session of this.#byId.values()) this.end(session, 'closed');
  }

  #sweep(): void {
    const oldest = this.#now() - this.#options.limits.sessionIdleMs;
    for (const session of this.#byId.values()) {
      if (session.openStreams === 0 && session.lastUsedAt < oldest) this.end(session, 'idle');
    }
  }

  #now(): number {
    return this.#options.clock.now().getTime();
  }
}
