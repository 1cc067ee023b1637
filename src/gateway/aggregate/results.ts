/** Answers of one upstream in the terms of the aggregate endpoint, and many put together. */
import { isObject } from '../../mcp/read-messages.ts';
import { nameAt, uriAt } from './names.ts';

type Fields = Readonly<Record<string, unknown>>;

/** The lists that are put together: the member of the result, and what names an element. */
export const lists: ReadonlyMap<string, { readonly list: string; readonly member: string; readonly rename: (upstream: string, name: string) => string }> = new Map([
  ['tools/list', { list: 'tools', member: 'name', rename: nameAt }],
  ['prompts/list', { list: 'prompts', member: 'name', rename: nameAt }],
  ['resources/list', { list: 'resources', member: 'uri', rename: uriAt }],
  ['resources/templates/list', { list: 'resourceTemplates', member: 'uriTemplate', rename: uriAt }],
]);

/** The elements of one upstream's list, under their names here. */
export const elementsOf = (upstream: string, method: string, result: Fields): readonly unknown[] => {
  const rule = lists.get(method);
  const elements = rule === undefined ? undefined : result[rule.list];
  if (rule === undefined || !Array.isArray(elements)) return [];
  return (elements as readonly unknown[]).map((element) => {
    const name = isObject(element) ? element[rule.member] : undefined;
    return isObject(element) && typeof name === 'string' ? { ...element, [rule.member]: rule.rename(upstream, name) } : element;
  });
};

/** A result of one upstream, with the resources and tasks in it under their names here. */
export const renamed = (upstream: string, result: Fields): Fields => {
  let whole = result;
  if (typeof whole.taskId === 'string') whole = { ...whole, taskId: nameAt(upstream, whole.taskId) };
  whole = withContent(upstream, whole);
  if (Array.isArray(whole.contents)) whole = { ...whole, contents: whole.contents.map((contents: unknown) => withUri(upstream, contents)) };
  if (Array.isArray(whole.messages)) {
    whole = { ...whole, messages: whole.messages.map((message: unknown) => (isObject(message) ? withContent(upstream, message) : message)) };
  }
  // Questions to the client, each with the params of a request.
  if (isObject(whole.inputRequests)) {
    const asked = Object.entries(whole.inputRequests).map(([key, request]) => [key, isObject(request) && isObject(request.params) ? { ...request, params: renamed(upstream, request.params) } : request]);
    whole = { ...whole, inputRequests: Object.fromEntries(asked) };
  }
  // A finished task holds the result of its tool.
  if (isObject(whole.result)) whole = { ...whole, result: renamed(upstream, whole.result) };
  return whole;
};

/** Parameters of a notification, likewise. */
export const renamedParams = (upstream: string, params: Fields): Fields => ({
  ...params,
  ...(typeof params.uri === 'string' ? { uri: uriAt(upstream, params.uri) } : {}),
  ...(typeof params.taskId === 'string' ? { taskId: nameAt(upstream, params.taskId) } : {}),
});

/** `server/discover` of several upstreams as one. */
export const discovered = (answers: readonly { readonly member: string; readonly result: Fields }[], meta: Fields): Fields => {
  const capabilities: Record<string, unknown> = {};
  for (const { result } of answers) {
    if (!isObject(result.capabilities)) continue;
    for (const [name, value] of Object.entries(result.capabilities)) {
      const known = capabilities[name];
      capabilities[name] = isObject(known) && isObject(value) ? { ...known, ...value } : value;
    }
  }
  const instructions = answers.flatMap(({ member, result }) => (typeof result.instructions === 'string' && result.instructions !== '' ? [`${member}: ${result.instructions}`] : []));
  return {
    resultType: 'complete',
    supportedVersions: ['2026-07-28'],
    capabilities,
    ...(instructions.length === 0 ? {} : { instructions: instructions.join('\n\n') }),
    ttlMs: 0,
    cacheScope: 'private',
    _meta: meta,
  };
};

/** One block or a list of them. */
const withContent = (upstream: string, holder: Fields, depth = 0): Fields => {
  const { content } = holder;
  if (content === undefined) return holder;
  return { ...holder, content: Array.isArray(content) ? content.map((block: unknown) => blockOf(upstream, block, depth)) : blockOf(upstream, content, depth) };
};

/** As deep as results of tools inside of messages are let through (content-filter.ts). */
const maxDepth = 4;

const blockOf = (upstream: string, block: unknown, depth: number): unknown => {
  if (!isObject(block)) return block;
  if (block.type === 'tool_result' && depth < maxDepth) return withContent(upstream, block, depth + 1);
  if (block.type === 'resource_link') return withUri(upstream, block);
  return block.type === 'resource' ? { ...block, resource: withUri(upstream, block.resource) } : block;
};

const withUri = (upstream: string, value: unknown): unknown => (isObject(value) && typeof value.uri === 'string' ? { ...value, uri: uriAt(upstream, value.uri) } : value);
