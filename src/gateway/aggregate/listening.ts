/** One listening stream over several upstreams: one acknowledgement first, then what any of them has to tell. */
import { SallyportError } from '../../errors.ts';
import { subscriptionIdKey } from '../../mcp/envelope.ts';
import { parseLossless, stringifyLossless } from '../../mcp/lossless-json.ts';
import type { JsonRpcRequest } from '../../mcp/message.ts';
import { isObject } from '../../mcp/read-messages.ts';
import type { SseEvent, UpstreamAnswer, UpstreamRequest } from '../../upstream/upstream.ts';
import type { AggregateMember } from './aggregate-upstream.ts';
import { nameAt, splitName, splitUri, uriAt } from './names.ts';
import { renamedParams } from './results.ts';

type Fields = Readonly<Record<string, unknown>>;
type Failure = (member: string, error: unknown) => void;

export const listenToAll = async (members: readonly AggregateMember[], request: UpstreamRequest, message: JsonRpcRequest, onFailure: Failure): Promise<UpstreamAnswer> => {
  const asked = isObject(message.params?.notifications) ? message.params.notifications : {};
  const opened = await Promise.all(members.map((member) => open(member, request, { message, asked, onFailure })));
  const streams = opened.filter((stream) => stream !== undefined);
  if (members.length > 0 && streams.length === 0) throw new SallyportError('ERR_UPSTREAM_UNREACHABLE', 'no upstream lets anyone listen now: see the log for each of them');
  return { kind: 'stream', status: 200, events: merged(streams, message.id) };
};

interface Listening {
  readonly member: string;
  readonly honoured: Fields;
  readonly events: AsyncIterator<SseEvent>;
}

const open = async (
  member: AggregateMember, request: UpstreamRequest, { message, asked, onFailure }: { readonly message: JsonRpcRequest; readonly asked: Fields; readonly onFailure: Failure },
): Promise<Listening | undefined> => {
  try {
    const params = { ...message.params, notifications: filterFor(member.name, asked) };
    const answer = await member.exchange({
      ...request, messages: [{ ...message, params }], body: stringifyLossless({ jsonrpc: '2.0', id: message.id, method: message.method, params }),
    });
    // An upstream that has nothing to tell says so with an error; the others still do.
    if (answer.kind !== 'stream') return undefined;
    const events = answer.events[Symbol.asyncIterator]();
    const first = await events.next();
    if (first.done === true) return undefined;
    return { member: member.name, honoured: honouredIn(member.name, first.value.data), events };
  } catch (error) {
    onFailure(member.name, error);
    return undefined;
  }
};

/** What one upstream is asked for: classes of all, resources and tasks of its own. */
const filterFor = (member: string, asked: Fields): Fields => ({
  ...asked,
  ...(Array.isArray(asked.resourceSubscriptions) ? { resourceSubscriptions: ownOf(member, asked.resourceSubscriptions, splitUri) } : {}),
  ...(Array.isArray(asked.taskIds) ? { taskIds: ownOf(member, asked.taskIds, splitName) } : {}),
});

const ownOf = (member: string, names: readonly unknown[], split: typeof splitUri): readonly string[] =>
  names.flatMap((name) => {
    const named = typeof name === 'string' ? split(name) : undefined;
    return named?.member === member ? [named.name] : [];
  });

const honouredIn = (member: string, data: string): Fields => {
  const message = parseLossless(data);
  const params = isObject(message) && isObject(message.params) ? message.params : {};
  const honoured = isObject(params.notifications) ? params.notifications : {};
  const renamedList = (name: string, rename: (member: string, name: string) => string): Fields => {
    const list: unknown = honoured[name];
    return Array.isArray(list) ? { [name]: list.map((one: unknown) => rename(member, String(one))) } : {};
  };
  return { ...honoured, ...renamedList('resourceSubscriptions', uriAt), ...renamedList('taskIds', nameAt) };
};

const together = (all: readonly Fields[]): Fields => {
  const whole: Record<string, unknown> = {};
  for (const honoured of all) {
    for (const [name, value] of Object.entries(honoured)) whole[name] = Array.isArray(value) && Array.isArray(whole[name]) ? [...(whole[name] as unknown[]), ...(value as unknown[])] : value;
  }
  return whole;
};

async function* merged(streams: readonly Listening[], id: JsonRpcRequest['id']): AsyncGenerator<SseEvent> {
  yield eventOf({ jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params: { notifications: together(streams.map(({ honoured }) => honoured)), _meta: { [subscriptionIdKey]: id } } });
  const waiting = new Map(streams.map((stream) => [stream, next(stream)]));
  try {
    while (waiting.size > 0) {
      const { stream, done, message } = await Promise.race(waiting.values());
      if (done) {
        waiting.delete(stream);
        continue;
      }
      waiting.set(stream, next(stream));
      // Its end is the end of one upstream, not of the stream.
      if (!isObject(message) || typeof message.method !== 'string') continue;
      yield eventOf({ ...message, params: renamedParams(stream.member, isObject(message.params) ? message.params : {}) });
    }
    yield eventOf({ jsonrpc: '2.0', id, result: { resultType: 'complete', _meta: { [subscriptionIdKey]: id } } });
  } finally {
    for (const { events } of streams) void events.return?.();
  }
}

interface Next {
  readonly stream: Listening;
  readonly done: boolean;
  readonly message: unknown;
}

const next = async (stream: Listening): Promise<Next> => {
  try {
    const { done = false, value } = await stream.events.next();
    return { stream, done, message: done || value.data === '' ? undefined : parseLossless(value.data) };
  } catch {
    // One upstream that broke off, or says what cannot be read, does not silence the others.
    void stream.events.return?.();
    return { stream, done: true, message: undefined };
  }
};

const eventOf = (message: Fields): SseEvent => ({ id: undefined, event: undefined, retry: undefined, data: stringifyLossless(message) });
