/**
 * Looks at everything an upstream sends to one MCP client and lets through what that client's
 * principal may see. One instance serves one HTTP answer.
 */
import { SallyportError } from '../errors.ts';
import type { Principal } from '../identity/principal.ts';
import { withoutHiddenResources } from '../mcp/content-filter.ts';
import { parseExact } from '../mcp/exact-json.ts';
import { filterByShape, filterResult, needsFilter } from '../mcp/filters.ts';
import type { FilterContext, HasClass } from '../mcp/filters.ts';
import { withoutTellingInstructions } from '../mcp/instructions.ts';
import type { NameClass, SeenNames } from '../mcp/instructions.ts';
import { missingCapabilities } from '../mcp/input-requests.ts';
import { isObject, isRequestId } from '../mcp/read-messages.ts';
import type { Era } from '../mcp/revisions.ts';
import { acknowledged, wanted } from '../mcp/subscriptions.ts';
import type { Subscription } from '../mcp/subscriptions.ts';
import { parseLossless, stringifyLossless } from '../mcp/lossless-json.ts';
import { classifyServerMessage } from '../mcp/method-table.ts';
import type { RequestId } from '../mcp/message.ts';
import type { SealedValues, Side } from '../mcp/sealed-values.ts';
import type { Sealer } from '../mcp/sealing.ts';
import type { Action } from '../policy/decision.ts';
import { toOneLine } from '../upstream/json-text.ts';
import type { SseEvent } from '../upstream/upstream.ts';
import { AskedOfClient } from './asked-of-client.ts';
import { settle } from './sessions.ts';
import type { InFlight, Session } from './sessions.ts';

type Fields = Readonly<Record<string, unknown>>;

export interface AnswerFilterOptions {
  readonly era: Era;
  /** Modern: the level of log messages that the request asked for, if any. */
  readonly logLevel?: string | undefined;
  /** Modern: what the client declared with the request. */
  readonly clientCapabilities?: Fields | undefined;
  /** Of `subscriptions/listen`. */
  readonly subscription?: Subscription | undefined;
  readonly upstream: string;
  readonly principal: Principal;
  readonly session: () => Session | undefined;
  /** Requests of the POST that this answer belongs to; empty for a GET stream. */
  readonly pending: Map<RequestId, InFlight>;
  readonly allows: (action: Action) => boolean;
  readonly hasClass: HasClass;
  /** Whether everything of a class is granted, whatever its name. */
  readonly hasAll: (nameClass: NameClass) => boolean;
  /** Whether policy denies it in so many words, and does not merely grant it not. */
  readonly isDenied: (action: Action) => boolean;
  /** Protocol revisions that a modern MCP client may speak here. */
  readonly revisions: readonly string[];
  readonly sealer: Sealer;
  readonly values: SealedValues;
  /** What upstreams have listed to anybody. */
  readonly names: SeenNames;
  /** The result of `tools/list`, before anything is taken from it. */
  readonly onListed?: (params: Fields | undefined, result: Fields) => void;
  /** The MCP server said that its tools are not what they were. */
  readonly onToolsChanged?: () => void;
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
  readonly #side: Side;
  readonly #filtering: FilterContext;
  readonly #asked = new AskedOfClient();
  #resumable = false;

  constructor(options: AnswerFilterOptions) {
    const { upstream, principal, allows, hasClass, revisions } = options;
    this.#options = options;
    this.#side = { principalId: principal.id, upstream, allows };
    this.#filtering = { upstream, allows, hasClass, revisions };
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
    const seen = event.data === '' ? '' : this.#data(event.data);
    if (seen === undefined) return undefined;
    // Readers that end a line at U+0085 or U+2028 (httpx) would take what a tool quotes for events that nobody looked at.
    const data = toOneLine(seen);
    if (event.event !== undefined && !plainName.test(event.event)) throw invalidAnswer('an event whose name is not visible ASCII');
    if (event.id === undefined) return { ...event, data };
    const { sealer, principal, session, upstream } = this.#options;
    this.#resumable = true;
    return { ...event, data, id: sealer.seal(eventIdKind, eventIdBinding(principal, session(), upstream), event.id) };
  }

  /**
   * A link to a resource shows that there is one. To whom policy gives some resources of this upstream, it gives
   * links to those only; to whom it gives none, a tool's answer is what the tool may say, but for what is denied.
   */
  readonly #mayShow = (uri: string): boolean => {
    const { upstream, allows, hasClass, isDenied } = this.#options;
    const action: Action = { kind: 'resource', upstream, uri };
    return hasClass('resources') ? allows(action) : !isDenied(action);
  };

  #data(text: string): string | undefined {
    const value = parse(text);
    if (!Array.isArray(value)) return this.#message(value, text);
    const kept = this.#batch(text);
    return kept.length === 0 ? undefined : `[${kept.join(',')}]`;
  }

  #batch(text: string): readonly string[] {
    return (reparse(text) as readonly unknown[]).map((one) => this.#message(one, stringifyLossless(one))).filter((one) => one !== undefined);
  }

  /** `text` is the message's own text, passed on untouched when nothing has to be changed. */
  #message(value: unknown, text: string): string | undefined {
    if (typeof value !== 'object' || value === null) throw invalidAnswer('a message that is no object');
    const message = value as Fields;
    // Two readers could take it for two things: we for a request, the client for the response to its own.
    if (message.method !== undefined && ('result' in message || 'error' in message)) throw invalidAnswer('a message that is request and response in one');
    if (typeof message.method === 'string') return this.#fromServer(message, message.method, text);
    const id = message.id;
    if (typeof id !== 'string' && typeof id !== 'number') {
      // An error about a request the upstream could not read carries no id; nothing in it was filtered for.
      if (message.error !== undefined && message.result === undefined) return text;
      throw invalidAnswer('a response without an id');
    }
    // What is neither was looked at by nobody, and of both only one would be.
    if (message.result === undefined && !isObject(message.error)) throw invalidAnswer('a response without result or error');
    if (message.result !== undefined && isObject(message.error)) throw invalidAnswer('a response with both result and error');
    const kept = this.#response(message, id, text);
    // What is not recorded is not given; then the request stays open, to be failed.
    this.#options.onAnswered(id, message.error !== undefined);
    this.#options.pending.delete(id);
    const session = this.#options.session();
    if (session !== undefined) settle(session, id);
    return kept;
  }

  #response(message: Fields, id: RequestId, text: string): string {
    const { pending, session } = this.#options;
    const asked = pending.get(id) ?? session()?.inFlight.get(id);
    if (message.result === undefined) return this.#error(message, asked, text);
    if (asked?.method === 'initialize') this.#learnRevision(message.result);
    // What is most often left as it is, is looked at before it is parsed again.
    if (asked !== undefined && !needsFilter(asked.method) && this.#result(message.result, asked) === message.result) return text;
    const whole = reparse(text) as Fields;
    return stringifyLossless({ ...whole, result: this.#result(whole.result, asked) });
  }

  /** What is to be seen of a result, sealed; the same object when that is all of it. */
  #result(result: unknown, asked: InFlight | undefined): Fields {
    const { values, names, upstream, allows, hasAll } = this.#options;
    // A page of nobody knows which list changes what it names, and no more.
    if (asked === undefined && isObject(result) && Array.isArray(result.tools)) this.#options.onListed?.({ cursor: unknownPage }, result);
    if (asked === undefined) return values.result(undefined, withoutHiddenResources(filterByShape(result, this.#filtering), this.#mayShow), this.#side);
    let given = result;
    this.#assertAskable(result);
    if (isObject(given)) {
      names.note(upstream, asked.method, given);
      if (asked.method === 'tools/list') this.#options.onListed?.(asked.params, given);
      if (announcing.has(asked.method)) {
        values.noteCapabilities(upstream, asked.method, given);
        given = withoutTellingInstructions(given, { upstream, names, allows, hasAll });
      }
    }
    return values.result(asked, withoutHiddenResources(filterResult(given, { ...asked, ...this.#filtering }), this.#mayShow), this.#side);
  }

  /** A server must not ask a client for what it did not say it can give (revision 2026-07-28, -32021); one on stdio has nobody else to keep it from that. */
  #assertAskable(result: unknown): void {
    const { era, clientCapabilities = {} } = this.#options;
    if (era !== 'modern' || !isObject(result) || result.resultType !== 'input_required') return;
    const missing = missingCapabilities(result.inputRequests, clientCapabilities);
    if (missing === undefined) throw invalidAnswer('a question that is none of its protocol revision');
    if (missing.length > 0) {
      throw new SallyportError('ERR_MCP_CAPABILITY', 'the MCP server asks for what the client did not declare: use a client that can give it', { facts: { requiredCapabilities: missing.map((one) => one.replace('.', '/')) } });
    }
  }

  #error(message: Fields, asked: InFlight | undefined, text: string): string {
    const { values, session } = this.#options;
    this.#asked.noteError(session(), message.error);
    if (values.error(asked, message.error, this.#side) === message.error) return text;
    const whole = reparse(text) as Fields;
    return stringifyLossless({ ...whole, error: values.error(asked, whole.error, this.#side) });
  }

  #fromServer(message: Fields, method: string, text: string): string | undefined {
    const { upstream, allows, era } = this.#options;
    const kind = classifyServerMessage(upstream, message, allows, era);
    if (method === 'notifications/tools/list_changed') this.#options.onToolsChanged?.();
    const params = isObject(message.params) ? message.params : {};
    if (kind === 'drop' || !this.#concerns(method, params)) {
      if (isRequestId(message.id)) this.#options.onDroppedRequest(message.id);
      return undefined;
    }
    if (kind === 'request' && isRequestId(message.id)) this.#asked.noteRequest(this.#options.session(), { id: message.id, method, params });
    const seen = this.#params(method, params);
    if (seen === params || seen === undefined) return seen === undefined ? undefined : text;
    const whole = reparse(text) as Fields;
    return stringifyLossless({ ...whole, params: this.#params(method, whole.params as Fields) });
  }

  /** What is to be seen of a server's own message; the same object when that is all of it. */
  #params(method: string, params: Fields): Fields | undefined {
    const { subscription, values } = this.#options;
    const honoured = subscription !== undefined && method === 'notifications/subscriptions/acknowledged' ? acknowledged(subscription, params) : params;
    return values.fromServer(method, withoutHiddenResources(honoured, this.#mayShow), this.#side);
  }

  /** Whether a message belongs to something that was asked for, here or in this session. */
  #concerns(method: string, params: Fields): boolean {
    const { era, subscription, logLevel, hasClass, session } = this.#options;
    const changed = /^notifications\/(tools|prompts|resources)\/list_changed$/.exec(method)?.[1];
    if (changed !== undefined && !hasClass(changed as NameClass)) return false;
    if (subscription !== undefined) return wanted(subscription, method, params);
    if (method === 'notifications/progress') return this.#awaitsProgress(params.progressToken);
    if (method === 'notifications/elicitation/complete') return this.#asked.knowsElicitation(session(), params.elicitationId);
    return era === 'legacy' || (method === 'notifications/message' && logLevel !== undefined);
  }

  /** Of a request in flight, or of a task it made. */
  #awaitsProgress(token: unknown): boolean {
    const { pending, session, values } = this.#options;
    const asks = ({ params }: InFlight): boolean => isObject(params?._meta) && params._meta.progressToken === token;
    if (pending.values().some(asks) || session()?.inFlight.values().some(asks) === true) return true;
    return isRequestId(token) && values.hasProgress(this.#side, token);
  }

  #learnRevision(result: unknown): void {
    const session = this.#options.session();
    const revision = (result as { protocolVersion?: unknown } | null)?.protocolVersion;
    if (session !== undefined && typeof revision === 'string') session.protocolVersion = revision;
  }
}

const plainName = /^[\u0020-\u007e]*$/u;

/** No cursor that an upstream could have given. */
const unknownPage = '\u0000unknown';

/** Results that tell what a server has, with words to the model. */
const announcing: ReadonlySet<string> = new Set(['initialize', 'server/discover']);

/** A single answer that the client must not see would leave its request hanging. */
const refusedAnswer = '{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"the MCP server sent an invalid answer"}}';

const parse = (text: string, parser = parseExact): unknown => {
  try {
    return parser(text);
  } catch (cause) {
    throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent something that is not JSON, or is nested too deeply', { cause });
  }
};

/** What is about to be rewritten is parsed again without loss, so that big integers survive (mcp.md row 3). */
const reparse = (text: string): unknown => parse(text, parseLossless);

const invalidAnswer = (what: string): SallyportError => new SallyportError('ERR_UPSTREAM_INVALID', `the MCP server sent ${what}`);
