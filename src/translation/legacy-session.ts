/**
 * One session with a legacy MCP server, held on behalf of modern MCP clients of one principal that
 * declared the same: requests of many HTTP exchanges share it under ids of our own.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, SallyportError } from '../errors.ts';
import { logLevels } from '../mcp/envelope.ts';
import type { RequestId } from '../mcp/message.ts';
import { isRequestId } from '../mcp/read-messages.ts';
import { isModern, revisionOf } from '../mcp/revisions.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { UpstreamLog } from '../upstream/upstream-log.ts';
import { fieldsOf, isFields, outgoingNotification, outgoingResponse } from './fields.ts';
import type { Fields, Outcome, Outgoing } from './fields.ts';
import { LegacyWire } from './legacy-wire.ts';
import type { Sender, SendOptions } from './legacy-wire.ts';
import { Listeners } from './listeners.ts';
import type { TranslationLimits } from './limits.ts';
import { toInitializeParams } from './requests.ts';
import type { ClientFacts, OnBehalf } from './requests.ts';

/** What of a call the session needs to hand messages of the MCP server to it. */
export interface SessionCall extends Sender {
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
}

export interface LegacySessionOptions {
  readonly upstream: Upstream;
  readonly limits: TranslationLimits;
  readonly log: UpstreamLog;
  /** The MCP server holds nothing of the session any more. Called at most once. */
  readonly onGone: () => void;
}

/** A command may have to be fetched first. */
const initializeMs = 120_000;
/** Answers of our own on their way to the MCP server at once. */
const maxAnswers = 64;
/** No call waits longer for its log level. */
const levelSetMs = 2_000;

export class LegacySession {
  readonly listeners: Listeners;
  readonly #options: LegacySessionOptions;
  readonly #wire: LegacyWire<SessionCall>;
  readonly #calls = new Map<RequestId, SessionCall>();
  #initialized: Fields = {};
  #level: string | undefined;
  #answering = 0;
  #settingLevel: Promise<void> = Promise.resolve();

  private constructor(options: LegacySessionOptions, onBehalf: OnBehalf) {
    this.#options = options;
    this.listeners = new Listeners(this, options.limits);
    this.#wire = new LegacyWire({
      upstream: options.upstream,
      onBehalf,
      onMessage: (message, call) => this.#take(message, call),
      onSilent: () => this.listeners.end('graceful'),
      onGone: () => {
        this.listeners.end('abrupt');
        options.onGone();
      },
    });
  }

  /**
   * @throws SallyportError `ERR_UPSTREAM_*`
   */
  static async open(options: LegacySessionOptions, onBehalf: OnBehalf, client: ClientFacts): Promise<LegacySession> {
    const session = new LegacySession(options, onBehalf);
    await session.#initialize(client);
    void session.#wire.listen();
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

  get busy(): boolean {
    return this.#calls.size > 0 || this.listeners.size > 0;
  }

  get ended(): boolean {
    return this.#wire.ended;
  }

  /** Whether the MCP server can tell of changes. */
  canListen(): Promise<boolean> {
    return this.#wire.hasStream();
  }

  newId(): number {
    return this.#wire.newId();
  }

  enter(call: SessionCall, onBehalf: OnBehalf): void {
    this.#wire.onBehalf = onBehalf;
    this.#calls.set(call.id, call);
  }

  leave(call: SessionCall): void {
    this.#calls.delete(call.id);
  }

  /** Sends the request of a call, as `LegacyWire.request` does. */
  request(outgoing: Outgoing, call: SessionCall, options: SendOptions): Promise<{ readonly response: Promise<Fields> }> {
    return this.#wire.request(outgoing, call, options);
  }

  /** A request of our own, such as `resources/subscribe`: its response message. */
  ask(method: string, params: Fields): Promise<Fields> {
    return this.#wire.ask(method, params);
  }

  notify(method: string, params?: Fields): Promise<void> {
    return this.#wire.tell(outgoingNotification(method, params));
  }

  respond(id: RequestId, outcome: Outcome, onBehalf?: OnBehalf): Promise<void> {
    return this.#wire.tell(outgoingResponse(id, outcome), onBehalf);
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

  /** `graceful`: listen streams get their result, so that nobody takes the end for a failure. */
  async end(error: SallyportError, how: 'graceful' | 'abrupt'): Promise<void> {
    this.listeners.end(how);
    this.#calls.clear();
    await this.#wire.end(error);
  }

  async #initialize(client: ClientFacts): Promise<void> {
    const { upstream } = this.#options;
    const message = await this.#wire.ask('initialize', toInitializeParams(client), initializeMs);
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
    this.#wire.begin(revision);
    try {
      await this.notify('notifications/initialized');
    } catch (error) {
      // Nobody would ever end it.
      await this.end(new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server did not take notifications/initialized'), 'abrupt').catch(() => undefined);
      throw error;
    }
  }

  #take(message: Fields, call: SessionCall | undefined): void {
    const { id, method } = message;
    const params = isFields(message.params) ? message.params : undefined;
    if (typeof method !== 'string') return;
    if (id === undefined) this.#notified(method, params ?? {}, call);
    else if (isRequestId(id)) this.#asked({ id, method, params }, call);
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

  #asked({ id, method, params }: { readonly id: RequestId; readonly method: string; readonly params: Fields | undefined }, call: SessionCall | undefined): void {
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
    // A server that asks without end and takes no answer waits for its own timeouts.
    if (this.#answering >= maxAnswers) return;
    this.#answering += 1;
    this.respond(id, outcome).finally(() => {
      this.#answering -= 1;
    }).catch((error: unknown) => this.#options.log.debug({ upstream: this.#options.upstream.name, code: codeOf(error) }, 'an answer to the upstream could not be delivered'));
  }

  /** Calls that somebody waits for, the latest first. */
  #waited(): readonly SessionCall[] {
    return [...this.#calls.values()].filter((call) => call.waited).toReversed();
  }
}
