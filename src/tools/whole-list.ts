/** Asks an upstream for its tools to the end of the list, within bounds. */
import { SallyportError } from '../errors.ts';
import { maxTools } from '../store/tool-definitions.ts';
import type { ToolPage } from './tool-listing.ts';

/** Asks the upstream for one page of `tools/list`, as a certain asker would be answered. */
export type AskForTools = (cursor: string | undefined) => Promise<{ readonly tools: readonly unknown[]; readonly nextCursor?: unknown }>;

const maxPages = 100;

/** @throws what `ask` throws; SallyportError `ERR_UPSTREAM_INVALID`, `ERR_UPSTREAM_TOO_LARGE` */
export const readWholeList = async (ask: AskForTools, take: (page: ToolPage) => void): Promise<void> => {
  let cursor: string | undefined;
  let count = 0;
  for (let pages = 1; ; pages += 1) {
    const { tools, nextCursor: given } = await ask(cursor);
    // Some servers write null for none.
    const nextCursor = given ?? undefined;
    if (nextCursor !== undefined && typeof nextCursor !== 'string') throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a cursor that is no text');
    count += tools.length;
    if (count > maxTools || (nextCursor !== undefined && pages === maxPages)) {
      throw new SallyportError('ERR_UPSTREAM_TOO_LARGE', 'the MCP server has more tools than can be watched', { facts: { tools: count, pages } });
    }
    take({ tools, cursor, nextCursor });
    if (nextCursor === undefined) return;
    if (nextCursor === cursor) throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent the cursor it was given');
    cursor = nextCursor;
  }
};
