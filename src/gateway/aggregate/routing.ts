/** To which upstream a request of the aggregate endpoint goes, and what it says there. */
import { isObject } from '../../mcp/read-messages.ts';
import { splitName, splitUri } from './names.ts';

type Params = Readonly<Record<string, unknown>>;

export type Route =
  /** One upstream answers; `params` are in its own terms. */
  | { readonly kind: 'one'; readonly member: string; readonly params: Params }
  /** Every upstream answers, and the answers are put together. */
  | { readonly kind: 'all' }
  /** No upstream is named, or not in a way that could be understood. */
  | { readonly kind: 'none' };

/** Methods whose answers are put together. */
const gathered: ReadonlySet<string> = new Set(['server/discover', 'tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'subscriptions/listen']);

export const routeOf = (method: string, params: Params): Route => {
  if (gathered.has(method)) return { kind: 'all' };
  switch (method) {
    case 'tools/call':
    case 'prompts/get':
      return one(params, 'name', splitName);
    case 'resources/read':
      return one(params, 'uri', splitUri);
    case 'tasks/get':
    case 'tasks/update':
    case 'tasks/cancel':
      return one(params, 'taskId', splitName);
    case 'completion/complete':
      return completion(params);
    default:
      return { kind: 'none' };
  }
};

const one = (params: Params, member: string, split: typeof splitName): Route => {
  const given = params[member];
  const named = typeof given === 'string' ? split(given) : undefined;
  return named === undefined ? { kind: 'none' } : { kind: 'one', member: named.member, params: { ...params, [member]: named.name } };
};

const completion = (params: Params): Route => {
  const { ref } = params;
  if (!isObject(ref)) return { kind: 'none' };
  const routed = ref.type === 'ref/prompt' ? one(ref, 'name', splitName) : one(ref, 'uri', splitUri);
  return routed.kind === 'one' ? { ...routed, params: { ...params, ref: routed.params } } : routed;
};
