/** Results on their way to the MCP client, cut down to what a call of the same principal would be allowed. */
import { SallyportError } from '../errors.ts';
import type { Action } from '../policy/decision.ts';
import { completionFilter } from './completion-filter.ts';
import { resultFilterOf } from './method-table.ts';
import { isObject } from './read-messages.ts';

type Fields = Readonly<Record<string, unknown>>;
type Allows = (action: Action) => boolean;

/** Capability classes that are announced only to principals with some grant in them. */
export type CapabilityClass = 'tools' | 'prompts' | 'resources' | 'logging';

/** Whether the principal has any grant of a class on this upstream. */
export type HasClass = (capability: CapabilityClass) => boolean;

/** Whether results of the method are looked into at all. */
export const needsFilter = (method: string): boolean => resultFilterOf(method) !== undefined;

/**
 * Filters the result of a request whose method and params are known. Values come from
 * `parseLossless`; whatever is not dropped is kept as it is.
 * @throws SallyportError `ERR_UPSTREAM_INVALID` when the result has not the shape of its method
 */
export const filterResult = (upstream: string, method: string, params: Fields | undefined, result: unknown, allows: Allows, hasClass: HasClass = everyClass): unknown => {
  const kind = resultFilterOf(method);
  if (!isObject(result)) throw invalid('a result that is no object');
  if (kind === undefined) return result;
  if (kind === 'initialize') return capabilitiesFilter(result, hasClass);
  if (kind === 'completion') return completionFilter(upstream, params ?? {}, result, allows);
  return privately(listFilter(upstream, kind, result, allows));
};

/**
 * Filters a whole response message whose request is not known any more: everything that has the
 * shape of a list is treated as that list, and what cannot be judged is taken out.
 * @throws SallyportError `ERR_UPSTREAM_INVALID`
 */
export const filterByShape = (upstream: string, message: Fields, allows: Allows, hasClass: HasClass = everyClass): Fields => {
  if (message.result === undefined) return message;
  if (!isObject(message.result)) throw invalid('a result that is no object');
  let result = message.result;
  for (const kind of ['tools', 'prompts', 'resources', 'resourceTemplates', 'contents'] as const) {
    if (Object.hasOwn(result, kind)) result = listFilter(upstream, kind, result, allows);
  }
  if (Object.hasOwn(result, 'capabilities')) result = capabilitiesFilter(result, hasClass);
  // Without the request nobody can say what the values would complete, nor whose the tasks are.
  if (Object.hasOwn(result, 'completion')) result = { ...result, completion: { values: [] } };
  if (Object.hasOwn(result, 'tasks')) result = { ...result, tasks: [] };
  return { ...message, result: privately(result) };
};

type ListKind = 'tools' | 'prompts' | 'resources' | 'resourceTemplates' | 'contents';

/** The member that names an element, and the action that using it would be. */
const listed: Readonly<Record<ListKind, { readonly member: string; readonly action: (upstream: string, name: string) => Action }>> = {
  tools: { member: 'name', action: (upstream, name) => ({ kind: 'tool', upstream, name }) },
  prompts: { member: 'name', action: (upstream, name) => ({ kind: 'prompt', upstream, name }) },
  resources: { member: 'uri', action: (upstream, uri) => ({ kind: 'resource', upstream, uri }) },
  resourceTemplates: { member: 'uriTemplate', action: (upstream, uriTemplate) => ({ kind: 'resourceTemplate', upstream, uriTemplate }) },
  // A server may read another resource than the one it was asked for.
  contents: { member: 'uri', action: (upstream, uri) => ({ kind: 'resource', upstream, uri }) },
};

const listFilter = (upstream: string, kind: ListKind, result: Fields, allows: Allows): Fields => {
  const elements = result[kind];
  if (!Array.isArray(elements)) throw invalid(`a result without the array ${kind}`);
  const { member, action } = listed[kind];
  const kept = (elements as readonly unknown[]).filter((element) => {
    const name = isObject(element) ? element[member] : undefined;
    return typeof name === 'string' && allows(action(upstream, name));
  });
  return { ...result, [kind]: kept };
};

/**
 * Keeps only capabilities whose methods the gateway knows, and of those the classes with a grant.
 * `tasks`, `experimental` and `extensions` bring methods that are denied, so they are not announced.
 */
const capabilitiesFilter = (result: Fields, hasClass: HasClass): Fields => {
  const { capabilities } = result;
  if (!isObject(capabilities)) throw invalid('an initialize result without capabilities');
  const announced = {
    tools: () => hasClass('tools'),
    prompts: () => hasClass('prompts'),
    resources: () => hasClass('resources'),
    logging: () => hasClass('logging'),
    completions: () => hasClass('prompts') || hasClass('resources'),
  };
  const kept: Record<string, unknown> = {};
  for (const [name, isGranted] of Object.entries(announced)) {
    if (Object.hasOwn(capabilities, name) && isGranted()) kept[name] = capabilities[name];
  }
  return { ...result, capabilities: kept };
};

/** Lists differ per principal, so no cache may share them (mcp.md row 17). */
const privately = (result: Fields): Fields => (result.cacheScope === undefined ? result : { ...result, cacheScope: 'private' });

const everyClass: HasClass = () => true;

const invalid = (what: string): SallyportError => new SallyportError('ERR_UPSTREAM_INVALID', `the MCP server sent ${what}`);
