/** What an MCP server may ask an MCP client: a request in the legacy era, a member of `inputRequests` in the modern one. */
import { isFields, without } from './fields.ts';
import type { Fields } from './fields.ts';

/** Methods whose modern result may ask for input. */
export const mayAskForInput: ReadonlySet<string> = new Set(['tools/call', 'prompts/get', 'resources/read']);

const kinds: ReadonlySet<string> = new Set(['sampling/createMessage', 'elicitation/create', 'roots/list']);

/** Whether there is such a question in the modern era. */
export const isInputRequest = (method: string): boolean => kinds.has(method);

/**
 * The capability that a question needs and the client did not declare, as `elicitation.url`. A bare
 * `elicitation` stands for forms, as it did before there were modes.
 */
export const missingCapability = (method: string, params: Fields, declared: Fields): string | undefined => {
  const [name, member] = required(method, params);
  const capability = declared[name];
  if (!isFields(capability)) return name;
  if (member === undefined || capability[member] !== undefined) return undefined;
  if (name === 'elicitation' && member === 'form' && capability.url === undefined) return undefined;
  return `${name}.${member}`;
};

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

const required = (method: string, params: Fields): readonly [string, string | undefined] => {
  if (method === 'roots/list') return ['roots', undefined];
  if (method === 'elicitation/create') return ['elicitation', params.mode === 'url' ? 'url' : 'form'];
  return ['sampling', params.tools !== undefined || params.toolChoice !== undefined ? 'tools' : undefined];
};
