/**
 * `requestState` (revision 2026-07-28, multi round-trip requests): what a server wants back with the next
 * round. A client could keep it, change it or hand it to another, so it leaves sealed and runs out.
 */
import { SallyportError } from '../errors.ts';
import { nameMemberOf } from './era.ts';
import { ownedBy } from './sealing.ts';
import type { Owner, Sealer } from './sealing.ts';

type Fields = Readonly<Record<string, unknown>>;

/** The request a state belongs to. Its arguments may change from round to round, its name may not. */
export interface StateOf {
  readonly owner: Owner;
  readonly method: string;
  readonly params: Fields | undefined;
}

/**
 * Seals `requestState` of a result, to be opened before `until`.
 * @throws SallyportError `ERR_UPSTREAM_INVALID`
 */
export const sealState = (sealer: Sealer, of: StateOf, { result, until }: { readonly result: Fields; readonly until: number }): Fields => {
  if (!Object.hasOwn(result, 'requestState')) return result;
  const { requestState } = result;
  if (typeof requestState !== 'string') throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a requestState that is no text');
  return { ...result, requestState: sealer.seal(kind, bindingOf(of), JSON.stringify([until, requestState])) };
};

/** The upstream's own state; undefined when it was given to another, for another request, or too long ago. */
export const openState = (sealer: Sealer, of: StateOf, { state, now }: { readonly state: unknown; readonly now: number }): string | undefined => {
  const opened = typeof state === 'string' ? sealer.open(kind, bindingOf(of), state) : undefined;
  if (opened === undefined) return undefined;
  const [until, own] = JSON.parse(opened) as readonly [number, string];
  return now <= until ? own : undefined;
};

const kind = 'request-state';

const bindingOf = ({ owner, method, params }: StateOf): string => {
  const member = nameMemberOf(method);
  // A task's id is sealed itself, and no state goes with tasks.
  return ownedBy(owner, method, JSON.stringify((member === undefined || member === 'taskId' ? undefined : params?.[member]) ?? null));
};
