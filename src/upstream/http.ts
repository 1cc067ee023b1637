/**
 * An MCP server reached over HTTP (Streamable HTTP). Every request is rebuilt from the decided
 * message: no header of the client is carried on, nothing is piped raw.
 */
import { connect } from 'node:net';
import { Pool } from 'undici';
import { SallyportError } from '../errors.ts';
import type { Principal } from '../identity/principal.ts';
import { HttpAnswer } from './http-answer.ts';
import type { HttpAnswerLimits } from './http-answer.ts';
import { failureOf } from './http-failure.ts';
import { readTarget, RequestHeaders } from './http-request.ts';
import type { HttpTarget } from './http-request.ts';
import type { Era } from '../mcp/revisions.ts';
import type { Upstream, UpstreamAnswer, UpstreamRequest } from './upstream.ts';
import type { UpstreamLog } from './upstream-log.ts';

export interface HttpUpstreamOptions {
  readonly name: string;
  readonly url: string | URL;
  /** For https: whom to trust and, with `cert` and `key`, what to present. PEM texts. */
  readonly tls?: { readonly ca?: string | undefined; readonly cert?: string | undefined; readonly key?: string | undefined } | undefined;
  /** Configured headers, sent with every request; never one that this side sets itself. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** What the upstream learns about the caller. Called for every request. */
  readonly identityHeaders?: ((principal: Principal, roles: readonly string[]) => Readonly<Record<string, string>>) | undefined;
  readonly limits?: Partial<HttpUpstreamLimits> | undefined;
  readonly log: UpstreamLog;
}

export interface HttpUpstreamLimits extends HttpAnswerLimits {
  readonly connectTimeoutMs: number;
}

export const defaultHttpLimits: HttpUpstreamLimits = {
  connectTimeoutMs: 10_000,
  answerTimeoutMs: 120_000,
  answerBytes: 16 * 1024 * 1024,
  eventBytes: 16 * 1024 * 1024,
  pendingBytes: 1024 * 1024,
};

/**
 * @throws SallyportError `ERR_CONFIG_INVALID` for a url or header that cannot be used
 */
export const createHttpUpstream = (options: HttpUpstreamOptions): Upstream => new HttpUpstream(options);

class HttpUpstream implements Upstream {
  readonly name: string;
  readonly #options: HttpUpstreamOptions;
  readonly #limits: HttpUpstreamLimits;
  readonly #target: HttpTarget;
  readonly #headers: RequestHeaders;
  readonly #calls: Pool;
  /** GET streams stay open for hours; kept apart, they do not make the pool of calls long to search. */
  readonly #streams: Pool;
  #closed = false;

  constructor(options: HttpUpstreamOptions) {
    this.name = options.name;
    this.#options = options;
    this.#limits = { ...defaultHttpLimits, ...options.limits };
    this.#target = readTarget(options.name, options.url);
    this.#headers = new RequestHeaders(options.name, options.headers);
    this.#calls = this.#pool();
    this.#streams = this.#pool();
  }

  async exchange(request: UpstreamRequest): Promise<UpstreamAnswer> {
    if (this.#closed) throw new SallyportError('ERR_DRAINING', 'the upstream is being shut down', { facts: { upstream: this.name } });
    const identity = this.#options.identityHeaders?.(request.principal, request.roles);
    const headers = this.#headers.of(request, identity);
    const answer = new HttpAnswer(this.name, request, this.#limits);
    const pool = request.method === 'GET' ? this.#streams : this.#calls;
    try {
      pool.dispatch({ path: this.#target.path, method: request.method, headers, body: request.method === 'POST' ? (request.body ?? '') : null, idempotent: false }, answer);
    } catch (cause) {
      throw failureOf(this.name, cause);
    }
    return answer.answer;
  }

  async endSession(session: string): Promise<void> {
    if (this.#closed) return;
    try {
      const { body } = await this.#calls.request({ path: this.#target.path, method: 'DELETE', headers: this.#headers.ofDelete(session) });
      await body.dump();
    } catch (error) {
      // The upstream will end the session itself some day; ours is gone already.
      this.#options.log.warn({ upstream: this.name, reason: failureOf(this.name, error).facts['reason'] }, 'upstream session could not be ended');
    }
  }

  async eras(): Promise<readonly Era[]> {
    return ['legacy'];
  }

  /** Nothing is held for a principal on this side. */
  async endPrincipal(): Promise<void> {}

  async healthy(): Promise<boolean> {
    if (this.#closed) return false;
    const { hostname, port } = this.#target;
    return new Promise((resolve) => {
      const socket = connect({ host: hostname, port, timeout: this.#limits.connectTimeoutMs });
      const done = (reachable: boolean) => (): void => {
        socket.destroy();
        resolve(reachable);
      };
      socket.once('connect', done(true)).once('timeout', done(false)).once('error', done(false));
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    const error = new SallyportError('ERR_DRAINING', 'the upstream is being shut down', { facts: { upstream: this.name } });
    await Promise.all([this.#calls.destroy(error), this.#streams.destroy(error)]);
  }

  #pool(): Pool {
    const { ca, cert, key } = this.#options.tls ?? {};
    const { connectTimeoutMs, answerTimeoutMs } = this.#limits;
    return new Pool(this.#target.origin, {
      pipelining: 1,
      allowH2: false,
      headersTimeout: answerTimeoutMs,
      bodyTimeout: 0,
      connect: {
        timeout: connectTimeoutMs,
        ...(ca === undefined ? {} : { ca }),
        ...(cert === undefined ? {} : { cert }),
        ...(key === undefined ? {} : { key }),
      },
    });
  }
}
