/**
 * Tasks of both eras: who started one, and with what. A client knows its task by a sealed text that
 * holds the upstream's id and the tool, so a task outlives this memory; only what a server sends on its
 * own needs it, and `tasks/list`.
 */
import { ownedBy } from './sealing.ts';
import type { Owner, Sealer } from './sealing.ts';
import type { Action } from '../policy/decision.ts';
import type { RequestId } from './message.ts';

/** The request that a task came from. */
export interface TaskOrigin {
  readonly method: string;
  /** Of the tool; a prompt's name or a resource's URI should a server make tasks of those. */
  readonly name: string;
}

export interface KnownTask extends TaskOrigin {
  /** What the client calls it. */
  readonly text: string;
  /** The progress of its request goes on until the task ends. */
  readonly progressToken: RequestId | undefined;
}

/** Tasks of one principal on one upstream; the oldest are forgotten first. */
const tasksPerOwner = 1_000;
/** Tasks of all; whoever was quiet for longest is forgotten first. */
const tasksInAll = 100_000;

export class TaskTable {
  readonly #sealer: Sealer;
  /** By owner, then by the upstream's id. */
  readonly #known = new Map<string, Map<string, KnownTask>>();
  #size = 0;

  constructor(sealer: Sealer) {
    this.#sealer = sealer;
  }

  /** The client's id of a task that a request has just made: the same for the same task. */
  seal(owner: Owner, taskId: string, { method, name, progressToken }: TaskOrigin & { readonly progressToken?: RequestId | undefined }): string {
    const text = this.#sealer.sealStable(kind, ownedBy(owner), JSON.stringify([taskId, method, name]));
    this.#remember(owner, taskId, { method, name, text, progressToken });
    return text;
  }

  /**
   * The upstream's id and what the task came from; undefined when the id was not given to this owner.
   * There is more than one origin where a server used an id again, as two children that count from one do.
   */
  open(owner: Owner, text: unknown): { readonly taskId: string; readonly origins: readonly TaskOrigin[] } | undefined {
    const opened = typeof text === 'string' ? this.#sealer.openStable(kind, ownedBy(owner), text) : undefined;
    if (opened === undefined || typeof text !== 'string') return undefined;
    const [taskId, method, name] = JSON.parse(opened) as readonly [string, string, string];
    const known = this.known(owner, taskId);
    // It may have been sealed by another process, or longer ago than this one remembers.
    this.#remember(owner, taskId, known ?? { method, name, text, progressToken: undefined });
    const reused = known !== undefined && (known.method !== method || known.name !== name);
    return { taskId, origins: [{ method, name }, ...(reused ? [{ method: known.method, name: known.name }] : [])] };
  }

  known(owner: Owner, taskId: unknown): KnownTask | undefined {
    return typeof taskId === 'string' ? this.#known.get(ownedBy(owner))?.get(taskId) : undefined;
  }

  /** Whether some task of the owner reports its progress under this token. */
  hasProgress(owner: Owner, token: RequestId): boolean {
    for (const { progressToken } of this.#known.get(ownedBy(owner))?.values() ?? []) if (progressToken === token) return true;
    return false;
  }

  #remember(owner: Owner, taskId: string, task: KnownTask): void {
    const key = ownedBy(owner);
    const tasks = this.#known.get(key) ?? new Map<string, KnownTask>();
    this.#size -= tasks.size;
    // Behind all others, so that the first is always the one to be forgotten.
    tasks.delete(taskId);
    tasks.set(taskId, task);
    if (tasks.size > tasksPerOwner) deleteFirst(tasks);
    this.#known.delete(key);
    this.#known.set(key, tasks);
    this.#size += tasks.size;
    while (this.#size > tasksInAll) this.#size -= deleteFirst(this.#known)?.size ?? 0;
  }
}

/** What the owner must be allowed now to have anything of a task. Without arguments: some call of its tool. */
export const taskAction = (upstream: string, { method, name }: TaskOrigin): Action => {
  if (method === 'prompts/get') return { kind: 'prompt', upstream, name };
  if (method === 'resources/read') return { kind: 'resource', upstream, uri: name };
  return { kind: 'tool', upstream, name };
};

const kind = 'task';

const deleteFirst = <Value>(map: Map<string, Value>): Value | undefined => {
  for (const [key, value] of map) {
    map.delete(key);
    return value;
  }
  return undefined;
};
