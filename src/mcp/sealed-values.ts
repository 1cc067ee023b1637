/**
 * Everything an upstream gives to a client that comes back later: cursors, request states, task ids. They
 * leave the gateway sealed to the principal they were given to, and come back through here.
 */
import type { Clock } from '../../ca/ports.ts';
import type { Action } from '../policy/decision.ts';
import { tasksExtension } from './envelope.ts';
import type { RequestId } from './message.ts';
import { openSealed } from './open-sealed.ts';
import type { OpenedMessages } from './open-sealed.ts';
import { isObject } from './read-messages.ts';
import type { ReadMessages } from './read-messages.ts';
import type { Era } from './revisions.ts';
import { sealByShape, sealError, sealResult, sealServerParams } from './seal-result.ts';
import type { Asked, SealContext } from './seal-result.ts';
import type { Owner, Sealer } from './sealing.ts';
import { TaskTable } from './tasks.ts';

type Fields = Readonly<Record<string, unknown>>;
type Allows = (action: Action) => boolean;

export interface SealedValuesOptions {
  readonly sealer: Sealer;
  readonly clock: Clock;
  /** Milliseconds within which a client may come back with a request state. Default 1 hour. */
  readonly stateLifetimeMs?: number;
}

/** Whom a message is from or for, and what policy says to them. */
export interface Side extends Owner {
  readonly allows: Allows;
}

const hour = 3_600_000;

export class SealedValues {
  readonly #options: Required<SealedValuesOptions>;
  readonly #tasks: TaskTable;
  /** By era and upstream: whether it has ever announced tasks. */
  readonly #offersTasks = new Map<string, boolean>();

  constructor(options: SealedValuesOptions) {
    this.#options = { stateLifetimeMs: hour, ...options };
    this.#tasks = new TaskTable(options.sealer);
  }

  /**
   * Messages as the upstream may get them, with what the gate has to know; see `openSealed`.
   * @throws SallyportError `ERR_MCP_CAPABILITY`
   */
  open(read: ReadMessages, side: Side & { readonly era: Era }): OpenedMessages {
    const { era, upstream, allows } = side;
    return openSealed(read, { sealer: this.#options.sealer, tasks: this.#tasks, owner: side, era, now: this.#now(), allows, offersTasks: this.#offersTasks.get(`${era} ${upstream}`) ?? true });
  }

  /**
   * Notes of an unfiltered `initialize` or `server/discover` result whether there are tasks at all. Where there
   * are none, methods about them do not exist, as the upstream itself would say, did it get to see them.
   */
  noteCapabilities(upstream: string, method: string, { capabilities }: Fields): void {
    if (!isObject(capabilities)) return;
    const legacy = method === 'initialize';
    const offers = legacy ? Object.hasOwn(capabilities, 'tasks') : isObject(capabilities.extensions) && Object.hasOwn(capabilities.extensions, tasksExtension);
    const key = `${legacy ? 'legacy' : 'modern'} ${upstream}`;
    // Servers may announce more to one client than to another.
    this.#offersTasks.set(key, offers || this.#offersTasks.get(key) === true);
  }

  /**
   * A result as the client may get it; `asked` is undefined when its request is not known any more.
   * @throws SallyportError `ERR_UPSTREAM_INVALID`
   */
  result(asked: Asked | undefined, result: Fields, side: Side): Fields {
    return asked === undefined ? sealByShape(result, this.#contextOf(side)) : sealResult(asked, result, this.#contextOf(side));
  }

  error(asked: Asked | undefined, error: unknown, side: Owner): unknown {
    return sealError(asked, error, { tasks: this.#tasks, owner: side });
  }

  /** Params of a server's own message; undefined when the client must not see it. */
  fromServer(method: string, params: Fields, side: Side): Fields | undefined {
    return sealServerParams(method, params, this.#contextOf(side));
  }

  /** Whether a task of this owner goes on reporting its progress under the token. */
  hasProgress(owner: Owner, token: RequestId): boolean {
    return this.#tasks.hasProgress(owner, token);
  }

  #contextOf(side: Side): SealContext {
    const { sealer, stateLifetimeMs } = this.#options;
    return { sealer, tasks: this.#tasks, owner: side, allows: side.allows, statesUntil: this.#now() + stateLifetimeMs };
  }

  #now(): number {
    return this.#options.clock.now().getTime();
  }
}
