/** Cursors of lists: what an upstream calls the next page is nothing a principal may try out. */
import { SallyportError } from '../errors.ts';
import { ownedBy } from './sealing.ts';
import type { Owner, Sealer } from './sealing.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Methods whose results come in pages (revision 2025-11-25, pagination). */
export const isPaged = (method: string): boolean => paged.has(method);

/**
 * Seals `nextCursor`. The same cursor gives the same text: a client that is led in a circle can see it.
 * @throws SallyportError `ERR_UPSTREAM_INVALID`
 */
export const sealCursor = (sealer: Sealer, of: { readonly owner: Owner; readonly method: string }, result: Fields): Fields => {
  if (!Object.hasOwn(result, 'nextCursor') || !isPaged(of.method)) return result;
  const { nextCursor } = result;
  // Some servers say with null what the specification says with nothing: that this was the last page.
  if (nextCursor === null) return result;
  if (typeof nextCursor !== 'string') throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a nextCursor that is no text');
  return { ...result, nextCursor: sealer.sealStable(kind, bindingOf(of), JSON.stringify(nextCursor)) };
};

/** The upstream's own cursor; undefined when this one was not given to this owner by this method. */
export const openCursor = (sealer: Sealer, of: { readonly owner: Owner; readonly method: string }, cursor: unknown): string | undefined => {
  const opened = typeof cursor === 'string' ? sealer.openStable(kind, bindingOf(of), cursor) : undefined;
  return opened === undefined ? undefined : (JSON.parse(opened) as string);
};

const kind = 'cursor';

const bindingOf = ({ owner, method }: { readonly owner: Owner; readonly method: string }): string => ownedBy(owner, method);

const paged: ReadonlySet<string> = new Set(['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'tasks/list']);
