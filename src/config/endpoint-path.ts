/** Where an upstream is served. */
import { defaultUpstreamName } from './starter.ts';

/** `/mcp` for the only one and for the command of `serve -- COMMAND`; `/<name>/mcp`, which works for every one, for the others. */
export const endpointPath = (name: string, names: readonly string[]): string => (names.length === 1 || name === defaultUpstreamName ? '/mcp' : namedPath(name));

export const namedPath = (name: string): string => `/${name}/mcp`;
