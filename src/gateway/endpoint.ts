/**
 * One MCP endpoint, `/mcp` or `/NAME/mcp`: takes an HTTP request of a verified peer through
 * head, body, session, decision and upstream to the filtered answer.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { codeOf, SallyportError } from '../errors.ts';
import { CodedError } from '../../ca/errors.ts';
import { withoutLogLevel, withoutTasks } from '../mcp/client-capabilities.ts';
import { classify, modernRevisions } from '../mcp/era.ts';
import type { Classified } from '../mcp/era.ts';
import { isRequestId, readMessages } from '../mcp/read-messages.ts';
import type { OpenedMessages } from '../mcp/open-sealed.ts';
import type { ReadMessages } from '../mcp/read-messages.ts';
import type { JsonRpcMessage, RequestId } from '../mcp/message.ts';
import { referenceOf } from '../mcp/method-table.ts';
import { assumedRevision, batchAllowed, isKnownRevision } from '../mcp/revisions.ts';
import type { Era } from '../mcp/revisions.ts';
import { withParams } from '../mcp/rewrite.ts';
import { allowedSubscription, filterOf } from '../mcp/subscriptions.ts';
import type { Principal } from '../identity/principal.ts';
import type { VerifiedPeer } from '../tls/verified-peer.ts';
import { endStream, jsonRpcError, sendError, sendJson } from './answer.ts';
import { readBody } from './body.ts';
import type { BodyLimits } from './body.ts';
import { readFront } from './front.ts';
import type { Front, FrontOptions } from './front.ts';
import { CallPlaces } from './call-places.ts';
import { Carriage, forgetSubscription } from './carriage.ts';
import type { CarriageOptions, Work } from './carriage.ts';
import type { Caller } from './gate.ts';
import { isInitialize } from './exchange.ts';
import type { Quota } from './quota.ts';
import type { RoleLimits } from './role-limits.ts';
import type { Ask } from './tool-guard.ts';
import { settle } from './sessions.ts';
import type { InFlight, Session } from './sessions.ts';

export interface EndpointOptions extends CarriageOptions {
  readonly quota: Quota;
  readonly roleLimits: RoleLimits;
  readonly front: FrontOptions;
  readonly limits: BodyLimits & CarriageOptions['limits'] & {
    /** Milliseconds an upstream has for an answer, and a call without a client keeps its place. */
    readonly upstreamTimeoutMs: number;
  };
  /** Requests of another era are refused. */
  readonly eras: 'legacy' | 'modern' | 'both';
  /** A principal asks without a session, so that what it leaves behind can be ended with its certificate. */
  readonly onModern: (principal: Principal) => void;
  /** For what the peer is not told: constant message, facts as fields. */
  readonly onFailure: (error: unknown, caller: Caller) => void;
}

export class McpEndpoint {
  readonly #options: EndpointOptions;
  readonly #carriage: Carriage;

  constructor(options: EndpointOptions) {
    this.#options = options;
    this.#carriage = new Carriage(options);
  }

  get upstream(): string {
    return this.#options.leg.upstream;
  }

  /** Never rejects: whatever goes wrong is answered, recorded and logged. */
  async handle(request: IncomingMessage, response: ServerResponse, peer: Pick<VerifiedPeer, 'principal' | 'remoteAddress' | 'via'>): Promise<void> {
    const work: Work = {
      request, response, releases: [], pending: new Map(), id: null, decided: false,
      caller: { principal: peer.principal, upstream: this.upstream, session: undefined, address: peer.remoteAddress, via: peer.via },
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
  endSubscriptions(): Promise<void> {
    return this.#carriage.endSubscriptions();
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
  async #modern(work: Work, front: Front, sealed: ReadMessages, { message: classified, envelope, release }: Extract<Classified, { era: 'modern' }> & { readonly release: () => void }): Promise<void> {
    const { response, caller, pending } = work;
    const { gate, leg, quota, roleLimits, tools, onModern } = this.#options;
    const { principal } = caller;
    const mayLog = gate.decide(principal, { kind: 'logging', upstream: this.upstream }).effect === 'allow';
    const given = this.#open(principal, mayLog ? sealed : withoutLogLevel(sealed), 'modern');
    // Opening changes members of a message, never its kind.
    const message = (given.messages[0] ?? classified) as typeof classified;
    const subscription = message.method === 'subscriptions/listen' && message.kind === 'request'
      ? allowedSubscription(this.upstream, message.params, (action) => gate.decide(principal, action).effect === 'allow', (capability) => gate.grantsOf(principal).has(this.upstream, capability))
      : undefined;
    const read = subscription === undefined ? given : withParams(given, (params) => ({ ...params, notifications: filterOf(subscription, params.notifications) }));
    const ask: Ask = (method, params) => leg.ask({ principal, roles: gate.grantsOf(principal).roles, era: 'modern', envelope, session: undefined }, method, params);
    // The gateway's own questions leave something behind, too.
    onModern(principal);
    await this.#prepare(caller, read.messages, ask);
    let admission = gate.admit(caller, read, 'modern');
    if (admission.outcome === 'admitted' && message.method === 'tools/call') {
      work.releases.push(roleLimits.take(principal.id, gate.grantsOf(principal).limits, 1));
      if (tools !== undefined && (await leg.headerless())) {
        await tools.checkHeaders(caller, message, { headers: front.paramHeaders, ask });
        // That may have taken a while: what policy says now is what holds.
        admission = gate.admit(caller, read, 'modern');
      }
    }
    if (admission.outcome === 'refused') {
      work.decided = true;
      answerRefused(response, admission.answers, { batch: false, era: 'modern' });
      return;
    }
    if (message.kind === 'notification') {
      work.decided = true;
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
    pending.set(message.id, { method: message.method, params: message.params });
    work.decided = true;
    await this.#carriage.carry(work, { front, era: 'modern', envelope, subscription, session: undefined, call: admission.call, body: read }, admission.decisions);
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
    await this.#carriage.carry(work, { front, ...ofLegacy, session, call: undefined, body: undefined }, []);
  }

  /** No step is assumed: a request without a session is decided all the same (mcp.md row 6). */
  async #post(work: Work, front: Front, session: Session | undefined, sealed: ReadMessages): Promise<void> {
    const { response, caller, pending } = work;
    const { gate, leg, limits } = this.#options;
    const { principal } = caller;
    const body = this.#open(principal, sealed, 'legacy');
    await this.#prepare(caller, body.messages, (method, params) => leg.ask({ principal, roles: gate.grantsOf(principal).roles, era: 'legacy', envelope: undefined, session }, method, params));
    const admission = gate.admit(caller, body, 'legacy');
    if (admission.outcome === 'refused') {
      work.decided = true;
      answerRefused(response, admission.answers, { batch: body.batch, era: 'legacy' });
      return;
    }
    const calls = body.messages.filter((message) => message.kind === 'request' && message.method === 'tools/call').length;
    const places = calls === 0 ? undefined : new CallPlaces(this.#options.roleLimits.take(caller.principal.id, gate.grantsOf(principal).limits, calls));
    if (places !== undefined) work.releases.push(() => places.give());
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
        if (body.batch) throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'a notification of the batch is about nothing in flight: send the other messages without it');
        // A stray cancellation or progress note is dropped without a word, as JSON-RPC does with notifications.
        work.decided = true;
        for (const decided of admission.decisions) gate.record(caller, decided, { outcome: 'allowed', reason: 'notForwarded' });
        response.writeHead(202, { 'content-length': 0 }).end();
        return;
      }
    }
    if (session !== undefined) {
      this.#countSubscriptions(session, body.messages);
      remember(session, pending);
    }
    work.decided = true;
    try {
      await this.#carriage.carry(work, { front, ...ofLegacy, session, call: admission.call, body }, admission.decisions);
    } catch (error) {
      if (session !== undefined && codeOf(error) === 'ERR_HTTP_ABANDONED') places?.keep(session, pending.keys(), limits.upstreamTimeoutMs);
      throw error;
    }
  }

  /** A principal without any right here makes nobody ask the MCP server anything. */
  async #prepare(caller: Caller, messages: readonly JsonRpcMessage[], ask: Ask): Promise<void> {
    const { gate, tools } = this.#options;
    if (gate.decide(caller.principal, { kind: 'connect', upstream: this.upstream }).effect === 'deny') return;
    gate.assertRecording();
    await tools?.prepare(caller, messages, ask);
  }

  #open(principal: Principal, sealed: ReadMessages, era: Era): OpenedMessages {
    const { gate, values } = this.#options;
    return values.open(sealed, { principalId: principal.id, upstream: this.upstream, era, allows: (action) => gate.decide(principal, action).effect === 'allow' });
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

const ofLegacy = { era: 'legacy', envelope: undefined, subscription: undefined } as const;

const firstId = (messages: readonly JsonRpcMessage[] | undefined): RequestId | null => {
  const request = messages?.length === 1 ? messages[0] : undefined;
  return request?.kind === 'request' ? request.id : null;
};

/** Requests whose client went away stay answerable on a resumed stream, the oldest being forgotten first. */
const remember = (session: Session, pending: ReadonlyMap<RequestId, InFlight>): void => {
  for (const [id, inFlight] of pending) session.inFlight.set(id, inFlight);
  for (const id of session.inFlight.keys()) {
    if (session.inFlight.size <= rememberedRequests) return;
    settle(session, id);
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
  const inFlight = session.inFlight.get(reference.id);
  inFlight?.onCancelled?.();
  return inFlight !== undefined;
};

const checkRevision = ({ protocolVersion: named }: Front, session: Session | undefined, { batch, initializing }: { batch: boolean; initializing: boolean }): void => {
  if (named !== undefined && !isKnownRevision(named)) {
    throw new SallyportError('ERR_MCP_REVISION', 'MCP-Protocol-Version names a revision this gateway does not speak', { facts: { revision: named } });
  }
  // What initialize agreed on holds, whatever legacy revision the header names: some clients send another one.
  const agreed = session?.protocolVersion;
  // Without header and session the specification assumes 2025-03-26, the one revision that has batches.
  if (batch && (initializing || !batchAllowed(agreed ?? named ?? assumedRevision))) {
    throw new SallyportError('ERR_MCP_BATCH', 'this protocol revision has no batches: send one message per request');
  }
};

const unsupportedEra = (named: string | undefined, messages: readonly JsonRpcMessage[] | undefined): SallyportError => {
  const [message] = messages ?? [];
  const asked = message?.kind === 'request' && message.method === 'initialize' ? message.params?.protocolVersion : named;
  return new SallyportError('ERR_MCP_REVISION_UNSUPPORTED', 'this gateway is configured for the modern era only', {
    facts: { supported: modernRevisions, requested: typeof asked === 'string' ? asked.slice(0, 64) : undefined },
  });
};

const answerRefused = (response: ServerResponse, answers: readonly { id: RequestId; code: Parameters<typeof jsonRpcError>[1] }[], { batch, era }: { batch: boolean; era: Era }): void => {
  const texts = answers.map(({ id, code }) => jsonRpcError(id, code));
  if (texts.length === 0) response.writeHead(202, { 'content-length': 0 }).end();
  // The modern era says in the status, too, that a method does not exist.
  else sendJson(response, era === 'modern' && answers[0]?.code === 'ERR_MCP_METHOD' ? 404 : 200, batch ? `[${texts.join(',')}]` : (texts[0] ?? ''));
};
