/** Lists of tools as they come in, page by page; equal ones are read once and kept once. */
import { hash } from 'node:crypto';
import { stringifyLossless } from '../mcp/lossless-json.ts';
import { ambiguousDefinition, readToolDefinition } from '../mcp/tool-definition.ts';
import type { ToolDefinition } from '../mcp/tool-definition.ts';

/** One `tools/list` result, before anything is filtered from it. */
export interface ToolPage {
  /** As `parseLossless` gave them. */
  readonly tools: readonly unknown[];
  /** The upstream's own cursor in the request; undefined for the first page. */
  readonly cursor: string | undefined;
  /** The upstream's own cursor in the result; undefined for the last page. */
  readonly nextCursor: string | undefined;
}

/** Some pages of one list, from the first on. */
export interface Listing {
  /** Names what was read, so that equal lists are one object however many clients ask for them. */
  readonly key: string;
  readonly tools: ReadonlyMap<string, ToolDefinition>;
}

const emptyListing: Listing = { key: '', tools: new Map() };

/** Different texts of one upstream that are remembered. */
const capacity = 128;

/** Reads pages for one upstream: the digests of a thousand tools cost one hash when the text was seen before. */
export class ListingReader {
  readonly #read = new Map<string, Listing>();

  /** @throws SallyportError `ERR_UPSTREAM_INVALID` */
  page(tools: readonly unknown[]): Listing {
    const key = hash('sha256', stringifyLossless(tools), 'base64');
    return this.#remembered(key, () => {
      const read = new Map<string, ToolDefinition>();
      for (const tool of tools) {
        const definition = readToolDefinition(tool);
        if (definition !== undefined) add(read, definition);
      }
      return read;
    });
  }

  /** The pages before, and one more. */
  extend(before: Listing | undefined, page: Listing): Listing {
    const { key, tools } = before ?? emptyListing;
    if (key === '') return page;
    return this.#remembered(hash('sha256', `${key}\n${page.key}`, 'base64'), () => {
      const all = new Map(tools);
      for (const definition of page.tools.values()) add(all, definition);
      return all;
    });
  }

  #remembered(key: string, read: () => ReadonlyMap<string, ToolDefinition>): Listing {
    const known = this.#read.get(key);
    this.#read.delete(key);
    const listing = known ?? { key, tools: read() };
    this.#read.set(key, listing);
    for (const oldest of this.#read.keys()) {
      if (this.#read.size <= capacity) break;
      this.#read.delete(oldest);
    }
    return listing;
  }
}

const add = (tools: Map<string, ToolDefinition>, definition: ToolDefinition): void => {
  const other = tools.get(definition.name);
  tools.set(definition.name, other === undefined || other.digest === definition.digest ? definition : ambiguousDefinition(other, definition));
};
