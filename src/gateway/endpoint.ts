/**
 * One MCP endpoint, `/mcp` or `/NAME/mcp`: takes an HTTP request of a verified peer through
 * head, body, session, decision and upstream to the filtered answer.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { codeOf, SallyportError } from '../errors.ts';
import type { Principal } from '../identity/principal.ts';
import { CodedError } from '../../ca/errors.ts';
import { withoutTasks } from '../mcp/client-capabilities.ts';
import { isRequestId, readMessages } from '../mcp/read-messages.ts';
import type { ReadMessages } from '../mcp/read-messages.ts';
import type { JsonRpcMessage, RequestId } from '../mcp/message.ts';
import { referenceOf } from '../mcp/method-table.ts';
import { assumedRevision, batchAllowed, isKnownRevision } from '../mcp/revisions.ts';
import type { Sealer } from '../mcp/sealing.ts';
import type { VerifiedPeer } from '../tls/verified-peer.ts';
import { jsonRpcError, sendError, sendJson } from './answer.ts';
import { AnswerFilter } from './answer-filter.ts';
import { readBody } from './body.ts';
import type { BodyLimits } from './body.ts';
import { readFront } from './front.ts';
import type { Front, FrontOptions } from './front.ts';
import { isRequest } from './gate.ts';
import type { AuthorizedMessages, Caller, DecidedMessage, Gate } from './gate.ts';
import type { Quota } from './quota.ts';
import type { InFlight, Session, SessionTable } from './sessions.ts';

/** One admitted HTTP exchange on its way to the upstream. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly front: Front;
  readonly caller: Caller;
  readonly principal: Principal;
  readonly roles: readonly string[];
  /** Undefined before `initialize` was answered and for upstreams without sessions. */
  session: Session | undefined;
  /** POST only. */
  readonly call: AuthorizedMessages | undefined;
  /** The body as it came and as it was parsed, for upstreams that take the one or the other. */
  readonly body: ReadMessages | undefined;
  readonly filter: AnswerFilter;
  /** Requests of the MCP server that the client must not see; the leg refuses them on its behalf. */
  readonly dropped: RequestId[];
  /** Aborted when the peer went away or was cut. */
  readonly signal: AbortSignal;
  /** Binds the upstream's new session to the principal; used for the answer to `initialize` only. */
  openSession(upstreamSession: string): Session;
}

/** Carries an admitted exchange to where the MCP server is, and its answer back. */
export interface Leg {
  readonly upstream: string;
  carry(exchange: Exchange): Promise<void>;
  endSession(session: Session): Promise<void>;
}

export interface EndpointOptions {
  readonly leg: Leg;
  readonly gate: Gate;
  readonly sessions: SessionTable;
  readonly quota: Quota;
  readonly sealer: Sealer;
  readonly front: FrontOptions;
  readonly limits: BodyLimits;
  /** For what the peer is not told: constant message, facts as fields. */
  readonly onFailure: (error: unknown, caller: Caller) => void;
}

export class McpEndpoint {
  readonly #options: EndpointOptions;

  constructor(options: EndpointOptions) {
    this.#options = options;
  }

  get upstream(): string {
    return this.#options.leg.upstream;
  }

  /** Never rejects: whatever goes wrong is answered, recorded and logged. */
  async handle(request: IncomingMessage, response: ServerResponse, peer: VerifiedPeer): Promise<void> {
    let caller: Caller = { principal: peer.principal, upstream: this.upstream, session: undefined, address: peer.remoteAddress };
    const releases: (() => void)[] = [];
    const progress = { decided: false };
    let id: RequestId | null = null;
    try {
      const front = readFront(request, this.#options.front);
      const { principal } = peer;
      const take = front.method === 'GET' ? this.#options.quota.takeStream : this.#options.quota.takeRequest;
      releases.push(take.call(this.#options.quota, principal.id));
      const body = front.method === 'POST' ? withoutTasks(readMessages(await readBody(request, this.#options.limits))) : undefined;
      id = firstId(body?.messages);
      const session = this.#session(front, principal, body?.messages);
      caller = { ...caller, session: session?.id };
      checkRevision(front, session, body);
      if (session !== undefined) releases.push(holdOpen(session, front.method === 'POST'));
      if (body === undefined) await this.#withoutBody(request, response, front, caller, session);
      else await this.#post(request, response, front, caller, session, body, progress);
    } catch (error) {
      const code = codeOf(error);
      // The peer went away while its body was read: nobody is left to answer.
      if (code !== 'ERR_HTTP_BODY_INCOMPLETE') this.#options.onFailure(error, caller);
      if (!progress.decided) this.#options.gate.recordRefusal(caller, code, undefined);
      sendError(request, response, error, id ?? idOf(error));
    } finally {
      for (const release of releases) release();
    }
  }

  async #withoutBody(request: IncomingMessage, response: ServerResponse, front: Front, caller: Caller, session: Session | undefined): Promise<void> {
    if (session === undefined) {
      throw new SallyportError('ERR_MCP_SESSION_REQUIRED', 'GET and DELETE need the Mcp-Session-Id of a session: initialize first');
    }
    if (this.#options.gate.decide(caller.principal, { kind: 'connect', upstream: this.upstream }).effect === 'deny') {
      throw new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'the principal has no grant on this upstream any more');
    }
    if (front.method === 'DELETE') {
      this.#options.sessions.end(session, 'deleted');
      response.writeHead(200, { 'content-length': 0 }).end();
      return;
    }
    await this.#carry(request, response, { front, caller, session, call: undefined, body: undefined, pending: new Map(), decisions: [] });
  }

  async #post(request: IncomingMessage, response: ServerResponse, front: Front, caller: Caller, session: Session | undefined, body: ReadMessages, progress: { decided: boolean }): Promise<void> {
    const admission = this.#options.gate.admit(caller, body);
    if (admission.outcome === 'refused') {
      progress.decided = true;
      answerRefused(response, admission.answers, body.batch);
      return;
    }
    if (body.messages.some((message) => message.kind === 'request' && message.method === 'initialize')) this.#options.sessions.assertRoom(caller.principal);
    const pending = new Map<RequestId, InFlight>();
    for (const message of body.messages) {
      if (message.kind === 'request') {
        if (pending.has(message.id) || session?.inFlight.has(message.id) === true) {
          throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'a request with this id is still in flight in this session: use fresh ids');
        }
        pending.set(message.id, { method: message.method, params: message.params });
      } else if (!accountFor(message, session)) {
        if (message.kind === 'response') {
          throw new SallyportError('ERR_MCP_UNSOLICITED', 'no request of this session awaits this response');
        }
        // A stray cancellation or progress note is dropped without a word, as JSON-RPC does with notifications.
        response.writeHead(202, { 'content-length': 0 }).end();
        return;
      }
    }
    if (session !== undefined) remember(session, pending);
    progress.decided = true;
    await this.#carry(request, response, { front, caller, session, call: admission.call, body, pending, decisions: admission.decisions });
  }

  async #carry(
    request: IncomingMessage,
    response: ServerResponse,
    what: Pick<Exchange, 'front' | 'caller' | 'session' | 'call' | 'body'> & { pending: Map<RequestId, InFlight>; decisions: readonly DecidedMessage[] },
  ): Promise<void> {
    const { gate, sealer, sessions, leg } = this.#options;
    const { caller, decisions } = what;
    const { principal } = caller;
    const startedAt = performance.now();
    const open = new Map(decisions.map((decided) => [decided.message.kind === 'request' ? decided.message.id : decided, decided]));
    const finish = (key: RequestId | DecidedMessage, outcome: 'allowed' | 'failed', reason?: string): void => {
      const decided = open.get(key);
      if (decided === undefined || !open.delete(key)) return;
      gate.record(caller, decided, { outcome, reason, durationMs: Math.round((performance.now() - startedAt) * 1000) / 1000 });
    };
    // A long call is recorded while it runs too, so that a crash cannot erase that it began.
    const longRunning = setTimeout(() => {
      for (const decided of open.values()) gate.record(caller, decided, { outcome: 'allowed', reason: 'started' });
    }, longRunningMs);
    const aborting = new AbortController();
    const onClose = (): void => aborting.abort();
    response.once('close', onClose);
    const exchange: Exchange = {
      request, response, ...what, principal, dropped: [],
      roles: gate.grantsOf(principal).roles,
      signal: aborting.signal,
      filter: new AnswerFilter({
        upstream: this.upstream, principal, sealer,
        pending: what.pending,
        session: () => exchange.session,
        allows: (action) => gate.decide(principal, action).effect === 'allow',
        hasClass: (capability) => gate.grantsOf(principal).has(this.upstream, capability),
        onDroppedRequest: (id) => exchange.dropped.push(id),
        onAnswered: (id, failed) => finish(id, 'allowed', failed ? 'upstreamError' : undefined),
      }),
      openSession: (upstreamSession) => {
        exchange.session = sessions.create(principal, { upstream: this.upstream, upstreamSession });
        return exchange.session;
      },
    };
    let failure: string | undefined;
    try {
      await leg.carry(exchange);
      if (what.body === undefined || !what.body.messages.some(isRequest)) for (const key of open.keys()) finish(key, 'allowed');
    } catch (error) {
      failure = codeOf(error);
      if (failure === 'ERR_MCP_SESSION_UNKNOWN' && what.session !== undefined) sessions.end(what.session, 'upstream');
      throw error;
    } finally {
      clearTimeout(longRunning);
      response.off('close', onClose);
      // The client may still fetch a late answer on a resumed stream: then the session keeps what was asked.
      for (const id of what.pending.keys()) if (failure !== undefined) what.session?.inFlight.delete(id);
      for (const key of open.keys()) finish(key, failure === undefined ? 'allowed' : 'failed', failure ?? 'unanswered');
    }
  }

  /** No step is assumed: a request without a session is decided all the same (mcp.md row 6). */
  #session(front: Front, principal: Principal, messages: readonly JsonRpcMessage[] | undefined): Session | undefined {
    const initializing = messages?.some((message) => message.kind === 'request' && message.method === 'initialize') ?? false;
    if (front.sessionId === undefined) return undefined;
    const session = this.#options.sessions.use(front.sessionId, principal, this.upstream);
    if (initializing) throw new SallyportError('ERR_MCP_ALREADY_INITIALIZED', 'this session is initialized: send initialize without Mcp-Session-Id to open another');
    return session;
  }
}

/** Milliseconds after which a call that is still running gets an audit entry of its own. */
const longRunningMs = 1_000;

const firstId = (messages: readonly JsonRpcMessage[] | undefined): RequestId | null => {
  const request = messages?.length === 1 ? messages[0] : undefined;
  return request?.kind === 'request' ? request.id : null;
};

/** Requests whose client went away stay answerable on a resumed stream, the oldest being forgotten first. */
const remember = (session: Session, pending: ReadonlyMap<RequestId, InFlight>): void => {
  for (const [id, inFlight] of pending) session.inFlight.set(id, inFlight);
  for (const id of session.inFlight.keys()) {
    if (session.inFlight.size <= rememberedRequests) return;
    session.inFlight.delete(id);
  }
};

const rememberedRequests = 512;

/** A message that could not be accepted may still have shown its id. */
const idOf = (error: unknown): RequestId | null => {
  const id: unknown = error instanceof CodedError ? error.facts.id : undefined;
  return isRequestId(id) ? id : null;
};

const holdOpen = (session: Session, call: boolean): (() => void) => {
  session.openStreams += 1;
  if (call) session.openCalls += 1;
  return () => {
    session.openStreams -= 1;
    if (call) session.openCalls -= 1;
  };
};

/** Whether a response or notification refers to something this session really has in flight (mcp.md row 24). */
const accountFor = (message: JsonRpcMessage, session: Session | undefined): boolean => {
  if (message.kind === 'response') return session?.awaited.delete(message.id) ?? false;
  if (message.kind === 'request') return true;
  const reference = referenceOf(message);
  if (reference === undefined) return true;
  return (reference.member === 'requestId' ? session?.inFlight.has(reference.id) : session?.progressTokens.has(reference.id)) ?? false;
};

const checkRevision = (front: Front, session: Session | undefined, body: ReadMessages | undefined): void => {
  const named = front.protocolVersion;
  const initializing = body?.messages.some((message) => message.kind === 'request' && message.method === 'initialize') ?? false;
  if (named !== undefined && !isKnownRevision(named)) {
    throw new SallyportError('ERR_MCP_REVISION', 'MCP-Protocol-Version names a revision this gateway does not speak', { facts: { revision: named } });
  }
  const agreed = session?.protocolVersion;
  if (named !== undefined && agreed !== undefined && named !== agreed) {
    throw new SallyportError('ERR_MCP_REVISION', 'MCP-Protocol-Version differs from what initialize agreed on', { facts: { revision: named, agreed } });
  }
  // Without header and session the specification assumes 2025-03-26, the one revision that has batches.
  if (body?.batch === true && (initializing || !batchAllowed(agreed ?? named ?? assumedRevision))) {
    throw new SallyportError('ERR_MCP_BATCH', 'this protocol revision has no batches: send one message per request');
  }
};

const answerRefused = (response: ServerResponse, answers: readonly { id: RequestId; code: Parameters<typeof jsonRpcError>[1] }[], batch: boolean): void => {
  const texts = answers.map(({ id, code }) => jsonRpcError(id, code));
  if (texts.length === 0) response.writeHead(202, { 'content-length': 0 }).end();
  else sendJson(response, 200, batch ? `[${texts.join(',')}]` : (texts[0] ?? ''));
};
