/** Where an upstream is served. */
import { defaultUpstreamName } from './starter.ts';

/** Name of all upstreams offered as one. No upstream may have it. */
export const aggregateName = 'mcp';

export const aggregatePath = '/mcp';

export interface Neighbours {
  /** Of all upstreams. */
  readonly names: readonly string[];
  /** Whether `/mcp` offers them as one. */
  readonly aggregate: boolean;
}

/** `/mcp` for the only one and for the command of `serve -- COMMAND`; `/<name>/mcp`, which works for every one, for the others. */
export const endpointPath = (name: string, { names, aggregate }: Neighbours): string =>
  !aggregate && (names.length === 1 || name === defaultUpstreamName) ? '/mcp' : namedPath(name);

export const namedPath = (name: string): string => `/${name}/mcp`;
