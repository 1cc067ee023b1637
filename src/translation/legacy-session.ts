/**
 * One session with a legacy MCP server, held on behalf of modern MCP clients of one principal that
 * declared the same: requests of many HTTP exchanges share it under ids of our own.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, SallyportError } from '../errors.ts';
import type { Principal } from '../identity/principal.ts';
import { logLevels } from '../mcp/envelope.ts';
import type { RequestId } from '../mcp/message.ts';
import { isRequestId } from '../mcp/read-messages.ts';
import { isModern, revisionOf } from '../mcp/revisions.ts';
import type { SseEvent, Upstream, UpstreamAnswer, UpstreamRequest } from '../upstream/upstream.ts';
import type { UpstreamLog } from '../upstream/upstream-log.ts';
import { fieldsOf, isFields, outgoingNotification, outgoingRequest, outgoingResponse, readAnswer } from './fields.ts';
import type { Fields, Outcome, Outgoing } from './fields.ts';
import { Listeners } from './listeners.ts';
import type { TranslationLimits } from './limits.ts';
import { toInitializeParams } from './requests.ts';
import type { ClientFacts } from './requests.ts';

/** On whose behalf something is sent. */
export type OnBehalf = Pick<UpstreamRequest, 'principal' | 'roles'>;

/** What of a call the session needs to hand messages of the MCP server to it. */
export interface SessionCall {
  readonly id: RequestId;
  /** Of its request's envelope: which log messages it wants. */
  readonly logLevel: string | undefined;
  /** Somebody is there to get a message now. */
  readonly waited: boolean;
  progress(params: Fields): void;
  log(params: Fields): void;
  /** A question of the MCP server; why it cannot be asked, if so. */
  ask(id: RequestId, method: string, params: Fields | undefined): string | undefined;
  withdraw(id: RequestId): void;
  /** Resolves when its MCP client keeps up. */
  room(): Promise<void>;
}

export interface LegacySessionOptions {
  readonly upstream: Upstream;
  readonly limits: TranslationLimits;
  readonly log: UpstreamLog;
  /** The MCP server holds nothing of the session any more. Called at most once. */
  readonly onGone: () => void;
}

/** For what no MCP client waits for. */
const ownRequestMs = 30_000;
/** A command may have to be fetched first. */
const initializeMs = 120_000;
/** A stream that lasted so long did not fail, however it ended. */
const lastingMs = 10_000;
const reopenMs = { first: 500, longest: 30_000 } as const;
const resumeAttempts = 6;
/** A GET stream that was not refused by then is hoped for: some servers say nothing before there is something to say. */
const streamKnownMs = 150;
/** No call waits longer for its log level. */
const levelSetMs = 2_000;

export class LegacySession {
  readonly listeners: Listeners;
  readonly #options: LegacySessionOptions;
  readonly #ended = new AbortController();
  /** Of the GET stream. */
  readonly #listening = new AbortController();
  readonly #calls = new Map<RequestId, SessionCall>();
  readonly #awaited = new Map<RequestId, PromiseWithResolvers<Fields>>();
  readonly #streamKnown = Promise.withResolvers<void>();
  #onBehalf: OnBehalf;
  #initialized: Fields = {};
  #id: string | undefined;
  #revision: string | undefined;
  #lastId = 0;
  #canListen = true;
  #level: string | undefined;
  #settingLevel: Promise<void> = Promise.resolve();

  private constructor(options: LegacySessionOptions, onBehalf: OnBehalf) {
    this.#options = options;
    this.#onBehalf = onBehalf;
    this.listeners = new Listeners(this, options.limits);
  }

  /**
   * @throws SallyportError `ERR_UPSTREAM_*`
   */
  static async open(options: LegacySessionOptions, onBehalf: OnBehalf, client: ClientFacts): Promise<LegacySession> {
    const session = new LegacySession(options, onBehalf);
    await session.#initialize(client);
    void session.#keepListening();
    return session;
  }

  /** What `initialize` was answered with. */
  get initialized(): Fields {
    return this.#initialized;
  }

  get capabilities(): Fields {
    return fieldsOf(this.#initialized.capabilities);
  }

  get serverInfo(): Fields | undefined {
    return isFields(this.#initialized.serverInfo) ? this.#initialized.serverInfo : undefined;
  }

  get principal(): Principal {
    return this.#onBehalf.principal;
  }

  get busy(): boolean {
    return this.#calls.size > 0 || this.listeners.size > 0;
  }

  get ended(): boolean {
    return this.#listening.signal.aborted;
  }

  /** Whether the MCP server can tell of changes. */
  async canListen(): Promise<boolean> {
    await this.#streamKnown.promise;
    return this.#canListen;
  }

  /** Ids and progress tokens are of one kind: unique within the session. */
  newId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  enter(call: SessionCall, onBehalf: OnBehalf): void {
    this.#onBehalf = onBehalf;
    this.#calls.set(call.id, call);
  }

  leave(call: SessionCall): void {
    this.#calls.delete(call.id);
  }

  /**
   * Sends a request. Rejects with `ERR_MCP_SESSION_UNKNOWN` when it was not carried out because the session
   * is gone; `response` is the response message, and rejects when there will be none.
   */
  async request({ message, body }: Outgoing, call: SessionCall | undefined, { signal, onBehalf }: { readonly signal: AbortSignal; readonly onBehalf?: OnBehalf }): Promise<{ readonly response: Promise<Fields> }> {
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
    // A response may come on another stream before this POST is answered at all.
    const answered = posted.then((answer) => void this.#follow(answer, id, call, given).then(() => fail(withoutResponse()), fail));
    try {
      await Promise.race([answered, awaited.promise.then(() => undefined, () => answered)]);
    } catch (error) {
      fail(error);
      if (codeOf(error) === 'ERR_MCP_SESSION_UNKNOWN') this.gone();
      throw error;
    }
    return { response: awaited.promise };
  }

  /** A request of our own, such as `resources/subscribe`: its response message. */
  async ask(method: string, params: Fields): Promise<Fields> {
    const { response } = await this.request(outgoingRequest(this.newId(), method, params), undefined, { signal: AbortSignal.timeout(ownRequestMs) });
    return response;
  }

  async notify(method: string, params?: Fields): Promise<void> {
    await this.#tell(outgoingNotification(method, params));
  }

  async respond(id: RequestId, outcome: Outcome, onBehalf?: OnBehalf): Promise<void> {
    await this.#tell(outgoingResponse(id, outcome), onBehalf);
  }

  /**
   * Has the MCP server log as verbosely as the calls at hand want it; each call takes its own share.
   * A server that does not announce logging is not asked.
   */
  async settleLogLevel(): Promise<void> {
    if (!isFields(this.capabilities.logging)) return;
    const wanted = [...this.#calls.values()].flatMap(({ logLevel }) => (logLevel === undefined ? [] : [logLevels.indexOf(logLevel)]));
    if (wanted.length === 0) return;
    const level = logLevels[Math.min(...wanted)];
    if (level !== undefined && level !== this.#level) {
      this.#level = level;
      // One after the other: the last one sent must be the one that holds.
      this.#settingLevel = this.#settingLevel.then(async () => {
        await this.ask('logging/setLevel', { level }).catch(() => undefined);
      });
    }
    await Promise.race([this.#settingLevel, sleep(levelSetMs, undefined, { ref: false })]);
  }

  /** The MCP server has ended it: whoever comes next gets another one. Each request at hand learns by itself what became of it. */
  gone(): void {
    if (this.ended) return;
    this.#stopListening('abrupt');
    this.#options.onGone();
  }

  /** `graceful`: listen streams get their result, so that nobody takes the end for a failure. */
  async end(error: SallyportError, how: 'graceful' | 'abrupt'): Promise<void> {
    if (this.#ended.signal.aborted) return;
    const wasGone = this.ended;
    this.#stopListening(how);
    this.#ended.abort(error);
    for (const { reject } of this.#awaited.values()) reject(error);
    this.#awaited.clear();
    this.#calls.clear();
    if (this.#id !== undefined && !wasGone) await this.#options.upstream.endSession(this.#id);
  }

  #stopListening(how: 'graceful' | 'abrupt'): void {
    this.#canListen = false;
    this.#streamKnown.resolve();
    this.listeners.end(how);
    this.#listening.abort();
  }

  async #initialize(client: ClientFacts): Promise<void> {
    const { upstream } = this.#options;
    const { response } = await this.request(outgoingRequest(this.newId(), 'initialize', toInitializeParams(client)), undefined, { signal: AbortSignal.timeout(initializeMs) });
    const message = await response;
    const result = fieldsOf(message.result);
    const revision = result.protocolVersion;
    if (typeof revision !== 'string' || revisionOf(revision) === undefined || isModern(revision)) {
      const { code, message: reason } = fieldsOf(message.error);
      const error = new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server could not be initialized: see its own log', {
        facts: { upstream: upstream.name, ...(typeof revision === 'string' ? { revision } : {}), ...(typeof code === 'number' ? { errorCode: code } : {}), ...(typeof reason === 'string' ? { reason: reason.slice(0, 200) } : {}) },
      });
      await this.end(error, 'abrupt').catch(() => undefined);
      throw error;
    }
    this.#initialized = result;
    this.#revision = revision;
    await this.notify('notifications/initialized');
  }

  async #tell(outgoing: Outgoing, onBehalf?: OnBehalf): Promise<void> {
    const answer = await this.#exchange('POST', outgoing, { signal: AbortSignal.any([this.#ended.signal, AbortSignal.timeout(ownRequestMs)]), onBehalf });
    if (answer.kind === 'stream') for await (const event of answer.events) this.#takeEvent(event, undefined);
  }

  #exchange(method: 'POST' | 'GET', outgoing: Outgoing | undefined, how: { readonly signal: AbortSignal; readonly onBehalf?: OnBehalf | undefined; readonly lastEventId?: string | undefined }): Promise<UpstreamAnswer> {
    const { upstream } = this.#options;
    const { principal, roles } = how.onBehalf ?? this.#onBehalf;
    const named = this.#revision !== undefined && revisionOf(this.#revision)?.versionHeader === 'required';
    const exchanged = upstream.exchange({
      era: 'legacy', method, principal, roles, session: this.#id, protocolVersion: named ? this.#revision : undefined, lastEventId: how.lastEventId,
      messages: outgoing === undefined ? [] : [outgoing.message], body: outgoing?.body, signal: how.signal,
    });
    if (this.#revision !== undefined) return exchanged;
    return exchanged.then((answer) => {
      this.#id = answer.session;
      return answer;
    });
  }

  /** Reads what comes of a POST, and goes on where its stream broke off if the MCP server lets us. */
  async #follow(first: UpstreamAnswer, id: RequestId, call: SessionCall | undefined, signal: AbortSignal): Promise<void> {
    let answer: UpstreamAnswer = first;
    let lastEventId: string | undefined;
    let pauseMs: number = reopenMs.first;
    for (let attempt = 0; attempt < resumeAttempts; attempt += 1) {
      if (answer.kind === 'json') for (const message of readAnswer(answer.text)) this.#take(message, call);
      if (answer.kind !== 'stream') return;
      try {
        for await (const event of answer.events) {
          attempt = 0;
          lastEventId = event.id ?? lastEventId;
          pauseMs = event.retry ?? pauseMs;
          this.#takeEvent(event, call);
          await call?.room();
        }
      } catch (error) {
        if (lastEventId === undefined) throw error;
      }
      if (!this.#awaited.has(id) || lastEventId === undefined || signal.aborted) return;
      await sleep(Math.min(pauseMs, reopenMs.longest), undefined, { signal });
      answer = await this.#exchange('GET', undefined, { signal, lastEventId });
    }
  }

  /** Keeps the stream open that carries what belongs to no request. */
  async #keepListening(): Promise<void> {
    const { signal } = this.#listening;
    let lastEventId: string | undefined;
    let failures = 0;
    // Without a session nobody could tell whose changes they are.
    if (this.#id === undefined) this.#withoutStream();
    setTimeout(() => this.#streamKnown.resolve(), streamKnownMs).unref();
    while (!signal.aborted && this.#canListen) {
      const since = performance.now();
      try {
        const answer = await this.#exchange('GET', undefined, { signal, lastEventId });
        if (answer.kind !== 'stream') return this.#withoutStream();
        this.#streamKnown.resolve();
        for await (const event of answer.events) {
          failures = 0;
          lastEventId = event.id ?? lastEventId;
          this.#takeEvent(event, undefined);
        }
      } catch (error) {
        const code = codeOf(error);
        if (code === 'ERR_MCP_SESSION_UNKNOWN' || code === 'ERR_UPSTREAM_EXITED') return this.gone();
        if (code === 'ERR_UPSTREAM_INVALID' && failures === 0) return this.#withoutStream();
      }
      failures = performance.now() - since > lastingMs ? 1 : failures + 1;
      await sleep(Math.min(reopenMs.longest, reopenMs.first * 2 ** Math.min(failures - 1, 10)), undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  #withoutStream(): void {
    this.#canListen = false;
    this.#streamKnown.resolve();
    this.listeners.end('graceful');
  }

  #takeEvent(event: SseEvent, call: SessionCall | undefined): void {
    if (event.data === '' || (event.event !== undefined && event.event !== 'message')) return;
    for (const message of readAnswer(event.data)) this.#take(message, call);
  }

  #take(message: Fields, call: SessionCall | undefined): void {
    const { id, method } = message;
    const params = isFields(message.params) ? message.params : undefined;
    if (typeof method === 'string') {
      if (id === undefined) this.#notified(method, params ?? {}, call);
      else if (isRequestId(id)) this.#asked(id, method, params, call);
      return;
    }
    if (!isRequestId(id)) return;
    this.#awaited.get(id)?.resolve(message);
    this.#awaited.delete(id);
  }

  #notified(method: string, params: Fields, call: SessionCall | undefined): void {
    switch (method) {
      case 'notifications/progress': {
        // The token is the id of its request.
        const token = params.progressToken;
        if (isRequestId(token)) this.#calls.get(token)?.progress(params);
        return;
      }
      case 'notifications/message':
        (call ?? this.#waited()[0])?.log(params);
        return;
      case 'notifications/cancelled':
        if (isRequestId(params.requestId)) for (const one of this.#calls.values()) one.withdraw(params.requestId);
        return;
      default:
        this.listeners.offer(method, params);
    }
  }

  #asked(id: RequestId, method: string, params: Fields | undefined, call: SessionCall | undefined): void {
    if (method === 'ping') {
      this.#answer(id, { result: {} });
      return;
    }
    // What came outside of any request most likely concerns the latest that can be asked.
    let refused: string | undefined = 'no request of the MCP client is under way that this could be asked in';
    for (const target of call === undefined ? this.#waited() : [call]) {
      refused = target.ask(id, method, params);
      if (refused === undefined) return;
    }
    this.#answer(id, { error: { code: -32601, message: refused } });
  }

  #answer(id: RequestId, outcome: Outcome): void {
    this.respond(id, outcome).catch((error: unknown) => this.#options.log.debug({ upstream: this.#options.upstream.name, code: codeOf(error) }, 'an answer to the upstream could not be delivered'));
  }

  /** Calls that somebody waits for, the latest first. */
  #waited(): readonly SessionCall[] {
    return [...this.#calls.values()].filter((call) => call.waited).toReversed();
  }
}

const withoutResponse = (): SallyportError => new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server ended its answer without a response');
