/**
 * One MCP endpoint, `/mcp` or `/NAME/mcp`: takes an HTTP request of a verified peer through
 * head, body, session, decision and upstream to the filtered answer.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, SallyportError } from '../errors.ts';
import { CodedError } from '../../ca/errors.ts';
import { withoutTasks } from '../mcp/client-capabilities.ts';
import { subscriptionIdKey } from '../mcp/envelope.ts';
import { classify, modernRevisions } from '../mcp/era.ts';
import type { Classified } from '../mcp/era.ts';
import { isRequestId, readMessages } from '../mcp/read-messages.ts';
import type { ReadMessages } from '../mcp/read-messages.ts';
import type { JsonRpcMessage, RequestId } from '../mcp/message.ts';
import { referenceOf } from '../mcp/method-table.ts';
import { assumedRevision, batchAllowed, isKnownRevision } from '../mcp/revisions.ts';
import type { Era } from '../mcp/revisions.ts';
import { withParams } from '../mcp/rewrite.ts';
import type { Sealer } from '../mcp/sealing.ts';
import { allowedSubscription, filterOf } from '../mcp/subscriptions.ts';
import type { Principal } from '../identity/principal.ts';
import type { VerifiedPeer } from '../tls/verified-peer.ts';
import { endStream, jsonRpcError, sendError, sendJson } from './answer.ts';
import { AnswerFilter } from './answer-filter.ts';
import { readBody } from './body.ts';
import { startCallDeadline } from './call-deadline.ts';
import type { BodyLimits } from './body.ts';
import { readFront } from './front.ts';
import type { Front, FrontOptions } from './front.ts';
import { CallRecord } from './call-record.ts';
import type { Caller, DecidedMessage, Gate } from './gate.ts';
import type { Exchange, Leg } from './exchange.ts';
import { isInitialize } from './exchange.ts';
import type { Quota } from './quota.ts';
import type { RoleLimits } from './role-limits.ts';
import type { InFlight, Session, SessionTable } from './sessions.ts';

export interface EndpointOptions {
  readonly leg: Leg;
  readonly gate: Gate;
  readonly sessions: SessionTable;
  readonly quota: Quota;
  readonly roleLimits: RoleLimits;
  readonly sealer: Sealer;
  readonly front: FrontOptions;
  readonly limits: BodyLimits & {
    /** Milliseconds that a call may run in all. */
    readonly callTimeoutMs: number;
  };
  /** Requests of another era are refused. */
  readonly eras: 'legacy' | 'modern' | 'both';
  /** A principal was let through without a session, so that what it leaves behind can be ended with its certificate. */
  readonly onModern: (principal: Principal) => void;
  /** For what the peer is not told: constant message, facts as fields. */
  readonly onFailure: (error: unknown, caller: Caller) => void;
}

export class McpEndpoint {
  readonly #options: EndpointOptions;
  /** Ends a listening stream in good order. */
  readonly #listening = new Set<() => Promise<void>>();

  constructor(options: EndpointOptions) {
    this.#options = options;
  }

  get upstream(): string {
    return this.#options.leg.upstream;
  }

  /** Never rejects: whatever goes wrong is answered, recorded and logged. */
  async handle(request: IncomingMessage, response: ServerResponse, peer: VerifiedPeer): Promise<void> {
    const work: Work = {
      request, response, releases: [], pending: new Map(), id: null, decided: false,
      caller: { principal: peer.principal, upstream: this.upstream, session: undefined, address: peer.remoteAddress },
    };
    try {
      await this.#handle(work);
    } catch (error) {
      this.#fail(work, error);
    } finally {
      for (const release of work.releases) release();
    }
  }

  /** Tells everyone who listens that nothing more will come; resolves when they were told. */
  async endSubscriptions(): Promise<void> {
    await Promise.all([...this.#listening].map((end) => end()));
  }

  async #handle(work: Work): Promise<void> {
    const { request, caller } = work;
    const { principal } = caller;
    const { quota, limits, eras } = this.#options;
    const front = readFront(request, this.#options.front);
    if (front.method !== 'POST' && eras === 'modern') throw new SallyportError('ERR_HTTP_METHOD', 'the modern era has POST only', { facts: { method: front.method } });
    const release = front.method === 'GET' ? quota.takeStream(principal.id) : quota.takeRequest(principal.id);
    work.releases.push(release);
    const read = front.method === 'POST' ? readMessages(await readBody(request, limits)) : undefined;
    // Cut while the last of the body was on its way.
    if (request.socket.destroyed) throw new SallyportError('ERR_HTTP_BODY_INCOMPLETE', 'the connection closed before the request was decided');
    work.id = firstId(read?.messages);
    const classified = read === undefined ? undefined : classify({ protocolVersion: front.protocolVersion, method: front.mcpMethod, name: front.mcpName }, read);
    if (read === undefined || classified?.era !== 'modern') {
      if (eras === 'modern') throw unsupportedEra(front.protocolVersion, read?.messages);
      await this.#legacy(work, front, read === undefined ? undefined : withoutTasks(read));
      return;
    }
    if (eras === 'legacy') throw new SallyportError('ERR_MCP_REVISION', 'this gateway is configured for the legacy era only', { facts: { revision: classified.revision } });
    await this.#modern(work, front, read, { ...classified, release });
  }

  /** A request that stands on its own: no session, one message, one answer. */
  async #modern(work: Work, front: Front, given: ReadMessages, { message, envelope, release }: Extract<Classified, { era: 'modern' }> & { readonly release: () => void }): Promise<void> {
    const { response, caller, pending } = work;
    const { gate, quota, roleLimits, onModern } = this.#options;
    const { principal } = caller;
    const subscription = message.method === 'subscriptions/listen' && message.kind === 'request'
      ? allowedSubscription(this.upstream, message.params, (action) => gate.decide(principal, action).effect === 'allow', (capability) => gate.grantsOf(principal).has(this.upstream, capability))
      : undefined;
    const read = subscription === undefined ? given : withParams(given, (params) => ({ ...params, notifications: filterOf(subscription, params.notifications) }));
    const admission = gate.admit(caller, read, 'modern');
    work.decided = true;
    if (admission.outcome === 'refused') {
      answerRefused(response, admission.answers, { batch: false, era: 'modern' });
      return;
    }
    if (message.kind === 'notification') {
      // Nothing is in flight that it could be about: what belongs to a request, its own stream carries.
      for (const decided of admission.decisions) gate.record(caller, decided, { outcome: 'allowed', reason: 'notForwarded' });
      response.writeHead(202, { 'content-length': 0 }).end();
      return;
    }
    if (subscription !== undefined) {
      // It stays open for hours: counted with its like, not with the calls.
      work.releases.push(quota.takeSubscription(principal.id, [...subscription.resources]));
      release();
    }
    if (message.method === 'tools/call') work.releases.push(roleLimits.take(principal.id, gate.grantsOf(principal).limits, 1));
    pending.set(message.id, { method: message.method, params: message.params });
    onModern(principal);
    await this.#carry(work, { front, era: 'modern', envelope, subscription, session: undefined, call: admission.call, body: read }, admission.decisions);
  }

  async #legacy(work: Work, front: Front, body: ReadMessages | undefined): Promise<void> {
    const { caller } = work;
    const { principal } = caller;
    const { sessions } = this.#options;
    const session = front.sessionId === undefined ? undefined : sessions.use(front.sessionId, principal, this.upstream);
    work.caller = { ...caller, session: session?.id };
    const initializing = isInitialize(body?.messages);
    if (initializing && session !== undefined) {
      throw new SallyportError('ERR_MCP_ALREADY_INITIALIZED', 'this session is initialized: send initialize without Mcp-Session-Id to open another');
    }
    checkRevision(front, session, { batch: body?.batch === true, initializing });
    if (body === undefined) await this.#withoutBody(work, front, session);
    else await this.#post(work, front, session, body);
  }

  async #withoutBody(work: Work, front: Front, session: Session | undefined): Promise<void> {
    if (session === undefined) {
      throw new SallyportError('ERR_MCP_SESSION_REQUIRED', 'GET and DELETE need the Mcp-Session-Id of a session: initialize first');
    }
    const { gate, sessions } = this.#options;
    if (gate.decide(work.caller.principal, { kind: 'connect', upstream: this.upstream }).effect === 'deny') {
      throw new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'the principal has no grant on this upstream any more');
    }
    gate.assertRecording();
    if (front.method === 'DELETE') {
      sessions.end(session, 'deleted');
      work.response.writeHead(200, { 'content-length': 0 }).end();
      return;
    }
    await this.#carry(work, { front, ...ofLegacy, session, call: undefined, body: undefined }, []);
  }

  /** No step is assumed: a request without a session is decided all the same (mcp.md row 6). */
  async #post(work: Work, front: Front, session: Session | undefined, body: ReadMessages): Promise<void> {
    const { response, caller, pending } = work;
    const admission = this.#options.gate.admit(caller, body, 'legacy');
    if (admission.outcome === 'refused') {
      work.decided = true;
      answerRefused(response, admission.answers, { batch: body.batch, era: 'legacy' });
      return;
    }
    const calls = body.messages.filter((message) => message.kind === 'request' && message.method === 'tools/call').length;
    if (calls > 0) work.releases.push(this.#options.roleLimits.take(caller.principal.id, this.#options.gate.grantsOf(caller.principal).limits, calls));
    if (isInitialize(body.messages)) work.releases.push(this.#options.sessions.reserve(caller.principal));
    for (const message of body.messages) {
      if (message.kind === 'request') {
        if (session?.inFlight.has(message.id) === true) {
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
    if (session !== undefined) {
      this.#countSubscriptions(session, body.messages);
      remember(session, pending);
    }
    work.decided = true;
    await this.#carry(work, { front, ...ofLegacy, session, call: admission.call, body }, admission.decisions);
  }

  /** Resources a session watches are counted from the request on, so that many at once cannot pass together. */
  #countSubscriptions({ principalId, subscribed }: Session, messages: readonly JsonRpcMessage[]): void {
    for (const message of messages) {
      const uri = message.kind === 'request' ? message.params?.uri : undefined;
      if (message.kind !== 'request' || typeof uri !== 'string') continue;
      if (message.method === 'resources/subscribe' && !subscribed.has(uri)) subscribed.set(uri, this.#options.quota.takeResources(principalId));
      if (message.method === 'resources/unsubscribe') forgetSubscription(subscribed, uri);
    }
  }

  async #carry(work: Work, what: Carried, decisions: readonly DecidedMessage[]): Promise<void> {
    const { gate, sessions, leg } = this.#options;
    const { response, caller, pending } = work;
    const record = new CallRecord(gate, caller, decisions);
    const aborting = new AbortController();
    const abort = (reason: SallyportError): void => aborting.abort(reason);
    const onClose = (): void => {
      if (!response.writableFinished) abort(new SallyportError('ERR_HTTP_ABANDONED', 'the client went away before the answer was complete'));
    };
    response.once('close', onClose);
    const exchange = this.#exchange(work, { ...what, signal: aborting.signal }, record);
    exchange.session?.exchanges.add(abort);
    for (const [id, inFlight] of pending) inFlight.onCancelled = () => this.#endCancelled(exchange, { id, pending, abort });
    const endListening = what.subscription === undefined ? undefined : async (): Promise<void> => {
      await endSubscription(response, pending.keys());
      abort(new SallyportError('ERR_DRAINING', 'the gateway is shutting down: listen again in a moment'));
    };
    if (endListening !== undefined) this.#listening.add(endListening);
    const endDeadline = pending.size === 0 || endListening !== undefined ? undefined : startCallDeadline(this.#options.limits.callTimeoutMs, abort);
    let failure: unknown;
    try {
      await leg.carry(exchange);
      // Ended from here: what the upstream had left to say is not waited for.
      if (aborting.signal.aborted && !response.writableEnded) throw aborting.signal.reason;
    } catch (error) {
      // Ended in good order by ourselves.
      if (response.writableEnded && codeOf(aborting.signal.reason) === 'ERR_DRAINING') return;
      failure = aborting.signal.aborted ? aborting.signal.reason : error;
      const code = codeOf(failure);
      // Event ids the client holds lead to answers it may still fetch; without one there is no way back.
      if (!exchange.filter.resumable) for (const id of pending.keys()) what.session?.inFlight.delete(id);
      if (what.session !== undefined && sessionIsGone.has(code)) sessions.end(what.session, 'upstream');
      work.resumable = exchange.filter.resumable && !sessionIsGone.has(code) && code !== 'ERR_AUDIT_UNAVAILABLE';
      throw failure;
    } finally {
      if (endListening !== undefined) this.#listening.delete(endListening);
      endDeadline?.();
      response.off('close', onClose);
      exchange.session?.exchanges.delete(abort);
      for (const inFlight of pending.values()) delete inFlight.onCancelled;
      record.close(failure === undefined ? undefined : codeOf(failure));
    }
  }

  #exchange(work: Work, what: Carried & Pick<Exchange, 'signal'>, record: CallRecord): Exchange {
    const { gate, sealer, sessions } = this.#options;
    const { request, response, caller, pending } = work;
    const { principal } = caller;
    const exchange: Exchange = {
      request, response, caller, ...what, principal, dropped: [],
      roles: gate.grantsOf(principal).roles,
      filter: new AnswerFilter({
        era: what.era, logLevel: what.envelope?.logLevel, subscription: what.subscription,
        upstream: this.upstream, principal, sealer, pending,
        session: () => exchange.session,
        allows: (action) => gate.decide(principal, action).effect === 'allow',
        hasClass: (capability) => gate.grantsOf(principal).has(this.upstream, capability),
        onDroppedRequest: (id) => exchange.dropped.push(id),
        onAnswered: (id, failed) => {
          record.answered(id, failed ? 'upstreamError' : undefined);
          const asked = pending.get(id);
          if (failed && asked?.method === 'resources/subscribe' && exchange.session !== undefined) forgetSubscription(exchange.session.subscribed, String(asked.params?.uri));
        },
      }),
      openSession: (upstreamSession) => {
        const session = sessions.create(principal, { upstream: this.upstream, upstreamSession });
        exchange.session = session;
        // Cut in the same moment: nobody would ever end it.
        if (what.signal.aborted) sessions.end(session, 'revoked', what.signal.reason as SallyportError);
        return session;
      },
    };
    return exchange;
  }

  /** A cancelled request needs no response, so its exchange would stay open for ever. */
  #endCancelled({ session }: Exchange, { id, pending, abort }: { id: RequestId; pending: Map<RequestId, InFlight>; abort: (reason: SallyportError) => void }): void {
    setTimeout(() => {
      if (!pending.delete(id)) return;
      session?.inFlight.delete(id);
      if (pending.size === 0) abort(new SallyportError('ERR_HTTP_ABANDONED', 'the client cancelled the request and no response came'));
    }, cancelGraceMs).unref();
  }

  #fail({ request, response, caller, pending, id, decided, resumable }: Work, error: unknown): void {
    const { gate, onFailure } = this.#options;
    let answer = error;
    const code = codeOf(error);
    // The peer went away: nobody is left to answer, and nothing is wrong.
    if (code !== 'ERR_HTTP_BODY_INCOMPLETE' && code !== 'ERR_HTTP_ABANDONED') onFailure(error, caller);
    if (!decided) {
      try {
        gate.recordRefusal(caller, code);
      } catch (unrecorded) {
        answer = unrecorded;
        onFailure(unrecorded, caller);
      }
    }
    if (!response.headersSent) sendError(request, response, answer, id ?? idOf(error));
    // A client that can go on from an event id is better off doing so than with an error.
    else if (resumable === true) response.destroy();
    else endStream(response, codeOf(answer), pending.keys());
  }
}

/** One HTTP request on its way through an endpoint. */
interface Work {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  caller: Caller;
  /** Called at the end, whatever it was. */
  readonly releases: (() => void)[];
  /** Requests of the MCP client in this POST that have no answer yet. */
  readonly pending: Map<RequestId, InFlight>;
  /** Of the one request in the body. */
  id: RequestId | null;
  /** Whether the audit log knows of it through its decisions. */
  decided: boolean;
  resumable?: boolean;
}

type Carried = Pick<Exchange, 'front' | 'era' | 'envelope' | 'subscription' | 'session' | 'call' | 'body'>;

const ofLegacy = { era: 'legacy', envelope: undefined, subscription: undefined } as const;

/** What the upstream fails with when it holds nothing of the session any more. */
const sessionIsGone: ReadonlySet<string> = new Set(['ERR_MCP_SESSION_UNKNOWN', 'ERR_UPSTREAM_EXITED']);

/** Milliseconds a server has to answer a request that was cancelled. */
const cancelGraceMs = 5_000;

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

/** Whether a response or notification refers to something this session really has in flight (mcp.md row 24). */
const accountFor = (message: JsonRpcMessage, session: Session | undefined): boolean => {
  if (message.kind === 'response') return session?.awaited.delete(message.id) ?? false;
  if (message.kind === 'request') return true;
  const reference = referenceOf(message);
  if (reference === undefined) return true;
  if (session === undefined) return false;
  if (reference.member === 'progressToken') return [...session.awaited.values()].includes(reference.id);
  session.inFlight.get(reference.id)?.onCancelled?.();
  return session.inFlight.has(reference.id);
};

const checkRevision = ({ protocolVersion: named }: Front, session: Session | undefined, { batch, initializing }: { batch: boolean; initializing: boolean }): void => {
  if (named !== undefined && !isKnownRevision(named)) {
    throw new SallyportError('ERR_MCP_REVISION', 'MCP-Protocol-Version names a revision this gateway does not speak', { facts: { revision: named } });
  }
  const agreed = session?.protocolVersion;
  if (named !== undefined && agreed !== undefined && named !== agreed) {
    throw new SallyportError('ERR_MCP_REVISION', 'MCP-Protocol-Version differs from what initialize agreed on', { facts: { revision: named, agreed } });
  }
  // Without header and session the specification assumes 2025-03-26, the one revision that has batches.
  if (batch && (initializing || !batchAllowed(agreed ?? named ?? assumedRevision))) {
    throw new SallyportError('ERR_MCP_BATCH', 'this protocol revision has no batches: send one message per request');
  }
};

const forgetSubscription = (subscribed: Session['subscribed'], uri: string): void => {
  subscribed.get(uri)?.();
  subscribed.delete(uri);
};

const unsupportedEra = (named: string | undefined, messages: readonly JsonRpcMessage[] | undefined): SallyportError => {
  const [message] = messages ?? [];
  const asked = message?.kind === 'request' && message.method === 'initialize' ? message.params?.protocolVersion : named;
  return new SallyportError('ERR_MCP_REVISION_UNSUPPORTED', 'this gateway is configured for the modern era only', {
    facts: { supported: modernRevisions, requested: typeof asked === 'string' ? asked.slice(0, 64) : undefined },
  });
};

/** The empty result that tells a listener its subscription ended, not the connection (revision 2026-07-28). */
const endSubscription = async (response: ServerResponse, ids: Iterable<RequestId>): Promise<void> => {
  if (!response.headersSent || response.writableEnded || response.destroyed) return;
  for (const id of ids) {
    response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', id, result: { resultType: 'complete', _meta: { [subscriptionIdKey]: id } } })}\n\n`);
  }
  await Promise.race([new Promise<void>((resolve) => response.end(resolve)), sleep(farewellMs, undefined, { ref: false })]);
};

/** Milliseconds a listener that reads slowly has to take the last message. */
const farewellMs = 500;

const answerRefused = (response: ServerResponse, answers: readonly { id: RequestId; code: Parameters<typeof jsonRpcError>[1] }[], { batch, era }: { batch: boolean; era: Era }): void => {
  const texts = answers.map(({ id, code }) => jsonRpcError(id, code));
  if (texts.length === 0) response.writeHead(202, { 'content-length': 0 }).end();
  // The modern era says in the status, too, that a method does not exist.
  else sendJson(response, era === 'modern' && answers[0]?.code === 'ERR_MCP_METHOD' ? 404 : 200, batch ? `[${texts.join(',')}]` : (texts[0] ?? ''));
};
