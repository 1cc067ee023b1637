/** What the gateway itself asks a child, in either era. */
import { clientCapabilitiesKey, clientInfoKey, protocolVersionKey } from '../mcp/envelope.ts';
import { modernRevision, newestLegacyRevision } from '../mcp/revisions.ts';
import { gatewayInfo } from './gateway-info.ts';

/** Strings, so that they are never the number of a client's request. */
export const discoverId = 'sallyport-discover';
export const initializeId = 'sallyport-initialize';

export const discoverLine = (): string =>
  lineOf(discoverId, 'server/discover', { _meta: { [protocolVersionKey]: modernRevision, [clientInfoKey]: gatewayInfo(), [clientCapabilitiesKey]: {} } });

export const initializeLine = (): string => lineOf(initializeId, 'initialize', { protocolVersion: newestLegacyRevision, capabilities: {}, clientInfo: gatewayInfo() });

const lineOf = (id: string, method: string, params: object): string => `${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`;
