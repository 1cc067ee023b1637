/** A legacy MCP server for modern MCP clients: sessions opened as they are needed, calls parked while a client is asked. */
import { createHash } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import type { Randomness } from '../../ca/ports.ts';
import { readEnvelope } from '../mcp/envelope.ts';
import type { Envelope } from '../mcp/envelope.ts';
import type { Upstream, UpstreamAnswer, UpstreamRequest } from '../upstream/upstream.ts';
import type { UpstreamLog } from '../upstream/upstream-log.ts';
import { fieldsOf, paramsOf, resultText } from './fields.ts';
import { mayAskForInput } from './input-requests.ts';
import { LegacyCall } from './legacy-call.ts';
import type { ModernRequest } from './legacy-call.ts';
import { LegacySession } from './legacy-session.ts';
import type { TranslationLimits } from './limits.ts';
import { toDiscoverResult } from './results.ts';

export interface FrontOptions {
  readonly upstream: Upstream;
  readonly randomness: Randomness;
  readonly log: UpstreamLog;
  readonly limits: TranslationLimits;
}

/** Requests that both eras have. */
const common: ReadonlySet<string> = new Set([
  'tools/list', 'tools/call', 'prompts/list', 'prompts/get', 'resources/list', 'resources/templates/list', 'resources/read', 'completion/complete',
]);

interface Held {
  readonly principalId: string;
  readonly opening: Promise<LegacySession>;
  /** Once it is open. */
  session: LegacySession | undefined;
  lastUsedAt: number;
}

export class ModernFront {
  readonly #options: FrontOptions;
  /** By principal and by what the client declared, since `initialize` fixes both. The least recently used first. */
  readonly #sessions = new Map<string, Held>();
  readonly #parked = new Map<string, LegacyCall>();
  readonly #calls = new Set<LegacyCall>();
  readonly #sweeper: NodeJS.Timeout;
  #closed = false;

  constructor(options: FrontOptions) {
    this.#options = options;
    this.#sweeper = setInterval(() => this.#sweep(), Math.min(60_000, Math.max(50, options.limits.sessionIdleMs / 4)));
    this.#sweeper.unref();
  }

  /** @throws SallyportError `ERR_MCP_ENVELOPE`, `ERR_MCP_STATE`, `ERR_MCP_UNTRANSLATABLE`, `ERR_LIMIT_SESSIONS`, `ERR_UPSTREAM_*` */
  async exchange(request: UpstreamRequest): Promise<UpstreamAnswer> {
    const [message] = request.messages;
    // Over HTTP a modern client cancels by going away; there is no other notification of its own.
    if (message?.kind === 'notification') return { kind: 'empty', status: 202 };
    if (message?.kind !== 'request') throw new SallyportError('ERR_MCP_UNSOLICITED', 'revision 2026-07-28 has no responses of the client');
    const { id, method } = message;
    const { principal, roles, signal } = request;
    const envelope = readEnvelope(message.params);
    const given: ModernRequest = { id, method, params: paramsOf(request.body), envelope, onBehalf: { principal, roles }, signal };
    if (method === 'server/discover') return this.#discover(given);
    if (method === 'subscriptions/listen') return this.#listen(given);
    if (!common.has(method)) {
      throw new SallyportError('ERR_MCP_UNTRANSLATABLE', 'the MCP server speaks the legacy era, which has no counterpart of this request', { facts: { upstream: this.#options.upstream.name, method } });
    }
    const { requestState } = given.params;
    if (mayAskForInput.has(method) && requestState !== undefined) return this.#retry(given, requestState);
    return this.#call(given);
  }

  async endPrincipal(principalId: string): Promise<void> {
    const error = new SallyportError('ERR_UPSTREAM_EXITED', 'what was held for the principal has ended: send the request again');
    for (const call of this.#calls) if (call.principalId === principalId) call.cancel(error);
    await this.#end(([, held]) => held.principalId === principalId, error, 'abrupt');
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#sweeper);
    const error = new SallyportError('ERR_DRAINING', 'the upstream is being shut down');
    for (const call of this.#calls) call.cancel(error);
    await this.#end(() => true, error, 'graceful');
  }

  async #discover({ id, envelope, onBehalf }: ModernRequest): Promise<UpstreamAnswer> {
    const session = await this.#session(envelope, onBehalf);
    return { kind: 'json', status: 200, text: resultText(id, toDiscoverResult(session.initialized, await session.canListen())) };
  }

  async #listen({ id, params, envelope, onBehalf, signal }: ModernRequest): Promise<UpstreamAnswer> {
    const session = await this.#session(envelope, onBehalf);
    return session.listeners.listen(id, fieldsOf(params.notifications), signal);
  }

  #call(request: ModernRequest): Promise<UpstreamAnswer> {
    const { limits, log } = this.#options;
    const call = new LegacyCall({
      limits, log,
      session: () => this.#session(request.envelope, request.onBehalf),
      park: (parking) => this.#park(parking),
      unpark: (parked) => {
        for (const [state, one] of this.#parked) if (one === parked) this.#parked.delete(state);
      },
      onOver: (over) => void this.#calls.delete(over),
    }, request);
    this.#calls.add(call);
    return call.start();
  }

  #retry(request: ModernRequest, requestState: unknown): Promise<UpstreamAnswer> {
    const call = typeof requestState === 'string' ? this.#parked.get(requestState) : undefined;
    if (call === undefined || !call.isRetriedBy(request)) {
      throw new SallyportError('ERR_MCP_STATE', 'no request of this principal waits under that requestState: send the request anew', { facts: { upstream: this.#options.upstream.name } });
    }
    return call.resume(request);
  }

  #park(call: LegacyCall): string | undefined {
    const own = [...this.#parked.values()].filter(({ principalId }) => principalId === call.principalId).length;
    if (own >= this.#options.limits.parkedPerPrincipal) return undefined;
    const state = Buffer.from(this.#options.randomness.bytes(32)).toString('base64url');
    this.#parked.set(state, call);
    return state;
  }

  #session({ clientInfo, clientCapabilities }: Envelope, onBehalf: ModernRequest['onBehalf']): Promise<LegacySession> {
    const { principal } = onBehalf;
    if (this.#closed) throw new SallyportError('ERR_DRAINING', 'the upstream is being shut down', { facts: { upstream: this.#options.upstream.name } });
    // What a client declares may be long, and is kept for each session.
    const key = createHash('sha256').update(JSON.stringify([principal.id, clientInfo ?? null, clientCapabilities])).digest('base64');
    const held = this.#sessions.get(key);
    if (held !== undefined) {
      held.lastUsedAt = performance.now();
      this.#sessions.delete(key);
      this.#sessions.set(key, held);
      return held.opening;
    }
    this.#makeRoom(principal.id);
    const { upstream, limits, log } = this.#options;
    const forget = (): void => {
      if (this.#sessions.get(key) === opened) this.#sessions.delete(key);
    };
    const opening = LegacySession.open({ upstream, limits, log, onGone: forget }, onBehalf, { info: clientInfo, capabilities: clientCapabilities });
    const opened: Held = { principalId: principal.id, opening, session: undefined, lastUsedAt: performance.now() };
    this.#sessions.set(key, opened);
    opening.then((session) => {
      opened.session = session;
      // Ended while it was being opened: nobody would ever do so.
      if (this.#sessions.get(key) !== opened) void session.end(new SallyportError('ERR_UPSTREAM_EXITED', 'the session was ended while it was being opened'), 'abrupt').catch(() => undefined);
    }, forget);
    return opening;
  }

  /** @throws SallyportError `ERR_LIMIT_SESSIONS` */
  #makeRoom(principalId: string): void {
    const { sessions, sessionsPerPrincipal } = this.#options.limits;
    const room = (mine: readonly (readonly [string, Held])[], limit: number): void => {
      if (mine.length < limit) return;
      const idle = mine.find(([, { session }]) => session !== undefined && !session.busy);
      if (idle === undefined) {
        throw new SallyportError('ERR_LIMIT_SESSIONS', 'as many sessions with the MCP server are in use as may be: wait for some requests to end', { facts: { upstream: this.#options.upstream.name, limit } });
      }
      this.#drop(idle);
    };
    room([...this.#sessions].filter(([, held]) => held.principalId === principalId), sessionsPerPrincipal);
    room([...this.#sessions], sessions);
  }

  #sweep(): void {
    const now = performance.now();
    for (const entry of this.#sessions) {
      const [, held] = entry;
      if (held.session?.busy === true) held.lastUsedAt = now;
      else if (held.session !== undefined && held.lastUsedAt < now - this.#options.limits.sessionIdleMs) this.#drop(entry);
    }
  }

  #drop([key, { session }]: readonly [string, Held]): void {
    this.#sessions.delete(key);
    session?.end(new SallyportError('ERR_UPSTREAM_EXITED', 'the session was idle'), 'abrupt').catch((error: unknown) => this.#options.log.warn({ upstream: this.#options.upstream.name, error }, 'upstream session could not be ended'));
  }

  async #end(which: (entry: readonly [string, Held]) => boolean, error: SallyportError, how: 'graceful' | 'abrupt'): Promise<void> {
    const ending = [...this.#sessions].filter(which);
    for (const [key] of ending) this.#sessions.delete(key);
    // One that is still being opened ends as soon as it is open.
    await Promise.all(ending.map(([, { session }]) => session?.end(error, how)));
  }
}
