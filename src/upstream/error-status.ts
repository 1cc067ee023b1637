/** HTTP status of an error response that an MCP server without HTTP gave (revision 2026-07-28, Streamable HTTP). */
import { errorTable } from '../errors.ts';

/**
 * Streamable HTTP wants 404 for an unknown method, and 400 where the request itself was refused. What
 * a tool or resource went wrong with is the answer to a request that was fine: 200.
 */
export const errorStatus = (code: number | undefined): number => statusOf.get(code) ?? 200;

const statusOf: ReadonlyMap<number | undefined, number> = new Map([
  [errorTable.ERR_MCP_METHOD.jsonRpc, 404],
  ...([errorTable.ERR_MCP_HEADER_MISMATCH, errorTable.ERR_MCP_CAPABILITY, errorTable.ERR_MCP_REVISION_UNSUPPORTED, errorTable.ERR_MCP_INVALID_REQUEST, errorTable.ERR_MCP_PARSE].map(({ jsonRpc }) => [jsonRpc, 400] as const)),
]);
