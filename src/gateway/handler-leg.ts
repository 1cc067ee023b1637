/** Carries exchanges to an MCP server in this process, written with either official SDK. */
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Sealer } from '../mcp/sealing.ts';
import { authInfoOf } from './auth-info.ts';
import type { CertificateAuthInfo } from './auth-info.ts';
import { eventIdBinding, openEventId } from './answer-filter.ts';
import type { Exchange, Leg } from './endpoint.ts';
import { tapResponse } from './response-tap.ts';
import type { Session } from './sessions.ts';

/** Fits SDK v1 `transport.handleRequest` and v2 `toNodeHandler(handler)`. The body is parsed already. */
export type NodeMcpHandler = (request: IncomingMessage & { auth?: CertificateAuthInfo }, response: ServerResponse, parsedBody?: unknown) => unknown;

export interface HandlerLegOptions {
  readonly name: string;
  readonly handler: NodeMcpHandler;
  readonly sealer: Sealer;
  /** Octets of one answer. */
  readonly maxAnswerBytes: number;
}

/** Headers that claim an identity or a route: a handler must not be able to believe them (mcp.md rows 12 and 19). */
const stripped = /^(authorization|proxy-.*|x-forwarded-.*|forwarded|x-real-ip|client-cert|client-cert-chain|x-ssl-.*|x-client-.*|cookie|mcp-session-id|last-event-id|content-length|transfer-encoding)$/i;

export class HandlerLeg implements Leg {
  readonly #options: HandlerLegOptions;

  constructor(options: HandlerLegOptions) {
    this.#options = options;
  }

  get upstream(): string {
    return this.#options.name;
  }

  async carry(exchange: Exchange): Promise<void> {
    const { handler, sealer, maxAnswerBytes } = this.#options;
    const { front, session, response, filter, principal, roles } = exchange;
    const request: IncomingMessage & { auth?: CertificateAuthInfo } = exchange.request;
    const initializing = session === undefined && (exchange.call?.messages.some((message) => message.kind === 'request' && message.method === 'initialize') ?? false);
    rebuildHeaders(request, {
      'mcp-session-id': session?.upstreamSession,
      'last-event-id': front.lastEventId === undefined ? undefined : openEventId(sealer, eventIdBinding(principal, session, this.upstream), front.lastEventId),
    });
    request.auth = authInfoOf(principal, roles);
    const sent = tapResponse(response, {
      maxBytes: maxAnswerBytes,
      onSession: (upstreamSession) => (initializing ? exchange.openSession(upstreamSession).id : session?.id),
      json: (text) => filter.json(text),
      event: (event) => filter.event(event),
    });
    await Promise.all([handler(request, response, exchange.body?.value), sent]);
  }

  /** Tells the handler what its own MCP client would have told it, so that it lets go of the session. */
  async endSession(session: Session): Promise<void> {
    const request = new IncomingMessage(new Socket());
    request.method = 'DELETE';
    request.url = '/mcp';
    request.push(null);
    request.complete = true;
    rebuildHeaders(request, { host: 'localhost', 'mcp-session-id': session.upstreamSession, 'mcp-protocol-version': session.protocolVersion });
    await this.#options.handler(request, new ServerResponse(request));
  }
}

const rebuildHeaders = (request: IncomingMessage, own: Readonly<Record<string, string | undefined>>): void => {
  const raw: string[] = [];
  for (let index = 0; index < request.rawHeaders.length; index += 2) {
    const name = request.rawHeaders[index] ?? '';
    if (!stripped.test(name)) raw.push(name, request.rawHeaders[index + 1] ?? '');
  }
  const { headers } = request;
  for (const name of Object.keys(headers)) if (stripped.test(name)) delete headers[name];
  for (const [name, value] of Object.entries(own)) {
    if (value === undefined) continue;
    raw.push(name, value);
    headers[name] = value;
  }
  request.rawHeaders = raw;
};
