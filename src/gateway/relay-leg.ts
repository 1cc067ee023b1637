/** Carries exchanges to an upstream that is reached by messages: a stdio child or an HTTP server. */
import type { ServerResponse } from 'node:http';
import type { Randomness } from '../../ca/ports.ts';
import { encodeSseEvent } from '../mcp/sse.ts';
import type { RequestId } from '../mcp/message.ts';
import type { Sealer } from '../mcp/sealing.ts';
import type { SseEvent, Upstream } from '../upstream/upstream.ts';
import { jsonRpcError, sendJson } from './answer.ts';
import { eventIdBinding, openEventId } from './answer-filter.ts';
import { drained } from './drained.ts';
import { gather } from './gathered.ts';
import { isInitialize } from './exchange.ts';
import type { Asking, Exchange, Leg } from './exchange.ts';
import { askUpstream } from './ask-upstream.ts';
import type { Session } from './sessions.ts';

export class RelayLeg implements Leg {
  readonly #upstream: Upstream;
  readonly #sealer: Sealer;
  readonly #randomness: Randomness;
  #refusing = 0;

  constructor(upstream: Upstream, { sealer, randomness }: { readonly sealer: Sealer; readonly randomness: Randomness }) {
    this.#upstream = upstream;
    this.#sealer = sealer;
    this.#randomness = randomness;
  }

  get upstream(): string {
    return this.#upstream.name;
  }

  async headerless(): Promise<boolean> {
    return (await this.#upstream.headerless?.()) === true;
  }

  ask(asking: Asking, method: string, params: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>> {
    return askUpstream(this.#upstream, asking, { method, params, randomness: this.#randomness });
  }

  async carry(exchange: Exchange): Promise<void> {
    const { front, principal, session, response, filter } = exchange;
    const answer = await this.#upstream.exchange({
      era: exchange.era,
      method: front.method,
      principal,
      roles: exchange.roles,
      address: exchange.caller.address,
      via: exchange.caller.via,
      session: session?.upstreamSession,
      protocolVersion: exchange.envelope?.protocolVersion ?? front.protocolVersion,
      paramHeaders: exchange.era === 'modern' ? front.paramHeaders : undefined,
      lastEventId: front.lastEventId === undefined ? undefined : openEventId(this.#sealer, eventIdBinding(principal, session, this.upstream), front.lastEventId),
      messages: exchange.call?.messages ?? [],
      body: exchange.body?.text,
      signal: exchange.signal,
    });
    const opened = session === undefined && answer.session !== undefined && isInitialize(exchange.call?.messages) ? exchange.openSession(answer.session) : undefined;
    const headers = opened === undefined ? {} : { 'mcp-session-id': opened.id };
    const refuseDropped = (): void => {
      for (const id of exchange.dropped.splice(0)) void this.#refuseServerRequest(id, exchange);
    };
    if (answer.kind === 'empty') {
      response.writeHead(answer.status, { 'content-length': 0, ...headers }).end();
    } else if (answer.kind === 'json') {
      sendJson(response, answer.status, filter.json(answer.text), headers);
      refuseDropped();
    } else {
      // Set one by one, since Node forgets those given to writeHead, and the end of a stream asks what it was.
      response.setHeader('content-type', 'text/event-stream').setHeader('cache-control', 'no-store').setHeader('x-accel-buffering', 'no');
      if (opened !== undefined) response.setHeader('mcp-session-id', opened.id);
      gather(response);
      response.flushHeaders();
      await pump(answer.events, exchange, response, refuseDropped);
    }
  }

  async endSession(session: Session): Promise<void> {
    await this.#upstream.endSession(session.upstreamSession);
  }

  async endPrincipal(principalId: string): Promise<void> {
    await this.#upstream.endPrincipal(principalId);
  }

  /** The MCP server asked for something that does not pass; unanswered it would wait for its timeout. */
  async #refuseServerRequest(id: RequestId, { era, principal, roles, session, front }: Exchange): Promise<void> {
    // The modern era has no channel for a refusal, nor for the question.
    if (era === 'modern') return;
    // A server that asks without end and takes no refusal waits for its own timeouts.
    if (this.#refusing >= maxRefusals) return;
    this.#refusing += 1;
    const body = jsonRpcError(id, 'ERR_MCP_METHOD');
    const { code, message } = (JSON.parse(body) as { error: { code: number; message: string } }).error;
    await this.#upstream
      .exchange({
        era, method: 'POST', principal, roles, session: session?.upstreamSession, protocolVersion: front.protocolVersion, lastEventId: undefined,
        messages: [{ kind: 'response', id, result: undefined, error: { code, message } }], body, signal: AbortSignal.timeout(refusalTimeoutMs),
      })
      // The stream goes on whether or not the server took the refusal.
      .catch(() => undefined)
      .finally(() => {
        this.#refusing -= 1;
      });
  }
}

const refusalTimeoutMs = 5_000;

/** Refusals on their way at once. */
const maxRefusals = 256;

const pump = async (events: AsyncIterable<SseEvent>, exchange: Exchange, response: ServerResponse, refuseDropped: () => void): Promise<void> => {
  for await (const event of events) {
    if (response.destroyed) return;
    const kept = exchange.filter.event(event);
    refuseDropped();
    if (kept === undefined) continue;
    gather(response);
    if (!response.write(encodeSseEvent(kept))) await drained(response);
  }
  // Aborted: whoever did it ends the response.
  if (!exchange.signal.aborted) response.end();
};
