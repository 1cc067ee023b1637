/** Carries exchanges to an upstream that is reached by messages: a stdio child or an HTTP server. */
import type { ServerResponse } from 'node:http';
import { once } from 'node:events';
import { encodeSseEvent } from '../mcp/sse.ts';
import type { RequestId } from '../mcp/message.ts';
import type { SseEvent, Upstream } from '../upstream/upstream.ts';
import { jsonRpcError, sendJson } from './answer.ts';
import { eventIdBinding, openEventId } from './answer-filter.ts';
import type { Exchange, Leg } from './endpoint.ts';
import type { Session } from './sessions.ts';
import type { Sealer } from '../mcp/sealing.ts';

export class RelayLeg implements Leg {
  readonly #upstream: Upstream;
  readonly #sealer: Sealer;

  constructor(upstream: Upstream, sealer: Sealer) {
    this.#upstream = upstream;
    this.#sealer = sealer;
  }

  get upstream(): string {
    return this.#upstream.name;
  }

  async carry(exchange: Exchange): Promise<void> {
    const { front, principal, session, response, filter } = exchange;
    const answer = await this.#upstream.exchange({
      method: front.method,
      principal,
      roles: exchange.roles,
      session: session?.upstreamSession,
      protocolVersion: front.protocolVersion,
      lastEventId: front.lastEventId === undefined ? undefined : openEventId(this.#sealer, eventIdBinding(principal, session, this.upstream), front.lastEventId),
      messages: exchange.call?.messages ?? [],
      body: exchange.body?.text,
      signal: exchange.signal,
    });
    const opened = session === undefined && answer.session !== undefined && opensSession(exchange) ? exchange.openSession(answer.session) : undefined;
    const headers = opened === undefined ? {} : { 'mcp-session-id': opened.id };
    if (answer.kind === 'empty') {
      response.writeHead(answer.status, { 'content-length': 0, ...headers }).end();
    } else if (answer.kind === 'json') {
      sendJson(response, answer.status, filter.json(answer.text), headers);
    } else {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no', ...headers });
      response.flushHeaders();
      await pump(answer.events, exchange, response, (id) => this.#refuseServerRequest(id, exchange));
    }
  }

  /** The MCP server asked for something that does not pass; unanswered it would wait for its timeout. */
  async #refuseServerRequest(id: RequestId, { principal, roles, session, front }: Exchange): Promise<void> {
    const body = jsonRpcError(id, 'ERR_MCP_METHOD');
    const { code, message } = (JSON.parse(body) as { error: { code: number; message: string } }).error;
    await this.#upstream
      .exchange({
        method: 'POST', principal, roles, session: session?.upstreamSession, protocolVersion: front.protocolVersion, lastEventId: undefined,
        messages: [{ kind: 'response', id, result: undefined, error: { code, message } }], body, signal: AbortSignal.timeout(refusalTimeoutMs),
      })
      // The stream goes on whether or not the server took the refusal.
      .catch(() => undefined);
  }

  async endSession(session: Session): Promise<void> {
    await this.#upstream.endSession(session.upstreamSession);
  }
}

const refusalTimeoutMs = 5_000;

const opensSession = (exchange: Exchange): boolean =>
  exchange.call?.messages.some((message) => message.kind === 'request' && message.method === 'initialize') ?? false;

const pump = async (events: AsyncIterable<SseEvent>, exchange: Exchange, response: ServerResponse, refuse: (id: RequestId) => Promise<void>): Promise<void> => {
  for await (const event of events) {
    if (response.destroyed) return;
    const kept = exchange.filter.event(event);
    for (const id of exchange.dropped.splice(0)) void refuse(id);
    if (kept !== undefined && !response.write(encodeSseEvent(kept))) {
      await Promise.race([once(response, 'drain'), once(response, 'close')]);
    }
  }
  response.end();
};
