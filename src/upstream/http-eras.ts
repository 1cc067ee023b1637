/**
 * Finds out which eras an HTTP upstream speaks: `server/discover` asks whether it is modern, and
 * `initialize` whether it still takes legacy clients. What cannot be told apart from an outage is no answer.
 */
import { SallyportError } from '../errors.ts';
import { clientCapabilitiesKey, clientInfoKey, protocolVersionKey } from '../mcp/envelope.ts';
import type { JsonRpcRequest } from '../mcp/message.ts';
import { isObject } from '../mcp/read-messages.ts';
import { isKnownRevision, isModern, modernRevision, newestLegacyRevision } from '../mcp/revisions.ts';
import type { Era } from '../mcp/revisions.ts';
import { gatewayInfo } from './gateway-info.ts';
import type { UpstreamAnswer, UpstreamRequest } from './upstream.ts';
import type { UpstreamLog } from './upstream-log.ts';

export type ConfiguredEra = 'auto' | Era | 'both';

export type EraQuestion = Pick<UpstreamRequest, 'era' | 'method' | 'session' | 'protocolVersion' | 'lastEventId' | 'messages' | 'body' | 'signal'>;

export interface EraFinderOptions {
  readonly upstream: string;
  readonly configured: ConfiguredEra;
  readonly ask: (question: EraQuestion) => Promise<UpstreamAnswer>;
  /** Ends the session that the question may have opened. */
  readonly endSession: (session: string) => Promise<void>;
  readonly timeoutMs: number;
  /** Milliseconds of a clock that never goes back. */
  readonly monotonicMs: () => number;
  readonly log: UpstreamLog;
}

/** An upstream may be upgraded while the gateway runs. */
const recheckAfterMs = 600_000;

/** Clients can cause refusals too: no more than one of them in this time is a reason to look again. */
const doubtAfterMs = 30_000;

export class EraFinder {
  readonly #options: EraFinderOptions;
  #found: { readonly eras: readonly Era[]; at: number } | undefined;
  #asking: Promise<readonly Era[]> | undefined;

  constructor(options: EraFinderOptions) {
    this.#options = options;
  }

  /** @throws SallyportError `ERR_UPSTREAM_*`, and asks again next time */
  async eras(): Promise<readonly Era[]> {
    const { configured, monotonicMs } = this.#options;
    if (configured !== 'auto') return configured === 'both' ? both : [configured];
    const found = this.#found;
    if (found === undefined) return this.#ask();
    if (monotonicMs() - found.at > recheckAfterMs) {
      // Whatever comes of it: nobody waits, and the next look is as far away again.
      found.at = monotonicMs();
      void this.#ask().catch(() => undefined);
    }
    return found.eras;
  }

  /** A request was refused in a way that another era would explain: looks again soon, in the background. */
  doubt(): void {
    const found = this.#found;
    if (found !== undefined && this.#options.monotonicMs() - found.at >= doubtAfterMs) found.at = Number.NEGATIVE_INFINITY;
  }

  /** Whoever asks meanwhile shares the answer. */
  #ask(): Promise<readonly Era[]> {
    return (this.#asking ??= this.#find().finally(() => {
      this.#asking = undefined;
    }));
  }

  async #find(): Promise<readonly Era[]> {
    const { upstream, log, monotonicMs } = this.#options;
    const before = this.#found?.eras;
    const eras: readonly Era[] = !(await this.#speaksModern()) ? ['legacy'] : (await this.#speaksLegacy()) ? both : ['modern'];
    this.#found = { eras, at: monotonicMs() };
    if (before === undefined || before.join() !== eras.join()) log.info({ upstream, eras }, 'upstream eras found');
    return eras;
  }

  async #speaksModern(): Promise<boolean> {
    const answer = await this.#exchange('modern', modernRevision, discover);
    if (!isObject(answer) || !isObject(answer['result'])) return false;
    const { supportedVersions } = answer['result'];
    return Array.isArray(supportedVersions) && supportedVersions.some((version) => typeof version === 'string' && isModern(version));
  }

  async #speaksLegacy(): Promise<boolean> {
    const answer = await this.#exchange('legacy', undefined, initialize);
    if (!isObject(answer) || !isObject(answer['result'])) return false;
    const { protocolVersion } = answer['result'];
    return typeof protocolVersion === 'string' && isKnownRevision(protocolVersion) && !isModern(protocolVersion);
  }

  /**
   * The answer to a question; undefined for a refusal of it, which tells as much.
   * @throws SallyportError `ERR_UPSTREAM_*` for an outage, which tells nothing
   */
  async #exchange(era: Era, protocolVersion: string | undefined, message: JsonRpcRequest): Promise<unknown> {
    const { ask, endSession, timeoutMs, upstream } = this.#options;
    const timing = new AbortController();
    const late = setTimeout(() => {
      timing.abort(new SallyportError('ERR_UPSTREAM_TIMEOUT', 'the upstream did not say in time which era it speaks: see whether it runs, or set its era', { facts: { upstream, method: message.method } }));
    }, timeoutMs);
    late.unref();
    try {
      const body = JSON.stringify({ jsonrpc: '2.0', id: message.id, method: message.method, params: message.params });
      const answer = await ask({ era, method: 'POST', session: undefined, protocolVersion, lastEventId: undefined, messages: [message], body, signal: timing.signal });
      if (answer.session !== undefined) void endSession(answer.session);
      return await this.#read(answer, message);
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code !== 'ERR_UPSTREAM_INVALID') throw error;
      const { status } = error.facts;
      if (isRefusal(status)) return undefined;
      if (status !== 401 && status !== 403) throw error;
      // Where only agents have credentials, the gateway has none to ask with.
      throw new SallyportError('ERR_UPSTREAM_INVALID', 'the upstream does not let the gateway ask which era it speaks: set its era, or give the gateway a credential of its own', { facts: { ...error.facts, method: message.method }, cause: error });
    } finally {
      clearTimeout(late);
    }
  }

  async #read(answer: UpstreamAnswer, message: JsonRpcRequest): Promise<unknown> {
    const unusable = (facts: Record<string, number>): SallyportError =>
      new SallyportError('ERR_UPSTREAM_INVALID', 'the upstream did not say which era it speaks: check its url, or set its era', { facts: { upstream: this.#options.upstream, method: message.method, ...facts } });
    if (answer.kind === 'stream') {
      for await (const { data } of answer.events) {
        const event = parsed(data);
        if (isObject(event) && event['id'] === message.id && event['method'] === undefined) return event;
      }
      throw unusable({});
    }
    // A server that fails says nothing about its era, even in JSON-RPC.
    if (answer.kind === 'empty' || answer.status >= 500 || answer.status === 408 || answer.status === 429) throw unusable({ answered: answer.status });
    const value = parsed(answer.text);
    if (!isObject(value)) throw unusable({ answered: answer.status });
    return value;
  }
}

const both: readonly Era[] = ['modern', 'legacy'];

/** 4xx, but for those that say: not you, not now. */
const isRefusal = (status: unknown): boolean => typeof status === 'number' && status >= 400 && status < 500 && ![401, 403, 407, 408, 429].includes(status);

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

const clientInfo = gatewayInfo();

const discover: JsonRpcRequest = {
  kind: 'request', id: 'sallyport-discover', method: 'server/discover',
  params: { _meta: { [protocolVersionKey]: modernRevision, [clientInfoKey]: clientInfo, [clientCapabilitiesKey]: {} } },
};

const initialize: JsonRpcRequest = {
  kind: 'request', id: 'sallyport-initialize', method: 'initialize',
  params: { protocolVersion: newestLegacyRevision, capabilities: {}, clientInfo },
};
