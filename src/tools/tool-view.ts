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

interface Chain {
  readonly listing: Listing;
  readonly startedAt: number;
  readonly generation: number;
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
  /** Pages that have come since. */
  #since: Map<string, ToolDefinition> | undefined;
  readonly #chains = new Map<string, Chain>();
  #freshSince = -Infinity;
  #freshGeneration = -1;

  definition(name: string): ToolDefinition | undefined {
    return this.#since?.get(name) ?? this.whole?.tools.get(name);
  }

  isFresh({ now, generation, freshForMs }: { now: number; generation: number; freshForMs: number }): boolean {
    // A clock that was set back must not make a list good for longer.
    const age = now - this.#freshSince;
    return this.whole !== undefined && this.#freshGeneration === generation && age >= 0 && age < freshForMs;
  }

  /** @throws SallyportError `ERR_UPSTREAM_INVALID` */
  take(given: ToolPage, { reader, now, generation }: { reader: ListingReader; now: number; generation: number }): Listed {
    const page = reader.page(given.tools);
    const before = given.cursor === undefined ? undefined : this.#chains.get(given.cursor);
    const fromStart = given.cursor === undefined || before !== undefined;
    const chain: Chain = { listing: reader.extend(before?.listing, page), startedAt: before?.startedAt ?? now, generation: before?.generation ?? generation };
    if (fromStart && given.nextCursor === undefined) {
      this.whole = chain.listing;
      this.#since = undefined;
      this.#freshSince = chain.startedAt;
      this.#freshGeneration = chain.generation;
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
    this.#chains.delete(cursor);
    this.#chains.set(cursor, chain);
    for (const oldest of this.#chains.keys()) {
      if (this.#chains.size <= maxChains) return;
      this.#chains.delete(oldest);
    }
  }
}
