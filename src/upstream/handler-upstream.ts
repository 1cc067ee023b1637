/**
 * An MCP server in this process, a Node handler of SDK v1 or v2, as an upstream: it gets requests of our
 * making, which no connection brought, and what it writes is read as its answer.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { SallyportError } from '../errors.ts';
import type { Principal } from '../identity/principal.ts';
import { parseExact } from '../mcp/exact-json.ts';
import type { Era } from '../mcp/revisions.ts';
import { abandonedError } from './abandoned.ts';
import { captureResponse, requestOfOurs } from './captured-response.ts';
import { EraFinder } from './http-eras.ts';
import type { ConfiguredEra } from './http-eras.ts';
import { RequestHeaders } from './http-request.ts';
import type { RequestHead } from './http-request.ts';
import type { Upstream, UpstreamAnswer, UpstreamRequest } from './upstream.ts';
import type { UpstreamLog } from './upstream-log.ts';

export interface HandlerUpstreamOptions {
  readonly name: string;
  /** SDK v1 `transport.handleRequest`, or v2 `toNodeHandler(handler)`. The body comes parsed. */
  readonly handler: (request: IncomingMessage & { method: string; url: string; auth?: never }, response: ServerResponse, parsedBody?: unknown) => unknown;
  /** What tools learn about the caller, as `req.auth`. */
  readonly authInfo?: ((principal: Principal, roles: readonly string[]) => object) | undefined;
  /** Which eras it speaks; `auto`, the default, asks it. */
  readonly era?: ConfiguredEra | undefined;
  readonly limits?: Partial<HandlerUpstreamLimits> | undefined;
  readonly log: UpstreamLog;
}

export interface HandlerUpstreamLimits {
  /** Octets of a JSON answer or of one event. */
  readonly answerBytes: number;
  /** Characters of a stream that wait for their reader. */
  readonly pendingBytes: number;
  /** Until it has said which era it speaks. */
  readonly eraTimeoutMs: number;
}

export const defaultHandlerLimits: HandlerUpstreamLimits = { answerBytes: 16 * 1024 * 1024, pendingBytes: 1024 * 1024, eraTimeoutMs: 10_000 };

export const createHandlerUpstream = (options: HandlerUpstreamOptions): Upstream => new HandlerUpstream(options);

type Asked = RequestHead & Pick<UpstreamRequest, 'body' | 'signal'>;

class HandlerUpstream implements Upstream {
  readonly name: string;
  readonly #options: HandlerUpstreamOptions;
  readonly #limits: HandlerUpstreamLimits;
  readonly #headers: RequestHeaders;
  readonly #eras: EraFinder;
  readonly #closing = new AbortController();

  constructor(options: HandlerUpstreamOptions) {
    this.name = options.name;
    this.#options = options;
    this.#limits = { ...defaultHandlerLimits, ...options.limits };
    this.#headers = new RequestHeaders(options.name);
    this.#eras = new EraFinder({
      upstream: options.name, configured: options.era ?? 'auto', log: options.log, monotonicMs: () => performance.now(), timeoutMs: this.#limits.eraTimeoutMs,
      ask: (question) => this.#carry(question, undefined),
      endSession: (session) => this.endSession(session),
    });
  }

  exchange(request: UpstreamRequest): Promise<UpstreamAnswer> {
    return this.#carry(request, this.#options.authInfo?.(request.principal, request.roles));
  }

  /** @throws SallyportError `ERR_UPSTREAM_*` */
  async eras(): Promise<readonly Era[]> {
    this.#closing.signal.throwIfAborted();
    return this.#eras.eras();
  }

  /** Tells the handler what its own MCP client would have told it. */
  async endSession(session: string): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const signal = AbortSignal.timeout(farewellMs);
    const question: Asked = { era: 'legacy', method: 'DELETE', session, protocolVersion: undefined, lastEventId: undefined, messages: [], body: undefined, signal };
    await this.#carry(question, undefined).catch((error: unknown) => {
      this.#options.log.warn({ upstream: this.name, reason: error instanceof Error ? error.message : String(error) }, 'upstream session could not be ended');
    });
  }

  /** Nothing is held for a principal on this side. */
  async endPrincipal(): Promise<void> {}

  /** As long as this process lives. */
  async healthy(): Promise<boolean> {
    return !this.#closing.signal.aborted;
  }

  async close(): Promise<void> {
    this.#closing.abort(new SallyportError('ERR_DRAINING', 'the upstream is being shut down', { facts: { upstream: this.name } }));
  }

  async #carry(asked: Asked, auth: object | undefined): Promise<UpstreamAnswer> {
    const { answerBytes: maxBytes, pendingBytes } = this.#limits;
    this.#closing.signal.throwIfAborted();
    if (asked.signal.aborted) throw abandonedError(asked.signal);
    const request = requestOfOurs({ method: asked.method, headers: { host: 'localhost', ...named(this.#headers.of(asked, undefined)) } });
    if (auth !== undefined) Object.assign(request, { auth });
    const { response, answer } = captureResponse(request, { upstream: this.name, maxBytes, pendingBytes, signal: AbortSignal.any([asked.signal, this.#closing.signal]) });
    // It may go on writing long after it has returned, and fail before it has written anything.
    Promise.resolve()
      .then(() => this.#options.handler(request as IncomingMessage & { method: string; url: string; auth?: never }, response, asked.body === undefined ? undefined : parseExact(asked.body)))
      .catch((cause: unknown) => response.destroy(new SallyportError('ERR_UPSTREAM_INVALID', 'the in-process MCP server failed: see its own log', { facts: { upstream: this.name }, cause })));
    return this.#usable(await this.#settled(answer, asked.signal), asked);
  }

  /** Reasons to give up are ours already, or become so. */
  async #settled(answer: Promise<UpstreamAnswer>, signal: AbortSignal): Promise<UpstreamAnswer> {
    try {
      return await answer;
    } catch (error) {
      throw error instanceof SallyportError || !signal.aborted ? error : abandonedError(signal);
    }
  }

  /** The same rules as for an MCP server reached over HTTP (http-answer.ts). */
  #usable(answer: UpstreamAnswer, asked: Asked): UpstreamAnswer {
    const { status } = answer;
    const facts = { upstream: this.name, status };
    if (status === 401 || status === 403 || status === 407 || (status >= 300 && status < 400)) {
      throw new SallyportError('ERR_UPSTREAM_INVALID', 'the in-process MCP server refuses or redirects what the gateway has let through: leave authorization to the gateway', { facts });
    }
    if (status === 404 && asked.era === 'legacy' && asked.session !== undefined) {
      throw new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'the MCP server has ended the session: initialize a new one', { facts });
    }
    // No GET stream, or sessions that clients cannot end.
    if (status === 405 && asked.method !== 'POST') return { kind: 'empty', status };
    if ((answer.kind === 'empty' && status >= 400) || (answer.kind === 'json' && !isJsonRpc(answer.text))) {
      throw new SallyportError('ERR_UPSTREAM_INVALID', 'the in-process MCP server answered with something that is not MCP', { facts });
    }
    return answer;
  }
}

const farewellMs = 5_000;

const named = (flat: readonly string[]): Record<string, string> => {
  const headers: Record<string, string> = {};
  for (let index = 0; index + 1 < flat.length; index += 2) headers[flat[index] ?? ''] = flat[index + 1] ?? '';
  return headers;
};

const isJsonRpc = (text: string): boolean => {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) || (typeof value === 'object' && value !== null && 'jsonrpc' in value && value.jsonrpc === '2.0');
  } catch {
    return false;
  }
};
