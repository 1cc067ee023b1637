/**
 * Links to resources, and resources put into an answer whole, held to the same policy as `resources/read`:
 * in the content of tool results, prompts, tasks and of what a server wants sampled.
 */
import { isObject } from './read-messages.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Whether a resource of this URI may be shown to whom the answer is for. */
export type MayShow = (uri: string) => boolean;

/**
 * Takes out the content blocks `resource_link` and `resource` whose URI may not be shown. `structuredContent`
 * has no form of its own and stays. The same object comes back when there is nothing to take out.
 */
export const withoutHiddenResources = (result: Fields, mayShow: MayShow): Fields => {
  const filtered = withParts(result, mayShow);
  // A task that is done holds the result of its tool (the tasks extension, `tasks/get`).
  const inner = isObject(filtered.result) ? withParts(filtered.result, mayShow) : filtered.result;
  return inner === filtered.result ? filtered : { ...filtered, result: inner };
};

const withParts = (result: Fields, mayShow: MayShow): Fields => {
  let kept = result;
  if (Array.isArray(result.content)) {
    const content = keptBlocks(result.content, mayShow);
    if (content !== result.content) kept = { ...kept, content };
  } else if (isObject(result.content)) {
    // One block where a list belongs: clients that are not strict take it.
    const block = keptBlock(result.content, mayShow, 0);
    if (block !== result.content) kept = { ...kept, content: block === undefined ? [] : block };
  }
  if (Array.isArray(result.messages)) {
    const messages = keptMessages(result.messages, mayShow);
    if (messages !== result.messages) kept = { ...kept, messages };
  }
  if (isObject(result.inputRequests)) {
    const inputRequests = keptRequests(result.inputRequests, mayShow);
    if (inputRequests !== result.inputRequests) kept = { ...kept, inputRequests };
  }
  return kept;
};

/** Questions to the client that a result or a task holds (revision 2026-07-28): each has the params of a request. */
const keptRequests = (requests: Fields, mayShow: MayShow): Fields => {
  let kept = requests;
  for (const [key, request] of Object.entries(requests)) {
    if (!isObject(request) || !isObject(request.params)) continue;
    const params = withParts(request.params, mayShow);
    if (params !== request.params) kept = { ...kept, [key]: { ...request, params } };
  }
  return kept;
};

/** The content of a message is one block or a list of them; a message that loses its one block goes with it. */
const keptMessages = (messages: readonly unknown[], mayShow: MayShow): readonly unknown[] =>
  mapped(messages, (message) => {
    if (!isObject(message)) return message;
    const content = Array.isArray(message.content) ? keptBlocks(message.content, mayShow) : keptBlock(message.content, mayShow, 0);
    if (content === message.content) return message;
    return content === undefined ? undefined : { ...message, content };
  });

const keptBlocks = (blocks: readonly unknown[], mayShow: MayShow, depth = 0): readonly unknown[] => mapped(blocks, (block) => keptBlock(block, mayShow, depth));

/** Tool results stand inside of messages once; whoever nests them deeper is not followed. */
const maxDepth = 4;

const keptBlock = (block: unknown, mayShow: MayShow, depth: number): unknown => {
  if (!isObject(block)) return block;
  if (block.type === 'resource_link') return isShown(block.uri, mayShow) ? block : undefined;
  if (block.type === 'resource') return isObject(block.resource) && isShown(block.resource.uri, mayShow) ? block : undefined;
  if (block.type !== 'tool_result' || !Array.isArray(block.content)) return block;
  if (depth >= maxDepth) return undefined;
  const content = keptBlocks(block.content, mayShow, depth + 1);
  return content === block.content ? block : { ...block, content };
};

const isShown = (uri: unknown, mayShow: MayShow): boolean => typeof uri === 'string' && mayShow(uri);

/** `map` without the undefined ones; the same array when nothing changed. */
const mapped = (values: readonly unknown[], change: (value: unknown) => unknown): readonly unknown[] => {
  const kept = values.map(change);
  return kept.every((value, index) => value === values[index]) ? values : kept.filter((value) => value !== undefined);
};
