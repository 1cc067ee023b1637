/**
 * Which arguments of which tool go into `Mcp-Param-*` headers (revision 2026-07-28). An MCP client on
 * stdio knows nothing of headers, so the bridge learns the schemas from the lists that pass by, and
 * asks for the list itself before the first call of a tool it has not seen.
 */
import { paramHeadersOf, scanParamHeaders } from '../mcp/param-headers.ts';
import type { ParamHeader } from '../mcp/param-headers.ts';

/** Asks the gateway for one page of tools; undefined when there is no answer to be had. */
export type ListPage = (cursor: string | undefined) => Promise<Readonly<Record<string, unknown>> | undefined>;

/** A server with more pages than this is listing without end. */
const maxPages = 200;
const maxTools = 100_000;

export class ToolHeaders {
  readonly #declared = new Map<string, readonly ParamHeader[]>();
  #listing: Promise<void> | undefined;
  /** Counts what made the lists stale, so that a list under way when that happened is not believed. */
  #age = 0;

  /** Takes in a result of `tools/list`. */
  learn(result: unknown): void {
    const tools: unknown = isObject(result) ? result['tools'] : undefined;
    if (!Array.isArray(tools)) return;
    if (this.#declared.size + tools.length > maxTools) this.forget();
    for (const tool of tools as readonly unknown[]) {
      if (isObject(tool) && typeof tool['name'] === 'string') this.#declared.set(tool['name'], scanParamHeaders(tool['inputSchema']) ?? []);
    }
  }

  /** The tools changed, or were found to have changed. */
  forget(): void {
    this.#age += 1;
    this.#declared.clear();
    this.#listing = undefined;
  }

  /** The headers of one call. A tool that no list names is called without: the gateway has the last word. */
  async headersFor(name: unknown, args: unknown, list: ListPage): Promise<Readonly<Record<string, string>>> {
    if (typeof name !== 'string') return {};
    if (!this.#declared.has(name)) {
      this.#listing ??= this.#list(list, this.#age);
      await this.#listing;
      // Not asked for again until the tools change, however often a tool is called that is not there.
      if (!this.#declared.has(name) && this.#declared.size < maxTools) this.#declared.set(name, []);
    }
    return paramHeadersOf(this.#declared.get(name) ?? [], args);
  }

  async #list(list: ListPage, age: number): Promise<void> {
    let cursor: string | undefined;
    for (let page = 0; page < maxPages; page += 1) {
      const result = await list(cursor);
      if (age !== this.#age) return;
      if (result === undefined) break;
      this.learn(result);
      const next = result['nextCursor'];
      if (typeof next !== 'string' || next === cursor) break;
      cursor = next;
    }
    if (age === this.#age) this.#listing = undefined;
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value);
