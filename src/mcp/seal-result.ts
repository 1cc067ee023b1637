/** On the way to the MCP client: what an upstream gives and will want back is sealed, or it does not leave. */
import { SallyportError } from '../errors.ts';
import type { Action } from '../policy/decision.ts';
import { sealCursor } from './cursors.ts';
import { relatedTaskKey } from './envelope.ts';
import { isAboutTask } from './open-sealed.ts';
import { isObject, isRequestId } from './read-messages.ts';
import { sealState } from './request-state.ts';
import type { Owner, Sealer } from './sealing.ts';
import { taskAction } from './tasks.ts';
import type { TaskTable } from './tasks.ts';

type Fields = Readonly<Record<string, unknown>>;

/** A request as it went to the MCP server. */
export interface Asked {
  readonly method: string;
  readonly params: Fields | undefined;
}

export interface SealContext {
  readonly sealer: Sealer;
  readonly tasks: TaskTable;
  readonly owner: Owner;
  readonly allows: (action: Action) => boolean;
  /** Milliseconds since 1970: until when a request state may come back. */
  readonly statesUntil: number;
}

/**
 * Seals cursor, request state and task ids of a result. The same object comes back when there are none.
 * @throws SallyportError `ERR_UPSTREAM_INVALID`
 */
export const sealResult = (asked: Asked, result: Fields, context: SealContext): Fields => {
  const { sealer, owner, statesUntil: until } = context;
  const of = { owner, ...asked };
  const sealed = sealTasks(asked, sealState(sealer, of, { result: sealCursor(sealer, of, result), until }), context);
  const inner = isObject(sealed.result) && isAboutTask(asked.method) ? sealRelatedTask(sealed.result, context) : sealed.result;
  return sealRelatedTask(inner === sealed.result ? sealed : { ...sealed, result: inner }, context);
};

/**
 * For a result whose request nobody knows any more: what could only be sealed to that request is taken out.
 * @throws SallyportError `ERR_UPSTREAM_INVALID` for a new task, whose tool nobody can tell
 */
export const sealByShape = (result: Fields, context: SealContext): Fields => {
  const { nextCursor: _cursor, requestState: _state, ...rest } = result;
  if (isNewTask(rest) || isObject(rest.task)) throw unknownTask();
  const inner = isObject(rest.result) ? { ...rest, result: sealRelatedTask(rest.result, context) } : rest;
  return sealRelatedTask(Object.hasOwn(inner, 'taskId') ? { ...inner, taskId: ownTask(inner.taskId, context) } : inner, context);
};

/** What the client calls a task that it may still have. */
const ownTask = (taskId: unknown, { tasks, owner, allows }: SealContext): string => {
  const known = tasks.known(owner, taskId);
  if (known === undefined || !allows(taskAction(owner.upstream, known.tool))) throw unknownTask();
  return known.text;
};

/** The params of a server's request or notification; undefined when it is about a task that is not the principal's. */
export const sealServerParams = (method: string, params: Fields, context: SealContext): Fields | undefined => {
  const { tasks, owner, allows } = context;
  if (aboutTaskStatus.has(method)) {
    const known = tasks.known(owner, params.taskId);
    if (known === undefined || !allows(taskAction(owner.upstream, known.tool))) return undefined;
    const sealed: Fields = { ...params, taskId: known.text };
    return sealRelatedTask(isObject(sealed.result) ? { ...sealed, result: sealRelatedTask(sealed.result, context) } : sealed, context);
  }
  const { notifications } = params;
  if (method !== 'notifications/subscriptions/acknowledged' || !isObject(notifications) || !Array.isArray(notifications.taskIds)) return sealRelatedTask(params, context);
  const taskIds = (notifications.taskIds as readonly unknown[]).flatMap((taskId) => tasks.known(owner, taskId)?.text ?? []);
  return sealRelatedTask({ ...params, notifications: { ...notifications, taskIds } }, context);
};

/** An error about a task may name it. */
export const sealError = (asked: Asked | undefined, error: unknown, { tasks, owner }: Pick<SealContext, 'tasks' | 'owner'>): unknown => {
  const taskId = asked !== undefined && isAboutTask(asked.method) ? asked.params?.taskId : undefined;
  const text = tasks.known(owner, taskId)?.text;
  if (typeof taskId !== 'string' || taskId === '' || text === undefined || !isObject(error)) return error;
  const message = typeof error.message === 'string' ? error.message.replaceAll(taskId, () => text) : error.message;
  // Data may hold anything; what names the task there is not worth a search.
  const named = JSON.stringify(error.data ?? null).includes(JSON.stringify(taskId).slice(1, -1));
  if (message === error.message && !named) return error;
  const { data: _data, ...rest } = error;
  return { ...(named ? rest : error), message };
};

const aboutTaskStatus: ReadonlySet<string> = new Set(['notifications/tasks', 'notifications/tasks/status']);

const sealTasks = (asked: Asked, result: Fields, context: SealContext): Fields => {
  const { tasks, owner } = context;
  if (isAboutTask(asked.method)) {
    if (!Object.hasOwn(result, 'taskId') || asked.method === 'tasks/result') return result;
    if (result.taskId !== asked.params?.taskId) throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent another task than it was asked for');
    const text = tasks.known(owner, result.taskId)?.text;
    if (text === undefined) throw unknownTask();
    return { ...result, taskId: text };
  }
  if (asked.method === 'tasks/list') return { ...result, tasks: ownTasks(result.tasks, context) };
  if (isNewTask(result)) return { ...result, taskId: sealNewTask(asked, result.taskId, context) };
  const { task } = result;
  // Revision 2025-11-25 puts a new task into a member of its own.
  if (isObject(task) && typeof task.taskId === 'string') return { ...result, task: { ...task, taskId: sealNewTask(asked, task.taskId, context) } };
  return result;
};

/** A hundred thousand of them are remembered. */
const maxTaskIdLength = 1_024;

/** `resultType` tells a task from a result (the tasks extension). */
const isNewTask = (result: Fields): boolean => result.resultType === 'task';

const sealNewTask = ({ method, params }: Asked, taskId: unknown, { tasks, owner }: SealContext): string => {
  if (typeof taskId !== 'string') throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a task without taskId');
  if (taskId.length > maxTaskIdLength) throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a taskId that is too long to be remembered');
  const tool = method === 'tools/call' ? params?.name : undefined;
  if (typeof tool !== 'string') throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a task for a request that makes none');
  const progressToken = isObject(params?._meta) ? params._meta.progressToken : undefined;
  return tasks.seal(owner, taskId, { tool, progressToken: isRequestId(progressToken) ? progressToken : undefined });
};

/** Those the principal started here and could fetch; a server may list what others started. */
const ownTasks = (listed: unknown, { tasks, owner, allows }: SealContext): readonly unknown[] => {
  if (!Array.isArray(listed)) throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a result without the array tasks');
  return (listed as readonly unknown[]).flatMap((task) => {
    const known = isObject(task) ? tasks.known(owner, task.taskId) : undefined;
    return known === undefined || !allows(taskAction(owner.upstream, known.tool)) ? [] : [{ ...(task as Fields), taskId: known.text }];
  });
};

/** `_meta` may name the task that a message belongs to; a task nobody knows is not named. */
const sealRelatedTask = (holder: Fields, { tasks, owner }: Pick<SealContext, 'tasks' | 'owner'>): Fields => {
  const { _meta: meta } = holder;
  if (!isObject(meta) || !Object.hasOwn(meta, relatedTaskKey)) return holder;
  const { [relatedTaskKey]: related, ...rest } = meta;
  const known = isObject(related) ? tasks.known(owner, related.taskId) : undefined;
  return { ...holder, _meta: known === undefined ? rest : { ...meta, [relatedTaskKey]: { ...(related as Fields), taskId: known.text } } };
};

const unknownTask = (): SallyportError => new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a task whose request is not known any more');
