/**
 * `subscriptions/listen` streams of modern MCP clients over what a legacy MCP server says unasked and
 * after `resources/subscribe`.
 */
import { SallyportError } from '../errors.ts';
import { serverInfoKey, subscriptionIdKey } from '../mcp/envelope.ts';
import type { RequestId } from '../mcp/message.ts';
import { EventQueue } from '../upstream/event-queue.ts';
import type { UpstreamAnswer } from '../upstream/upstream.ts';
import { fieldsOf, notificationText, resultText } from './fields.ts';
import type { Fields } from './fields.ts';
import type { TranslationLimits } from './limits.ts';

/** The session as its listeners see it. */
export interface ListenedSession {
  readonly capabilities: Fields;
  readonly serverInfo: Fields | undefined;
  canListen(): Promise<boolean>;
  /** Sends a request and gives its response message. */
  ask(method: string, params: Fields): Promise<Fields>;
}

export class Listeners {
  readonly #session: ListenedSession;
  readonly #limits: Pick<TranslationLimits, 'pendingBytes' | 'resourceSubscriptions'>;
  readonly #open = new Set<Listener>();
  /** How many streams follow a resource; while it is not zero, the session is subscribed. */
  readonly #followed = new Map<string, number>();
  /** Subscribing and unsubscribing keep their order. */
  readonly #changing = new Map<string, Promise<boolean>>();

  constructor(session: ListenedSession, limits: Pick<TranslationLimits, 'pendingBytes' | 'resourceSubscriptions'>) {
    this.#session = session;
    this.#limits = limits;
  }

  get size(): number {
    return this.#open.size;
  }

  /** The stream of one listen request. The first event is the acknowledgement of what can be delivered. */
  async listen(id: RequestId, filter: Fields, signal: AbortSignal): Promise<UpstreamAnswer> {
    const listener: Listener = { id, flags: this.#flags(filter), resources: new Set(), early: [], queue: undefined };
    // Entered first, so that nothing is missed while resources are subscribed to.
    this.#open.add(listener);
    try {
      const canListen = await this.#session.canListen();
      if (!canListen) listener.flags = {};
      if (canListen && fieldsOf(this.#session.capabilities.resources).subscribe === true) await this.#followAll(listener, filter.resourceSubscriptions);
    } catch (error) {
      this.#close(listener);
      throw error;
    }
    const queue = new EventQueue({
      pendingBytes: this.#limits.pendingBytes,
      onPressure: (paused) => {
        if (paused) queue.end(new SallyportError('ERR_UPSTREAM_TOO_LARGE', 'more changes wait than the MCP client reads: listen again'));
      },
      onLeft: () => this.#close(listener),
    });
    const onAbort = (): void => queue.leave();
    signal.addEventListener('abort', onAbort, { once: true });
    listener.queue = queue;
    const honored: Fields = { ...listener.flags, ...(listener.resources.size === 0 ? {} : { resourceSubscriptions: [...listener.resources] }) };
    push(listener, 'notifications/subscriptions/acknowledged', { notifications: honored });
    for (const { method, params } of listener.early) if (isWanted(listener, method, params)) push(listener, method, params);
    listener.early = [];
    if (signal.aborted) queue.leave();
    // What can never bring anything is not kept open; nor what ended meanwhile.
    else if (Object.keys(honored).length === 0 || !this.#open.has(listener)) this.#finish(listener);
    return { kind: 'stream', status: 200, events: queue };
  }

  /** A notification of the MCP server that belongs to no request. */
  offer(method: string, params: Fields): void {
    if (!members.has(method) && method !== 'notifications/resources/updated') return;
    for (const listener of this.#open) {
      if (listener.queue === undefined) {
        if (listener.early.length < maxEarly) listener.early.push({ method, params });
      } else if (isWanted(listener, method, params)) push(listener, method, params);
    }
  }

  /** `graceful`: each stream ends with its result. */
  end(how: 'graceful' | 'abrupt'): void {
    for (const listener of this.#open) {
      if (how === 'graceful' && listener.queue !== undefined) this.#finish(listener);
      else {
        this.#close(listener);
        listener.queue?.end();
      }
    }
  }

  #flags(filter: Fields): Fields {
    const { capabilities } = this.#session;
    return Object.fromEntries([...members.values()].filter(({ member, capability }) => filter[member] === true && fieldsOf(capabilities[capability]).listChanged === true).map(({ member }) => [member, true]));
  }

  async #followAll(listener: Listener, given: unknown): Promise<void> {
    const asked: readonly unknown[] = Array.isArray(given) ? given : [];
    const uris = [...new Set(asked.filter((uri) => typeof uri === 'string'))].slice(0, this.#limits.resourceSubscriptions);
    await Promise.all(uris.map(async (uri) => {
      if (!(await this.#follow(uri))) return;
      if (this.#open.has(listener)) listener.resources.add(uri);
      else this.#unfollow(uri);
    }));
  }

  /** Whether the MCP server took the subscription. */
  #follow(uri: string): Promise<boolean> {
    const count = (this.#followed.get(uri) ?? 0) + 1;
    this.#followed.set(uri, count);
    const before = this.#changing.get(uri) ?? Promise.resolve(false);
    const now = before.catch(() => false).then(async (subscribed) => subscribed || (await this.#session.ask('resources/subscribe', { uri })).result !== undefined);
    this.#changing.set(uri, now);
    return now.then(
      (subscribed) => {
        if (!subscribed) this.#unfollow(uri);
        return subscribed;
      },
      (error: unknown) => {
        this.#unfollow(uri);
        throw error;
      },
    );
  }

  #unfollow(uri: string): void {
    const count = (this.#followed.get(uri) ?? 1) - 1;
    if (count > 0) {
      this.#followed.set(uri, count);
      return;
    }
    this.#followed.delete(uri);
    const before = this.#changing.get(uri) ?? Promise.resolve(false);
    const now = before.catch(() => false).then(async (subscribed) => {
      // Followed again meanwhile: then it stays as it is.
      if (!subscribed || this.#followed.has(uri)) return subscribed;
      await this.#session.ask('resources/unsubscribe', { uri }).catch(() => undefined);
      return false;
    });
    this.#changing.set(uri, now);
    void now.then(() => {
      if (this.#changing.get(uri) === now && !this.#followed.has(uri)) this.#changing.delete(uri);
    });
  }

  #finish(listener: Listener): void {
    this.#close(listener);
    const { id, queue } = listener;
    const { serverInfo } = this.#session;
    queue?.push(eventOf(resultText(id, { resultType: 'complete', _meta: { [subscriptionIdKey]: id, ...(serverInfo === undefined ? {} : { [serverInfoKey]: serverInfo }) } })));
    queue?.end();
  }

  #close(listener: Listener): void {
    if (!this.#open.delete(listener)) return;
    for (const uri of listener.resources) this.#unfollow(uri);
  }
}

/** Changes that are told of while a listener's resources are being subscribed to. */
const maxEarly = 1024;

interface Listener {
  readonly id: RequestId;
  flags: Fields;
  readonly resources: Set<string>;
  /** What came before the acknowledgement, which must be the first. */
  early: { readonly method: string; readonly params: Fields }[];
  queue: EventQueue | undefined;
}

const members: ReadonlyMap<string, { readonly member: string; readonly capability: string }> = new Map([
  ['notifications/tools/list_changed', { member: 'toolsListChanged', capability: 'tools' }],
  ['notifications/prompts/list_changed', { member: 'promptsListChanged', capability: 'prompts' }],
  ['notifications/resources/list_changed', { member: 'resourcesListChanged', capability: 'resources' }],
]);

const isWanted = (listener: Listener, method: string, params: Fields): boolean => {
  if (method === 'notifications/resources/updated') return typeof params.uri === 'string' && listener.resources.has(params.uri);
  const member = members.get(method)?.member;
  return member !== undefined && listener.flags[member] === true;
};

const push = ({ id, queue }: Listener, method: string, params: Fields): void =>
  queue?.push(eventOf(notificationText(method, { ...params, _meta: { ...fieldsOf(params._meta), [subscriptionIdKey]: id } })));

const eventOf = (data: string) => ({ id: undefined, event: undefined, data, retry: undefined });
