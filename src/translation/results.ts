/** Results and errors from one era to the other. What is not named here is carried on as it is. */
import { serverInfoKey } from '../mcp/envelope.ts';
import { modernRevision } from '../mcp/revisions.ts';
import { fieldsOf, isFields, without } from './fields.ts';
import type { Fields } from './fields.ts';
import { isObjectSchema, wrappedSchema } from '../mcp/output-schema.ts';

/** Methods whose modern results say how long they may be kept. */
const cacheable: ReadonlySet<string> = new Set(['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'resources/read', 'server/discover']);
const cacheMembers: ReadonlySet<string> = new Set(['ttlMs', 'cacheScope']);
const resultType: ReadonlySet<string> = new Set(['resultType']);
const metaMember: ReadonlySet<string> = new Set(['_meta']);
const serverInfoMember: ReadonlySet<string> = new Set([serverInfoKey]);
const execution: ReadonlySet<string> = new Set(['execution']);

/** A result of a legacy MCP server. Nothing is known of how long it holds, so it may not be kept. */
export const toModernResult = (method: string, result: Fields, serverInfo: Fields | undefined): Fields => ({
  ...(method === 'tools/list' ? eachTool(result, (tool) => without(tool, execution)) : result),
  resultType: 'complete',
  ...(cacheable.has(method) ? { ttlMs: 0, cacheScope: 'private' } : {}),
  ...(serverInfo === undefined ? {} : { _meta: { [serverInfoKey]: serverInfo, ...fieldsOf(result._meta) } }),
});

/** Capabilities of a legacy MCP server as `server/discover` tells them: changes only if they can be delivered. */
export const toDiscoverResult = (initialized: Fields, canListen: boolean): Fields => {
  const capabilities = Object.fromEntries(
    Object.entries(without(fieldsOf(initialized.capabilities), notModern)).map(([name, value]) => [name, canListen || !changing.has(name) || !isFields(value) ? value : without(value, delivered)]),
  );
  return toModernResult('server/discover', {
    supportedVersions: [modernRevision],
    capabilities,
    ...(initialized.instructions === undefined ? {} : { instructions: initialized.instructions }),
  }, isFields(initialized.serverInfo) ? initialized.serverInfo : undefined);
};

const notModern: ReadonlySet<string> = new Set(['tasks']);
const notLegacy: ReadonlySet<string> = new Set(['tasks', 'extensions']);
const changing: ReadonlySet<string> = new Set(['tools', 'prompts', 'resources']);
const delivered: ReadonlySet<string> = new Set(['listChanged', 'subscribe']);

/** `server/discover` of a modern MCP server as the answer to `initialize`. */
export const toInitializeResult = (discovered: Fields, protocolVersion: string, fallbackName: string): Fields => {
  const serverInfo = fieldsOf(discovered._meta)[serverInfoKey];
  return {
    protocolVersion,
    capabilities: without(fieldsOf(discovered.capabilities), notLegacy),
    serverInfo: isFields(serverInfo) ? serverInfo : { name: fallbackName, version: '0' },
    ...(discovered.instructions === undefined ? {} : { instructions: discovered.instructions }),
  };
};

/** A complete result of a modern MCP server. `wrapped`: its tool has an output schema that had to be wrapped. */
export const toLegacyResult = (method: string, result: Fields, wrapped: boolean): Fields => {
  const bare = without(cacheable.has(method) ? without(result, cacheMembers) : result, resultType);
  const named = isFields(bare._meta) ? withMeta(bare, without(bare._meta, serverInfoMember)) : bare;
  if (method === 'tools/list') {
    return eachTool(named, (tool) => (isFields(tool.outputSchema) && !isObjectSchema(tool.outputSchema) ? { ...tool, outputSchema: wrappedSchema(tool.outputSchema) } : tool));
  }
  // The legacy era has objects only.
  const content = named.structuredContent;
  return method === 'tools/call' && content !== undefined && (wrapped || !isFields(content)) ? { ...named, structuredContent: { result: content } } : named;
};

/** Revision 2026-07-28: what does not exist is -32602. */
export const toModernError = (error: Fields): Fields => (error.code === -32002 ? { ...error, code: -32602 } : error);

/** Codes of the modern era that a legacy MCP client could not know. */
export const toLegacyError = (error: Fields): Fields => {
  switch (error.code) {
    case -32020:
      return { ...error, code: -32603, message: 'the MCP server found the headers of the gateway and the request in disagreement' };
    case -32021:
      return { ...error, code: -32602, message: 'the MCP server needs a capability for this that the MCP client did not declare in initialize' };
    case -32022:
      return { ...error, code: -32603, message: 'the MCP server does not speak the protocol revision of the gateway' };
    default:
      return error;
  }
};

const eachTool = (result: Fields, change: (tool: Fields) => Fields): Fields =>
  Array.isArray(result.tools) ? { ...result, tools: result.tools.map((tool: unknown) => (isFields(tool) ? change(tool) : tool)) } : result;

const withMeta = (fields: Fields, meta: Fields): Fields => (Object.keys(meta).length === 0 ? without(fields, metaMember) : { ...fields, _meta: meta });
