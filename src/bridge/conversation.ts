/**
 * One MCP client's conversation with a gateway in the legacy era: messages go and come as texts.
 * A session that the gateway no longer knows is begun again with the client's own `initialize`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { SallyportError } from '../errors.ts';
import { toOneLine } from '../upstream/json-text.ts';
import { cutOff, eventsOf, isMessage, mediaTypeOf, textOf } from './answer-events.ts';
import { isRefusal } from './contact.ts';
import type { GatewayContact } from './contact.ts';
import { explainAnswer, explainFailure, isTrouble, nothingGranted, readAnswer } from './explain.ts';
import type { IdentityFetch } from './identity-fetch.ts';
import { cancelledId, errorAnswer, errorOf, factsOf, isDenial, negotiatedRevision, rewordedAnswer } from './message-text.ts';
import type { MessageFacts } from './message-text.ts';
import type { NoticeSink } from './notice.ts';

export interface ConversationOptions {
  readonly url: URL;
  readonly fetch: IdentityFetch;
  /** Takes one message as one line; resolves when there is room for more. */
  readonly deliver: (line: string) => Promise<void>;
  readonly notice: NoticeSink;
  readonly contact: GatewayContact;
  readonly maxMessageBytes: number;
  /** First and longest pause between attempts to reopen a stream. */
  readonly backoff: { readonly firstMs: number; readonly longestMs: number };
}

interface Session {
  readonly id: string | undefined;
  readonly revision: string | undefined;
}

/** Requests of one POST that have no answer yet, by id text. */
type Pending = Map<string, MessageFacts>;

const resumeAttempts = 6;
const notificationTimeoutMs = 30_000;
const farewellTimeoutMs = 2_000;

export class Conversation {
  readonly #options: ConversationOptions;
  readonly #ended = new AbortController();
  /** With what to call once nothing of it awaits an answer any more. */
  readonly #inFlight = new Map<Pending, () => void>();
  #session: Session | undefined;
  #initialize: string | undefined;
  #initialized: string | undefined;
  #beginningAgain: Promise<void> | undefined;
  #listening: AbortController | undefined;
  #listenFailures = 0;

  constructor(options: ConversationOptions) {
    this.#options = options;
  }

  /**
   * Carries one text; resolves when its exchange is over and every request in it was answered, with an
   * error if need be. Never rejects. `onAnswered` is called earlier, at the last answer.
   */
  async send(text: string, facts: readonly MessageFacts[], onAnswered: () => void = () => undefined): Promise<void> {
    const pending: Pending = new Map();
    for (const message of facts) {
      if (message.kind === 'request' && message.id !== undefined) pending.set(message.id, message);
      const cancelled = cancelledId(message);
      // A cancelled request needs no answer, whatever becomes of its stream.
      if (cancelled !== undefined) for (const [others, answered] of this.#inFlight) if (others.delete(cancelled) && others.size === 0) answered();
    }
    const initializes = facts.length === 1 && facts[0]?.method === 'initialize' && pending.size === 1;
    if (initializes) {
      this.#listening?.abort();
      this.#session = undefined;
      this.#initialize = text;
      this.#initialized = undefined;
    }
    this.#inFlight.set(pending, onAnswered);
    try {
      await this.#exchange(text, pending, initializes, onAnswered);
      if (facts.some((message) => message.method === 'notifications/initialized')) {
        this.#initialized = text;
        this.#listen();
      }
    } catch (error) {
      if (!this.#ended.signal.aborted) await this.#answerWith(this.#explained(error), pending);
    } finally {
      this.#inFlight.delete(pending);
    }
  }

  /** Takes leave: ends streams and the session. */
  async end(): Promise<void> {
    if (this.#ended.signal.aborted) return;
    const session = this.#session;
    this.#ended.abort();
    this.#listening?.abort();
    if (session?.id === undefined || this.#options.contact.state === 'refused') return;
    try {
      const response = await this.#options.fetch(this.#options.url, { method: 'DELETE', headers: this.#headers(session), signal: AbortSignal.timeout(farewellTimeoutMs) });
      await response.body?.cancel();
    } catch {
      // The gateway ends idle sessions by itself.
    }
  }

  async #exchange(text: string, pending: Pending, initializes: boolean, onAnswered: () => void): Promise<void> {
    const session = this.#session;
    let response = await this.#post(text, session, pending.size > 0);
    if (await this.#isSessionLost(response, session)) {
      // Refused as unknown, so it was not carried out: safe to send again in a new session.
      await this.#beginAgain(session);
      response = await this.#post(text, this.#session, pending.size > 0);
    }
    if (!response.ok) return this.#reject(response, pending, session);
    this.#options.contact.accepted();
    const take = async (message: string): Promise<void> => {
      const line = toOneLine(message);
      const facts = factsOf(line);
      if (facts === undefined) {
        this.#options.notice({ level: 'warn', message: 'the gateway sent something that is not a JSON-RPC message; it was dropped' });
        return;
      }
      for (const answer of facts) {
        if (answer.kind !== 'response' || answer.id === undefined) continue;
        if (initializes && pending.has(answer.id) && isDenial(answer)) {
          await this.#answerWith(nothingGranted({ url: this.#options.url, identity: await this.#options.fetch.identity() }), pending);
          onAnswered();
          return;
        }
        if (initializes && pending.has(answer.id) && 'result' in answer.message) this.#session = { id: response.headers.get('mcp-session-id') ?? undefined, revision: negotiatedRevision(answer) };
        pending.delete(answer.id);
      }
      await this.#options.deliver(line);
      if (pending.size === 0) onAnswered();
    };
    await this.#receive(response, pending, take);
  }

  async #receive(response: Response, pending: Pending, take: (message: string) => Promise<void>): Promise<void> {
    if (mediaTypeOf(response) === 'text/event-stream') return this.#follow(response, pending, take);
    const body = await textOf(response, this.#options.maxMessageBytes);
    if (body.trim() !== '') await take(body);
    if (pending.size > 0) throw new SallyportError('ERR_UPSTREAM_INVALID', `the gateway ${this.#options.url.host} took the request but sent no answer to it; try again`);
  }

  /** Reads a request's stream to its end, resuming it while answers are missing and it can be resumed. */
  async #follow(first: Response, pending: Pending, take: (message: string) => Promise<void>): Promise<void> {
    let response: Response | undefined = first;
    let lastEventId: string | undefined;
    let pauseMs: number = this.#options.backoff.firstMs;
    for (let attempt = 0; attempt <= resumeAttempts; attempt += 1) {
      let failure: unknown;
      try {
        response ??= await this.#resume(lastEventId);
        for await (const event of eventsOf(response, this.#options.maxMessageBytes)) {
          if (event.id !== undefined) lastEventId = event.id;
          if (event.retry !== undefined) pauseMs = event.retry;
          attempt = 0;
          if (isMessage(event)) await take(event.data);
        }
      } catch (error) {
        failure = error;
      }
      response = undefined;
      if (pending.size === 0 || this.#ended.signal.aborted) return;
      if (failure instanceof SallyportError && failure.code !== 'ERR_BRIDGE_UNREACHABLE') throw failure;
      if (lastEventId === undefined) throw (await this.#whyCut()) ?? cutOff(this.#options.url, failure);
      await this.#pause(pauseMs * 2 ** Math.max(0, attempt - 1));
    }
    throw cutOff(this.#options.url, undefined);
  }

  async #resume(lastEventId: string | undefined): Promise<Response> {
    const response = await this.#get(this.#session, lastEventId, this.#ended.signal);
    if (response.ok && mediaTypeOf(response) === 'text/event-stream') return response;
    const answer = await this.#answerOf(response, this.#session);
    // Anything but a busy gateway will not get better by asking again.
    throw response.status === 429 || response.status === 503 ? explainAnswer(answer, { url: this.#options.url }) : cutOff(this.#options.url, undefined);
  }

  async #whyCut(): Promise<SallyportError | undefined> {
    const verdict = await this.#options.fetch.diagnose(this.#options.url);
    return verdict !== undefined && isRefusal(verdict) ? verdict : undefined;
  }

  async #isSessionLost(response: Response, session: Session | undefined): Promise<boolean> {
    if (response.status !== 404 || session?.id === undefined || this.#initialize === undefined) return false;
    const answer = readAnswer(404, await textOf(response.clone(), this.#options.maxMessageBytes));
    if (answer.code === 'ERR_HTTP_PATH') return false;
    await response.body?.cancel();
    return true;
  }

  /** Replays the client's own handshake; of several callers that lost one session, one does it. */
  #beginAgain(lost: Session | undefined): Promise<void> {
    if (this.#session !== lost) return this.#beginningAgain ?? Promise.resolve();
    this.#beginningAgain ??= this.#replay().finally(() => {
      this.#beginningAgain = undefined;
    });
    return this.#beginningAgain;
  }

  async #replay(): Promise<void> {
    const text = this.#initialize;
    const before = this.#session;
    const [request] = text === undefined ? [] : (factsOf(text) ?? []);
    if (text === undefined || request?.id === undefined) throw new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'the session is not known any more; initialize again');
    this.#options.notice({ level: 'info', message: `the gateway ${this.#options.url.host} does not know the session any more; beginning a new one` });
    const pending: Pending = new Map([[request.id, request]]);
    const response = await this.#post(text, undefined, true);
    if (!response.ok) throw explainAnswer(await this.#answerOf(response, undefined), { url: this.#options.url });
    let session: Session | undefined;
    await this.#receive(response, pending, async (message) => {
      const line = toOneLine(message);
      const [answer] = factsOf(line) ?? [];
      if (answer?.kind !== 'response' || answer.id !== request.id) return this.#options.deliver(line);
      pending.delete(request.id ?? '');
      if ('result' in answer.message) session = { id: response.headers.get('mcp-session-id') ?? undefined, revision: negotiatedRevision(answer) };
    });
    if (session === undefined || session.revision !== before?.revision) {
      throw new SallyportError('ERR_MCP_SESSION_UNKNOWN', `the gateway ${this.#options.url.host} lost the session and a new one cannot take its place; restart the MCP client's connection`);
    }
    if (this.#initialized !== undefined) {
      const accepted = await this.#post(this.#initialized, session, false);
      await accepted.body?.cancel();
    }
    this.#session = session;
    if (this.#initialized !== undefined) this.#listen();
  }

  /** Keeps the stream open that carries what belongs to no request. */
  #listen(): void {
    this.#listening?.abort();
    const stop = new AbortController();
    this.#listening = stop;
    void this.#keepListening(this.#session, AbortSignal.any([stop.signal, this.#ended.signal]));
  }

  async #keepListening(session: Session | undefined, signal: AbortSignal): Promise<void> {
    let lastEventId: string | undefined;
    let retryMs: number | undefined;
    while (!signal.aborted) {
      try {
        const response = await this.#get(session, lastEventId, signal);
        if (response.status === 404 && session?.id !== undefined) {
          await response.body?.cancel();
          if (this.#listenFailures > 0) await this.#pause(this.#delay(retryMs));
          this.#listenFailures += 1;
          if (!signal.aborted) await this.#beginAgain(session);
          return;
        }
        if (response.status === 429 || response.status >= 500) throw explainAnswer(await this.#answerOf(response, session), { url: this.#options.url });
        if (!response.ok || mediaTypeOf(response) !== 'text/event-stream') {
          // 405: the MCP server has nothing to say unasked.
          await response.body?.cancel();
          return;
        }
        this.#options.contact.accepted();
        try {
          for await (const event of eventsOf(response, this.#options.maxMessageBytes)) {
            this.#listenFailures = 0;
            if (event.id !== undefined) lastEventId = event.id;
            if (event.retry !== undefined) retryMs = event.retry;
            if (isMessage(event)) await this.#options.deliver(toOneLine(event.data));
          }
        } catch {
          // Streams end when networks do; what matters is whether the next one can be opened.
        }
      } catch (error) {
        if (signal.aborted) return;
        const explained = this.#explained(error);
        this.#options.contact.complain(explained);
        if (isRefusal(explained)) await Promise.race([this.#options.contact.woken(), aborted(signal)]);
      }
      this.#listenFailures += 1;
      await this.#pause(this.#delay(retryMs)).catch(() => undefined);
    }
  }

  #delay(retryMs: number | undefined): number {
    const { firstMs, longestMs } = this.#options.backoff;
    return Math.min(longestMs, Math.max(retryMs ?? 0, firstMs * 2 ** Math.min(10, Math.max(0, this.#listenFailures - 1))));
  }

  #pause(ms: number): Promise<void> {
    return sleep(Math.min(ms, this.#options.backoff.longestMs), undefined, { signal: this.#ended.signal });
  }

  #post(text: string, session: Session | undefined, awaitsAnswer: boolean): Promise<Response> {
    const signal = awaitsAnswer ? this.#ended.signal : AbortSignal.any([this.#ended.signal, AbortSignal.timeout(notificationTimeoutMs)]);
    return this.#options.fetch(this.#options.url, {
      method: 'POST',
      headers: { ...this.#headers(session), 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      body: text,
      signal,
    });
  }

  #get(session: Session | undefined, lastEventId: string | undefined, signal: AbortSignal): Promise<Response> {
    const headers = { ...this.#headers(session), accept: 'text/event-stream', ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }) };
    return this.#options.fetch(this.#options.url, { method: 'GET', headers, signal });
  }

  #headers(session: Session | undefined): Record<string, string> {
    return {
      ...(session?.id === undefined ? {} : { 'mcp-session-id': session.id }),
      ...(session?.revision === undefined ? {} : { 'mcp-protocol-version': session.revision }),
    };
  }

  async #answerOf(response: Response, session: Session | undefined): Promise<Parameters<typeof explainAnswer>[0]> {
    const body = await textOf(response, this.#options.maxMessageBytes);
    return { ...readAnswer(response.status, body), retryAfter: response.headers.get('retry-after') ?? undefined, hadSession: session?.id !== undefined };
  }

  /** An HTTP error: passed on when it is the JSON-RPC answer to our request, put into words otherwise. */
  async #reject(response: Response, pending: Pending, session: Session | undefined): Promise<void> {
    const body = await textOf(response, this.#options.maxMessageBytes);
    const line = toOneLine(body);
    const [facts] = factsOf(line) ?? [];
    const answer = { ...readAnswer(response.status, body), retryAfter: response.headers.get('retry-after') ?? undefined, hadSession: session?.id !== undefined };
    const explained = explainAnswer(answer, { url: this.#options.url, identity: await this.#options.fetch.identity() });
    if (facts?.kind === 'response' && facts.id !== undefined && pending.delete(facts.id)) {
      const error = errorOf(facts);
      await this.#options.deliver(error !== undefined && isTrouble(answer) ? rewordedAnswer(facts.id, error, explained.message) : line);
    }
    await this.#answerWith(explained, pending);
  }

  async #answerWith(error: SallyportError, pending: Pending): Promise<void> {
    this.#options.contact.complain(error);
    for (const id of pending.keys()) await this.#options.deliver(errorAnswer(id, error));
    pending.clear();
  }

  #explained(error: unknown): SallyportError {
    return explainFailure(error, { url: this.#options.url });
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
