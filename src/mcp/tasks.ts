/**
 * Tasks of both eras: who started one, and with what. A client knows its task by a sealed text that
 * holds the upstream's id and the tool, so a task outlives this memory; only what a server sends on its
 * own needs it, and `tasks/list`.
 */
import { ownedBy } from './sealing.ts';
import type { Owner, Sealer } from './sealing.ts';
import type { Action } from '../policy/decision.ts';
import type { RequestId } from './message.ts';

export interface KnownTask {
  /** Whose call made it. */
  readonly tool: string;
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

  /** The client's id of a task that a call has just made: the same for the same task. */
  seal(owner: Owner, taskId: string, { tool, progressToken }: Pick<KnownTask, 'tool' | 'progressToken'>): string {
    const text = this.#sealer.sealStable(kind, ownedBy(owner), JSON.stringify([taskId, tool]));
    this.#remember(owner, taskId, { tool, text, progressToken });
    return text;
  }

  /**
   * The upstream's id and the tool; undefined when the id was not given to this owner. There is more than one
   * tool where a server used an id again, as two children that count from one do.
   */
  open(owner: Owner, text: unknown): { readonly taskId: string; readonly tools: readonly string[] } | undefined {
    const opened = typeof text === 'string' ? this.#sealer.openStable(kind, ownedBy(owner), text) : undefined;
    if (opened === undefined || typeof text !== 'string') return undefined;
    const [taskId, tool] = JSON.parse(opened) as readonly [string, string];
    const known = this.known(owner, taskId);
    // It may have been sealed by another process, or longer ago than this one remembers.
    this.#remember(owner, taskId, known ?? { tool, text, progressToken: undefined });
    return { taskId, tools: known === undefined || known.tool === tool ? [tool] : [tool, known.tool] };
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

/** What the owner must be allowed now to have anything of a task: some call of its tool. */
export const taskAction = (upstream: string, tool: string): Action => ({ kind: 'tool', upstream, name: tool });

const kind = 'task';

const deleteFirst = <Value>(map: Map<string, Value>): Value | undefined => {
  for (const [key, value] of map) {
    map.delete(key);
    return value;
  }
  return undefined;
};
