/**
 * `subscriptions/listen` (revision 2026-07-28): what of a requested filter a principal may have, and which
 * notifications then belong onto its stream.
 */
import { SallyportError } from '../errors.ts';
import type { Action } from '../policy/decision.ts';
import type { HasClass } from './filters.ts';
import { isObject } from './read-messages.ts';

type Fields = Readonly<Record<string, unknown>>;

/** What a stream may carry. */
export interface Subscription {
  readonly toolsListChanged: boolean;
  readonly promptsListChanged: boolean;
  readonly resourcesListChanged: boolean;
  readonly resources: ReadonlySet<string>;
  /** As the MCP server knows them. */
  readonly taskIds: ReadonlySet<string>;
}

/**
 * Reads the filter of a `subscriptions/listen` request and keeps what the principal may have. A URI it may
 * not read is left out, as one that does not exist would be.
 * @throws SallyportError `ERR_MCP_INVALID_REQUEST`
 */
export const allowedSubscription = (upstream: string, params: Fields | undefined, allows: (action: Action) => boolean, hasClass: HasClass): Subscription => {
  const filter = params?.notifications;
  if (!isObject(filter)) throw invalid('params.notifications must be an object');
  return {
    toolsListChanged: flag(filter, 'toolsListChanged') && hasClass('tools'),
    promptsListChanged: flag(filter, 'promptsListChanged') && hasClass('prompts'),
    resourcesListChanged: flag(filter, 'resourcesListChanged') && hasClass('resources'),
    resources: new Set(texts(filter, 'resourceSubscriptions').filter((uri) => allows({ kind: 'resource', upstream, uri }))),
    taskIds: new Set(texts(filter, 'taskIds')),
  };
};

/** The filter that is sent on: the members that were asked for, cut down; unknown ones are left out. */
export const filterOf = (subscription: Subscription, asked: unknown): Fields => {
  const filter = isObject(asked) ? asked : {};
  const { resources, taskIds } = subscription;
  return {
    ...(subscription.toolsListChanged ? { toolsListChanged: true } : {}),
    ...(subscription.promptsListChanged ? { promptsListChanged: true } : {}),
    ...(subscription.resourcesListChanged ? { resourcesListChanged: true } : {}),
    ...(filter.resourceSubscriptions === undefined ? {} : { resourceSubscriptions: [...resources] }),
    ...(filter.taskIds === undefined ? {} : { taskIds: [...taskIds] }),
  };
};

/** Whether a notification of the MCP server is one that was asked for. The acknowledgement is cut down apart, by `acknowledged`. */
export const wanted = (subscription: Subscription, method: string, params: Fields): boolean => {
  switch (method) {
    case 'notifications/tools/list_changed':
      return subscription.toolsListChanged;
    case 'notifications/prompts/list_changed':
      return subscription.promptsListChanged;
    case 'notifications/resources/list_changed':
      return subscription.resourcesListChanged;
    case 'notifications/resources/updated':
      return typeof params.uri === 'string' && subscription.resources.has(params.uri);
    case 'notifications/tasks':
      return typeof params.taskId === 'string' && subscription.taskIds.has(params.taskId);
    case 'notifications/subscriptions/acknowledged':
      return true;
    default:
      return false;
  }
};

/** What an MCP server says it honours, of which no more than was asked for is passed on. */
export const acknowledged = (subscription: Subscription, params: Fields): Fields => {
  const claimed = isObject(params.notifications) ? params.notifications : {};
  const own = (member: 'toolsListChanged' | 'promptsListChanged' | 'resourcesListChanged'): Fields => (claimed[member] === true && subscription[member] ? { [member]: true } : {});
  const list = (member: string, known: ReadonlySet<string>): Fields => {
    const claim: unknown = claimed[member];
    return Array.isArray(claim) ? { [member]: claim.filter((one: unknown) => typeof one === 'string' && known.has(one)) } : {};
  };
  return {
    ...params,
    notifications: {
      ...own('toolsListChanged'), ...own('promptsListChanged'), ...own('resourcesListChanged'),
      ...list('resourceSubscriptions', subscription.resources), ...list('taskIds', subscription.taskIds),
    },
  };
};

const flag = (filter: Fields, member: string): boolean => {
  const given = filter[member];
  if (given !== undefined && typeof given !== 'boolean') throw invalid(`params.notifications.${member} must be true or false`);
  return given === true;
};

const texts = (filter: Fields, member: string): readonly string[] => {
  const given = filter[member];
  if (given === undefined) return [];
  if (!Array.isArray(given) || !given.every((one) => typeof one === 'string')) throw invalid(`params.notifications.${member} must be a list of texts`);
  return given;
};

const invalid = (message: string): SallyportError => new SallyportError('ERR_MCP_INVALID_REQUEST', message);
