/**
 * One request of a legacy MCP client at a modern MCP server. When the server needs input, the client is
 * asked with JSON-RPC requests on the stream of its own, and the request is sent again with its answers.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { SallyportError } from '../errors.ts';
import type { RequestId } from '../mcp/message.ts';
import type { UpstreamAnswer } from '../upstream/upstream.ts';
import type { ClientSession } from './client-session.ts';
import { errorText, fieldsOf, isFields, notificationText, outgoingRequest, resultText } from './fields.ts';
import type { Fields, Outcome } from './fields.ts';
import { isInputRequest, missingCapability } from '../mcp/input-requests.ts';
import { mayAskForInput, toLegacyQuestion } from './input-requests.ts';
import { oneResponse } from './one-response.ts';
import { Outlet } from './outlet.ts';
import type { OnBehalf } from './requests.ts';
import { toLegacyError, toLegacyResult } from './results.ts';

export interface LegacyRequest {
  readonly id: RequestId;
  readonly method: string;
  readonly params: Fields;
  readonly onBehalf: OnBehalf;
  readonly signal: AbortSignal;
}

/** A round without questions only asks to come back later. */
const paceMs = 250;

/** Notifications that belong to a request in both eras. */
const carried: ReadonlySet<string> = new Set(['notifications/progress', 'notifications/message']);

export class ModernCall {
  readonly #session: ClientSession;
  readonly #request: LegacyRequest;
  readonly #ended = new AbortController();
  readonly #outlet: Outlet;
  #onOver: () => void = () => undefined;

  constructor(session: ClientSession, request: LegacyRequest) {
    this.#session = session;
    this.#request = request;
    const { openStreamAfterMs, pendingBytes } = session.limits;
    // The answer could not be fetched later, so nobody needs it any more.
    this.#outlet = new Outlet({ signal: request.signal, openStreamAfterMs, pendingBytes, onAbandoned: () => this.#end() });
  }

  start(onOver: () => void): Promise<UpstreamAnswer> {
    this.#onOver = onOver;
    void this.#run();
    return this.#outlet.answer;
  }

  /** A cancelled request gets no response. */
  cancel(): void {
    this.#end();
    this.#outlet.close();
  }

  async #run(): Promise<void> {
    const { id } = this.#request;
    try {
      const outcome = await this.#carry();
      this.#outlet.finish('result' in outcome ? resultText(id, outcome.result) : errorText(id, outcome.error));
    } catch (error) {
      this.#outlet.fail(error instanceof SallyportError ? error : new SallyportError('ERR_INTERNAL', 'the request could not be translated', { cause: error }));
    } finally {
      this.#onOver();
    }
  }

  async #carry(): Promise<{ readonly result: Fields } | { readonly error: Fields }> {
    const { method, params } = this.#request;
    let retry: Fields = {};
    for (let round = 0; round <= this.#session.limits.rounds; round += 1) {
      const message = await this.#send({ ...params, ...retry });
      if (isFields(message.error)) return { error: toLegacyError(message.error) };
      if (!isFields(message.result)) throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a response without a result');
      const { resultType } = message.result;
      if (resultType === undefined || resultType === 'complete') return { result: this.#complete(message.result) };
      if (resultType !== 'input_required' || !mayAskForInput.has(method)) {
        throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a kind of result that has no counterpart in the legacy era');
      }
      if (round === this.#session.limits.rounds) break;
      const { inputRequests, requestState } = message.result;
      const answered = await this.#askClient(fieldsOf(inputRequests), requestState);
      if ('failure' in answered) return this.#failed(answered.failure);
      retry = { ...(answered.responses === undefined ? {} : { inputResponses: answered.responses }), ...(typeof requestState === 'string' ? { requestState } : {}) };
    }
    return this.#failed(`the MCP server still required input for ${method} after ${this.#session.limits.rounds} rounds`);
  }

  #complete(result: Fields): Fields {
    const { method, params } = this.#request;
    const { tools } = this.#session;
    if (method === 'tools/list') tools.learn(result);
    return toLegacyResult(method, result, method === 'tools/call' && tools.isWrapped(params.name));
  }

  /** As tools report it, or as an error where there is no such thing. */
  #failed(message: string): { readonly result: Fields } | { readonly error: Fields } {
    return this.#request.method === 'tools/call' ? { result: { content: [{ type: 'text', text: message }], isError: true } } : { error: { code: -32603, message } };
  }

  /** Sends the request and gives the response message. */
  async #send(params: Fields): Promise<Fields> {
    const { method } = this.#request;
    if (method !== 'tools/call') return this.#exchange(params, undefined);
    const first = await this.#exchange(params, await this.#paramHeaders());
    if (!isFields(first.error) || first.error.code !== -32020) return first;
    // Refused for its headers, so it was not carried out: the tool may have changed since it was listed.
    this.#session.tools.forget();
    return this.#exchange(params, await this.#paramHeaders());
  }

  #paramHeaders(): Promise<Readonly<Record<string, string>>> {
    const { params, onBehalf } = this.#request;
    return this.#session.tools.headersOf(params, (cursor) => this.#session.toolsPage(cursor, { signal: this.#ended.signal, onBehalf }));
  }

  #exchange(params: Fields, paramHeaders: Readonly<Record<string, string>> | undefined): Promise<Fields> {
    const { method, onBehalf } = this.#request;
    return oneResponse((signal) => this.#session.send(method, params, { signal, onBehalf, paramHeaders }), {
      signal: this.#ended.signal,
      onNotification: (name, message) => {
        if (carried.has(name)) this.#outlet.send(notificationText(name, fieldsOf(message.params)));
        return this.#outlet.room();
      },
    });
  }

  /** Puts the questions of one round to the client, all at once. */
  async #askClient(inputRequests: Fields, requestState: unknown): Promise<{ readonly responses: Fields | undefined } | { readonly failure: string }> {
    const { signal } = this.#ended;
    const { method } = this.#request;
    const entries = Object.entries(inputRequests);
    if (entries.length === 0) {
      if (typeof requestState !== 'string') throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server required input without saying which');
      await sleep(paceMs, undefined, { signal });
      return { responses: undefined };
    }
    const questions: { readonly key: string; readonly method: string; readonly params: Fields | undefined }[] = [];
    for (const [key, given] of entries) {
      const entry = fieldsOf(given);
      if (typeof entry.method !== 'string' || !isInputRequest(entry.method)) throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server required input of a kind that does not exist');
      const params = isFields(entry.params) ? entry.params : undefined;
      const missing = missingCapability(entry.method, params ?? {}, this.#session.client.capabilities);
      if (missing !== undefined) return { failure: `the MCP server needs input (${entry.method}), but the MCP client did not declare the capability ${missing}` };
      questions.push({ key, method: entry.method, params: toLegacyQuestion(entry.method, params, () => this.#session.elicitationId()) });
    }
    const round = AbortSignal.any([signal, AbortSignal.timeout(this.#session.limits.parkedMs)]);
    const stop = new AbortController();
    try {
      const answers = await Promise.all(questions.map((question) => this.#ask(question, AbortSignal.any([round, stop.signal]))));
      return { responses: Object.fromEntries(answers) };
    } catch (error) {
      // The other questions of the round are of no use any more.
      stop.abort(error);
      signal.throwIfAborted();
      const reason = round.aborted ? 'the MCP client did not answer in time' : error instanceof Error ? error.message : String(error);
      return { failure: `the input that ${method} needs could not be had: ${reason}` };
    }
  }

  #ask(question: { readonly key: string; readonly method: string; readonly params: Fields | undefined }, signal: AbortSignal): Promise<readonly [string, Fields]> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const onAbort = (): void => {
        this.#session.withdraw(id);
        this.#outlet.send(notificationText('notifications/cancelled', { requestId: id, reason: 'the answer is not needed any more' }));
        reject(signal.reason as Error);
      };
      const id = this.#session.question((outcome: Outcome) => {
        signal.removeEventListener('abort', onAbort);
        if ('result' in outcome) resolve([question.key, outcome.result]);
        else reject(new Error(outcome.error.message));
      });
      signal.addEventListener('abort', onAbort, { once: true });
      this.#outlet.send(outgoingRequest(id, question.method, question.params).body);
    });
  }

  #end(): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort(new SallyportError('ERR_HTTP_ABANDONED', 'the MCP client took the request back'));
    this.#onOver();
  }
}
