/** On the way to the MCP server: what the gateway once sealed becomes the upstream's own value again. */
import type { GateErrorCode } from '../errors.ts';
import { SallyportError } from '../errors.ts';
import type { Action } from '../policy/decision.ts';
import { isPaged, openCursor } from './cursors.ts';
import { clientCapabilitiesKey, relatedTaskKey, tasksExtension } from './envelope.ts';
import { parseLossless, stringifyLossless } from './lossless-json.ts';
import type { JsonRpcMessage, JsonRpcRequest } from './message.ts';
import { isObject, readMessage } from './read-messages.ts';
import type { ReadMessages } from './read-messages.ts';
import { openState } from './request-state.ts';
import type { Era } from './revisions.ts';
import type { Owner, Sealer } from './sealing.ts';
import { taskAction } from './tasks.ts';
import type { TaskTable } from './tasks.ts';

type Fields = Readonly<Record<string, unknown>>;

/** What opening told about one message, for the gate. */
export interface Finding {
  /** Something in it was not given to this principal, for this. */
  readonly refused?: GateErrorCode;
  /** The task it is about came from calls of these tools. */
  readonly tools?: readonly string[];
}

export interface OpenedMessages extends ReadMessages {
  /** One for each message, or absent when there was nothing to open. */
  readonly findings?: readonly (Finding | undefined)[];
}

export interface OpenContext {
  readonly sealer: Sealer;
  readonly tasks: TaskTable;
  readonly owner: Owner;
  readonly era: Era;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly allows: (action: Action) => boolean;
  /** False when the upstream is known to have no tasks. */
  readonly offersTasks: boolean;
}

/**
 * Opens cursors, request states and task ids. Text, value and messages stay one, every number as it was
 * given; the same object comes back when there is nothing to open. What does not open stays as it is, and its
 * finding has the gate refuse the message.
 * @throws SallyportError `ERR_MCP_CAPABILITY` for tasks without the client capability that they need
 */
export const openSealed = (read: ReadMessages, context: OpenContext): OpenedMessages => {
  const opened = read.messages.map((message) => openMessage(message, context));
  if (opened.every((one) => one === undefined)) return read;
  const findings = opened.map((one) => one?.finding);
  if (opened.every((one) => one === undefined || one.edits.length === 0)) return { ...read, findings };
  const value = edited(read.value, read.batch, opened);
  return {
    ...read, findings, value,
    text: stringifyLossless(edited(parseLossless(read.text), read.batch, opened)),
    messages: read.messages.map((message, index) => ((opened[index]?.edits.length ?? 0) === 0 ? message : readMessage(read.batch ? (value as readonly unknown[])[index] : value))),
  };
};

/** Methods about one task, which `params.taskId` names. */
export const isAboutTask = (method: string): boolean => aboutTask.has(method);

interface Opened {
  readonly finding: Finding | undefined;
  readonly edits: readonly Edit[];
}

/** Sets one member of a message. */
interface Edit {
  readonly path: readonly string[];
  readonly value: unknown;
}

const aboutTask: ReadonlySet<string> = new Set(['tasks/get', 'tasks/result', 'tasks/update', 'tasks/cancel']);

const openMessage = (message: JsonRpcMessage, context: OpenContext): Opened | undefined => {
  const edits: Edit[] = [];
  const finding = (message.kind === 'request' ? openRequest(message, edits, context) : undefined) ?? openRelatedTask(message, edits, context);
  return finding === undefined && edits.length === 0 ? undefined : { finding, edits };
};

const openRequest = ({ id, method, params = {} }: JsonRpcRequest, edits: Edit[], { sealer, tasks, owner, era, now, allows, offersTasks }: OpenContext): Finding | undefined => {
  if (Object.hasOwn(params, 'cursor') && isPaged(method)) {
    const cursor = openCursor(sealer, { owner, method }, params.cursor);
    if (cursor === undefined) return { refused: 'ERR_MCP_CURSOR' };
    edits.push({ path: ['params', 'cursor'], value: cursor });
  }
  if (Object.hasOwn(params, 'requestState')) {
    const state = openState(sealer, { owner, method, params }, { state: params.requestState, now });
    if (state === undefined) return { refused: 'ERR_MCP_STATE' };
    edits.push({ path: ['params', 'requestState'], value: state });
  }
  if (isAboutTask(method)) {
    if (!offersTasks) return { refused: 'ERR_MCP_METHOD' };
    if (era === 'modern' && !declaresTasks(params)) {
      throw new SallyportError('ERR_MCP_CAPABILITY', 'the client must declare the tasks extension with each request about a task', { facts: { id, requiredCapabilities: [`extensions/${tasksExtension}`] } });
    }
    const task = tasks.open(owner, params.taskId);
    if (task === undefined) return { refused: 'ERR_MCP_TASK_UNKNOWN' };
    edits.push({ path: ['params', 'taskId'], value: task.taskId });
    return { tools: task.tools };
  }
  const { notifications } = params;
  if (method === 'subscriptions/listen' && isObject(notifications) && Array.isArray(notifications.taskIds)) {
    // Reduced like the rest of the filter; what is no text is for the reader of the filter to refuse.
    const kept = (notifications.taskIds as readonly unknown[]).flatMap((text) => {
      if (typeof text !== 'string') return [text];
      const task = tasks.open(owner, text);
      return task?.tools.every((tool) => allows(taskAction(owner.upstream, tool))) === true ? [task.taskId] : [];
    });
    edits.push({ path: ['params', 'notifications', 'taskIds'], value: kept });
  }
  return undefined;
};

/** Any message may say that it belongs to a task (revision 2025-11-25, tasks). */
const openRelatedTask = (message: JsonRpcMessage, edits: Edit[], { tasks, owner }: OpenContext): Finding | undefined => {
  const holder = message.kind === 'response' ? message.result : message.params;
  if (!isObject(holder) || !isObject(holder._meta) || !Object.hasOwn(holder._meta, relatedTaskKey)) return undefined;
  const related = holder._meta[relatedTaskKey];
  const task = isObject(related) ? tasks.open(owner, related.taskId) : undefined;
  if (task === undefined) return { refused: 'ERR_MCP_TASK_UNKNOWN' };
  edits.push({ path: [message.kind === 'response' ? 'result' : 'params', '_meta', relatedTaskKey, 'taskId'], value: task.taskId });
  return undefined;
};

const declaresTasks = (params: Fields): boolean => {
  const meta = params._meta;
  const capabilities = isObject(meta) ? meta[clientCapabilitiesKey] : undefined;
  return isObject(capabilities) && isObject(capabilities.extensions) && Object.hasOwn(capabilities.extensions, tasksExtension);
};

const edited = (value: unknown, batch: boolean, opened: readonly (Opened | undefined)[]): unknown => {
  const edit = (message: unknown, one: Opened | undefined): unknown => (one?.edits ?? []).reduce((changed, { path, value: member }) => withMember(changed, path, member), message);
  return batch ? (value as readonly unknown[]).map((message, index) => edit(message, opened[index])) : edit(value, opened[0]);
};

/** A copy in which the member at the path, which is there, has another value; its place stays the same. */
const withMember = (object: unknown, [name, ...rest]: readonly string[], value: unknown): unknown => {
  if (name === undefined) return value;
  const fields = object as Fields;
  return { ...fields, [name]: withMember(fields[name], rest, value) };
};
