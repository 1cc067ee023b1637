/**
 * An MCP server reached over HTTP (Streamable HTTP). Every request is rebuilt from the decided
 * message: no header of the client is carried on, nothing is piped raw.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { SallyportError } from '../errors.ts';
import type { Principal } from '../identity/principal.ts';
import type { Era } from '../mcp/revisions.ts';
import { abandonedError } from './abandoned.ts';
import { HttpAnswer } from './http-answer.ts';
import type { AnsweredRequest, HttpAnswerLimits } from './http-answer.ts';
import { HttpConnections } from './http-connections.ts';
import type { UpstreamCredential } from './http-credential.ts';
import { EraFinder } from './http-eras.ts';
import type { ConfiguredEra } from './http-eras.ts';
import { failureOf } from './http-failure.ts';
import { dial } from './http-health.ts';
import { readTarget, RequestHeaders } from './http-request.ts';
import type { FlatHeaders, HttpTarget } from './http-request.ts';
import { mayResend } from './http-resend.ts';
import type { FollowTls, HttpUpstreamTls } from './http-tls.ts';
import { Reachability } from './reachability.ts';
import type { Upstream, UpstreamAnswer, UpstreamRequest } from './upstream.ts';
import type { UpstreamLog } from './upstream-log.ts';

export interface HttpUpstreamOptions {
  readonly name: string;
  readonly url: string | URL;
  /** Which eras it speaks; `auto`, the default, asks it. */
  readonly era?: ConfiguredEra | undefined;
  /** For https: whom to trust and, with `cert` and `key`, what to present. */
  readonly tls?: HttpUpstreamTls | undefined;
  /** Brings what replaces `tls`. */
  readonly followTls?: FollowTls | undefined;
  /** Configured headers, sent with every request; never one that this side sets itself. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** What the upstream takes as proof that it may be called: the gateway's own, or one of the principal. */
  readonly credential?: UpstreamCredential | undefined;
  /** What the upstream learns about the caller. Called for every request. */
  readonly identityHeaders?: ((principal: Principal, roles: readonly string[]) => Readonly<Record<string, string>>) | undefined;
  readonly limits?: Partial<HttpUpstreamLimits> | undefined;
  readonly log: UpstreamLog;
  /** Milliseconds of a clock that never goes back. */
  readonly monotonicMs?: (() => number) | undefined;
}

export interface HttpUpstreamLimits extends HttpAnswerLimits {
  readonly connectTimeoutMs: number;
  /** How long one look at its health is taken for the truth. */
  readonly healthSharedMs: number;
}

export const defaultHttpLimits: HttpUpstreamLimits = {
  connectTimeoutMs: 10_000,
  healthSharedMs: 1_000,
  answerTimeoutMs: 120_000,
  answerBytes: 16 * 1024 * 1024,
  eventBytes: 16 * 1024 * 1024,
  pendingBytes: 1024 * 1024,
};

/** A server that is just being restarted listens again after a moment. */
const resendAfterMs = 100;

/**
 * @throws SallyportError `ERR_CONFIG_INVALID` for a url, header or TLS material that cannot be used
 */
export const createHttpUpstream = (options: HttpUpstreamOptions): Upstream => new HttpUpstream(options);

class HttpUpstream implements Upstream {
  readonly name: string;
  readonly #options: HttpUpstreamOptions;
  readonly #limits: HttpUpstreamLimits;
  readonly #target: HttpTarget;
  readonly #headers: RequestHeaders;
  readonly #connections: HttpConnections;
  readonly #reachability: Reachability;
  readonly #eras: EraFinder;
  /** Who opened a session, for the credential that ends it. Kept only where there is one. */
  readonly #owners = new Map<string, { readonly principal: Principal; readonly roles: readonly string[] }>();
  readonly #stopFollowing: () => void;
  readonly #monotonicMs: () => number;
  #tls: HttpUpstreamTls | undefined;
  #looked: { readonly at: number; readonly result: Promise<boolean> } | undefined;
  #closed = false;

  constructor(options: HttpUpstreamOptions) {
    const { name, log, credential, headers, tls } = options;
    this.name = name;
    this.#options = options;
    this.#limits = { ...defaultHttpLimits, ...options.limits };
    this.#monotonicMs = options.monotonicMs ?? (() => performance.now());
    this.#target = readTarget(name, options.url);
    this.#headers = new RequestHeaders(name, headers, credential?.header);
    this.#tls = tls;
    this.#connections = new HttpConnections({ upstream: name, origin: this.#target.origin, limits: this.#limits }, tls);
    this.#reachability = new Reachability({ upstream: name, log, monotonicMs: this.#monotonicMs });
    this.#eras = new EraFinder({
      upstream: name, configured: options.era ?? 'auto', log, monotonicMs: this.#monotonicMs, timeoutMs: this.#limits.connectTimeoutMs,
      ask: async (question) => this.#carry(question, question.body, this.#headers.of(question, await this.#added(undefined, []))),
      endSession: (session) => this.endSession(session),
    });
    this.#stopFollowing = options.followTls?.((next) => this.#replaceTls(next)) ?? (() => undefined);
  }

  async exchange(request: UpstreamRequest): Promise<UpstreamAnswer> {
    const { principal, roles, session } = request;
    const headers = this.#headers.of(request, await this.#added(principal, roles));
    const answer = await this.#carry(request, request.body, headers).catch((error: unknown) => {
      if (error instanceof SallyportError && isRefusal(error.facts['status'])) this.#eras.doubt();
      throw error;
    });
    if (isRefusal(answer.status)) this.#eras.doubt();
    if (session === undefined && answer.session !== undefined && this.#tellsCallers && isInitialize(request)) this.#owners.set(answer.session, { principal, roles });
    return answer;
  }

  async endSession(session: string): Promise<void> {
    const owner = this.#owners.get(session);
    this.#owners.delete(session);
    if (this.#closed) return;
    try {
      const headers = this.#headers.ofDelete(session, await this.#added(owner?.principal, owner?.roles ?? []));
      await this.#connections.end(this.#target.path, headers);
    } catch (error) {
      // The upstream will end the session itself some day; ours is gone already.
      this.#options.log.warn({ upstream: this.name, reason: this.#failure(error).facts['reason'] }, 'upstream session could not be ended');
    }
  }

  eras(): Promise<readonly Era[]> {
    return this.#closed ? Promise.reject(this.#draining()) : this.#eras.eras();
  }

  /** Nothing is held for a principal on this side. */
  async endPrincipal(): Promise<void> {}

  async healthy(): Promise<boolean> {
    if (this.#closed) return false;
    const { healthSharedMs } = this.#limits;
    if (this.#reachability.sinceSuccess < healthSharedMs) return true;
    const now = this.#monotonicMs();
    if (this.#looked === undefined || now - this.#looked.at >= healthSharedMs) this.#looked = { at: now, result: this.#look() };
    return this.#looked.result;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopFollowing();
    this.#owners.clear();
    await this.#connections.close(this.#draining());
  }

  get #tellsCallers(): boolean {
    return this.#options.credential !== undefined || this.#options.identityHeaders !== undefined;
  }

  /** Sends the request, and once more where that is safe. */
  async #carry(request: AnsweredRequest, body: string | undefined, headers: FlatHeaders): Promise<UpstreamAnswer> {
    const first = this.#send(request, body, headers);
    try {
      return await this.#answered(first);
    } catch (error) {
      if (!(error instanceof SallyportError) || !mayResend(request, first, error)) throw error;
      if (!first.left) await sleep(resendAfterMs);
      this.#options.log.debug({ upstream: this.name, reason: error.facts['reason'] }, 'upstream request sent again');
    }
    return this.#answered(this.#send(request, body, headers));
  }

  #send(request: AnsweredRequest, body: string | undefined, headers: FlatHeaders): HttpAnswer {
    if (this.#closed) throw this.#draining();
    if (request.signal.aborted) throw abandonedError(request.signal);
    const answer = new HttpAnswer(request, { upstream: this.name, limits: this.#limits, secure: this.#target.secure });
    const { method } = request;
    const isStream = method === 'GET' || isListen(request);
    try {
      this.#connections.dispatch(isStream ? 'streams' : 'calls', {
        path: this.#target.path, method, headers, body: method === 'POST' ? (body ?? '') : null, idempotent: false,
        // Nothing may happen for hours.
        ...(isStream && method === 'POST' ? { headersTimeout: 0 } : {}),
      }, answer);
    } catch (cause) {
      throw this.#failure(cause);
    }
    return answer;
  }

  async #answered(attempt: HttpAnswer): Promise<UpstreamAnswer> {
    try {
      const answer = await attempt.answer;
      this.#reachability.succeeded();
      return answer;
    } catch (error) {
      if (error instanceof SallyportError && error.code === 'ERR_UPSTREAM_UNREACHABLE') this.#reachability.failed(error, { connected: attempt.left });
      else if (attempt.begun) this.#reachability.succeeded();
      throw error;
    }
  }

  /** Principal undefined: the gateway asks on its own behalf. */
  async #added(principal: Principal | undefined, roles: readonly string[]): Promise<Readonly<Record<string, string>> | undefined> {
    const { credential, identityHeaders } = this.#options;
    const identity = principal === undefined ? undefined : identityHeaders?.(principal, roles);
    const proof = await credential?.of(principal);
    return credential === undefined || proof === undefined ? identity : { ...identity, [credential.header]: proof };
  }

  async #look(): Promise<boolean> {
    const failure = await dial({ upstream: this.name, target: this.#target, tls: this.#tls, timeoutMs: this.#limits.connectTimeoutMs });
    if (failure === undefined) this.#reachability.succeeded();
    else this.#reachability.failed(failure, { connected: false });
    return failure === undefined;
  }

  #replaceTls(tls: HttpUpstreamTls): void {
    const trustChanged = tls.ca !== this.#tls?.ca || tls.serverName !== this.#tls?.serverName;
    this.#tls = tls;
    this.#looked = undefined;
    this.#connections.replaceTls(tls, { cut: trustChanged });
  }

  #failure(cause: unknown): SallyportError {
    return failureOf(cause, { upstream: this.name, secure: this.#target.secure });
  }

  #draining(): SallyportError {
    return new SallyportError('ERR_DRAINING', 'the upstream is being shut down', { facts: { upstream: this.name } });
  }
}

const isListen = ({ messages }: AnsweredRequest): boolean => messages.some((message) => message.kind === 'request' && message.method === 'subscriptions/listen');

const isInitialize = ({ messages }: AnsweredRequest): boolean => messages.some((message) => message.kind === 'request' && message.method === 'initialize');

/** How a server answers requests of an era it does not speak. */
const isRefusal = (status: unknown): boolean => status === 400 || status === 404 || status === 405;
