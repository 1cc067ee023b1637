/**
 * Every MCP method the gateway lets through, in both directions, and what each one is gated on.
 * A method that is not in the table does not exist for the gateway's peers (mcp.md, method matrix).
 */
import type { Action } from '../policy/decision.ts';
import { SallyportError } from '../errors.ts';
import type { GateErrorCode } from '../errors.ts';
import type { Finding } from './open-sealed.ts';
import { taskAction } from './tasks.ts';
import { isObject, isRequestId } from './read-messages.ts';
import type { JsonRpcMessage, RequestId } from './message.ts';
import type { Era } from './revisions.ts';

export type Gate =
  /** The session's principal may send it. */
  | { readonly kind: 'pass' }
  /** All of these must be allowed; `deniedAs` is the answer where the usual one would tell too much. */
  | { readonly kind: 'actions'; readonly actions: readonly Action[]; readonly deniedAs?: GateErrorCode }
  /** Something sealed in it was not given to this principal, for this. */
  | { readonly kind: 'refused'; readonly code: GateErrorCode }
  /** Not in the table: denied. */
  | { readonly kind: 'unknown' };

/** How the result of a request is cut down to what the principal may see. */
export type ResultFilter = 'initialize' | 'discover' | 'tools' | 'prompts' | 'resources' | 'resourceTemplates' | 'contents' | 'completion';

export interface MethodRule {
  readonly eras: readonly Era[];
  readonly kind: 'request' | 'notification';
  readonly gate: (upstream: string, params: Params, finding: Finding | undefined) => Gate;
  readonly filter?: ResultFilter;
}

type Params = Readonly<Record<string, unknown>>;

/**
 * What policy must allow before the message may go to the upstream. Responses pass: whether a
 * request awaits them is the session's knowledge, as it is for `notifications/cancelled` and `progress`.
 * `finding` is what opening its sealed values told.
 * @throws SallyportError `ERR_MCP_INVALID_REQUEST` when what the gate needs is missing or no string
 */
export const actionsOf = (upstream: string, message: JsonRpcMessage, era: Era = 'legacy', finding?: Finding): Gate => {
  if (message.kind === 'response') return finding?.refused === undefined ? pass : { kind: 'refused', code: finding.refused };
  const rule = clientMethods.get(message.method);
  // A request's method sent without an id is no notification of MCP, yet some servers would execute it.
  if (rule === undefined || rule.kind !== message.kind || !rule.eras.includes(era)) return unknown;
  if (finding?.refused !== undefined) return { kind: 'refused', code: finding.refused };
  try {
    return rule.gate(upstream, message.params ?? {}, finding);
  } catch (error) {
    if (!(error instanceof SallyportError) || message.kind !== 'request') throw error;
    throw new SallyportError(error.code, error.message, { facts: { ...error.facts, id: message.id, method: message.method } });
  }
};

export const resultFilterOf = (method: string): ResultFilter | undefined => clientMethods.get(method)?.filter;

/** What to do with a message that an MCP server sends on its own. */
export type ServerMessageKind =
  /** Deliver it; the client owes a response to its id. */
  | 'request'
  /** Deliver it. */
  | 'notification'
  /** The client must not see it. */
  | 'drop';

/** Decides a server's request or notification; responses are not for this function. */
export const classifyServerMessage = (
  upstream: string,
  message: { readonly id?: unknown; readonly method?: unknown; readonly params?: unknown },
  allows: (action: Action) => boolean,
  era: Era = 'legacy',
): ServerMessageKind => {
  const rule = typeof message.method === 'string' ? serverMethods.get(message.method) : undefined;
  if (rule === undefined || !(rule.eras ?? both).includes(era)) return 'drop';
  const kind = message.id === undefined ? 'notification' : 'request';
  if (rule.kind !== kind || (kind === 'request' && !isRequestId(message.id))) return 'drop';
  if (message.params !== undefined && !isObject(message.params)) return 'drop';
  return rule.allowed(upstream, message.params ?? {}, allows) ? kind : 'drop';
};

const pass: Gate = { kind: 'pass' };
const unknown: Gate = { kind: 'unknown' };
const gatedOn = (action: Action): Gate => ({ kind: 'actions', actions: [action] });

const connect = (upstream: string): Gate => gatedOn({ kind: 'connect', upstream });

const both: readonly Era[] = ['legacy', 'modern'];
const legacy: readonly Era[] = ['legacy'];
const modern: readonly Era[] = ['modern'];

const toolCall = (upstream: string, params: Params): Gate => {
  const given = params.arguments;
  if (given !== undefined && !isObject(given)) throw invalid('params.arguments must be an object');
  // `params.task` asks for a task instead of a result; whether there will be one, the MCP server says.
  // Never undefined: an action without arguments asks whether some call would be allowed.
  return gatedOn({ kind: 'tool', upstream, name: text(params, 'name'), arguments: given ?? {} });
};

const resource = (upstream: string, params: Params): Gate => gatedOn({ kind: 'resource', upstream, uri: text(params, 'uri') });

const completion = (upstream: string, params: Params): Gate => {
  const { ref, argument } = params;
  if (!isObject(ref)) throw invalid('params.ref must name a prompt or a resource');
  if (!isObject(argument) || typeof argument.name !== 'string' || typeof argument.value !== 'string') throw invalid('params.argument must have a name and a value');
  if (ref.type === 'ref/prompt') return gatedOn({ kind: 'prompt', upstream, name: text(ref, 'name', 'params.ref') });
  if (ref.type !== 'ref/resource') throw invalid('params.ref.type must be ref/prompt or ref/resource');
  return gatedOn(resourceOrTemplate(upstream, text(ref, 'uri', 'params.ref')));
};

/** RFC 6570: braces make a template; they are not legal in a URI. */
export const resourceOrTemplate = (upstream: string, uri: string): Action =>
  uri.includes('{') ? { kind: 'resourceTemplate', upstream, uriTemplate: uri } : { kind: 'resource', upstream, uri };

/** A task belongs to whom it was given to (see open-sealed.ts), and its tool must still be allowed. */
const ofTask = (upstream: string, _params: Params, finding: Finding | undefined): Gate =>
  finding?.tools === undefined
    ? { kind: 'refused', code: 'ERR_MCP_TASK_UNKNOWN' }
    : { kind: 'actions', actions: finding.tools.map((tool) => taskAction(upstream, tool)), deniedAs: 'ERR_MCP_TASK_UNKNOWN' };

const logging = (upstream: string, params: Params): Gate => {
  if (!logLevels.has(text(params, 'level'))) throw invalid('params.level must be a syslog severity');
  return gatedOn({ kind: 'logging', upstream });
};

const logLevels: ReadonlySet<string> = new Set(['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency']);

const reference = (member: string) => (upstream: string, params: Params): Gate => {
  if (!isRequestId(params[member])) throw invalid(`params.${member} must be a string or an integer`);
  return connect(upstream);
};

/** What an MCP client sends. */
export const clientMethods: ReadonlyMap<string, MethodRule> = new Map<string, MethodRule>([
  ['initialize', { eras: legacy, kind: 'request', gate: connect, filter: 'initialize' }],
  ['server/discover', { eras: modern, kind: 'request', gate: connect, filter: 'discover' }],
  ['ping', { eras: legacy, kind: 'request', gate: connect }],
  ['tools/list', { eras: both, kind: 'request', gate: connect, filter: 'tools' }],
  ['tools/call', { eras: both, kind: 'request', gate: toolCall }],
  ['prompts/list', { eras: both, kind: 'request', gate: connect, filter: 'prompts' }],
  ['prompts/get', { eras: both, kind: 'request', gate: (upstream, params) => gatedOn({ kind: 'prompt', upstream, name: text(params, 'name') }) }],
  ['resources/list', { eras: both, kind: 'request', gate: connect, filter: 'resources' }],
  ['resources/templates/list', { eras: both, kind: 'request', gate: connect, filter: 'resourceTemplates' }],
  ['resources/read', { eras: both, kind: 'request', gate: resource, filter: 'contents' }],
  ['resources/subscribe', { eras: legacy, kind: 'request', gate: resource }],
  // Without a grant there is nothing to unsubscribe from, and the answer would tell which URIs exist.
  ['resources/unsubscribe', { eras: legacy, kind: 'request', gate: resource }],
  ['completion/complete', { eras: both, kind: 'request', gate: completion, filter: 'completion' }],
  // Cut down to what the principal may have before it goes on (subscriptions.ts).
  ['subscriptions/listen', { eras: modern, kind: 'request', gate: connect }],
  ['tasks/get', { eras: both, kind: 'request', gate: ofTask }],
  ['tasks/cancel', { eras: both, kind: 'request', gate: ofTask }],
  ['tasks/result', { eras: legacy, kind: 'request', gate: ofTask }],
  ['tasks/update', { eras: modern, kind: 'request', gate: ofTask }],
  // Its result keeps only what tasks/get would give (seal-result.ts).
  ['tasks/list', { eras: legacy, kind: 'request', gate: connect }],
  ['logging/setLevel', { eras: legacy, kind: 'request', gate: logging }],
  ['notifications/initialized', { eras: legacy, kind: 'notification', gate: connect }],
  ['notifications/roots/list_changed', { eras: legacy, kind: 'notification', gate: connect }],
  ['notifications/cancelled', { eras: both, kind: 'notification', gate: reference('requestId') }],
  ['notifications/progress', { eras: legacy, kind: 'notification', gate: reference('progressToken') }],
]);

interface ServerRule {
  /** Default both. */
  readonly eras?: readonly Era[];
  readonly kind: 'request' | 'notification';
  readonly allowed: (upstream: string, params: Params, allows: (action: Action) => boolean) => boolean;
}

const always = (): boolean => true;

/** The client's side of tasks is not announced either (see client-capabilities.ts), so a server must not ask for one. */
const withoutTask = (_upstream: string, params: Params): boolean => params.task === undefined;

const ofResource = (upstream: string, { uri }: Params, allows: (action: Action) => boolean): boolean => typeof uri === 'string' && allows({ kind: 'resource', upstream, uri });

const refersTo = (member: string): ServerRule['allowed'] => (_upstream, params) => isRequestId(params[member]);

/** What an MCP server sends on its own. */
export const serverMethods: ReadonlyMap<string, ServerRule> = new Map<string, ServerRule>([
  ['ping', { eras: legacy, kind: 'request', allowed: always }],
  // In the modern era these are input requests inside of a result.
  ['roots/list', { eras: legacy, kind: 'request', allowed: always }],
  ['sampling/createMessage', { eras: legacy, kind: 'request', allowed: withoutTask }],
  ['elicitation/create', { eras: legacy, kind: 'request', allowed: withoutTask }],
  ['notifications/message', { kind: 'notification', allowed: (upstream, _params, allows) => allows({ kind: 'logging', upstream }) }],
  ['notifications/progress', { kind: 'notification', allowed: refersTo('progressToken') }],
  ['notifications/cancelled', { kind: 'notification', allowed: refersTo('requestId') }],
  ['notifications/tools/list_changed', { kind: 'notification', allowed: always }],
  ['notifications/prompts/list_changed', { kind: 'notification', allowed: always }],
  ['notifications/resources/list_changed', { kind: 'notification', allowed: always }],
  ['notifications/resources/updated', { kind: 'notification', allowed: ofResource }],
  // Whose task it is, and whether its tool is still allowed, is asked when its id is sealed (seal-result.ts).
  ['notifications/tasks/status', { eras: legacy, kind: 'notification', allowed: refersTo('taskId') }],
  ['notifications/tasks', { eras: modern, kind: 'notification', allowed: refersTo('taskId') }],
  ['notifications/subscriptions/acknowledged', { eras: modern, kind: 'notification', allowed: always }],
  ['notifications/elicitation/complete', { eras: legacy, kind: 'notification', allowed: always }],
]);

/** The request a notification is about, for the session to know whether it is in flight. */
export const referenceOf = (message: JsonRpcMessage): { readonly member: 'requestId' | 'progressToken'; readonly id: RequestId } | undefined => {
  if (message.kind !== 'notification') return undefined;
  const member = message.method === 'notifications/cancelled' ? 'requestId' : message.method === 'notifications/progress' ? 'progressToken' : undefined;
  const id = member === undefined ? undefined : message.params?.[member];
  return member !== undefined && isRequestId(id) ? { member, id } : undefined;
};

const text = (params: Params, member: string, where = 'params'): string => {
  const value = params[member];
  // A name that is no string could be matched as one thing and executed as another (mcp.md row 14).
  if (typeof value !== 'string') throw invalid(`${where}.${member} must be a string`);
  return value;
};

const invalid = (message: string): SallyportError => new SallyportError('ERR_MCP_INVALID_REQUEST', message);
