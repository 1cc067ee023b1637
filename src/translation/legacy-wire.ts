/**
 * The way to one session of a legacy MCP server and back: messages go out as POSTs, and what comes on
 * their streams and on the GET stream is handed on one by one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, SallyportError } from '../errors.ts';
import type { RequestId } from '../mcp/message.ts';
import { isRequestId } from '../mcp/read-messages.ts';
import { revisionOf } from '../mcp/revisions.ts';
import type { SseEvent, Upstream, UpstreamAnswer } from '../upstream/upstream.ts';
import { outgoingRequest, readAnswer } from './fields.ts';
import type { Fields, Outgoing } from './fields.ts';
import type { OnBehalf } from './requests.ts';

/** What a request of ours is sent for. */
export interface Sender {
  /** Resolves when whoever waits for it keeps up. */
  room(): Promise<void>;
}

export interface LegacyWireOptions<S extends Sender> {
  readonly upstream: Upstream;
  readonly onBehalf: OnBehalf;
  /** A request or notification of the MCP server, and what it came in answer to. */
  readonly onMessage: (message: Fields, sender: S | undefined) => void;
  /** There is no GET stream. */
  readonly onSilent: () => void;
  /** The MCP server holds nothing of the session any more. Called at most once. */
  readonly onGone: () => void;
}

export interface SendOptions {
  readonly signal: AbortSignal;
  readonly onBehalf?: OnBehalf | undefined;
}

/** For what no MCP client waits for. */
const ownRequestMs = 30_000;
/** A stream that lasted so long did not fail, however it ended. */
const lastingMs = 10_000;
const reopenMs = { first: 500, longest: 30_000 } as const;
const resumeAttempts = 6;
/** Of a stream that broke off, for which resumption is made. */
const broken: ReadonlySet<string> = new Set(['ERR_UPSTREAM_UNREACHABLE', 'ERR_UPSTREAM_TIMEOUT']);
/** A GET stream that was not refused by then is hoped for: some servers say nothing before there is something to say. */
const streamKnownMs = 150;

export class LegacyWire<S extends Sender> {
  /** The latest of whose requests were sent. */
  onBehalf: OnBehalf;
  readonly #options: LegacyWireOptions<S>;
  readonly #ended = new AbortController();
  /** Of the GET stream. */
  readonly #listening = new AbortController();
  readonly #awaited = new Map<RequestId, PromiseWithResolvers<Fields>>();
  readonly #streamKnown = Promise.withResolvers<void>();
  #id: string | undefined;
  #revision: string | undefined;
  #lastId = 0;
  #hasStream = true;

  constructor(options: LegacyWireOptions<S>) {
    this.#options = options;
    this.onBehalf = options.onBehalf;
  }

  /** Nothing more is to be sent on it; what was sent may still be answered. */
  get ended(): boolean {
    return this.#listening.signal.aborted;
  }

  /** Whether there is a GET stream, as far as that is known after a moment. */
  async hasStream(): Promise<boolean> {
    await this.#streamKnown.promise;
    return this.#hasStream;
  }

  /** Ids and progress tokens are of one kind: unique within the session. */
  newId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  /** After `initialize`: from here on requests carry its revision. */
  begin(revision: string): void {
    this.#revision = revision;
  }

  /**
   * Sends a request. Rejects with `ERR_MCP_SESSION_UNKNOWN` when it was not carried out because the session
   * is gone; `response` is the response message, and rejects when there will be none.
   */
  async request({ message, body }: Outgoing, sender: S | undefined, { signal, onBehalf }: SendOptions): Promise<{ readonly response: Promise<Fields> }> {
    const { id } = message as { readonly id: RequestId };
    const awaited = Promise.withResolvers<Fields>();
    awaited.promise.catch(() => undefined);
    this.#awaited.set(id, awaited);
    const given = AbortSignal.any([signal, this.#ended.signal]);
    const fail = (error: unknown): void => {
      this.#awaited.delete(id);
      awaited.reject(error);
    };
    const posted = this.#exchange('POST', { message, body }, { signal: given, onBehalf });
    const answered = posted.then((answer) => void this.#follow(answer, { id, sender, signal: given }).then(() => fail(withoutResponse()), fail));
    try {
      // A response may come on another stream before this POST is answered at all.
      await Promise.race([answered, awaited.promise.then(() => undefined, () => answered)]);
    } catch (error) {
      fail(error);
      if (codeOf(error) === 'ERR_MCP_SESSION_UNKNOWN') this.gone();
      throw error;
    }
    return { response: awaited.promise };
  }

  /** A request of our own: its response message. */
  async ask(method: string, params: Fields, timeoutMs = ownRequestMs): Promise<Fields> {
    const { response } = await this.request(outgoingRequest(this.newId(), method, params), undefined, { signal: AbortSignal.timeout(timeoutMs) });
    return response;
  }

  /** Sends a notification or a response. */
  async tell(outgoing: Outgoing, onBehalf?: OnBehalf): Promise<void> {
    const answer = await this.#exchange('POST', outgoing, { signal: AbortSignal.any([this.#ended.signal, AbortSignal.timeout(ownRequestMs)]), onBehalf });
    if (answer.kind === 'stream') for await (const event of answer.events) this.#takeEvent(event, undefined);
  }

  /** Keeps the stream open that carries what belongs to no request, until the end. */
  async listen(): Promise<void> {
    const { signal } = this.#listening;
    let lastEventId: string | undefined;
    let failures = 0;
    // Without a session nobody could tell whose changes they are.
    if (this.#id === undefined) this.#silent();
    setTimeout(() => this.#streamKnown.resolve(), streamKnownMs).unref();
    while (!signal.aborted && this.#hasStream) {
      const since = performance.now();
      try {
        const answer = await this.#exchange('GET', undefined, { signal, lastEventId });
        if (answer.kind !== 'stream') return this.#silent();
        this.#streamKnown.resolve();
        for await (const event of answer.events) {
          failures = 0;
          lastEventId = event.id ?? lastEventId;
          this.#takeEvent(event, undefined);
        }
      } catch (error) {
        const code = codeOf(error);
        if (code === 'ERR_MCP_SESSION_UNKNOWN' || code === 'ERR_UPSTREAM_EXITED') return this.gone();
        if (code === 'ERR_UPSTREAM_INVALID' && failures === 0) return this.#silent();
      }
      failures = performance.now() - since > lastingMs ? 1 : failures + 1;
      await sleep(Math.min(reopenMs.longest, reopenMs.first * 2 ** Math.min(failures - 1, 10)), undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  /** The MCP server has ended it. Each request at hand learns by itself what became of it. */
  gone(): void {
    if (this.ended) return;
    this.#stopListening();
    this.#options.onGone();
  }

  /** Whatever is at hand fails with `error`. */
  async end(error: SallyportError): Promise<void> {
    if (this.#ended.signal.aborted) return;
    const wasGone = this.ended;
    this.#stopListening();
    this.#ended.abort(error);
    for (const { reject } of this.#awaited.values()) reject(error);
    this.#awaited.clear();
    if (this.#id !== undefined && !wasGone) await this.#options.upstream.endSession(this.#id);
  }

  #stopListening(): void {
    this.#hasStream = false;
    this.#streamKnown.resolve();
    this.#listening.abort();
  }

  #silent(): void {
    this.#hasStream = false;
    this.#streamKnown.resolve();
    this.#options.onSilent();
  }

  async #exchange(method: 'POST' | 'GET', outgoing: Outgoing | undefined, { signal, onBehalf, lastEventId }: SendOptions & { readonly lastEventId?: string | undefined }): Promise<UpstreamAnswer> {
    const { principal, roles } = onBehalf ?? this.onBehalf;
    const named = this.#revision !== undefined && revisionOf(this.#revision)?.versionHeader === 'required';
    const answer = await this.#options.upstream.exchange({
      era: 'legacy', method, principal, roles, session: this.#id, protocolVersion: named ? this.#revision : undefined, lastEventId,
      messages: outgoing === undefined ? [] : [outgoing.message], body: outgoing?.body, signal,
    });
    // The answer to `initialize`.
    if (this.#revision === undefined) this.#id = answer.session;
    return answer;
  }

  /** Reads what comes of a POST, and goes on where its stream broke off if the MCP server lets us. */
  async #follow(first: UpstreamAnswer, { id, sender, signal }: { readonly id: RequestId; readonly sender: S | undefined; readonly signal: AbortSignal }): Promise<void> {
    let answer: UpstreamAnswer = first;
    let lastEventId: string | undefined;
    let pauseMs: number = reopenMs.first;
    for (let attempt = 0; attempt < resumeAttempts; attempt += 1) {
      if (answer.kind === 'json') for (const message of readAnswer(answer.text)) this.#take(message, sender);
      if (answer.kind !== 'stream') return;
      try {
        for await (const event of answer.events) {
          attempt = 0;
          lastEventId = event.id ?? lastEventId;
          pauseMs = event.retry ?? pauseMs;
          this.#takeEvent(event, sender);
          await sender?.room();
        }
      } catch (error) {
        // What was said badly would be said badly again.
        if (lastEventId === undefined || !broken.has(codeOf(error))) throw error;
      }
      if (!this.#awaited.has(id) || lastEventId === undefined || signal.aborted) return;
      await sleep(Math.min(pauseMs, reopenMs.longest), undefined, { signal });
      answer = await this.#exchange('GET', undefined, { signal, lastEventId });
    }
  }

  #takeEvent(event: SseEvent, sender: S | undefined): void {
    if (event.data === '' || (event.event !== undefined && event.event !== 'message')) return;
    for (const message of readAnswer(event.data)) this.#take(message, sender);
  }

  #take(message: Fields, sender: S | undefined): void {
    const { id, method } = message;
    if (method !== undefined) {
      this.#options.onMessage(message, sender);
      return;
    }
    if (!isRequestId(id)) return;
    this.#awaited.get(id)?.resolve(message);
    this.#awaited.delete(id);
  }
}

const withoutResponse = (): SallyportError => new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server ended its answer without a response');
