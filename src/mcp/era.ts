/**
 * Which era a request belongs to. The body decides; headers must agree (mcp.md rows 4 and 5), so a
 * request cannot be judged by the rules of one era and executed by those of the other.
 */
import { SallyportError } from '../errors.ts';
import { claimsEnvelope, protocolVersionKey, readEnvelope } from './envelope.ts';
import type { Envelope } from './envelope.ts';
import { decodeHeaderValue } from './header-value.ts';
import type { JsonRpcMessage, JsonRpcNotification, JsonRpcRequest } from './message.ts';
import { isObject } from './read-messages.ts';
import type { ReadMessages } from './read-messages.ts';
import { isModern, revisions } from './revisions.ts';

/** As they came, or undefined. */
export interface EraHeaders {
  readonly protocolVersion: string | undefined;
  readonly method: string | undefined;
  readonly name: string | undefined;
}

export type Classified =
  | { readonly era: 'legacy' }
  | {
      readonly era: 'modern';
      readonly revision: string;
      readonly message: JsonRpcRequest | JsonRpcNotification;
      /** Requests only. */
      readonly envelope: Envelope | undefined;
    };

/** Modern revisions, the newest first: what `-32022` offers. */
export const modernRevisions: readonly string[] = revisions.filter(({ era }) => era === 'modern').map(({ name }) => name).toReversed();

/**
 * @throws SallyportError `ERR_MCP_ENVELOPE`, `ERR_MCP_HEADER_MISMATCH`, `ERR_MCP_REVISION_UNSUPPORTED`, `ERR_MCP_BATCH`, `ERR_MCP_UNSOLICITED`
 */
export const classify = (headers: EraHeaders, { messages, batch }: Pick<ReadMessages, 'messages' | 'batch'>): Classified => {
  const namesModern = headers.protocolVersion !== undefined && isModern(headers.protocolVersion);
  const [message] = messages;
  if (batch || message === undefined) {
    if (namesModern || messages.some((one) => one.kind !== 'response' && claimsEnvelope(one.params))) {
      throw new SallyportError('ERR_MCP_BATCH', 'revision 2026-07-28 has no batches: send one message per request');
    }
    return legacy;
  }
  try {
    if (message.kind === 'response') {
      if (namesModern) throw new SallyportError('ERR_MCP_UNSOLICITED', 'revision 2026-07-28 has no responses of the client: answer in inputResponses of the retried request');
      return legacy;
    }
    return message.kind === 'request' ? classifyRequest(headers, message, namesModern) : classifyNotification(headers, message, namesModern);
  } catch (error) {
    throw withId(error, message);
  }
};

/** The member of `params` that `Mcp-Name` mirrors. */
export const nameMemberOf = (method: string): 'name' | 'uri' | 'taskId' | undefined => mirrored.get(method);

const mirrored: ReadonlyMap<string, 'name' | 'uri' | 'taskId'> = new Map([
  ['tools/call', 'name'], ['prompts/get', 'name'], ['resources/read', 'uri'],
  ['tasks/get', 'taskId'], ['tasks/update', 'taskId'], ['tasks/cancel', 'taskId'],
]);

const legacy: Classified = { era: 'legacy' };

const classifyRequest = (headers: EraHeaders, message: JsonRpcRequest, namesModern: boolean): Classified => {
  const { method, params } = message;
  const named = headers.protocolVersion;
  if (method === 'initialize' && !claimsModern(params)) {
    // The handshake of the legacy era, whatever stands in its _meta.
    if (namesModern) throw mismatch('MCP-Protocol-Version names a revision that has no initialize', 'mcp-protocol-version');
    return legacy;
  }
  if (!claimsEnvelope(params)) {
    // Never taken for modern by its header alone, nor for legacy against it.
    if (namesModern) readEnvelope(params);
    return legacy;
  }
  const envelope = readEnvelope(params);
  const revision = envelope.protocolVersion;
  if (named !== undefined && named !== revision) throw mismatch('MCP-Protocol-Version and params._meta name two protocol revisions', 'mcp-protocol-version');
  if (!isModern(revision)) throw unsupported(revision);
  if (named === undefined) throw mismatch('MCP-Protocol-Version is missing', 'mcp-protocol-version');
  if (headers.method === undefined) throw mismatch('Mcp-Method is missing', 'mcp-method');
  if (headers.method !== method) throw mismatch('Mcp-Method names another method than the body', 'mcp-method');
  checkName(headers.name, method, params);
  return { era: 'modern', revision, message, envelope };
};

const classifyNotification = (headers: EraHeaders, message: JsonRpcNotification, namesModern: boolean): Classified => {
  const named = headers.protocolVersion;
  let revision = namesModern ? named : undefined;
  const meta = message.params?._meta;
  if (isObject(meta) && claimsEnvelope(message.params)) {
    const claimed = meta[protocolVersionKey];
    if (typeof claimed !== 'string') throw new SallyportError('ERR_MCP_ENVELOPE', 'the protocolVersion in params._meta must be a text', { facts: { malformed: protocolVersionKey } });
    if (named !== undefined && named !== claimed) throw mismatch('MCP-Protocol-Version and params._meta name two protocol revisions', 'mcp-protocol-version');
    if (!isModern(claimed)) throw unsupported(claimed);
    revision = claimed;
  }
  if (revision === undefined) return legacy;
  if (headers.method !== undefined && headers.method !== message.method) throw mismatch('Mcp-Method names another method than the body', 'mcp-method');
  return { era: 'modern', revision, message, envelope: undefined };
};

const claimsModern = (params: JsonRpcRequest['params']): boolean => {
  if (!claimsEnvelope(params)) return false;
  try {
    return isModern(readEnvelope(params).protocolVersion);
  } catch {
    return false;
  }
};

const checkName = (header: string | undefined, method: string, params: JsonRpcRequest['params']): void => {
  const member = mirrored.get(method);
  if (member === undefined) return;
  const given = params?.[member];
  // What is missing in the body is refused for that, by the gate.
  if (typeof given !== 'string') return;
  if (header === undefined) throw mismatch('Mcp-Name is missing', 'mcp-name');
  const decoded = decodeHeaderValue(header);
  if (decoded === undefined) throw mismatch('Mcp-Name is neither visible ASCII nor the Base64 of a text', 'mcp-name');
  if (decoded !== given) throw mismatch(`Mcp-Name differs from params.${member}`, 'mcp-name');
};

const mismatch = (message: string, header: string): SallyportError => new SallyportError('ERR_MCP_HEADER_MISMATCH', `${message}: send the headers that mirror the body`, { facts: { header } });

const unsupported = (requested: string): SallyportError =>
  new SallyportError('ERR_MCP_REVISION_UNSUPPORTED', 'params._meta names a protocol revision this gateway does not speak', { facts: { supported: modernRevisions, requested } });

const withId = (error: unknown, message: JsonRpcMessage): unknown =>
  error instanceof SallyportError && message.kind === 'request' ? new SallyportError(error.code, error.message, { facts: { ...error.facts, id: message.id } }) : error;
