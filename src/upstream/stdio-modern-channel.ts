/**
 * Requests of the modern era of one principal, side by side on one child (revision 2026-07-28, stdio).
 * The HTTP requests of a principal know nothing of each other and may use the same ids and progress
 * tokens, so the child gets ones of ours, and what it writes gets the client's back.
 */
import { SallyportError } from '../errors.ts';
import { clientCapabilitiesKey, logLevelKey, protocolVersionKey, subscriptionIdKey } from '../mcp/envelope.ts';
import type { JsonRpcRequest } from '../mcp/message.ts';
import { isObject, isRequestId } from '../mcp/read-messages.ts';
import { modernRevision } from '../mcp/revisions.ts';
import { readChildLine } from './child-message.ts';
import type { ChildMessage } from './child-message.ts';
import { memberText, replaceMembers } from './json-members.ts';
import { toOneLine } from './json-text.ts';
import { ModernExchange } from './stdio-modern-exchange.ts';
import type { StdioLimits } from './stdio-limits.ts';
import type { SessionChild } from './stdio-session.ts';
import type { UpstreamAnswer, UpstreamRequest } from './upstream.ts';
import type { UpstreamLog } from './upstream-log.ts';

export interface ModernChannelOptions {
  readonly upstream: string;
  readonly child: SessionChild;
  readonly limits: StdioLimits;
  readonly log: UpstreamLog;
  /** Nothing was in flight for `limits.idleMs`. */
  readonly onIdle: () => void;
}

type Notification = Extract<ChildMessage, { readonly kind: 'notification' }>;

/** Refusals on their way to a child that asks and does not read; further questions stay unanswered. */
const maxRefusals = 64;

export class ModernChannel {
  readonly #options: ModernChannelOptions;
  /** By our id, in the order they were sent; what was given up stays until its grace is over. */
  readonly #inFlight = new Map<number, ModernExchange>();
  readonly #forgetting = new Map<number, NodeJS.Timeout>();
  #lastId = 0;
  #pressing = 0;
  #refusals = 0;
  #ended = false;
  #idle: NodeJS.Timeout | undefined;

  constructor(options: ModernChannelOptions) {
    this.#options = options;
    this.#waitForIdleness();
  }

  get idle(): boolean {
    return this.#inFlight.size === 0;
  }

  get ended(): boolean {
    return this.#ended;
  }

  async post(request: UpstreamRequest): Promise<UpstreamAnswer> {
    const { upstream } = this.#options;
    const [message, ...others] = request.messages;
    const { body } = request;
    if (message === undefined || body === undefined || others.length > 0 || request.method !== 'POST') {
      throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'a request of this protocol revision is a POST of one message', { facts: { upstream } });
    }
    if (message.kind === 'response') throw new SallyportError('ERR_MCP_UNSOLICITED', 'no request of the upstream awaits this response', { facts: { upstream } });
    // A cancelled request is one whose POST was closed; no other notification of a client concerns a child.
    if (message.kind === 'notification') return { kind: 'empty', status: 202 };
    return this.#request(request, message, body);
  }

  /** A line of the child's stdout. */
  receive(line: string): void {
    if (this.#ended) return;
    const { upstream, log } = this.#options;
    const messages = readChildLine(line);
    if (messages === undefined) {
      log.warn({ upstream, bytes: line.length }, 'upstream wrote a line that is not JSON-RPC');
      return;
    }
    for (const message of messages) this.#route(message);
  }

  /** Ends every exchange; requests fail with the error. A subscription that was ended on purpose just ends. */
  finish(error: SallyportError, subscriptions: 'fail' | 'end'): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#idle);
    for (const timer of this.#forgetting.values()) clearTimeout(timer);
    this.#forgetting.clear();
    const exchanges = [...this.#inFlight.values()];
    this.#inFlight.clear();
    for (const exchange of exchanges) {
      if (exchange.options.listens && subscriptions === 'end') exchange.close();
      else exchange.fail(error);
    }
    void this.#options.child.end();
  }

  #request(request: UpstreamRequest, message: JsonRpcRequest, body: string): Promise<UpstreamAnswer> {
    const { upstream, limits, child } = this.#options;
    const { signal } = request;
    if (this.#ended) throw new SallyportError('ERR_UPSTREAM_EXITED', 'the upstream has ended: ask again', { facts: { upstream } });
    if (signal.aborted) throw new SallyportError('ERR_UPSTREAM_TIMEOUT', 'the request was given up before it was sent', { facts: { upstream } });
    if (this.#inFlight.size >= limits.requestsInFlight) {
      throw new SallyportError('ERR_LIMIT_REQUESTS', 'too many requests of this principal await their response: wait for some', { facts: { upstream, limit: limits.requestsInFlight } });
    }
    const clientId = memberText(body, ['id']);
    if (clientId === undefined || JSON.parse(clientId) !== message.id) throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'the message and its text do not agree', { facts: { upstream } });
    const meta = isObject(message.params?.['_meta']) ? message.params['_meta'] : {};
    const id = (this.#lastId += 1);
    const exchange = new ModernExchange({
      id: clientId,
      progressToken: isRequestId(meta['progressToken']) ? memberText(body, tokenInRequest) : undefined,
      listens: message.method === 'subscriptions/listen',
      logs: Object.hasOwn(meta, logLevelKey),
      signal,
      pendingBytes: limits.pendingBytes,
      onPressure: (paused) => {
        this.#pressing += paused ? 1 : -1;
        child.pause(this.#pressing > 0);
      },
      onAbandoned: () => this.#cancel(id),
    });
    this.#inFlight.set(id, exchange);
    clearTimeout(this.#idle);
    const ours = String(id);
    const text = replaceMembers(body, [{ path: ['id'], value: ours }, ...(exchange.options.progressToken === undefined ? [] : [{ path: tokenInRequest, value: ours }])]);
    child.write(`${toOneLine(text)}\n`).catch((cause: unknown) => {
      this.finish(new SallyportError('ERR_UPSTREAM_EXITED', 'the upstream takes no more input: ask again', { cause, facts: { upstream } }), 'fail');
    });
    return exchange.answer;
  }

  #route(message: ChildMessage): void {
    switch (message.kind) {
      case 'response':
        return this.#respond(message);
      case 'request':
        return this.#refuse(message);
      case 'notification':
        return this.#notify(message);
    }
  }

  #respond(message: Extract<ChildMessage, { readonly kind: 'response' }>): void {
    const { id } = message;
    const exchange = typeof id === 'number' ? this.#inFlight.get(id) : undefined;
    if (exchange === undefined || typeof id !== 'number') {
      this.#options.log.debug({ upstream: this.#options.upstream }, 'upstream answered a request that is not in flight');
      return;
    }
    const value = exchange.options.id;
    exchange.respond(replaceMembers(message.text, [{ path: ['id'], value }, ...(message.subscriptionId === id ? [{ path: subscriptionInResult, value }] : [])]), message.errorCode);
    this.#forget(id);
  }

  /** Servers of this revision ask in results, never in requests (stdio, receiving messages). */
  #refuse({ id, method }: Extract<ChildMessage, { readonly kind: 'request' }>): void {
    const { upstream, log, child } = this.#options;
    log.warn({ upstream, method: method.slice(0, 64) }, 'upstream asked the client in a way its protocol revision has not');
    if (this.#refusals >= maxRefusals) return;
    this.#refusals += 1;
    child
      .write(`${JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32601, message: 'method not found' } })}\n`)
      .catch(() => undefined)
      .finally(() => {
        this.#refusals -= 1;
      });
  }

  #notify(message: Notification): void {
    const { method, progressToken, subscriptionId, requestId } = message;
    if (method === 'notifications/cancelled') {
      const listen = this.#listenOf(requestId);
      // Cancellation: servers cancel subscriptions only. On HTTP that is the end of the stream.
      listen?.exchange.close();
      if (listen !== undefined) this.#forget(listen.id);
    } else if (method === 'notifications/progress') {
      const exchange = typeof progressToken === 'number' ? this.#inFlight.get(progressToken) : undefined;
      const value = exchange?.options.progressToken;
      if (value !== undefined) exchange?.emit(replaceMembers(message.text, [{ path: tokenInProgress, value }]));
    } else if (subscriptionId !== undefined) {
      const listen = this.#listenOf(subscriptionId);
      listen?.exchange.emit(replaceMembers(message.text, [{ path: subscriptionInParams, value: listen.exchange.options.id }]));
    } else if (!message.concernsSession && method !== 'notifications/subscriptions/acknowledged') {
      this.#latest(method === 'notifications/message' ? 'logs' : 'any')?.emit(message.text);
    }
  }

  #listenOf(id: unknown): { readonly id: number; readonly exchange: ModernExchange } | undefined {
    const exchange = typeof id === 'number' ? this.#inFlight.get(id) : undefined;
    return exchange?.options.listens === true && typeof id === 'number' ? { id, exchange } : undefined;
  }

  /** stdio does not say which request such a notification belongs to: most likely the latest. */
  #latest(which: 'logs' | 'any'): ModernExchange | undefined {
    return [...this.#inFlight.values()].findLast((exchange) => exchange.open && !exchange.options.listens && (which === 'any' || exchange.options.logs));
  }

  /** Cancellation, stdio: the child is told, and may still answer for a while. */
  #cancel(id: number): void {
    if (this.#ended || !this.#inFlight.has(id)) return;
    // Without the envelope, a server that was only asked what it speaks would take this for the legacy era.
    const meta = { [protocolVersionKey]: modernRevision, [clientCapabilitiesKey]: {} };
    const cancelled = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: id, reason: 'the client closed the request', _meta: meta } };
    this.#options.child.write(`${JSON.stringify(cancelled)}\n`).catch(() => undefined);
    const timer = setTimeout(() => this.#forget(id), this.#options.limits.cancelGraceMs);
    timer.unref();
    this.#forgetting.set(id, timer);
  }

  #forget(id: number): void {
    clearTimeout(this.#forgetting.get(id));
    this.#forgetting.delete(id);
    if (this.#inFlight.delete(id) && this.idle) this.#waitForIdleness();
  }

  #waitForIdleness(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#options.onIdle(), this.#options.limits.idleMs);
    this.#idle.unref();
  }
}

const tokenInRequest = ['params', '_meta', 'progressToken'];
const tokenInProgress = ['params', 'progressToken'];
const subscriptionInParams = ['params', '_meta', subscriptionIdKey];
const subscriptionInResult = ['result', '_meta', subscriptionIdKey];
