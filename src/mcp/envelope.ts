/** What a request of the modern era says about itself in `params._meta` (revision 2026-07-28). */
import { SallyportError } from '../errors.ts';
import { isObject } from './read-messages.ts';

export const protocolVersionKey = 'io.modelcontextprotocol/protocolVersion';
export const clientInfoKey = 'io.modelcontextprotocol/clientInfo';
export const clientCapabilitiesKey = 'io.modelcontextprotocol/clientCapabilities';
export const logLevelKey = 'io.modelcontextprotocol/logLevel';
export const subscriptionIdKey = 'io.modelcontextprotocol/subscriptionId';
export const serverInfoKey = 'io.modelcontextprotocol/serverInfo';
export const relatedTaskKey = 'io.modelcontextprotocol/related-task';

/** Name of the tasks extension in `capabilities.extensions`. */
export const tasksExtension = 'io.modelcontextprotocol/tasks';

export interface Envelope {
  readonly protocolVersion: string;
  readonly clientInfo: Readonly<Record<string, unknown>> | undefined;
  readonly clientCapabilities: Readonly<Record<string, unknown>>;
  /** Absent: the MCP server must not send `notifications/message` for this request. */
  readonly logLevel: string | undefined;
}

type Params = Readonly<Record<string, unknown>> | undefined;

/** Whether the request claims to be of the modern era: the key is there, whatever it holds. */
export const claimsEnvelope = (params: Params): boolean => isObject(params?._meta) && Object.hasOwn(params._meta, protocolVersionKey);

/**
 * Reads the envelope of a request.
 * @throws SallyportError `ERR_MCP_ENVELOPE`, with the fact `missing` or `malformed` naming the key
 */
export const readEnvelope = (params: Params): Envelope => {
  const meta = params?._meta;
  if (!isObject(meta)) throw new SallyportError('ERR_MCP_ENVELOPE', 'a request of this protocol revision needs params._meta with its protocolVersion and clientCapabilities', { facts: { missing: '_meta' } });
  for (const key of [protocolVersionKey, clientCapabilitiesKey]) {
    if (!Object.hasOwn(meta, key)) throw new SallyportError('ERR_MCP_ENVELOPE', `a request of this protocol revision needs params._meta["${key}"]`, { facts: { missing: key } });
  }
  const { [protocolVersionKey]: protocolVersion, [clientInfoKey]: clientInfo, [clientCapabilitiesKey]: clientCapabilities, [logLevelKey]: logLevel } = meta;
  if (typeof protocolVersion !== 'string') throw malformed(protocolVersionKey, 'a text');
  if (!isObject(clientCapabilities)) throw malformed(clientCapabilitiesKey, 'an object');
  if (clientInfo !== undefined && !(isObject(clientInfo) && typeof clientInfo.name === 'string' && typeof clientInfo.version === 'string')) throw malformed(clientInfoKey, 'an object with name and version');
  if (logLevel !== undefined && !(typeof logLevel === 'string' && logLevels.includes(logLevel))) throw malformed(logLevelKey, 'a syslog severity');
  return { protocolVersion, clientInfo, clientCapabilities, logLevel };
};

/** Least severe first (RFC 5424 §6.2.1, as MCP spells them). */
export const logLevels: readonly string[] = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];

const malformed = (key: string, wanted: string): SallyportError =>
  new SallyportError('ERR_MCP_ENVELOPE', `params._meta["${key}"] must be ${wanted}`, { facts: { malformed: key } });
