/** A modern MCP server for legacy MCP clients: sessions of our own, which it needs not know. */
import { SallyportError } from '../errors.ts';
import { modernRevision, isModern, newestLegacyRevision, revisionOf } from '../mcp/revisions.ts';
import type { UpstreamAnswer, UpstreamRequest } from '../upstream/upstream.ts';
import { ClientSession } from './client-session.ts';
import { errorText, fieldsOf, isFields, outgoingRequest, paramsOf, resultText } from './fields.ts';
import type { Fields } from './fields.ts';
import type { FrontOptions } from './modern-front.ts';
import { oneResponse } from './one-response.ts';
import { toModernClientCapabilities, toModernParams } from './requests.ts';
import type { ClientFacts } from './requests.ts';
import { toInitializeResult, toLegacyError } from './results.ts';

export class LegacyFront {
  readonly #options: FrontOptions;
  readonly #sessions = new Map<string, ClientSession>();
  #lastId = 0;
  #closed = false;

  constructor(options: FrontOptions) {
    this.#options = options;
  }

  holds(session: string): boolean {
    return this.#sessions.has(session);
  }

  /** @throws SallyportError `ERR_MCP_*`, `ERR_LIMIT_SESSIONS`, `ERR_UPSTREAM_*` */
  async exchange(request: UpstreamRequest): Promise<UpstreamAnswer> {
    const facts = { upstream: this.#options.upstream.name };
    if (this.#closed) throw new SallyportError('ERR_DRAINING', 'the upstream is being shut down', { facts });
    if (request.messages.length > 1 || /^[ \t\r\n]*\[/u.test(request.body ?? '')) {
      throw new SallyportError('ERR_MCP_UNTRANSLATABLE', 'the MCP server speaks the modern era, which has no batches: send one message per request', { facts });
    }
    const [message] = request.messages;
    const initializes = message?.kind === 'request' && message.method === 'initialize';
    if (request.session === undefined) {
      if (initializes) return this.#initialize(request);
      throw new SallyportError('ERR_MCP_SESSION_REQUIRED', 'this MCP server is used within a session: initialize first, then send its Mcp-Session-Id', { facts });
    }
    const session = this.#sessions.get(request.session);
    // The gateway has checked whose session it is; it is worth checking twice.
    if (session === undefined || session.principalId !== request.principal.id) {
      throw new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'the session has ended: initialize a new one', { facts });
    }
    if (initializes) throw new SallyportError('ERR_MCP_ALREADY_INITIALIZED', 'the session is initialized already', { facts });
    switch (request.method) {
      case 'POST':
        return session.post(request);
      case 'GET':
        if (request.lastEventId !== undefined) throw new SallyportError('ERR_MCP_EVENT_ID', 'streams of this MCP server cannot be resumed: open a new one', { facts });
        return session.get(request.signal);
      case 'DELETE':
        this.endSession(request.session);
        return { kind: 'empty', status: 200 };
    }
  }

  endSession(id: string): void {
    this.#sessions.get(id)?.end();
    this.#sessions.delete(id);
  }

  endPrincipal(principalId: string): void {
    for (const [id, session] of this.#sessions) if (session.principalId === principalId) this.endSession(id);
  }

  close(): void {
    this.#closed = true;
    for (const id of this.#sessions.keys()) this.endSession(id);
  }

  async #initialize(request: UpstreamRequest): Promise<UpstreamAnswer> {
    const { upstream, limits, randomness } = this.#options;
    const [message] = request.messages;
    if (message?.kind !== 'request') throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'initialize is a request');
    if (this.#sessions.size >= limits.sessions) {
      throw new SallyportError('ERR_LIMIT_SESSIONS', 'the upstream has as many sessions as it may: end some', { facts: { upstream: upstream.name, limit: limits.sessions } });
    }
    const { principal, roles, signal } = request;
    const asked = paramsOf(request.body);
    const client: ClientFacts = { info: isFields(asked.clientInfo) ? asked.clientInfo : undefined, capabilities: toModernClientCapabilities(fieldsOf(asked.capabilities)) };
    const response = await this.#discover(client, { principal, roles, signal });
    if (!isFields(response.result)) return { kind: 'json', status: 200, text: errorText(message.id, toLegacyError(fieldsOf(response.error))) };
    const id = Buffer.from(randomness.bytes(24)).toString('base64url');
    const result = toInitializeResult(response.result, negotiated(asked.protocolVersion), upstream.name);
    this.#sessions.set(id, new ClientSession({
      upstream, limits, randomness, client, capabilities: fieldsOf(result.capabilities), onBehalf: { principal, roles }, newId: () => this.#newId(),
    }));
    return { kind: 'json', status: 200, session: id, text: resultText(message.id, result) };
  }

  async #discover(client: ClientFacts, { principal, roles, signal }: Pick<UpstreamRequest, 'principal' | 'roles' | 'signal'>): Promise<Fields> {
    const { upstream } = this.#options;
    const { message, body } = outgoingRequest(this.#newId(), 'server/discover', toModernParams({}, client, undefined));
    const response = await oneResponse((until) => upstream.exchange({
      era: 'modern', method: 'POST', principal, roles, session: undefined, protocolVersion: modernRevision, lastEventId: undefined, messages: [message], body, paramHeaders: {}, signal: until,
    }), { signal });
    if (isFields(response.result) || isFields(response.error)) return response;
    throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server did not answer server/discover', { facts: { upstream: upstream.name } });
  }

  #newId(): string {
    this.#lastId += 1;
    return `translated-${this.#lastId}`;
  }
}

/** What the client asked for if it is known, else the newest it could know (revision 2025-11-25, lifecycle). */
const negotiated = (asked: unknown): string => (typeof asked === 'string' && revisionOf(asked) !== undefined && !isModern(asked) ? asked : newestLegacyRevision);
