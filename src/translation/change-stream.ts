/**
 * What a legacy MCP client hears on its GET stream, brought by `subscriptions/listen` streams of a modern
 * MCP server. When the client follows other resources, the new stream is open before the old one is left.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { SallyportError } from '../errors.ts';
import { subscriptionIdKey } from '../mcp/envelope.ts';
import { EventQueue } from '../upstream/event-queue.ts';
import type { UpstreamAnswer } from '../upstream/upstream.ts';
import { fieldsOf, isFields, notificationText, readAnswer, without } from './fields.ts';
import type { Fields } from './fields.ts';

export interface ChangeStreamOptions {
  /** Capabilities of the MCP server. */
  readonly capabilities: Fields;
  readonly pendingBytes: number;
  /** Sends a listen request to the MCP server. */
  readonly listen: (notifications: Fields, signal: AbortSignal) => Promise<UpstreamAnswer>;
}

const reopenMs = { first: 500, longest: 30_000 } as const;
/** How long the old of two streams may still bring what the new one began too late for. */
const overlapMs = 250;
const acknowledgeMs = 30_000;
/** A stream that lasted so long did not fail, however it ended. */
const lastingMs = 10_000;

export class ChangeStream {
  readonly #options: ChangeStreamOptions;
  readonly #resources = new Set<string>();
  #consumer: EventQueue | undefined;
  #current: Listening | undefined;
  #changing: Promise<void> = Promise.resolve();
  #retry: AbortController | undefined;
  #failures = 0;
  #ended = false;

  constructor(options: ChangeStreamOptions) {
    this.#options = options;
  }

  get resources(): ReadonlySet<string> {
    return this.#resources;
  }

  /** The client's GET. */
  attach(signal: AbortSignal): UpstreamAnswer {
    // Nothing would ever come.
    if (Object.keys(this.#flags()).length === 0 && fieldsOf(this.#options.capabilities.resources).subscribe !== true) return { kind: 'empty', status: 405 };
    // One GET stream a session: with two, nobody could say which of them gets a message.
    if (this.#consumer?.open === true) return { kind: 'empty', status: 409 };
    const consumer = new EventQueue({
      pendingBytes: this.#options.pendingBytes,
      onPressure: (paused) => {
        if (paused) consumer.end(new SallyportError('ERR_UPSTREAM_TOO_LARGE', 'more changes wait than the MCP client reads: open a new stream'));
      },
      onLeft: () => {
        signal.removeEventListener('abort', leave);
        if (this.#consumer === consumer) this.#detach();
      },
    });
    const leave = (): void => consumer.leave();
    this.#consumer = consumer;
    if (signal.aborted) consumer.leave();
    else signal.addEventListener('abort', leave, { once: true });
    void this.#change().catch(() => this.#reopenLater());
    return { kind: 'stream', status: 200, events: consumer };
  }

  /** @throws SallyportError `ERR_MCP_INVALID_REQUEST` when the MCP server does not let this resource be followed */
  async follow(uri: string): Promise<void> {
    if (this.#resources.has(uri)) return;
    this.#resources.add(uri);
    try {
      await this.#change();
    } catch (error) {
      this.#resources.delete(uri);
      throw error;
    }
    // Without a GET stream nothing is asked yet; it is once the client opens one.
    if (this.#current?.honored?.has(uri) !== false) return;
    this.#resources.delete(uri);
    throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'the MCP server does not tell of changes of this resource');
  }

  async unfollow(uri: string): Promise<void> {
    if (this.#resources.delete(uri)) await this.#change();
  }

  end(): void {
    this.#ended = true;
    this.#consumer?.end();
    this.#detach();
  }

  #detach(): void {
    this.#consumer = undefined;
    this.#current?.stop.abort();
    this.#current = undefined;
    this.#retry?.abort();
    this.#retry = undefined;
  }

  #flags(): Fields {
    const { capabilities } = this.#options;
    return Object.fromEntries(
      [['toolsListChanged', 'tools'], ['promptsListChanged', 'prompts'], ['resourcesListChanged', 'resources']]
        .filter(([, name]) => fieldsOf(capabilities[name ?? '']).listChanged === true)
        .map(([member]) => [member, true]),
    );
  }

  /** One change after the other, so that the last wish is the one that holds. */
  #change(): Promise<void> {
    const now = this.#changing.then(() => this.#reopen());
    this.#changing = now.catch(() => undefined);
    return now;
  }

  async #reopen(): Promise<void> {
    const old = this.#current;
    if (this.#ended || this.#consumer === undefined) return;
    const wished = { ...this.#flags(), ...(this.#resources.size === 0 ? {} : { resourceSubscriptions: [...this.#resources] }) };
    if (Object.keys(wished).length === 0) {
      this.#leave(old);
      return;
    }
    const listening: Listening = { stop: new AbortController(), acknowledged: Promise.withResolvers<void>(), honored: undefined, lasting: false, ended: false, since: performance.now(), twin: old, ahead: new Map() };
    if (old !== undefined) old.twin = listening;
    void this.#read(listening, wished);
    await Promise.race([listening.acknowledged.promise, sleep(acknowledgeMs, undefined, { ref: false })]);
    if (listening.honored === undefined) {
      listening.stop.abort();
      if (old !== undefined) old.twin = undefined;
      throw listening.failure ?? new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server did not acknowledge subscriptions/listen');
    }
    this.#current = listening;
    this.#leave(old);
    // The consumer left meanwhile.
    if (this.#consumer === undefined) this.#detach();
    else if (listening.ended) this.#onEnded(listening);
  }

  #leave(old: Listening | undefined): void {
    if (old === undefined) return;
    if (this.#current === old) this.#current = undefined;
    setTimeout(() => {
      old.stop.abort();
      if (old.twin?.twin === old) old.twin.twin = undefined;
    }, overlapMs).unref();
  }

  async #read(listening: Listening, wished: Fields): Promise<void> {
    try {
      const answer = await this.#options.listen(wished, listening.stop.signal);
      if (answer.kind === 'stream') {
        for await (const event of answer.events) for (const message of event.data === '' ? [] : readAnswer(event.data)) this.#take(message, listening);
      }
    } catch (error) {
      listening.failure = error;
    }
    listening.ended = true;
    listening.acknowledged.resolve();
    if (this.#current === listening) this.#onEnded(listening);
  }

  /** Ended by the MCP server: changes are not to be missed for long. One that agreed to nothing is not asked again. */
  #onEnded(listening: Listening): void {
    if (listening.stop.signal.aborted) return;
    if (performance.now() - listening.since > lastingMs) this.#failures = 0;
    this.#current = undefined;
    if (listening.lasting) void this.#reopenLater();
  }

  async #reopenLater(): Promise<void> {
    if (this.#retry !== undefined) return;
    const retry = (this.#retry = new AbortController());
    while (!retry.signal.aborted && this.#consumer !== undefined && this.#current === undefined) {
      const pause = Math.min(reopenMs.longest, reopenMs.first * 2 ** Math.min(this.#failures, 10));
      this.#failures += 1;
      await sleep(pause, undefined, { signal: retry.signal, ref: false }).catch(() => undefined);
      if (!retry.signal.aborted) await this.#change().catch(() => undefined);
    }
    if (this.#retry === retry) this.#retry = undefined;
  }

  #take(message: Fields, listening: Listening): void {
    const { method } = message;
    if (typeof method !== 'string') return;
    const params = fieldsOf(message.params);
    if (method === 'notifications/subscriptions/acknowledged') {
      const agreed = fieldsOf(params.notifications);
      const given = agreed.resourceSubscriptions;
      listening.lasting = Object.keys(agreed).length > 0;
      listening.honored = new Set(Array.isArray(given) ? given.filter((uri) => typeof uri === 'string') : []);
      listening.acknowledged.resolve();
      return;
    }
    if (!changes.has(method)) return;
    const text = notificationText(method, withoutSubscription(params));
    if (isTold(text, listening)) return;
    this.#consumer?.push({ id: undefined, event: undefined, data: text, retry: undefined });
  }
}

/** One listen stream. While two overlap, each knows the other, so that what both bring is told once. */
interface Listening {
  readonly stop: AbortController;
  readonly acknowledged: PromiseWithResolvers<void>;
  /** Resources the MCP server agreed to; undefined before its acknowledgement. */
  honored: ReadonlySet<string> | undefined;
  /** It agreed to something. */
  lasting: boolean;
  ended: boolean;
  readonly since: number;
  failure?: unknown;
  twin: Listening | undefined;
  /** What it told and its twin has not brought yet, with how often. */
  readonly ahead: Map<string, number>;
}

const changes: ReadonlySet<string> = new Set([
  'notifications/tools/list_changed', 'notifications/prompts/list_changed', 'notifications/resources/list_changed', 'notifications/resources/updated',
]);

const subscriptionId: ReadonlySet<string> = new Set([subscriptionIdKey]);

const withoutSubscription = (params: Fields): Fields | undefined => {
  const { _meta, ...rest } = params;
  const meta = isFields(_meta) ? without(_meta, subscriptionId) : {};
  const kept = Object.keys(meta).length === 0 ? rest : { ...rest, _meta: meta };
  return Object.keys(kept).length === 0 ? undefined : kept;
};

const isTold = (text: string, { twin, ahead }: Listening): boolean => {
  if (twin === undefined) {
    ahead.clear();
    return false;
  }
  const before = twin.ahead.get(text) ?? 0;
  if (before > 0) twin.ahead.set(text, before - 1);
  else ahead.set(text, (ahead.get(text) ?? 0) + 1);
  return before > 0;
};
