/** A request of the gateway's own to an MCP server. */
import { SallyportError } from '../errors.ts';
import { clientCapabilitiesKey, clientInfoKey, protocolVersionKey } from '../mcp/envelope.ts';
import { parseLossless } from '../mcp/lossless-json.ts';
import { isObject } from '../mcp/read-messages.ts';
import { modernRevision } from '../mcp/revisions.ts';
import { gatewayInfo } from '../upstream/gateway-info.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { Asking } from './exchange.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Milliseconds the MCP server has. */
const answerTimeoutMs = 10_000;

let asked = 0;

/** @throws SallyportError `ERR_UPSTREAM_*` */
export const askUpstream = async (upstream: Upstream, { principal, roles, era, envelope, session }: Asking, { method, params }: { readonly method: string; readonly params: Fields }): Promise<Fields> => {
  asked += 1;
  // No client's id looks like it, so that none in flight is mistaken for it.
  const id = `sallyport:${process.pid}:${asked}`;
  const meta = { [protocolVersionKey]: modernRevision, [clientInfoKey]: gatewayInfo(), [clientCapabilitiesKey]: envelope?.clientCapabilities ?? {} };
  const sent = era === 'modern' ? { ...params, _meta: meta } : params;
  const answer = await upstream.exchange({
    era, method: 'POST', principal, roles, session: session?.upstreamSession, protocolVersion: era === 'modern' ? modernRevision : session?.protocolVersion, lastEventId: undefined,
    messages: [{ kind: 'request', id, method, params: sent }], body: JSON.stringify({ jsonrpc: '2.0', id, method, params: sent }), signal: AbortSignal.timeout(answerTimeoutMs),
  });
  if (answer.kind === 'json') return resultIn(answer.text, id) ?? none(upstream, method);
  if (answer.kind === 'stream') for await (const { data } of answer.events) {
    const result = data === '' ? undefined : resultIn(data, id);
    if (result !== undefined) return result;
  }
  return none(upstream, method);
};

const resultIn = (text: string, id: string): Fields | undefined => {
  const message = parseLossless(text);
  return isObject(message) && message.id === id && isObject(message.result) ? message.result : undefined;
};

const none = (upstream: Upstream, method: string): never => {
  throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server gave no result to a question of the gateway: see whether it offers the method', { facts: { upstream: upstream.name, method } });
};
