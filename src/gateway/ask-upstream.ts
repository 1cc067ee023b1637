/** A request of the gateway's own to an MCP server. */
import type { Randomness } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import { clientCapabilitiesKey, clientInfoKey, protocolVersionKey } from '../mcp/envelope.ts';
import { isObject } from '../mcp/read-messages.ts';
import { modernRevision } from '../mcp/revisions.ts';
import { readAnswer } from '../translation/fields.ts';
import { gatewayInfo } from '../upstream/gateway-info.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { Asking } from './exchange.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Milliseconds the MCP server has. */
const answerTimeoutMs = 10_000;

/** @throws SallyportError `ERR_UPSTREAM_*` */
export const askUpstream = async (upstream: Upstream, { principal, roles, era, envelope, session }: Asking, { method, params, randomness }: { readonly method: string; readonly params: Fields; readonly randomness: Randomness }): Promise<Fields> => {
  // Nobody can guess it, so that no request of a client in the same session can be given this answer.
  const id = `sallyport:${Buffer.from(randomness.bytes(12)).toString('base64url')}`;
  const meta = { [protocolVersionKey]: modernRevision, [clientInfoKey]: gatewayInfo(), [clientCapabilitiesKey]: envelope?.clientCapabilities ?? {} };
  const sent = era === 'modern' ? { ...params, _meta: meta } : params;
  const answer = await upstream.exchange({
    era, method: 'POST', principal, roles, session: session?.upstreamSession, protocolVersion: era === 'modern' ? modernRevision : session?.protocolVersion, lastEventId: undefined,
    messages: [{ kind: 'request', id, method, params: sent }], body: JSON.stringify({ jsonrpc: '2.0', id, method, params: sent }), signal: AbortSignal.timeout(answerTimeoutMs), own: true,
  });
  if (answer.kind === 'json') return resultIn(answer.text, id) ?? none(upstream, method);
  if (answer.kind === 'stream') for await (const { data } of answer.events) {
    const result = data === '' ? undefined : resultIn(data, id);
    if (result !== undefined) return result;
  }
  return none(upstream, method);
};

/** @throws SallyportError `ERR_UPSTREAM_INVALID`, with the JSON-RPC `code` when the MCP server answered with an error */
const resultIn = (text: string, id: string): Fields | undefined => {
  const message = readAnswer(text).find((one) => one.id === id && one.method === undefined);
  if (message === undefined || isObject(message.result)) return message?.result as Fields | undefined;
  const code = isObject(message.error) && typeof message.error.code === 'number' ? message.error.code : undefined;
  throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server answered a question of the gateway with an error: see its log', { facts: { code } });
};

const none = (upstream: Upstream, method: string): never => {
  throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server gave no result to a question of the gateway: see whether it offers the method', { facts: { upstream: upstream.name, method } });
};
