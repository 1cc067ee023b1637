/**
 * One call of a modern MCP client at a legacy MCP server. When the server asks its client something, the
 * call is parked: the client gets an `input_required` result, and its retry goes on where this one stands.
 */
import { isDeepStrictEqual } from 'node:util';
import { codeOf, SallyportError } from '../errors.ts';
import { logLevels, serverInfoKey } from '../mcp/envelope.ts';
import type { Envelope } from '../mcp/envelope.ts';
import type { RequestId } from '../mcp/message.ts';
import type { UpstreamAnswer } from '../upstream/upstream.ts';
import type { UpstreamLog } from '../upstream/upstream-log.ts';
import { errorText, fieldsOf, isFields, notificationText, outgoingRequest, progressTokenOf, resultText } from './fields.ts';
import type { Fields } from './fields.ts';
import { isInputRequest, missingCapability } from '../mcp/input-requests.ts';
import { mayAskForInput, toInputRequest } from './input-requests.ts';
import type { LegacySession, SessionCall } from './legacy-session.ts';
import type { TranslationLimits } from './limits.ts';
import { Outlet } from './outlet.ts';
import { toLegacyParams } from './requests.ts';
import type { OnBehalf } from './requests.ts';
import { toModernError, toModernResult } from './results.ts';

/** One HTTP request of the modern client: the first of a call, or its retry. */
export interface ModernRequest {
  readonly id: RequestId;
  readonly method: string;
  readonly params: Fields;
  readonly envelope: Envelope;
  readonly onBehalf: OnBehalf;
  readonly signal: AbortSignal;
}

export interface LegacyCallOptions {
  readonly limits: TranslationLimits;
  readonly log: UpstreamLog;
  /** A session for it: another one each time the last has turned out to be gone. */
  readonly session: () => Promise<LegacySession>;
  /** Keeps it for the retry, if there is room; gives the `requestState` that leads back to it. */
  readonly park: (call: LegacyCall) => string | undefined;
  /** It is not waited for any more. */
  readonly unpark: (call: LegacyCall) => void;
  readonly onOver: (call: LegacyCall) => void;
}

interface Question {
  readonly id: RequestId;
  readonly request: Fields;
}

export class LegacyCall implements SessionCall {
  readonly #options: LegacyCallOptions;
  readonly #request: ModernRequest;
  readonly #ended = new AbortController();
  /** What the MCP server waits for, by the key the client knows it under. */
  readonly #questions = new Map<string, Question>();
  #id: RequestId = 0;
  /** The request that gets the answer; the latest retry. */
  #latest: ModernRequest;
  /** Undefined while parked. */
  #outlet: Outlet | undefined;
  #session: LegacySession | undefined;
  #lastKey = 0;
  #gathering: NodeJS.Timeout | undefined;
  #expiry: NodeJS.Timeout | undefined;
  /** What came of it while nobody waited: the response message, or why there is none. */
  #kept: Fields | SallyportError | undefined;
  #over = false;

  constructor(options: LegacyCallOptions, request: ModernRequest) {
    this.#options = options;
    this.#request = request;
    this.#latest = request;
  }

  get id(): RequestId {
    return this.#id;
  }

  get logLevel(): string | undefined {
    return this.#latest.envelope.logLevel;
  }

  /** Somebody is there to get a message now. */
  get waited(): boolean {
    return this.#outlet !== undefined;
  }

  get principalId(): string {
    return this.#request.onBehalf.principal.id;
  }

  start(): Promise<UpstreamAnswer> {
    const outlet = this.#open(this.#request);
    void this.#run();
    return outlet.answer;
  }

  /** Whether a retry is one of this call: of the same principal, for the same thing. What is decided and recorded of it must be what is executed. */
  isRetriedBy({ method, params, onBehalf }: ModernRequest): boolean {
    const own = this.#request;
    return onBehalf.principal.id === this.principalId && method === own.method && ['name', 'uri', 'arguments'].every((member) => isDeepStrictEqual(params[member], own.params[member]));
  }

  /** Goes on with what the client answered; what it left out is asked again. */
  async resume(request: ModernRequest): Promise<UpstreamAnswer> {
    this.#leaveParking();
    this.#latest = request;
    const outlet = this.#open(request);
    if (this.#kept !== undefined) {
      this.#deliver(this.#kept);
      return outlet.answer;
    }
    const session = this.#session;
    if (session === undefined) throw new SallyportError('ERR_INTERNAL', 'a call waits that was never sent');
    const answers = this.#takeAnswers(fieldsOf(request.params.inputResponses));
    session.enter(this, request.onBehalf);
    await session.settleLogLevel();
    Promise.all(answers.map(([id, result]) => session.respond(id, { result }, request.onBehalf))).catch((error: unknown) => this.#settle(failureOf(error)));
    if (this.#questions.size > 0) this.#gather();
    return outlet.answer;
  }

  progress(params: Fields): void {
    const token = progressTokenOf(this.#latest.params);
    if (token !== undefined) this.#outlet?.send(notificationText('notifications/progress', { ...params, progressToken: token }));
  }

  log(params: Fields): void {
    const wanted = this.logLevel;
    if (wanted === undefined || typeof params.level !== 'string' || logLevels.indexOf(params.level) < logLevels.indexOf(wanted)) return;
    this.#outlet?.send(notificationText('notifications/message', params));
  }

  ask(id: RequestId, method: string, params: Fields | undefined): string | undefined {
    if (!isInputRequest(method) || params?.task !== undefined) return 'Method not found';
    if (!mayAskForInput.has(this.#request.method)) return 'the MCP client cannot be asked anything within this request';
    const missing = missingCapability(method, params ?? {}, this.#latest.envelope.clientCapabilities);
    if (missing !== undefined) return `the MCP client did not declare the capability ${missing}`;
    if (this.#questions.size >= maxQuestions) return 'the MCP client has more questions to answer than it may';
    this.#lastKey += 1;
    this.#questions.set(`input-${this.#lastKey}`, { id, request: toInputRequest(method, params) });
    this.#gather();
    return undefined;
  }

  withdraw(id: RequestId): void {
    for (const [key, question] of this.#questions) if (question.id === id) this.#questions.delete(key);
  }

  room(): Promise<void> {
    return this.#outlet?.room() ?? Promise.resolve();
  }

  /** Takes the request back at the MCP server; nobody gets an answer any more. */
  cancel(error: SallyportError): void {
    if (this.#over) return;
    const reason = error.message;
    const session = this.#session;
    const questions = [...this.#questions.values()];
    this.#release();
    this.#ended.abort(error);
    this.#outlet?.fail(error);
    if (session === undefined || session.ended) return;
    const told = [
      ...questions.map((question) => session.respond(question.id, { error: { code: -32603, message: reason } })),
      session.notify('notifications/cancelled', { requestId: this.#id, reason }),
    ];
    Promise.all(told).catch((error: unknown) => this.#options.log.debug({ code: codeOf(error) }, 'a cancellation could not be delivered to the upstream'));
  }

  /** Responses to questions that are still open. A response is the bare result; anything that looks like a message is none. */
  #takeAnswers(inputResponses: Fields): readonly (readonly [RequestId, Fields])[] {
    return Object.entries(inputResponses).flatMap(([key, response]) => {
      const question = this.#questions.get(key);
      if (question === undefined || !isFields(response) || Object.hasOwn(response, 'method') || Object.hasOwn(response, 'result')) return [];
      this.#questions.delete(key);
      return [[question.id, response] as const];
    });
  }

  #open(request: ModernRequest): Outlet {
    const { openStreamAfterMs, pendingBytes } = this.#options.limits;
    const outlet = new Outlet({ signal: request.signal, openStreamAfterMs, pendingBytes, onAbandoned: () => this.cancel(new SallyportError('ERR_HTTP_ABANDONED', 'the MCP client does not wait for the answer any more')) });
    this.#outlet = outlet;
    return outlet;
  }

  async #run(): Promise<void> {
    try {
      const { response } = await this.#send().catch((error: unknown) => {
        // Refused as unknown, so it was not carried out: safe to send again in a new session.
        if (codeOf(error) === 'ERR_MCP_SESSION_UNKNOWN' && !this.#over) return this.#send();
        throw error;
      });
      this.#settle(await response);
    } catch (error) {
      this.#settle(failureOf(error));
    }
  }

  async #send(): Promise<{ readonly response: Promise<Fields> }> {
    const { method, params, onBehalf } = this.#request;
    const session = await this.#options.session();
    this.#session = session;
    this.#id = session.newId();
    session.enter(this, onBehalf);
    try {
      await session.settleLogLevel();
      const token = progressTokenOf(params) === undefined ? undefined : this.#id;
      return await session.request(outgoingRequest(this.#id, method, toLegacyParams(params, token)), this, { signal: this.#ended.signal, onBehalf });
    } catch (error) {
      session.leave(this);
      throw error;
    }
  }

  /** The call is over, whether or not somebody waits for its answer. */
  #settle(outcome: Fields | SallyportError): void {
    if (this.#over) return;
    clearTimeout(this.#gathering);
    this.#session?.leave(this);
    this.#questions.clear();
    if (this.#outlet === undefined) this.#kept = outcome;
    else this.#deliver(outcome);
  }

  #deliver(outcome: Fields | SallyportError): void {
    const outlet = this.#outlet;
    const { id, method } = this.#latest;
    this.#release();
    // The stream of the MCP server ends with its response. One that does not is not waited for.
    setTimeout(() => this.#ended.abort(new SallyportError('ERR_UPSTREAM_TIMEOUT', 'the request is over')), lingerMs).unref();
    if (outcome instanceof SallyportError) outlet?.fail(outcome);
    else if (isFields(outcome.error)) {
      const error = toModernError(outcome.error);
      // Revision 2026-07-28, Streamable HTTP: an unknown method is 404.
      outlet?.finish(errorText(id, error), error.code === -32601 ? 404 : 200);
    } else if (isFields(outcome.result)) outlet?.finish(resultText(id, toModernResult(method, outcome.result, this.#session?.serverInfo)));
    else outlet?.fail(new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a response without a result'));
  }

  /** Questions that come at once go into one result. */
  #gather(): void {
    if (this.#outlet === undefined || this.#gathering !== undefined) return;
    this.#gathering = setTimeout(() => {
      this.#gathering = undefined;
      this.#askClient();
    }, this.#options.limits.gatherMs);
  }

  #askClient(): void {
    const outlet = this.#outlet;
    if (outlet === undefined || outlet.ended || this.#questions.size === 0) return;
    const requestState = this.#options.park(this);
    if (requestState === undefined) {
      for (const [key, { id }] of this.#questions) {
        this.#questions.delete(key);
        this.#session?.respond(id, { error: { code: -32603, message: 'too many requests of this MCP client wait for its input' } }).catch(() => undefined);
      }
      return;
    }
    this.#outlet = undefined;
    this.#expiry = setTimeout(() => this.#expire(), this.#options.limits.parkedMs);
    this.#expiry.unref();
    const inputRequests = Object.fromEntries([...this.#questions].map(([key, { request }]) => [key, request]));
    const serverInfo = this.#session?.serverInfo;
    outlet.finish(resultText(this.#latest.id, { resultType: 'input_required', inputRequests, requestState, ...(serverInfo === undefined ? {} : { _meta: { [serverInfoKey]: serverInfo } }) }));
  }

  #expire(): void {
    this.#leaveParking();
    this.cancel(new SallyportError('ERR_UPSTREAM_TIMEOUT', 'the MCP client did not answer in time'));
  }

  #leaveParking(): void {
    clearTimeout(this.#expiry);
    this.#options.unpark(this);
  }

  #release(): void {
    this.#leaveParking();
    clearTimeout(this.#gathering);
    this.#session?.leave(this);
    this.#questions.clear();
    this.#over = true;
    this.#options.onOver(this);
  }
}

/** Milliseconds that a stream may stay open after its response. */
const lingerMs = 1_000;

/** Questions that wait at once in one call. */
const maxQuestions = 64;

const failureOf = (error: unknown): SallyportError => {
  if (!(error instanceof SallyportError)) return new SallyportError('ERR_INTERNAL', 'the request could not be translated', { cause: error });
  // The session is ours: the client never had one that it could initialize again.
  return error.code === 'ERR_MCP_SESSION_UNKNOWN' ? new SallyportError('ERR_UPSTREAM_EXITED', 'the MCP server has ended the session that the request was sent in: send it again', { facts: error.facts, cause: error }) : error;
};
