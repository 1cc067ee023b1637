/**
 * Several upstreams as one MCP server of the modern era. It decides nothing: every message goes on as a request
 * of the same principal to the endpoint of its upstream, where it is decided, recorded and filtered.
 */
import type { Principal } from '../../identity/principal.ts';
import { errorTable, SallyportError } from '../../errors.ts';
import type { GateErrorCode } from '../../errors.ts';
import { hasEscapedName } from '../../mcp/json-tokens.ts';
import { parseLossless, stringifyLossless } from '../../mcp/lossless-json.ts';
import type { JsonRpcMessage, JsonRpcRequest } from '../../mcp/message.ts';
import { isObject } from '../../mcp/read-messages.ts';
import type { Era } from '../../mcp/revisions.ts';
import type { SseEvent, Upstream, UpstreamAnswer, UpstreamRequest } from '../../upstream/upstream.ts';
import { listenToAll } from './listening.ts';
import { nameAt } from './names.ts';
import { cursorOf, positionsIn } from './pages.ts';
import { discovered, elementsOf, lists, renamed } from './results.ts';
import { routeOf } from './routing.ts';

export interface AggregateMember {
  readonly name: string;
  /** Whether the principal has any grant there. */
  offersTo(principal: Principal): boolean;
  /** Carries one modern request of the principal through the endpoint of the upstream. */
  exchange(request: UpstreamRequest): Promise<UpstreamAnswer>;
}

export interface AggregateOptions {
  readonly name: string;
  readonly members: ReadonlyMap<string, AggregateMember>;
  readonly serverInfo: { readonly name: string; readonly version: string };
  /** An upstream that fails is left out of what is put together. */
  readonly onMemberFailure: (member: string, error: unknown) => void;
}

type Fields = Readonly<Record<string, unknown>>;

interface Answers {
  readonly answers: readonly { readonly member: string; readonly result: Fields }[];
  /** Those that failed. */
  readonly unavailable: readonly string[];
}

/** In the `_meta` of what is put together: upstreams of the principal that are left out because they failed. */
const unavailableKey = 'sallyport/unavailableUpstreams';

export class AggregateUpstream implements Upstream {
  readonly #options: AggregateOptions;

  constructor(options: AggregateOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  async eras(): Promise<readonly Era[]> {
    return ['modern'];
  }

  async exchange(request: UpstreamRequest): Promise<UpstreamAnswer> {
    const [message] = request.messages;
    if (message?.kind !== 'request') return { kind: 'empty', status: 202 };
    const route = routeOf(message.method, message.params ?? {});
    if (route.kind === 'one') return this.#one(request, message, route);
    if (route.kind === 'none') throw new SallyportError('ERR_MCP_DENIED', 'no upstream is named: prefix the name with that of an upstream', { facts: { method: message.method } });
    const members = [...this.#options.members.values()].filter((member) => member.offersTo(request.principal));
    if (message.method === 'subscriptions/listen') return listenToAll(members, request, message, this.#options.onMemberFailure);
    return message.method === 'server/discover' ? this.#discover(request, message, members) : this.#list(request, message, members);
  }

  /** Sessions and children belong to the members. */
  async endSession(): Promise<void> {}

  async endPrincipal(): Promise<void> {}

  async healthy(): Promise<boolean> {
    return true;
  }

  async close(): Promise<void> {}

  async #one(request: UpstreamRequest, message: JsonRpcRequest, { member: name, params }: { readonly member: string; readonly params: Fields }): Promise<UpstreamAnswer> {
    const member = this.#options.members.get(name);
    if (member === undefined) throw new SallyportError('ERR_MCP_DENIED', 'no upstream of this name takes part', { facts: { upstream: name, method: message.method } });
    const answer = await member.exchange(withParams(request, params));
    if (answer.kind === 'empty') return answer;
    return answer.kind === 'json' ? { ...answer, text: ofMember(name, answer.text) } : { ...answer, events: eventsOf(name, answer.events) };
  }

  async #discover(request: UpstreamRequest, { id }: JsonRpcRequest, members: readonly AggregateMember[]): Promise<UpstreamAnswer> {
    const { answers, unavailable } = await this.#askAll(members, request);
    return respond(id, discovered(answers, this.#metaOf(unavailable)));
  }

  /** The first page of every upstream, then the next of those that have one. */
  async #list(request: UpstreamRequest, { id, method, params = {} }: JsonRpcRequest, members: readonly AggregateMember[]): Promise<UpstreamAnswer> {
    const { cursor, ...rest } = params;
    const from = typeof cursor === 'string' ? positionsIn(cursor) : undefined;
    if (cursor !== undefined && from === undefined) throw new SallyportError('ERR_MCP_CURSOR', 'the cursor is none of this list');
    const asked = from === undefined ? members : members.filter(({ name }) => from.has(name));
    const { answers, unavailable } = await this.#askAll(asked, request, ({ name }) => {
      const position = from?.get(name);
      return position === undefined ? rest : { ...rest, cursor: position };
    });
    const next = new Map(answers.flatMap(({ member, result }) => (typeof result.nextCursor === 'string' ? [[member, result.nextCursor] as const] : [])));
    const nextCursor = cursorOf(next);
    return respond(id, {
      resultType: 'complete',
      [lists.get(method)?.list ?? '']: answers.flatMap(({ member, result }) => elementsOf(member, method, result)),
      ...(nextCursor === undefined ? {} : { nextCursor }),
      ttlMs: 0,
      cacheScope: 'private',
      _meta: this.#metaOf(unavailable),
    });
  }

  /** Whoever reads a list should know that it is not whole, and which upstream to ask for again. */
  #metaOf(unavailable: readonly string[]): Fields {
    return { 'io.modelcontextprotocol/serverInfo': this.#options.serverInfo, ...(unavailable.length === 0 ? {} : { [unavailableKey]: unavailable }) };
  }

  /** @throws SallyportError `ERR_UPSTREAM_UNREACHABLE` when no upstream answered */
  async #askAll(members: readonly AggregateMember[], request: UpstreamRequest, paramsFor?: (member: AggregateMember) => Fields): Promise<Answers> {
    const settled = await Promise.all(
      members.map(async (member) => {
        try {
          const answer = await member.exchange(paramsFor === undefined ? request : withParams(request, paramsFor(member)));
          const result = await resultIn(answer);
          // A class of things that an upstream does not have is an empty list of them.
          return result === undefined ? undefined : { member: member.name, result };
        } catch (error) {
          this.#options.onMemberFailure(member.name, error);
          return error;
        }
      }),
    );
    if (settled.length > 0 && settled.every((one) => one instanceof Error)) {
      throw new SallyportError('ERR_UPSTREAM_UNREACHABLE', 'no upstream answered: see the log for each of them', { facts: { upstreams: members.map(({ name }) => name) } });
    }
    return {
      answers: settled.filter((one): one is { member: string; result: Fields } => one !== undefined && !(one instanceof Error)),
      unavailable: members.flatMap(({ name }, at) => (settled[at] instanceof Error ? [name] : [])),
    };
  }
}

/** The request with other params; members that are left alone keep every digit of their text. */
const withParams = (request: UpstreamRequest, params: Fields): UpstreamRequest => {
  const [message] = request.messages;
  if (message === undefined || request.body === undefined) return request;
  const whole = parseLossless(request.body) as { readonly params?: Fields };
  const given = message.kind === 'response' ? {} : (message.params ?? {});
  const exact = Object.entries(params).map(([name, value]) => [name, value === given[name] ? (whole.params ?? {})[name] : value]);
  return { ...request, body: stringifyLossless({ ...whole, params: Object.fromEntries(exact) }), messages: [{ ...message, params } as JsonRpcMessage] };
};

const respond = (id: JsonRpcRequest['id'], result: Fields): UpstreamAnswer => ({ kind: 'json', status: 200, text: stringifyLossless({ jsonrpc: '2.0', id, result }) });

/** Undefined for what an upstream does not have or does not show. Throws when it, or the way to it, failed. */
const resultIn = async (answer: UpstreamAnswer): Promise<Fields | undefined> => {
  if (answer.kind === 'json') return resultOf(answer.text);
  if (answer.kind === 'empty') return undefined;
  let result: Fields | undefined;
  for await (const { data } of answer.events) if (data !== '') result = resultOf(data) ?? result;
  return result;
};

const resultOf = (text: string): Fields | undefined => {
  const message = parseLossless(text);
  if (!isObject(message)) return undefined;
  const code = isObject(message.error) && isObject(message.error.data) ? message.error.data.code : undefined;
  if (isFailure(code)) throw new SallyportError(code, 'the upstream was left out: the log of its endpoint says why');
  return isObject(message.result) ? message.result : undefined;
};

const isFailure = (code: unknown): code is GateErrorCode => {
  const row = typeof code === 'string' && Object.hasOwn(errorTable, code) ? errorTable[code as GateErrorCode] : undefined;
  return row !== undefined && (row.http >= 500 || row.http === 429);
};

/** Looked into only where a name could be, however it is spelled. */
const ofMember = (member: string, text: string): string => {
  if (!text.includes('"uri"') && !text.includes('"taskId"') && !hasEscapedName(text)) return text;
  const message = readable(member, text);
  if (isObject(message.result)) return stringifyLossless({ ...message, result: renamed(member, message.result) });
  const { params } = message;
  return isObject(params) && typeof params.taskId === 'string' ? stringifyLossless({ ...message, params: { ...params, taskId: nameAt(member, params.taskId) } }) : text;
};

const readable = (member: string, text: string): Fields => {
  let cause: unknown;
  try {
    const message = parseLossless(text);
    if (isObject(message)) return message;
  } catch (error) {
    cause = error;
  }
  throw new SallyportError('ERR_UPSTREAM_INVALID', 'the upstream answered with something else than one message that can be read', { cause, facts: { upstream: member } });
};

async function* eventsOf(member: string, events: AsyncIterable<SseEvent>): AsyncGenerator<SseEvent> {
  for await (const event of events) yield event.data === '' ? event : { ...event, data: ofMember(member, event.data) };
}
