/**
 * Watches how the tools of the upstreams are defined. What was there when an upstream was first met is
 * trusted (it was chosen then); what differs later is recorded, told, and refused where policy says so.
 * Judging costs two look-ups and no waiting; only `ensureFresh` asks anybody.
 */
import type { Clock } from '../../ca/ports.ts';
import type { ToolDefinition } from '../mcp/tool-definition.ts';
import type { DecisionReason } from '../policy/decision.ts';
import type { Policy } from '../policy/policy.ts';
import type { Change, ChangeFeed } from '../store/changes.ts';
import type { Sighting, ToolStanding, ToolStore } from '../store/tool-definitions.ts';
import { toolAdded, toolChanged } from './events.ts';
import { SightingQueue } from './sighting-queue.ts';
import type { ToolPage } from './tool-listing.ts';
import { ViewState, viewKey } from './tool-view.ts';
import type { ListedAsOf, ToolView } from './tool-view.ts';
import { WatchedUpstream } from './watched-upstream.ts';
import { readWholeList } from './whole-list.ts';
import type { AskForTools } from './whole-list.ts';

export type { ToolPage } from './tool-listing.ts';
export type { ToolView } from './tool-view.ts';
export type { AskForTools } from './whole-list.ts';

export type ToolJudgement =
  /** As it was when it was approved. */
  | 'approved'
  /** Came after the upstream was met, and nobody has approved it. */
  | 'new'
  /** Not as it was when it was approved or first seen. */
  | 'changed'
  /** No list that this asker was given names it. */
  | 'unlisted';

export interface ToolWatchOptions {
  readonly store: Pick<ToolStore, 'standings' | 'met' | 'observe'>;
  readonly changes: Pick<ChangeFeed, 'subscribe' | 'latest'>;
  readonly clock: Clock;
  readonly log: { warn(facts: object, message: string): void; error(facts: object, message: string): void };
  /** How long a list is good for `ensureFresh`. Default five minutes. */
  readonly freshForMs?: number | undefined;
  /** What the store said has been taken over; for `ChangeFeed.acknowledge`. */
  readonly onApplied?: ((seq: number) => void) | undefined;
}

const defaultFreshForMs = 5 * 60_000;
const reloadRetryMs = 1_000;
/** Askers that are remembered; who is forgotten has the upstream asked again. */
const maxViews = 20_000;

export class ToolWatch {
  readonly #options: ToolWatchOptions;
  readonly #freshForMs: number;
  readonly #upstreams = new Map<string, WatchedUpstream>();
  readonly #views = new Map<string, ViewState>();
  #unsubscribe: (() => Promise<void>) | undefined;
  #reloading = Promise.resolve();
  /** Upstreams whose standings in the store are newer than here, with the number of the change. */
  readonly #outdated = new Map<string, number>();
  #retry: NodeJS.Timeout | undefined;

  constructor(options: ToolWatchOptions) {
    this.#options = options;
    this.#freshForMs = options.freshForMs ?? defaultFreshForMs;
  }

  /** Resolves once everything known is at hand; without it nothing may be judged. @throws CaError `ERR_STORE_UNAVAILABLE` */
  async start(): Promise<void> {
    const { changes, store } = this.#options;
    // First listen, then read: what is committed in between arrives twice instead of never.
    const after = await changes.latest();
    this.#unsubscribe = await changes.subscribe((change) => this.#onChange(change), { after });
    try {
      for (const upstream of await store.met()) this.#upstream(upstream).met = true;
      for (const [upstream, standings] of byUpstream(await store.standings())) this.#upstream(upstream).learn(standings);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Keeps what was seen; rejects when that cannot be done. */
  async close(): Promise<void> {
    await this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    clearTimeout(this.#retry);
    await this.#reloading;
    const closed = await Promise.allSettled([...this.#upstreams.values()].map(({ queue }) => queue.close()));
    for (const { status, ...outcome } of closed) if (status === 'rejected' && 'reason' in outcome) throw outcome.reason;
  }

  /**
   * Takes note of a `tools/list` result on its way to an asker, before anything is filtered from it.
   * @throws SallyportError `ERR_UPSTREAM_INVALID`
   */
  observe(view: ToolView, page: ToolPage): void {
    this.#observe(view, page, this.#asOf(view));
  }

  judge(view: ToolView, name: string): ToolJudgement {
    const digest = this.definitionOf(view, name)?.digest;
    if (digest === undefined) return 'unlisted';
    const standing = this.#upstreams.get(view.upstream)?.standings.get(name);
    // Beyond what is kept, nothing can be said for a tool.
    if (standing === undefined) return 'new';
    if (standing.approvedDigest !== digest) return 'changed';
    return standing.approved ? 'approved' : 'new';
  }

  /** Why policy refuses the tool for how it is defined; undefined when it does not. Lists and calls ask the same. */
  objectionTo(policy: Pick<Policy, 'onToolChange' | 'onNewTool'>, view: ToolView, name: string): Extract<DecisionReason, 'toolChanged' | 'toolNew' | 'toolUnlisted'> | undefined {
    if (!this.isAskedBy(policy)) return undefined;
    const judgement = this.judge(view, name);
    if (judgement === 'unlisted') return 'toolUnlisted';
    if (judgement === 'changed' && policy.onToolChange === 'deny') return 'toolChanged';
    // A new tool stays one when it changes.
    const approved = this.#upstreams.get(view.upstream)?.standings.get(name)?.approved ?? false;
    return policy.onNewTool === 'deny' && !approved ? 'toolNew' : undefined;
  }

  /** Whether policy wants definitions to be known before a call: then `ensureFresh` comes before `objectionTo`. */
  isAskedBy(policy: Pick<Policy, 'onToolChange' | 'onNewTool'>): boolean {
    return policy.onToolChange === 'deny' || policy.onNewTool === 'deny';
  }

  /**
   * Makes sure that the asker's list is known to its end, no older than it may be, and kept in the
   * store. Several at once ask the upstream once.
   * @throws what `ask` throws; SallyportError `ERR_UPSTREAM_INVALID`, `ERR_UPSTREAM_TOO_LARGE`; CaError `ERR_STORE_UNAVAILABLE`
   */
  async ensureFresh(view: ToolView, ask: AskForTools): Promise<void> {
    await this.ensureKnown(view, ask);
    await this.#upstream(view.upstream).queue.flush();
  }

  /** As `ensureFresh`, but for those who do not judge by it: whether the store keeps it is not waited for. */
  async ensureKnown(view: ToolView, ask: AskForTools): Promise<void> {
    const state = this.#view(view);
    while (!this.#isFresh(state, view)) {
      if (state.asking === undefined) {
        await this.#askOnce(state, view, ask);
        // A list that changed while it was read is read a second time; then the next call asks again.
        if (!this.#isFresh(state, view)) await this.#askOnce(state, view, ask);
        break;
      }
      // Another's question may fail for reasons of its own, such as its client going away.
      await state.asking.catch(() => undefined);
    }
  }

  /** `notifications/tools/list_changed` reached this asker. */
  listChanged(view: ToolView): void {
    // A session that was shown nothing has nothing that could be out of date.
    const told = view.session === undefined ? this.#upstream(view.upstream) : this.#views.get(viewKey(view));
    if (told !== undefined) told.generation += 1;
  }

  /** This asker's list may be out of date: it is asked for again before it has to be fresh. */
  expire(view: ToolView): void {
    this.#views.get(viewKey(view))?.expire();
  }

  /** The asker's session has ended. */
  forget(view: ToolView): void {
    this.#forget(viewKey(view), view.upstream);
  }

  /** As this asker was last shown it. */
  definitionOf(view: ToolView, name: string): ToolDefinition | undefined {
    return this.#views.get(viewKey(view))?.definition(name);
  }

  /** Every tool that the upstream has ever shown to anybody. */
  namesOf(upstream: string): Iterable<string> {
    return this.#upstreams.get(upstream)?.standings.keys() ?? [];
  }

  #observe(view: ToolView, page: ToolPage, asOf: ListedAsOf): void {
    const upstream = this.#upstream(view.upstream);
    const state = this.#view(view);
    const now = this.#options.clock.now();
    const before = state.whole;
    const { page: read, whole } = state.take(page, upstream.reader, asOf);
    const seen = upstream.compare(read, now.getTime());
    const removed = whole === undefined ? [] : upstream.replaceWhole(before, whole);
    const complete = page.nextCursor === undefined && !upstream.met;
    if (complete) upstream.met = true;
    if (seen.length + removed.length > 0 || complete) upstream.queue.push({ upstream: view.upstream, seen, removed, complete, at: now });
  }

  #askOnce(state: ViewState, view: ToolView, ask: AskForTools): Promise<void> {
    const asking = this.#ask(view, ask).finally(() => {
      if (state.asking === asking) state.asking = undefined;
    });
    return (state.asking = asking);
  }

  async #ask(view: ToolView, ask: AskForTools): Promise<void> {
    // Of the time before the question: what changes while it is answered may be missing from the answer.
    const asOf = this.#asOf(view);
    await readWholeList(ask, (page) => this.#observe(view, page, asOf));
  }

  #isFresh(state: ViewState, view: ToolView): boolean {
    return state.isFresh(this.#asOf(view), this.#freshForMs);
  }

  #asOf(view: ToolView): ListedAsOf {
    const generation = view.session === undefined ? this.#upstream(view.upstream).generation : (this.#views.get(viewKey(view))?.generation ?? 0);
    return { time: this.#options.clock.now().getTime(), generation };
  }

  #view(view: ToolView): ViewState {
    const key = viewKey(view);
    const state = this.#views.get(key) ?? new ViewState();
    this.#views.delete(key);
    this.#views.set(key, state);
    for (const oldest of this.#views.keys()) {
      if (this.#views.size <= maxViews) break;
      this.#forget(oldest, (JSON.parse(oldest) as readonly [string])[0]);
    }
    return state;
  }

  #forget(key: string, upstream: string): void {
    const state = this.#views.get(key);
    if (state === undefined) return;
    this.#views.delete(key);
    this.#upstream(upstream).replaceWhole(state.whole, undefined);
  }

  #upstream(name: string): WatchedUpstream {
    let upstream = this.#upstreams.get(name);
    if (upstream === undefined) {
      const queue = new SightingQueue({
        keep: (sighting) => this.#keep(sighting),
        onKept: (standings) => this.#upstream(name).learn(standings),
        onFailure: (error) => this.#options.log.error({ error, upstream: name }, 'tool definitions could not be recorded'),
      });
      upstream = new WatchedUpstream(name, queue);
      this.#upstreams.set(name, upstream);
    }
    return upstream;
  }

  #keep(sighting: Sighting): Promise<readonly ToolStanding[]> {
    const { upstream, at: time } = sighting;
    const { log } = this.#options;
    return this.#options.store.observe(sighting, {
      added: (tool) => {
        log.warn({ upstream, tool: tool.name, digest: tool.digest }, 'tool added');
        return toolAdded(upstream, tool, time);
      },
      changed: (tool, { before, approvedDigest }) => {
        const event = toolChanged(upstream, tool, { before, approvedDigest, time, suppressed: this.#upstream(upstream).takeSuppressed(tool.name) });
        log.warn({ upstream, tool: tool.name, ...event.detail }, 'tool definition changed');
        return event;
      },
    });
  }

  #onChange(change: Change): void {
    if (change.kind !== 'tools') return;
    this.#outdated.set(change.upstream, change.seq);
    this.#reload();
  }

  #reload(): void {
    this.#reloading = this.#reloading.then(async () => {
      for (const [name, seq] of this.#outdated) {
        try {
          this.#upstream(name).learn(await this.#options.store.standings(name));
        } catch (error) {
          this.#options.log.error({ error, upstream: name }, 'tool definitions could not be read again: what was approved meanwhile is not in force here');
          clearTimeout(this.#retry);
          if (this.#unsubscribe !== undefined) this.#retry = setTimeout(() => this.#reload(), reloadRetryMs).unref();
          return;
        }
        // Another change may have come meanwhile.
        if (this.#outdated.get(name) === seq) this.#outdated.delete(name);
        this.#options.onApplied?.(seq);
      }
    });
  }
}

const byUpstream = (standings: readonly ToolStanding[]): ReadonlyMap<string, ToolStanding[]> => {
  const grouped = new Map<string, ToolStanding[]>();
  for (const standing of standings) grouped.set(standing.upstream, [...(grouped.get(standing.upstream) ?? []), standing]);
  return grouped;
};
