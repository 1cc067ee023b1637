/** What is known of one upstream's tools, over all who ask for them. */
import type { ToolDefinition } from '../mcp/tool-definition.ts';
import { maxTools } from '../store/tool-definitions.ts';
import type { SeenTool, ToolStanding } from '../store/tool-definitions.ts';
import { ListingReader } from './tool-listing.ts';
import type { Listing } from './tool-listing.ts';
import type { SightingQueue } from './sighting-queue.ts';

/** Changes of one tool that are kept one by one; of a tool that never says the same twice the rest is counted. */
const changesPerWindow = 8;
const windowMs = 10 * 60_000;

interface Window {
  startedAt: number;
  kept: number;
  suppressed: number;
}

export class WatchedUpstream {
  readonly name: string;
  readonly reader = new ListingReader();
  readonly queue: SightingQueue;
  readonly standings = new Map<string, ToolStanding>();
  /** Whether its tools were seen to the end of the list before. */
  met = false;
  /** Counts `tools/list_changed` of an upstream without sessions. */
  generation = 0;
  /** Changes whenever a standing does; listings compared at this epoch need not be compared again. */
  #epoch = 0;
  readonly #compared = new WeakMap<Listing, number>();
  /** Whole lists that somebody goes by, with how many do. */
  readonly #inUse = new Map<Listing, number>();
  readonly #windows = new Map<string, Window>();

  constructor(name: string, queue: SightingQueue) {
    this.name = name;
    this.queue = queue;
  }

  learn(standings: readonly ToolStanding[]): void {
    for (const standing of standings) this.standings.set(standing.name, standing);
    this.#epoch += 1;
  }

  /** Tools of a page that the store has to hear of. Until it answers they count as what they will be. */
  compare(page: Listing, now: number): readonly SeenTool[] {
    if (this.#compared.get(page) === this.#epoch) return [];
    const differing = [...page.tools.values()].filter((tool) => this.#differs(tool));
    const news = this.queue.full ? [] : differing.filter(({ name }) => this.#mayKeep(name, now)).map(({ name, digest, canonical }) => ({ name, digest, definition: canonical }));
    if (news.length > 0) this.learn(news.map((tool) => this.#expected(tool)));
    if (news.length === differing.length) this.#compared.set(page, this.#epoch);
    return news;
  }

  /** A list to its end takes the place of another; answers with the tools that no list names any more. */
  replaceWhole(before: Listing | undefined, now: Listing | undefined): readonly string[] {
    if (before === now) return [];
    const known = now !== undefined && this.#inUse.has(now);
    if (now !== undefined) this.#inUse.set(now, (this.#inUse.get(now) ?? 0) + 1);
    if (before !== undefined) {
      const users = (this.#inUse.get(before) ?? 1) - 1;
      if (users > 0) this.#inUse.set(before, users);
      else this.#inUse.delete(before);
    }
    if (now === undefined || (known && before === undefined)) return [];
    const gone = [...this.standings.values()].filter(({ name, removed }) => !removed && ![...this.#inUse.keys()].some(({ tools }) => tools.has(name)));
    this.learn(gone.map((standing) => ({ ...standing, removed: true })));
    return gone.map(({ name }) => name);
  }

  /** Changes of a tool that were not kept since the last one that was. */
  takeSuppressed(name: string): number {
    const window = this.#windows.get(name);
    const suppressed = window?.suppressed ?? 0;
    if (window !== undefined) window.suppressed = 0;
    return suppressed;
  }

  #differs({ name, digest }: ToolDefinition): boolean {
    const standing = this.standings.get(name);
    return standing === undefined ? this.standings.size < maxTools : standing.currentDigest !== digest || standing.removed;
  }

  #mayKeep(name: string, now: number): boolean {
    if (!this.standings.has(name)) return true;
    let window = this.#windows.get(name);
    if (window === undefined || now - window.startedAt >= windowMs || now < window.startedAt) {
      window = { startedAt: now, kept: 0, suppressed: window?.suppressed ?? 0 };
      this.#windows.set(name, window);
    }
    if (window.kept >= changesPerWindow) {
      window.suppressed += 1;
      return false;
    }
    window.kept += 1;
    return true;
  }

  #expected(tool: SeenTool): ToolStanding {
    const standing = this.standings.get(tool.name) ?? { upstream: this.name, name: tool.name, approvedDigest: tool.digest, approved: !this.met };
    return { ...standing, currentDigest: tool.digest, removed: false };
  }
}
