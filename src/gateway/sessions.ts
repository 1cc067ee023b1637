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
  /** The MCP client takes the request back: there may never be an answer to end its exchange. */
  onCancelled?: () => void;
  /** Nobody waits for its answer any more, and it is over: answered all the same, cancelled, forgotten or ended with its session. */
  onSettled?: () => void;
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
  /** HTTP requests of any kind that are open now, to be ended with the session; with one open it is not idle. */
  readonly exchanges: Set<(reason: SallyportError) => void>;
  /** Requests of the MCP client awaiting an answer; a late answer on a resumed stream is filtered by what was asked. */
  readonly inFlight: Map<RequestId, InFlight>;
  /** Requests of the MCP server awaiting the client's response, each answerable once, with the progress token it put into them. */
  readonly awaited: Map<RequestId, RequestId | undefined>;
  /** Resources it subscribed to, each with what gives its place in the quota back. */
  readonly subscribed: Map<string, () => void>;
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
  /** Sessions open and about to open. */
  readonly #byPrincipal = new Map<string, number>();
  readonly #byCertificate = new Map<string, Set<Session>>();
  readonly #sweeper: NodeJS.Timeout;

  constructor(options: SessionTableOptions) {
    this.#options = options;
    this.#sweeper = setInterval(() => this.#sweep(), Math.min(60_000, Math.max(1_000, options.limits.sessionIdleMs / 4)));
    this.#sweeper.unref();
  }

  get size(): number {
    return this.#byId.size;
  }

  /**
   * Keeps a place for a session that is about to open.
   * @throws SallyportError `ERR_LIMIT_SESSIONS`
   * @returns what gives the place back, once
   */
  reserve(principal: Principal): () => void {
    const held = this.#byPrincipal.get(principal.id) ?? 0;
    if (held >= this.#options.limits.sessionsPerPrincipal) {
      throw new SallyportError('ERR_LIMIT_SESSIONS', 'the principal holds as many sessions as it may: end one with DELETE or raise gateway.limits.sessionsPerPrincipal', {
        facts: { principal: principal.id, sessionsPerPrincipal: this.#options.limits.sessionsPerPrincipal },
      });
    }
    this.#byPrincipal.set(principal.id, held + 1);
    let given = false;
    return () => {
      if (!given) this.#giveBack(principal.id);
      given = true;
    };
  }

  create(principal: Principal, facts: { upstream: string; upstreamSession: string }): Session {
    const session: Session = {
      id: Buffer.from(this.#options.randomness.bytes(24)).toString('base64url'),
      principalId: principal.id,
      ...facts,
      protocolVersion: undefined,
      lastCertificate: { issuerId: principal.issuerId, serial: principal.serial },
      lastUsedAt: this.#now(),
      exchanges: new Set(),
      inFlight: new Map(),
      awaited: new Map(),
      subscribed: new Map(),
    };
    this.#byId.set(session.id, session);
    this.#byPrincipal.set(principal.id, (this.#byPrincipal.get(principal.id) ?? 0) + 1);
    add(this.#byCertificate, keyOf(session), session);
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
      remove(this.#byCertificate, keyOf(session), session);
      session.lastCertificate = { issuerId: principal.issuerId, serial: principal.serial };
      add(this.#byCertificate, keyOf(session), session);
    }
    return session;
  }

  /** Whether it has not ended. */
  holds(session: Session): boolean {
    return this.#byId.get(session.id) === session;
  }

  /** Ends a session and every exchange of it, which learn `reason`. */
  end(session: Session, cause: SessionEnd, reason: SallyportError = sessionEnded()): void {
    if (!this.#byId.delete(session.id)) return;
    this.#giveBack(session.principalId);
    remove(this.#byCertificate, keyOf(session), session);
    for (const abort of session.exchanges) abort(reason);
    for (const id of session.inFlight.keys()) settle(session, id);
    for (const give of session.subscribed.values()) give();
    session.subscribed.clear();
    this.#options.onEnd(session, cause);
  }

  /** Ends the sessions a certificate used last, once it has lost its right. */
  endByCertificate(issuerId: IssuerId, serial: SerialHex, reason: SallyportError): number {
    const sessions = [...(this.#byCertificate.get(`${issuerId}:${serial}`) ?? [])];
    for (const session of sessions) this.end(session, 'revoked', reason);
    return sessions.length;
  }

  /** Certificates that used some session last. */
  certificates(): readonly Session['lastCertificate'][] {
    return [...this.#byCertificate.values()].flatMap(([session]) => (session === undefined ? [] : [session.lastCertificate]));
  }

  closeAll(): void {
    clearInterval(this.#sweeper);
    for (const session of this.#byId.values()) this.end(session, 'closed');
  }

  #sweep(): void {
    const oldest = this.#now() - this.#options.limits.sessionIdleMs;
    for (const session of this.#byId.values()) {
      if (session.exchanges.size === 0 && session.lastUsedAt < oldest) this.end(session, 'idle');
    }
  }

  #giveBack(principalId: string): void {
    const left = (this.#byPrincipal.get(principalId) ?? 1) - 1;
    if (left === 0) this.#byPrincipal.delete(principalId);
    else this.#byPrincipal.set(principalId, left);
  }

  #now(): number {
    return this.#options.clock.now().getTime();
  }
}

/** A request of the session is over. */
export const settle = ({ inFlight }: Pick<Session, 'inFlight'>, id: RequestId): void => {
  inFlight.get(id)?.onSettled?.();
  inFlight.delete(id);
};

const keyOf = ({ lastCertificate }: Session): string => `${lastCertificate.issuerId}:${lastCertificate.serial}`;

const add = (sets: Map<string, Set<Session>>, key: string, session: Session): void => {
  const set = sets.get(key);
  if (set === undefined) sets.set(key, new Set([session]));
  else set.add(session);
};

const remove = (sets: Map<string, Set<Session>>, key: string, session: Session): void => {
  const set = sets.get(key);
  set?.delete(session);
  if (set?.size === 0) sets.delete(key);
};

const sessionEnded = (): SallyportError => new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'the session has ended: initialize a new one');
