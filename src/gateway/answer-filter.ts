/**
 * Looks at everything an upstream sends to one MCP client and lets through what that client's
 * principal may see. One instance serves one HTTP answer.
 */
import { SallyportError } from '../errors.ts';
import type { Principal } from '../identity/principal.ts';
import { filterByShape, filterResult, needsFilter } from '../mcp/filters.ts';
import type { HasClass } from '../mcp/filters.ts';
import { isObject, isRequestId } from '../mcp/read-messages.ts';
import type { Era } from '../mcp/revisions.ts';
import { acknowledged, wanted } from '../mcp/subscriptions.ts';
import type { Subscription } from '../mcp/subscriptions.ts';
import { parseLossless, stringifyLossless } from '../mcp/lossless-json.ts';
import { classifyServerMessage } from '../mcp/method-table.ts';
import type { RequestId } from '../mcp/message.ts';
import type { Sealer } from '../mcp/sealing.ts';
import type { Action } from '../policy/decision.ts';
import type { SseEvent } from '../upstream/upstream.ts';
import type { InFlight, Session } from './sessions.ts';

export interface AnswerFilterOptions {
  readonly era: Era;
  /** Modern: the level of log messages that the request asked for, if any. */
  readonly logLevel?: string | undefined;
  /** Of `subscriptions/listen`. */
  readonly subscription?: Subscription | undefined;
  readonly upstream: string;
  readonly principal: Principal;
  readonly session: () => Session | undefined;
  /** Requests of the POST that this answer belongs to; empty for a GET stream. */
  readonly pending: Map<RequestId, InFlight>;
  readonly allows: (action: Action) => boolean;
  readonly hasClass: HasClass;
  readonly sealer: Sealer;
  /** A request got its response. */
  readonly onAnswered: (id: RequestId, failed: boolean) => void;
  /** The MCP server asked the client something that is not let through, and would wait for an answer. */
  readonly onDroppedRequest: (id: RequestId) => void;
}

/** The kind under which upstream event ids are sealed. */
const eventIdKind = 'event-id';

/** Event ids open only for the principal and session they were given to (mcp.md row 9). */
export const eventIdBinding = (principal: Principal, session: Session | undefined, upstream: string): string =>
  JSON.stringify([principal.id, session?.id ?? null, upstream]);

export const openEventId = (sealer: Sealer, binding: string, sealed: string): string => {
  const opened = sealer.open(eventIdKind, binding, sealed);
  if (opened === undefined) throw new SallyportError('ERR_MCP_EVENT_ID', 'the event id was not given to this session: reconnect without Last-Event-ID');
  return opened;
};

export class AnswerFilter {
  readonly #options: AnswerFilterOptions;
  #resumable = false;

  constructor(options: AnswerFilterOptions) {
    this.#options = options;
  }

  /** Whether the client was given an event id to go on from, should the stream break. */
  get resumable(): boolean {
    return this.#resumable;
  }

  /** A whole JSON answer: one message, or an array of them in revision 2025-03-26. */
  json(text: string): string {
    const value = parse(text);
    if (!Array.isArray(value)) return this.#message(value, text) ?? refusedAnswer;
    return `[${this.#batch(text).join(',')}]`;
  }

  /** One SSE event, with its id sealed; undefined when the client is not to see it. */
  event(event: SseEvent): SseEvent | undefined {
    // An event without data only primes resumption (revision 2025-11-25).
    const data = event.data === '' ? '' : this.#data(event.data);
    if (data === undefined) return undefined;
    if (event.id === undefined) return { ...event, data };
    const { sealer, principal, session, upstream } = this.#options;
    this.#resumable = true;
    return { ...event, data, id: sealer.seal(eventIdKind, eventIdBinding(principal, session(), upstream), event.id) };
  }

  #data(text: string): string | undefined {
    const value = parse(text);
    if (!Array.isArray(value)) return this.#message(value, text);
    const kept = this.#batch(text);
    return kept.length === 0 ? undefined : `[${kept.join(',')}]`;
  }

  #batch(text: string): readonly string[] {
    return (parseLossless(text) as readonly unknown[]).map((one) => this.#message(one, stringifyLossless(one))).filter((one) => one !== undefined);
  }

  /** `text` is the message's own text, passed on untouched when nothing has to be changed. */
  #message(value: unknown, text: string): string | undefined {
    if (typeof value !== 'object' || value === null) throw invalidAnswer('a message that is no object');
    const message = value as Readonly<Record<string, unknown>>;
    // Two readers could take it for two things: we for a request, the client for the response to its own.
    if (message.method !== undefined && ('result' in message || 'error' in message)) throw invalidAnswer('a message that is request and response in one');
    if (typeof message.method === 'string') return this.#fromServer(message, message.method, text);
    const id = message.id;
    if (typeof id !== 'string' && typeof id !== 'number') {
      // An error about a request the upstream could not read carries no id; nothing in it was filtered for.
      if (message.error !== undefined && message.result === undefined) return text;
      throw invalidAnswer('a response without an id');
    }
    const kept = this.#response(message, id, text);
    // What is not recorded is not given; then the request stays open, to be failed.
    this.#options.onAnswered(id, message.error !== undefined);
    this.#options.pending.delete(id);
    this.#options.session()?.inFlight.delete(id);
    return kept;
  }

  #response(message: Readonly<Record<string, unknown>>, id: RequestId, text: string): string {
    if (message.result === undefined) return text;
    const { upstream, pending, session, allows, hasClass } = this.#options;
    const asked = pending.get(id) ?? session()?.inFlight.get(id);
    if (asked === undefined) return stringifyLossless(filterByShape(upstream, reparse(text), allows, hasClass));
    if (asked.method === 'initialize') this.#learnRevision(message.result);
    if (!needsFilter(asked.method)) return text;
    const whole = reparse(text);
    return stringifyLossless({ ...whole, result: filterResult(upstream, asked.method, asked.params, whole.result, allows, hasClass) });
  }

  #fromServer(message: Readonly<Record<string, unknown>>, method: string, text: string): string | undefined {
    const { upstream, allows, era } = this.#options;
    const kind = classifyServerMessage(upstream, message, allows, era);
    if (kind === 'drop') {
      if (isRequestId(message.id)) this.#options.onDroppedRequest(message.id);
      return undefined;
    }
    if (era === 'modern') return this.#modernNotification(method, text);
    const session = this.#options.session();
    if (kind === 'request' && (typeof message.id === 'string' || typeof message.id === 'number')) {
      const token = (message.params as { _meta?: { progressToken?: unknown } } | undefined)?._meta?.progressToken;
      if (session !== undefined) awaitAnswer(session, message.id, isRequestId(token) ? token : undefined);
    }
    return text;
  }

  /** Nothing but what the one request of this exchange asked for. */
  #modernNotification(method: string, text: string): string | undefined {
    const { subscription, logLevel, upstream, allows } = this.#options;
    if (subscription === undefined) {
      if (method === 'notifications/progress') return text;
      return method === 'notifications/message' && logLevel !== undefined && allows({ kind: 'logging', upstream }) ? text : undefined;
    }
    const message = reparse(text);
    const params = isObject(message.params) ? message.params : {};
    if (!wanted(subscription, method, params)) return undefined;
    return method === 'notifications/subscriptions/acknowledged' ? stringifyLossless({ ...message, params: acknowledged(subscription, params) }) : text;
  }

  #learnRevision(result: unknown): void {
    const session = this.#options.session();
    const revision = (result as { protocolVersion?: unknown } | null)?.protocolVersion;
    if (session !== undefined && typeof revision === 'string') session.protocolVersion = revision;
  }
}

/** A server that never stops asking must not fill the memory; the oldest question goes first. */
const maxAwaited = 1024;

const awaitAnswer = ({ awaited }: Session, id: RequestId, progressToken: RequestId | undefined): void => {
  awaited.delete(id);
  awaited.set(id, progressToken);
  for (const oldest of awaited.keys()) {
    if (awaited.size <= maxAwaited) return;
    awaited.delete(oldest);
  }
};

/** A single answer that the client must not see would leave its request hanging. */
const refusedAnswer = '{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"the MCP server sent an invalid answer"}}';

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent something that is not JSON', { cause });
  }
};

/** What is about to be rewritten is parsed again without loss, so that big integers survive (mcp.md row 3). */
const reparse = (text: string): Readonly<Record<string, unknown>> => parseLossless(text) as Readonly<Record<string, unknown>>;

const invalidAnswer = (what: string): SallyportError => new SallyportError('ERR_UPSTREAM_INVALID', `the MCP server sent ${what}`);
