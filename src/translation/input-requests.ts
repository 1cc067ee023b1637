/** What an MCP server asks an MCP client: a request in the legacy era, a member of `inputRequests` in the modern one. */
import { isFields, without } from './fields.ts';
import type { Fields } from './fields.ts';

/** Methods whose modern result may ask for input. */
export const mayAskForInput: ReadonlySet<string> = new Set(['tools/call', 'prompts/get', 'resources/read']);

/** Progress on it could not be reported. */
export const toInputRequest = (method: string, params: Fields | undefined): Fields => {
  if (params === undefined) return { method };
  if (!isFields(params._meta)) return { method, params };
  const { _meta, ...rest } = params;
  const meta = without(_meta as Fields, progressToken);
  return { method, params: Object.keys(meta).length === 0 ? rest : { ...rest, _meta: meta } };
};

/** Revision 2025-11-25 wants an `elicitationId` of a URL; the modern era has none. */
export const toLegacyQuestion = (method: string, params: Fields | undefined, elicitationId: () => string): Fields | undefined =>
  method === 'elicitation/create' && params?.mode === 'url' && params.elicitationId === undefined ? { ...params, elicitationId: elicitationId() } : params;

const progressToken: ReadonlySet<string> = new Set(['progressToken']);
