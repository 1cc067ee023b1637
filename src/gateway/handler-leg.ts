/**
 * Carries exchanges to an MCP server in this process: a Node handler, SDK v1 or v2. The handler
 * gets a request whose identity is ours to say, and a response that passes the answer filter.
 */
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { SallyportError } from '../errors.ts';
import { nameMemberOf } from '../mcp/era.ts';
import { encodeHeaderValue } from '../mcp/header-value.ts';
import type { RequestId } from '../mcp/message.ts';
import type { Sealer } from '../mcp/sealing.ts';
import { jsonRpcError } from './answer.ts';
import { authInfoOf } from './auth-info.ts';
import type { CertificateAuthInfo } from './auth-info.ts';
import { eventIdBinding, openEventId } from './answer-filter.ts';
import { isInitialize } from './exchange.ts';
import type { Exchange, Leg } from './exchange.ts';
import { tapResponse } from './response-tap.ts';
import type { Session } from './sessions.ts';

/** Fits SDK v1 `transport.handleRequest` and v2 `toNodeHandler(handler)`. The body is parsed already. */
export type NodeMcpHandler = (request: McpRequest, response: ServerResponse, parsedBody?: unknown) => unknown;

/** As Node's servers give it: method and url are there, which the SDKs insist on under `exactOptionalPropertyTypes`. */
type McpRequest = IncomingMessage & { method: string; url: string; auth?: CertificateAuthInfo };

export interface HandlerLegOptions {
  readonly name: string;
  readonly handler: NodeMcpHandler;
  readonly sealer: Sealer;
  /** Octets of one answer. */
  readonly maxAnswerBytes: number;
}

/**
 * What of a client's head reaches a handler. Headers that claim an identity, a route or another
 * method are many and their names grow (mcp.md rows 4, 12, 18, 19), so this is a list of the harmless.
 */
const passedOn = new Set([
  'host', 'origin', 'accept', 'accept-language', 'content-type', 'user-agent', 'mcp-protocol-version', 'traceparent', 'tracestate', 'baggage',
]);

export class HandlerLeg implements Pick<Leg, 'upstream' | 'carry' | 'endSession'> {
  readonly #options: HandlerLegOptions;

  constructor(options: HandlerLegOptions) {
    this.#options = options;
  }

  get upstream(): string {
    return this.#options.name;
  }

  async carry(exchange: Exchange): Promise<void> {
    const { handler, sealer, maxAnswerBytes } = this.#options;
    const { front, session, filter, principal, roles, signal } = exchange;
    // Ended while it was found out which eras the handler speaks.
    signal.throwIfAborted();
    const request = exchange.request as McpRequest;
    const initializing = session === undefined && isInitialize(exchange.call?.messages);
    rebuildHeaders(request, {
      'mcp-session-id': session?.upstreamSession,
      ...(exchange.era === 'modern' ? modernHeaders(exchange) : {}),
      'last-event-id': front.lastEventId === undefined ? undefined : openEventId(sealer, eventIdBinding(principal, session, this.upstream), front.lastEventId),
    });
    request.auth = authInfoOf(principal, roles);
    const refuse = (): void => {
      for (const id of exchange.dropped.splice(0)) void this.#refuseServerRequest(id, exchange);
    };
    const tap = tapResponse(exchange.response, {
      maxBytes: maxAnswerBytes,
      onStatus: (status) => assertPassable(status, session),
      onSession: (upstreamSession) => (initializing ? exchange.openSession(upstreamSession).id : session?.id),
      json: (text) => {
        const kept = filter.json(text);
        refuse();
        return kept;
      },
      event: (event) => {
        const kept = filter.event(event);
        refuse();
        return kept;
      },
    });
    const onAbort = (): void => tap.abandon(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await Promise.all([handler(request, tap.response, exchange.body?.value), tap.sent]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Tells the handler what its own MCP client would have told it, so that it lets go of the session. */
  async endSession(session: Session): Promise<void> {
    const { request, response } = requestOfOurs('DELETE', { 'mcp-session-id': session.upstreamSession, 'mcp-protocol-version': session.protocolVersion });
    await this.#options.handler(request, response);
  }

  /** The MCP server asked for something that does not pass; unanswered it would wait for its timeout. */
  async #refuseServerRequest(id: RequestId, { era, session, principal, roles }: Exchange): Promise<void> {
    // The modern era has no channel for a refusal, nor for the question.
    if (era === 'modern') return;
    const { request, response } = requestOfOurs('POST', {
      accept: 'application/json, text/event-stream', 'content-type': 'application/json',
      'mcp-session-id': session?.upstreamSession, 'mcp-protocol-version': session?.protocolVersion,
    });
    request.auth = authInfoOf(principal, roles);
    // The exchange goes on whether or not the server took the refusal.
    await Promise.resolve(this.#options.handler(request, response, JSON.parse(jsonRpcError(id, 'ERR_MCP_METHOD')))).catch(() => undefined);
  }
}

/** A request that no connection brought. */
const requestOfOurs = (method: 'POST' | 'DELETE', headers: Readonly<Record<string, string | undefined>>): { request: McpRequest; response: ServerResponse } => {
  const request = new IncomingMessage(new Socket()) as McpRequest;
  request.method = method;
  request.url = '/mcp';
  request.httpVersion = '1.1';
  request.push(null);
  request.complete = true;
  rebuildHeaders(request, { host: 'localhost', ...headers });
  return { request, response: new ServerResponse(request) };
};

/** The same rules as for an MCP server reached over HTTP (http-answer.ts). */
const assertPassable = (status: number, session: Session | undefined): void => {
  if (status === 404 && session !== undefined) throw new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'the MCP server has ended the session: initialize a new one');
  if (status === 401 || status === 403 || status === 407 || (status >= 300 && status < 400)) {
    throw new SallyportError('ERR_UPSTREAM_INVALID', 'the in-process MCP server refuses or redirects what the gateway has let through: leave authorization to the gateway', { facts: { status } });
  }
};

/** Made from the message that goes on; `Mcp-Param-*` only the handler can judge. */
const modernHeaders = ({ call, front }: Exchange): Readonly<Record<string, string>> => {
  const [message] = call?.messages ?? [];
  if (message === undefined || message.kind === 'response') return {};
  const member = nameMemberOf(message.method);
  const name = member === undefined ? undefined : message.params?.[member];
  return { 'mcp-method': message.method, ...(typeof name === 'string' ? { 'mcp-name': encodeHeaderValue(name) } : {}), ...front.paramHeaders };
};

const rebuildHeaders = (request: IncomingMessage, own: Readonly<Record<string, string | undefined>>): void => {
  const raw: string[] = [];
  for (let index = 0; index < request.rawHeaders.length; index += 2) {
    const name = request.rawHeaders[index] ?? '';
    if (passedOn.has(name.toLowerCase())) raw.push(name, request.rawHeaders[index + 1] ?? '');
  }
  const { headers } = request;
  for (const name of Object.keys(headers)) if (!passedOn.has(name)) delete headers[name];
  for (const [name, value] of Object.entries(own)) {
    if (value === undefined) continue;
    raw.push(name, value);
    headers[name] = value;
  }
  request.rawHeaders = raw;
};
