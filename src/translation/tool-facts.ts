/** What one legacy MCP client's session has to know of the tools of a modern MCP server, learned from its lists. */
import { paramHeadersOf, scanParamHeaders } from '../mcp/param-headers.ts';
import type { ParamHeader } from '../mcp/param-headers.ts';
import { isFields } from './fields.ts';
import type { Fields } from './fields.ts';
import { isObjectSchema } from '../mcp/output-schema.ts';

interface ToolFacts {
  readonly headers: readonly ParamHeader[];
  /** Its output schema is no object, so its results are wrapped. */
  readonly wrapped: boolean;
}

/** A server that lists without end is not followed for ever. */
const maxPages = 64;
const maxTools = 4096;

export class KnownTools {
  readonly #tools = new Map<string, ToolFacts>();
  #listing: Promise<void> | undefined;

  /** A page of `tools/list` on its way to the client. */
  learn(result: Fields): void {
    if (!Array.isArray(result.tools)) return;
    for (const tool of result.tools as readonly unknown[]) {
      if (!isFields(tool) || typeof tool.name !== 'string' || (this.#tools.size >= maxTools && !this.#tools.has(tool.name))) continue;
      this.#tools.set(tool.name, {
        headers: scanParamHeaders(tool.inputSchema) ?? [],
        wrapped: isFields(tool.outputSchema) && !isObjectSchema(tool.outputSchema),
      });
    }
  }

  isWrapped(name: unknown): boolean {
    return typeof name === 'string' && this.#tools.get(name)?.wrapped === true;
  }

  /** The `Mcp-Param-*` headers of a call. `page` gives one page of the list, which is asked for once if the tool is not known. */
  async headersOf(params: Fields, page: (cursor: unknown) => Promise<Fields>): Promise<Readonly<Record<string, string>>> {
    const { name } = params;
    if (typeof name !== 'string') return {};
    if (!this.#tools.has(name)) await (this.#listing ??= this.#list(page));
    return paramHeadersOf(this.#tools.get(name)?.headers ?? [], params.arguments);
  }

  /** The server's tools are not what they were. */
  forget(): void {
    this.#tools.clear();
    this.#listing = undefined;
  }

  async #list(page: (cursor: unknown) => Promise<Fields>): Promise<void> {
    let cursor: unknown;
    for (let count = 0; count < maxPages; count += 1) {
      const result = await page(cursor).catch((): Fields => ({}));
      this.learn(result);
      cursor = result.nextCursor;
      if (typeof cursor !== 'string') return;
    }
  }
}
