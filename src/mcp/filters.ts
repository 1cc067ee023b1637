/** Results on their way to the MCP client, cut down to what a call of the same principal would be allowed. */
import { SallyportError } from '../errors.ts';
import type { Action } from '../policy/decision.ts';
import { completionFilter } from './completion-filter.ts';
import { tasksExtension } from './envelope.ts';
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

/** What a filter asks policy, and what else it has to know. */
export interface FilterContext {
  readonly upstream: string;
  readonly allows: Allows;
  readonly hasClass: HasClass;
  /** Protocol revisions that a modern MCP client may speak through the gateway. */
  readonly revisions: readonly string[];
}

/**
 * Filters the result of a request whose method and params are known. Values come from
 * `parseLossless`; whatever is not dropped is kept as it is.
 * @throws SallyportError `ERR_UPSTREAM_INVALID` when the result has not the shape of its method
 */
export const filterResult = (result: unknown, { method, params, upstream, allows, hasClass, revisions }: FilterContext & { readonly method: string; readonly params: Fields | undefined }): Fields => {
  const kind = resultFilterOf(method);
  if (!isObject(result)) throw invalid('a result that is no object');
  if (kind === undefined) return result;
  if (kind === 'initialize') return capabilitiesFilter(result, hasClass);
  if (kind === 'discover') return privately(discoveryFilter(capabilitiesFilter(result, hasClass), revisions));
  // A question instead of an answer (revision 2026-07-28, multi round-trip requests): it has nothing to be listed.
  if (result.resultType === 'input_required' || result.resultType === 'task') return withoutMembers(result, [kind]);
  if (kind === 'completion') return completionFilter(upstream, params ?? {}, result, allows);
  return privately(listFilter(upstream, kind, result, allows));
};

/**
 * Filters a result whose request is not known any more: everything that has the shape of a list is
 * treated as that list, and what cannot be judged is taken out.
 * @throws SallyportError `ERR_UPSTREAM_INVALID`
 */
export const filterByShape = (given: unknown, { upstream, allows, hasClass, revisions }: FilterContext): Fields => {
  if (!isObject(given)) throw invalid('a result that is no object');
  let result = given;
  for (const kind of ['tools', 'prompts', 'resources', 'resourceTemplates', 'contents'] as const) {
    if (Object.hasOwn(result, kind)) result = listFilter(upstream, kind, result, allows);
  }
  if (Object.hasOwn(result, 'capabilities')) result = withoutMembers(capabilitiesFilter(result, hasClass), ['instructions']);
  if (Object.hasOwn(result, 'supportedVersions')) result = discoveryFilter(result, revisions);
  // Without the request nobody can say what the values would complete, nor whose the tasks are.
  if (Object.hasOwn(result, 'completion')) result = { ...result, completion: { values: [] } };
  if (Object.hasOwn(result, 'tasks')) result = { ...result, tasks: [] };
  return privately(result);
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
 * `experimental` and all extensions but tasks bring methods that are denied, so they are not announced.
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
    // Revision 2025-11-25; later it is an extension.
    tasks: () => hasClass('tools'),
  };
  const kept: Record<string, unknown> = {};
  for (const [name, isGranted] of Object.entries(announced)) {
    if (Object.hasOwn(capabilities, name) && isGranted()) kept[name] = capabilities[name];
  }
  const { extensions } = capabilities;
  if (isObject(extensions) && Object.hasOwn(extensions, tasksExtension) && hasClass('tools')) kept.extensions = { [tasksExtension]: extensions[tasksExtension] };
  return { ...result, capabilities: kept };
};

/** No revision is offered that the gateway would refuse; a client that finds none goes elsewhere. */
const discoveryFilter = (result: Fields, revisions: readonly string[]): Fields => {
  const { supportedVersions } = result;
  if (!Array.isArray(supportedVersions)) throw invalid('a server/discover result without supportedVersions');
  return { ...result, supportedVersions: (supportedVersions as readonly unknown[]).filter((one) => typeof one === 'string' && revisions.includes(one)) };
};

const withoutMembers = (result: Fields, names: readonly string[]): Fields => Object.fromEntries(Object.entries(result).filter(([name]) => !names.includes(name)));

/** Lists differ per principal, so no cache may share them (mcp.md row 17). */
const privately = (result: Fields): Fields => (result.cacheScope === undefined ? result : { ...result, cacheScope: 'private' });

const invalid = (what: string): SallyportError => new SallyportError('ERR_UPSTREAM_INVALID', `the MCP server sent ${what}`);
