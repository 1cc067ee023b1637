/** An upstream's own endpoint as a member of the aggregate: each request goes in at the front, as if it had come from outside. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Principal } from '../../identity/principal.ts';
import { nameMemberOf } from '../../mcp/era.ts';
import { encodeHeaderValue } from '../../mcp/header-value.ts';
import { captureResponse, requestOfOurs } from '../../upstream/captured-response.ts';
import type { UpstreamRequest } from '../../upstream/upstream.ts';
import type { AggregateMember } from './aggregate-upstream.ts';

export interface MemberOptions {
  readonly name: string;
  readonly handle: (request: IncomingMessage, response: ServerResponse, peer: { readonly principal: Principal; readonly remoteAddress: string | undefined; readonly via: string | undefined }) => Promise<void>;
  readonly offersTo: (principal: Principal) => boolean;
  /** One that the endpoint accepts. */
  readonly host: string;
  /** Octets of one answer. */
  readonly answerBytes: number;
}

export const memberOf = ({ name, handle, offersTo, host, answerBytes }: MemberOptions): AggregateMember => ({
  name,
  offersTo,
  exchange: (asked) => {
    const request = requestOfOurs({ method: 'POST', headers: { ...headersOf(asked), host }, body: asked.body ?? '' });
    const { response, answer } = captureResponse(request, { upstream: name, maxBytes: answerBytes, pendingBytes, signal: asked.signal });
    void handle(request, response, { principal: asked.principal, remoteAddress: asked.address, via: asked.via });
    return answer;
  },
});

/** Characters of events that may wait for a slow listener. */
const pendingBytes = 1024 * 1024;

const headersOf = ({ messages, protocolVersion, paramHeaders }: UpstreamRequest): Record<string, string | undefined> => {
  const [message] = messages;
  const method = message === undefined || message.kind === 'response' ? undefined : message.method;
  const member = method === undefined ? undefined : nameMemberOf(method);
  const name = member === undefined || message === undefined || message.kind === 'response' ? undefined : message.params?.[member];
  return {
    ...paramHeaders,
    accept: 'application/json, text/event-stream',
    'content-type': 'application/json',
    'mcp-protocol-version': protocolVersion,
    'mcp-method': method,
    'mcp-name': typeof name === 'string' ? encodeHeaderValue(name) : undefined,
  };
};
