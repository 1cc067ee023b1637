/** The protocol revisions this gateway knows, and in what they differ for it. */

/** `legacy` has sessions, GET streams and resumption; `modern` has neither (mcp.md). */
export type Era = 'legacy' | 'modern';

export interface Revision {
  readonly name: string;
  readonly era: Era;
  /** JSON-RPC arrays were legal in one revision only. */
  readonly batch: boolean;
  /** Whether requests after `initialize` must carry `MCP-Protocol-Version`. */
  readonly versionHeader: 'required' | 'none';
}

/** Oldest first. */
export const revisions: readonly Revision[] = [
  { name: '2024-11-05', era: 'legacy', batch: false, versionHeader: 'none' },
  { name: '2025-03-26', era: 'legacy', batch: true, versionHeader: 'none' },
  { name: '2025-06-18', era: 'legacy', batch: false, versionHeader: 'required' },
  { name: '2025-11-25', era: 'legacy', batch: false, versionHeader: 'required' },
  { name: '2026-07-28', era: 'modern', batch: false, versionHeader: 'required' },
];

/** What the gateway speaks to a modern MCP server by itself, and offers to modern MCP clients. */
export const modernRevision = '2026-07-28';

/** What the gateway speaks to a legacy MCP server by itself. */
export const newestLegacyRevision = '2025-11-25';

export const isModern = (name: string): boolean => byName.get(name)?.era === 'modern';

/** What a request without `MCP-Protocol-Version` and without a session is taken for (revision 2025-06-18, transports). */
export const assumedRevision = '2025-03-26';

export const revisionOf = (name: string): Revision | undefined => byName.get(name);

export const isKnownRevision = (name: string): boolean => byName.has(name);

/** False for unknown revisions too. */
export const batchAllowed = (name: string): boolean => byName.get(name)?.batch ?? false;

const byName: ReadonlyMap<string, Revision> = new Map(revisions.map((revision) => [revision.name, revision]));
