/**
 * Messages of the modern era (revision 2026-07-28): each request is a POST of its own, with the headers
 * that an MCP client on stdio does not know about, and nothing is remembered between two of them but
 * what the tools want mirrored in headers.
 */
import { SallyportError } from '../errors.ts';
import { clientCapabilitiesKey, clientInfoKey, protocolVersionKey } from '../mcp/envelope.ts';
import { encodeHeaderValue } from '../mcp/header-value.ts';
import { stringifyLossless } from '../mcp/lossless-json.ts';
import { toOneLine } from '../upstream/json-text.ts';
import { bodiesOf, cutOff, eventsOf, isMessage, mediaTypeOf, textOf } from './answer-events.ts';
import { isRefusal } from './contact.ts';
import type { ConversationOptions } from './conversation.ts';
import { explainAnswer, explainFailure, isTrouble, nothingGranted, readAnswer } from './explain.ts';
import { cancelledId, errorAnswer, errorOf, factsOf, isDenial, paramsOf, rewordedAnswer } from './message-text.ts';
import type { MessageFacts } from './message-text.ts';
import { ToolHeaders } from './tool-headers.ts';

/** What a conversation needs too; here no stream is ever reopened. */
export type ModernExchangesOptions = Omit<ConversationOptions, 'backoff'>;

interface InFlight {
  readonly id: string;
  readonly facts: MessageFacts;
  readonly abort: AbortController;
}

const notificationTimeoutMs = 30_000;
const headerMismatch = -32_020;

export class ModernExchanges {
  readonly #options: ModernExchangesOptions;
  readonly #inFlight = new Set<InFlight>();
  readonly #tools = new ToolHeaders();

  constructor(options: ModernExchangesOptions) {
    this.#options = options;
  }

  /** Carries one message; resolves when its exchange is over and a request was answered, with an error if need be. Never rejects. */
  async send(text: string, facts: MessageFacts): Promise<void> {
    if (facts.kind !== 'request' || facts.id === undefined) return this.#notify(text, facts);
    const request: InFlight = { id: facts.id, facts, abort: new AbortController() };
    this.#inFlight.add(request);
    try {
      await this.#exchange(text, request);
    } catch (error) {
      if (!request.abort.signal.aborted) await this.#answerWith(explainFailure(error, { url: this.#options.url }), request);
    } finally {
      this.#inFlight.delete(request);
    }
  }

  /** What `notifications/cancelled` on stdio means over HTTP: the exchange is given up. False when no request here has the id. */
  cancel(id: string): boolean {
    const found = [...this.#inFlight].filter((request) => request.id === id);
    for (const request of found) this.#drop(request);
    return found.length > 0;
  }

  /** Nobody reads notifications any more: ends what only carries those. */
  endSubscriptions(): void {
    for (const request of this.#inFlight) if (isSubscription(request.facts)) this.#drop(request);
  }

  end(): void {
    for (const request of this.#inFlight) this.#drop(request);
  }

  /** Gone at once: nothing more is said of it, and its id is free again. */
  #drop(request: InFlight): void {
    this.#inFlight.delete(request);
    request.abort.abort();
  }

  async #notify(text: string, facts: MessageFacts): Promise<void> {
    // A cancellation that got here names no request in flight, and has no counterpart over HTTP.
    if (cancelledId(facts) !== undefined) return;
    try {
      const response = await this.#post(text, standardHeaders(facts), AbortSignal.timeout(notificationTimeoutMs));
      const body = await textOf(response, this.#options.maxMessageBytes);
      if (response.ok) return this.#options.contact.accepted();
      this.#options.contact.complain(await this.#inWords(response, body));
    } catch (error) {
      this.#options.contact.complain(explainFailure(error, { url: this.#options.url }));
    }
  }

  async #exchange(text: string, request: InFlight): Promise<void> {
    const { facts, abort } = request;
    let response = await this.#post(text, await this.#headersFor(facts, abort.signal), abort.signal);
    if (response.status === 400 && facts.method === 'tools/call' && (await this.#isMismatch(response))) {
      // Refused unseen, so it was not carried out: the schema may have changed since it was learned.
      this.#tools.forget();
      await response.body?.cancel();
      response = await this.#post(text, await this.#headersFor(facts, abort.signal), abort.signal);
    }
    if (response.ok) this.#options.contact.accepted();
    if (mediaTypeOf(response) === 'text/event-stream') return this.#follow(response, request);
    const body = await textOf(response, this.#options.maxMessageBytes);
    if (!(await this.#take(body, request, response))) await this.#answerWith(response.ok ? noAnswer(this.#options.url) : await this.#inWords(response, body), request);
  }

  /** There is no resumption in this era: a stream that ends early ends the request. */
  async #follow(response: Response, request: InFlight): Promise<void> {
    let failure: unknown;
    try {
      for await (const event of eventsOf(response, this.#options.maxMessageBytes)) {
        if (!isMessage(event)) continue;
        if (await this.#take(event.data, request, response)) return;
      }
    } catch (error) {
      failure = error;
    }
    if (request.abort.signal.aborted) return;
    throw await this.#whyEnded(failure, request);
  }

  async #whyEnded(failure: unknown, request: InFlight): Promise<SallyportError> {
    const { url, fetch } = this.#options;
    if (failure instanceof SallyportError && failure.code !== 'ERR_BRIDGE_UNREACHABLE') return failure;
    const verdict = await fetch.diagnose(url);
    if (verdict !== undefined && isRefusal(verdict)) return verdict;
    return isSubscription(request.facts) ? subscriptionEnded(url, failure) : cutOff(url, failure);
  }

  /** Delivers one message of an answer; true when it was the answer to the request itself. */
  async #take(text: string, request: InFlight, response: Response): Promise<boolean> {
    if (text.trim() === '') return false;
    const line = toOneLine(text);
    const [message, ...others] = factsOf(line) ?? [];
    if (message === undefined || others.length > 0) {
      if (response.ok) this.#options.notice({ level: 'warn', message: 'the gateway sent something that is not a JSON-RPC message; it was dropped' });
      return false;
    }
    if (request.abort.signal.aborted) return true;
    this.#learn(message, request);
    if (message.kind !== 'response') {
      await this.#options.deliver(line);
      return false;
    }
    // A body that could not be read for its id is answered with null; here it is known whom it concerns.
    const foreign = message.id !== request.id;
    if (foreign && message.id !== undefined) return false;
    const error = errorOf(message);
    // The gateway's answers before MCP look alike, with a name for a code.
    if (error === undefined && message.message['error'] !== undefined) return false;
    if (request.facts.method === 'server/discover' && isDenial(message)) {
      await this.#answerWith(nothingGranted({ url: this.#options.url, identity: await this.#options.fetch.identity() }), request);
    } else if (error !== undefined && !response.ok && isTrouble(readAnswer(response.status, text))) {
      const words = await this.#inWords(response, text);
      this.#options.contact.complain(words);
      await this.#options.deliver(rewordedAnswer(request.id, error, words.message));
    } else if (foreign) {
      await this.#options.deliver(`{"jsonrpc":"2.0","id":${request.id},${error === undefined ? `"result":${stringifyLossless(message.message['result'])}` : `"error":${stringifyLossless(error)}`}}`);
    } else {
      await this.#options.deliver(line);
    }
    return true;
  }

  #learn(message: MessageFacts, request: InFlight): void {
    if (message.method === 'notifications/tools/list_changed') this.#tools.forget();
    if (message.kind === 'response' && request.facts.method === 'tools/list') this.#tools.learn(message.message['result']);
  }

  async #headersFor(facts: MessageFacts, signal: AbortSignal): Promise<Record<string, string>> {
    const headers = standardHeaders(facts);
    const params = paramsOf(facts);
    if (facts.method !== 'tools/call') return headers;
    return { ...headers, ...(await this.#tools.headersFor(params?.['name'], params?.['arguments'], (cursor) => this.#listTools(facts, cursor, signal))) };
  }

  /** A page of tools, asked for with the envelope of the request that needs it. */
  async #listTools(facts: MessageFacts, cursor: string | undefined, signal: AbortSignal): Promise<Readonly<Record<string, unknown>> | undefined> {
    const meta = metaOf(facts);
    const envelope = Object.fromEntries([protocolVersionKey, clientInfoKey, clientCapabilitiesKey].filter((key) => Object.hasOwn(meta, key)).map((key) => [key, meta[key]]));
    const text = stringifyLossless({ jsonrpc: '2.0', id: 'sallyport-tools', method: 'tools/list', params: { ...(cursor === undefined ? {} : { cursor }), _meta: envelope } });
    const [list] = factsOf(text) ?? [];
    if (list === undefined) return undefined;
    try {
      const response = await this.#post(text, standardHeaders(list), signal);
      for await (const body of bodiesOf(response, this.#options.maxMessageBytes)) {
        const [message] = factsOf(body) ?? [];
        const result = message?.kind === 'response' && message.id === list.id ? message.message['result'] : undefined;
        if (isObject(result)) return result;
      }
    } catch {
      // The call itself meets the same trouble, and says it in words.
    }
    return undefined;
  }

  async #isMismatch(response: Response): Promise<boolean> {
    const [facts] = factsOf(await textOf(response.clone(), this.#options.maxMessageBytes)) ?? [];
    return facts !== undefined && errorOf(facts)?.['code'] === headerMismatch;
  }

  async #inWords(response: Response, body: string): Promise<SallyportError> {
    const answer = { ...readAnswer(response.status, body), retryAfter: response.headers.get('retry-after') ?? undefined };
    return explainAnswer(answer, { url: this.#options.url, identity: await this.#options.fetch.identity() });
  }

  async #answerWith(error: SallyportError, request: InFlight): Promise<void> {
    this.#options.contact.complain(error);
    await this.#options.deliver(errorAnswer(request.id, error));
  }

  #post(text: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
    return this.#options.fetch(this.#options.url, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      body: text,
      signal,
    });
  }
}

/** Which parameter `Mcp-Name` repeats (revision 2026-07-28, Streamable HTTP; the tasks extension). */
const nameParameters: ReadonlyMap<string, string> = new Map([
  ['tools/call', 'name'],
  ['prompts/get', 'name'],
  ['resources/read', 'uri'],
  ['tasks/get', 'taskId'],
  ['tasks/update', 'taskId'],
  ['tasks/cancel', 'taskId'],
]);

/** What no header may hold is left out: the gateway then says what is wrong with the message. */
const visible = /^[\x21-\x7e]+$/u;

function standardHeaders(facts: MessageFacts): Record<string, string> {
  const headers: Record<string, string> = {};
  const revision = metaOf(facts)[protocolVersionKey];
  if (typeof revision === 'string' && visible.test(revision)) headers['mcp-protocol-version'] = revision;
  if (facts.method !== undefined && visible.test(facts.method)) headers['mcp-method'] = facts.method;
  const name = paramsOf(facts)?.[nameParameters.get(facts.method ?? '') ?? ''];
  if (typeof name === 'string') headers['mcp-name'] = encodeHeaderValue(name);
  return headers;
}

function metaOf(facts: MessageFacts): Readonly<Record<string, unknown>> {
  const meta = paramsOf(facts)?.['_meta'];
  return isObject(meta) ? meta : {};
}

/** Whether a request stays open for notifications and may rightly never be answered. */
export const isSubscription = (facts: MessageFacts): boolean => facts.method === 'subscriptions/listen';

const noAnswer = (url: URL): SallyportError => new SallyportError('ERR_UPSTREAM_INVALID', `the gateway ${url.host} took the request but sent no answer to it; try again`);

/** The MCP client begins the subscription again: only it knows that it then has to look at what it may have missed. */
const subscriptionEnded = (url: URL, cause: unknown): SallyportError =>
  new SallyportError('ERR_BRIDGE_UNREACHABLE', `the connection to the gateway ${url.host} that carried this subscription ended; subscribe again, and read again what was subscribed to`, { facts: { host: url.host, reason: 'ECONNRESET' }, cause });

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value);
