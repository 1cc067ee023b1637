/** A tool store in memory that can be made to fail; and a change feed that says nothing by itself. */
import type { AuditEvent } from '../../ca/ports.ts';
import type { Change, ChangeFeed } from '../../src/store/changes.ts';
import { firstSight } from '../../src/store/tool-definitions.ts';
import type { Sighting, SightingEvents, ToolStanding, ToolStore } from '../../src/store/tool-definitions.ts';

export interface MemoryToolStore extends Pick<ToolStore, 'standings' | 'met' | 'observe'> {
  readonly events: AuditEvent[];
  readonly sightings: Sighting[];
  readonly changes: Pick<ChangeFeed, 'subscribe' | 'latest'>;
  /** As `tools approve` in another process. */
  approve(upstream: string, name: string): void;
  fail(error: Error | undefined): void;
}

export const memoryToolStore = (): MemoryToolStore => {
  const rows = new Map<string, ToolStanding & { readonly definition: string; readonly approvedBy: string | undefined }>();
  const met = new Set<string>();
  const events: AuditEvent[] = [];
  const sightings: Sighting[] = [];
  const listeners = new Set<(change: Change) => void>();
  let failure: Error | undefined;
  let seq = 0;
  const keyOf = (upstream: string, name: string): string => JSON.stringify([upstream, name]);
  const working = async (): Promise<void> => {
    await Promise.resolve();
    if (failure !== undefined) throw failure;
  };
  const announce = (upstream: string): void => {
    seq += 1;
    for (const listener of listeners) listener({ seq, kind: 'tools', upstream, at: new Date(0) });
  };
  return {
    events,
    sightings,
    standings: async (upstream) => {
      await working();
      return [...rows.values()].filter((row) => upstream === undefined || row.upstream === upstream);
    },
    met: async () => {
      await working();
      return [...met];
    },
    observe: async (sighting: Sighting, make: SightingEvents) => {
      await working();
      sightings.push(sighting);
      const { upstream, seen, removed, complete } = sighting;
      const standings = seen.map((tool) => {
        const known = rows.get(keyOf(upstream, tool.name));
        if (known === undefined && met.has(upstream)) events.push(make.added(tool));
        if (known !== undefined && known.currentDigest !== tool.digest) {
          events.push(make.changed(tool, { before: { name: tool.name, digest: known.currentDigest, definition: known.definition }, approvedDigest: known.approvedDigest }));
        }
        const fresh = { upstream, name: tool.name, approvedDigest: tool.digest, approved: !met.has(upstream), approvedBy: met.has(upstream) ? undefined : firstSight };
        const row = { ...(known ?? fresh), currentDigest: tool.digest, definition: tool.definition, removed: false };
        rows.set(keyOf(upstream, tool.name), row);
        return row;
      });
      for (const name of removed) {
        const known = rows.get(keyOf(upstream, name));
        if (known !== undefined) rows.set(keyOf(upstream, name), { ...known, removed: true });
      }
      if (complete) met.add(upstream);
      announce(upstream);
      return standings;
    },
    approve: (upstream, name) => {
      const known = rows.get(keyOf(upstream, name));
      if (known === undefined) throw new TypeError(`no tool ${name}`);
      rows.set(keyOf(upstream, name), { ...known, approvedDigest: known.currentDigest, approved: true });
      announce(upstream);
    },
    fail: (error) => {
      failure = error;
    },
    changes: {
      latest: () => Promise.resolve(seq),
      subscribe: (listener) => {
        listeners.add(listener);
        return Promise.resolve(() => {
          listeners.delete(listener);
          return Promise.resolve();
        });
      },
    },
  };
};
