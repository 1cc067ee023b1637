/**
 * One session with one child: routes lines of JSON-RPC between POSTs, the GET stream and the child
 * as the Streamable HTTP transport would (revisions 2025-03-26 to 2025-11-25).
 */
import { SallyportError } from '../errors.ts';
import type { JsonRpcMessage, RequestId } from '../mcp/message.ts';
import { isObject, isRequestId } from '../mcp/read-messages.ts';
import { readChildLine } from './child-message.ts';
import type { ChildMessage } from './child-message.ts';
import { EventLog, parseEventId } from './event-log.ts';
import { splitBatch, toOneLine } from './json-text.ts';
import { PostExchange } from './post-exchange.ts';
import type { StdioLimits } from './stdio-limits.ts';
import type { UpstreamAnswer, UpstreamRequest } from './upstream.ts';
import type { UpstreamLog } from './upstream-log.ts';

/** The child as a session sees it. */
export interface SessionChild {
  readonly pid: number;
  write(text: string): Promise<void>;
  pause(paused: boolean): void;
  end(): Promise<void>;
}

export interface StdioSessionOptions {
  readonly upstream: string;
  readonly principalId: string;
  readonly limits: StdioLimits;
  readonly log: UpstreamLog;
}

/** Revision from which a stream may start with an event without data. */
const primingRevision = '2025-11-25';
const getStream = 0;
/** More requests of a child than this cannot be awaiting an answer; the oldest is forgotten. */
const maxServerRequests = 1024;

export class StdioSession {
  readonly principalId: string;
  readonly #options: StdioSessionOptions;
  readonly #inFlight = new Map<RequestId, PostExchange>();
  readonly #progress = new Map<RequestId, PostExchange>();
  readonly #serverRequests = new Set<RequestId>();
  readonly #streams = new Map<number, EventLog>();
  readonly #cancelled = new Set<NodeJS.Timeout>();
  #child: SessionChild | undefined;
  #lastStream = getStream;
  #pressing = 0;
  #revision: string | undefined;
  #refused = false;
  #dismissed = false;
  #ended = false;

  constructor(options: StdioSessionOptions) {
    this.principalId = options.principalId;
    this.#options = options;
    this.#openLog(getStream);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** The child answered `initialize` with an error, so the session ends. */
  get refused(): boolean {
    return this.#refused;
  }

  /** The child answered `initialize`. */
  get initialized(): boolean {
    return this.#revision !== undefined;
  }

  /** It was ended on purpose, so that the end of its child is no news. */
  get dismissed(): boolean {
    return this.#dismissed || this.#refused;
  }

  /** Gives the session its child; before that nothing can be posted. */
  start(child: SessionChild): void {
    this.#child = child;
  }

  async post(request: UpstreamRequest): Promise<UpstreamAnswer> {
    const lines = linesOf(request);
    this.#checkResponses(request.messages);
    const exchange = this.#register(request);
    for (const message of request.messages) this.#sending(message);
    try {
      await this.#child?.write(`${lines.join('\n')}\n`);
    } catch (cause) {
      const error = new SallyportError('ERR_UPSTREAM_EXITED', 'the upstream takes no more input: initialize a new session', { cause, facts: { upstream: this.#options.upstream } });
      this.finish(error);
      throw error;
    }
    return exchange === undefined ? { kind: 'empty', status: 202 } : exchange.answer;
  }

  get(request: UpstreamRequest): UpstreamAnswer {
    const { lastEventId, signal } = request;
    if (lastEventId === undefined) {
      const log = this.#log(getStream);
      // One GET stream a session: with two, nobody could say which of them gets a message.
      if (log.attached) return { kind: 'empty', status: 409 };
      return { kind: 'stream', status: 200, events: log.attach(signal) };
    }
    const position = parseEventId(lastEventId);
    const log = position === undefined ? undefined : this.#streams.get(position.stream);
    if (position === undefined || log === undefined || !log.knows(position.number)) {
      throw new SallyportError('ERR_MCP_EVENT_ID', 'no stream of this session can be resumed from that event: open a new one', { facts: { upstream: this.#options.upstream } });
    }
    return { kind: 'stream', status: 200, events: log.resume(position.number, signal) };
  }

  /** A line of the child's stdout. */
  receive(line: string): void {
    if (this.#ended) return;
    const messages = readChildLine(line);
    if (messages === undefined) {
      this.#options.log.warn({ upstream: this.#options.upstream, bytes: line.length }, 'upstream wrote a line that is not JSON-RPC');
      return;
    }
    for (const message of messages) this.#route(message);
  }

  /** Ends every exchange and stream; requests still in flight fail with `error`. */
  finish(error: SallyportError): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const timer of this.#cancelled) clearTimeout(timer);
    for (const exchange of new Set(this.#inFlight.values())) exchange.fail(error);
    for (const log of this.#streams.values()) log.end();
    this.#inFlight.clear();
    this.#progress.clear();
    this.#streams.clear();
    void this.#child?.end();
  }

  /** Resolves when nothing is left of the child. */
  async end(error: SallyportError): Promise<void> {
    this.#dismissed ||= !this.#ended;
    this.finish(error);
    await this.#child?.end();
  }

  #register(request: UpstreamRequest): PostExchange | undefined {
    const requests = request.messages.filter((message) => message.kind === 'request');
    const ids = requests.map((message) => message.id);
    if (ids.length === 0) return undefined;
    const { limits, upstream } = this.#options;
    if (new Set(ids).size !== ids.length || ids.some((id) => this.#inFlight.has(id))) {
      throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'a request of this session with the same id awaits its response: use each id once', { facts: { upstream } });
    }
    if (this.#inFlight.size + ids.length > limits.requestsInFlight) {
      throw new SallyportError('ERR_LIMIT_REQUESTS', 'too many requests of this session await their response: wait for some', { facts: { upstream, limit: limits.requestsInFlight } });
    }
    if (request.signal.aborted) throw new SallyportError('ERR_UPSTREAM_TIMEOUT', 'the request was given up before it was sent', { facts: { upstream } });
    const exchange = new PostExchange({
      requests: ids,
      batch: isBatch(request),
      primed: (request.protocolVersion ?? this.#revision ?? '') >= primingRevision,
      own: request.own === true,
      signal: request.signal,
      openStreamAfterMs: limits.openStreamAfterMs,
      openLog: () => this.#openLog((this.#lastStream += 1)),
    });
    for (const message of requests) {
      this.#inFlight.set(message.id, exchange);
      const token = progressTokenOf(message.params?.['_meta']);
      if (token !== undefined) this.#progress.set(token, exchange);
    }
    return exchange;
  }

  /** mcp.md row 24: a response is carried on only if the child asked, and only once. */
  #checkResponses(messages: readonly JsonRpcMessage[]): void {
    const seen = new Set<RequestId>();
    for (const message of messages) {
      if (message.kind !== 'response') continue;
      if (!this.#serverRequests.has(message.id) || seen.has(message.id)) {
        throw new SallyportError('ERR_MCP_UNSOLICITED', 'no request of the upstream awaits this response', { facts: { upstream: this.#options.upstream } });
      }
      seen.add(message.id);
    }
  }

  #sending(message: JsonRpcMessage): void {
    if (message.kind === 'response') this.#serverRequests.delete(message.id);
    if (message.kind !== 'notification' || message.method !== 'notifications/cancelled') return;
    const id = message.params?.['requestId'];
    if (!isRequestId(id) || !this.#inFlight.has(id)) return;
    // A cancelled request should bring no response, so nothing else would end its exchange.
    const exchange = this.#inFlight.get(id);
    const timer = setTimeout(() => {
      this.#cancelled.delete(timer);
      if (this.#inFlight.get(id) !== exchange) return;
      exchange?.forget(id);
      this.#settled(id, exchange);
    }, this.#options.limits.cancelGraceMs);
    timer.unref();
    this.#cancelled.add(timer);
  }

  #route(message: ChildMessage): void {
    if (message.kind === 'response') {
      const exchange = this.#inFlight.get(message.id);
      if (exchange === undefined) {
        this.#options.log.debug({ upstream: this.#options.upstream }, 'upstream answered a request that is not in flight');
        return;
      }
      if (this.#revision === undefined) this.#initialized(message.revision);
      exchange.respond(message.id, message.text);
      this.#settled(message.id, exchange);
      return;
    }
    if (message.kind === 'request') {
      this.#serverRequests.add(message.id);
      if (this.#serverRequests.size > maxServerRequests) this.#serverRequests.delete(this.#serverRequests.values().next().value ?? '');
    }
    this.#emit(message);
  }

  /** The first response is the one to `initialize`. */
  #initialized(revision: string | undefined): void {
    if (revision !== undefined) {
      this.#revision = revision;
      return;
    }
    // No session without a revision. Its answer goes out first.
    this.#refused = true;
    queueMicrotask(() => this.finish(new SallyportError('ERR_UPSTREAM_EXITED', 'the upstream refused to initialize', { facts: { upstream: this.#options.upstream } })));
  }

  /**
   * stdio does not say which request a message belongs to. Progress names its own; what concerns the
   * session goes to the GET stream; the rest most likely comes from the latest request in flight.
   */
  #emit(message: Exclude<ChildMessage, { kind: 'response' }>): void {
    const get = this.#log(getStream);
    const reported = message.progressToken === undefined ? undefined : this.#progress.get(message.progressToken);
    if (reported !== undefined && (reported.reachable || reported.resumable)) {
      reported.emit(message.text);
      return;
    }
    const exchanges = [...this.#inFlight.values()].toReversed();
    const reachable = exchanges.find((exchange) => exchange.reachable);
    if (get.attached && (message.concernsSession || reachable === undefined)) get.append(message.text);
    else {
      const exchange = reachable ?? exchanges.find((candidate) => candidate.resumable);
      if (exchange === undefined) get.append(message.text);
      else exchange.emit(message.text);
    }
  }

  #settled(id: RequestId, exchange: PostExchange | undefined): void {
    this.#inFlight.delete(id);
    if (exchange?.done !== true) return;
    for (const [token, candidate] of this.#progress) if (candidate === exchange) this.#progress.delete(token);
    this.#retireStreams();
  }

  /** Ended streams stay for a while: the peer may have lost their last events. */
  #retireStreams(): void {
    const { endedStreams, endedStreamBytes } = this.#options.limits;
    const ended = [...this.#streams.values()].filter((log) => log.ended);
    let bytes = ended.reduce((sum, log) => sum + log.bytes, 0);
    for (const [index, log] of ended.entries()) {
      if (ended.length - index <= endedStreams && bytes <= endedStreamBytes) return;
      bytes -= log.bytes;
      this.#streams.delete(log.stream);
    }
  }

  #openLog(stream: number): EventLog {
    const { eventsPerStream, bytesPerStream, pendingBytes } = this.#options.limits;
    const log = new EventLog({
      stream,
      maxEvents: eventsPerStream,
      maxBytes: bytesPerStream,
      pendingBytes,
      onPressure: (paused) => {
        this.#pressing += paused ? 1 : -1;
        this.#child?.pause(this.#pressing > 0);
      },
    });
    this.#streams.set(stream, log);
    return log;
  }

  #log(stream: number): EventLog {
    return this.#streams.get(stream) ?? this.#openLog(stream);
  }
}

const isBatch = (request: UpstreamRequest): boolean => /^[ \t\r\n]*\[/u.test(request.body ?? '');

/** What is written for a POST: one line a message, each value as the client wrote it. */
const linesOf = (request: UpstreamRequest): readonly string[] => {
  const { body, messages } = request;
  const texts = body === undefined ? [] : splitBatch(body);
  if (texts.length === 0 || texts.length !== messages.length) {
    throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'the messages and their text do not agree', { facts: { messages: messages.length, texts: texts.length } });
  }
  return texts.map(toOneLine);
};

const progressTokenOf = (meta: unknown): RequestId | undefined => {
  const token = isObject(meta) ? meta['progressToken'] : undefined;
  return isRequestId(token) ? token : undefined;
};
