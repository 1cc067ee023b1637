/**
 * What one asker has been shown: an MCP server may define its tools differently for each session, and
 * without sessions for each principal. A definition is judged where it was listed.
 */
import type { ToolDefinition } from '../mcp/tool-definition.ts';
import { maxTools } from '../store/tool-definitions.ts';
import type { Listing, ListingReader, ToolPage } from './tool-listing.ts';

/** Whose list it is: the session's, or without one the principal's. */
export interface ToolView {
  readonly upstream: string;
  /** Any text that names the session as long as it lives. */
  readonly session: string | undefined;
  readonly principal: string;
}

export const viewKey = ({ upstream, session, principal }: ToolView): string => JSON.stringify(session === undefined ? [upstream, principal] : [upstream, principal, session]);

/** Lists that one asker reads at the same time. */
const maxChains = 8;

/** When a list was true. */
export interface ListedAsOf {
  readonly time: number;
  /** How often the upstream had said by then that its tools changed. */
  readonly generation: number;
}

interface Chain {
  readonly listing: Listing;
  readonly asOf: ListedAsOf;
}

export interface Listed {
  /** The page alone. */
  readonly page: Listing;
  /** The whole list, when this was its last page and all before it were seen. */
  readonly whole: Listing | undefined;
}

export class ViewState {
  /** The last list that was seen to its end. */
  whole: Listing | undefined;
  /** A question to the upstream under way. */
  asking: Promise<void> | undefined;
  /** How often the MCP server has told this session that its tools changed. */
  generation = 0;
  /** Pages that have come since. */
  #since: Map<string, ToolDefinition> | undefined;
  #chains: Map<string, Chain> | undefined;
  #wholeAsOf: ListedAsOf | undefined;

  definition(name: string): ToolDefinition | undefined {
    return this.#since?.get(name) ?? this.whole?.tools.get(name);
  }

  isFresh(now: ListedAsOf, freshForMs: number): boolean {
    if (this.#wholeAsOf?.generation !== now.generation) return false;
    const age = now.time - this.#wholeAsOf.time;
    // A clock that was set back must not make a list good for longer.
    return age >= 0 && age < freshForMs;
  }

  expire(): void {
    this.#wholeAsOf = undefined;
  }

  /** @throws SallyportError `ERR_UPSTREAM_INVALID` */
  take(given: ToolPage, reader: ListingReader, asOf: ListedAsOf): Listed {
    const page = reader.page(given.tools);
    const before = given.cursor === undefined ? undefined : this.#chains?.get(given.cursor);
    const fromStart = given.cursor === undefined || before !== undefined;
    const chain: Chain = { listing: reader.extend(before?.listing, page), asOf: before?.asOf ?? asOf };
    if (fromStart && given.nextCursor === undefined) {
      this.whole = chain.listing;
      this.#since = undefined;
      this.#wholeAsOf = chain.asOf;
      return { page, whole: chain.listing };
    }
    this.#since ??= new Map();
    for (const [name, definition] of page.tools) {
      if (this.#since.size < maxTools || this.#since.has(name)) this.#since.set(name, chain.listing.tools.get(name) ?? definition);
    }
    // A list without end is never taken for whole.
    if (fromStart && given.nextCursor !== undefined && chain.listing.tools.size <= maxTools) this.#expect(given.nextCursor, chain);
    return { page, whole: undefined };
  }

  #expect(cursor: string, chain: Chain): void {
    const chains = (this.#chains ??= new Map());
    chains.delete(cursor);
    chains.set(cursor, chain);
    for (const oldest of chains.keys()) {
      if (chains.size <= maxChains) return;
      chains.delete(oldest);
    }
  }
}
