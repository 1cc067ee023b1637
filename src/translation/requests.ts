/** Params of requests from one era to the other. What is not named here is carried on as it is. */
import { clientCapabilitiesKey, clientInfoKey, logLevelKey, protocolVersionKey } from '../mcp/envelope.ts';
import type { RequestId } from '../mcp/message.ts';
import { modernRevision, newestLegacyRevision } from '../mcp/revisions.ts';
import { gatewayInfo } from '../upstream/gateway-info.ts';
import type { UpstreamRequest } from '../upstream/upstream.ts';
import { fieldsOf, isFields, without } from './fields.ts';
import type { Fields } from './fields.ts';

/** On whose behalf something is sent. */
export type OnBehalf = Pick<UpstreamRequest, 'principal' | 'roles' | 'address' | 'via'>;

/** What an MCP client says about itself: once in `initialize`, or in the envelope of every request. */
export interface ClientFacts {
  readonly info: Fields | undefined;
  readonly capabilities: Fields;
}

const envelopeKeys: ReadonlySet<string> = new Set([protocolVersionKey, clientInfoKey, clientCapabilitiesKey, logLevelKey]);
/** The second half of a multi-round-trip request. */
const retryMembers: ReadonlySet<string> = new Set(['inputResponses', 'requestState']);
const metaMember: ReadonlySet<string> = new Set(['_meta']);

/** Without envelope and retry members; the progress token is ours, since requests of many HTTP exchanges share one session. */
export const toLegacyParams = (params: Fields, progressToken: RequestId | undefined): Fields => {
  const { progressToken: _theirs, ...kept } = without(fieldsOf(params._meta), envelopeKeys);
  const meta = progressToken === undefined ? kept : { ...kept, progressToken };
  const rest = without(without(params, retryMembers), metaMember);
  return Object.keys(meta).length === 0 ? rest : { ...rest, _meta: meta };
};

/** With the envelope of the modern era. */
export const toModernParams = (params: Fields, client: ClientFacts, logLevel: string | undefined): Fields => ({
  ...params,
  _meta: {
    ...without(fieldsOf(params._meta), envelopeKeys),
    [protocolVersionKey]: modernRevision,
    ...(client.info === undefined ? {} : { [clientInfoKey]: client.info }),
    [clientCapabilitiesKey]: client.capabilities,
    ...(logLevel === undefined ? {} : { [logLevelKey]: logLevel }),
  },
});

/** What a modern MCP client declared, for a legacy MCP server: nothing that could not be kept. */
export const toInitializeParams = (client: ClientFacts): Fields => ({
  protocolVersion: newestLegacyRevision,
  capabilities: toLegacyClientCapabilities(client.capabilities),
  // `initialize` wants a name; the modern era leaves it to the client.
  clientInfo: client.info ?? gatewayInfo(),
});

/** Of the legacy era only: a modern client cannot say that its roots changed, and has no tasks to give. */
export const toLegacyClientCapabilities = (capabilities: Fields): Fields => {
  const kept = without(capabilities, notLegacy);
  return isFields(kept.roots) ? { ...kept, roots: without(kept.roots, listChanged) } : kept;
};

/** Of the modern era only: nobody could tell the MCP server that the roots changed. */
export const toModernClientCapabilities = (capabilities: Fields): Fields => {
  const kept = without(capabilities, tasks);
  return isFields(kept.roots) ? { ...kept, roots: without(kept.roots, listChanged) } : kept;
};

const notLegacy: ReadonlySet<string> = new Set(['extensions', 'tasks']);
const tasks: ReadonlySet<string> = new Set(['tasks']);
const listChanged: ReadonlySet<string> = new Set(['listChanged']);
