/** Answers the gateway makes itself: the peer reads public texts only, whatever the cause was. */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { CodedError } from '../../ca/errors.ts';
import { codeOf, errorTable } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import type { RequestId } from '../mcp/message.ts';

/** Seconds a peer is asked to wait after 429 and 503. */
const retryAfterSeconds = 1;

export const jsonRpcError = (id: RequestId | null, code: ErrorCode, data: Readonly<Record<string, unknown>> = {}): string =>
  `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"error":{"code":${errorTable[code].jsonRpc},"message":${JSON.stringify(errorTable[code].public)},"data":${JSON.stringify({ code, ...data })}}}`;

/** Facts of an error that its peer needs and sent itself, or that the specification has it told. */
const publicFacts: Partial<Readonly<Record<ErrorCode, readonly string[]>>> = {
  ERR_MCP_REVISION_UNSUPPORTED: ['supported', 'requested'],
  ERR_MCP_ENVELOPE: ['missing', 'malformed'],
  ERR_MCP_HEADER_MISMATCH: ['header'],
  ERR_MCP_CAPABILITY: ['requiredCapabilities'],
};

const publicDataOf = (error: unknown, code: ErrorCode): Readonly<Record<string, unknown>> => {
  const names = publicFacts[code];
  if (names === undefined || !(error instanceof CodedError)) return {};
  return Object.fromEntries(names.filter((name) => error.facts[name] !== undefined).map((name) => [name, name === 'requiredCapabilities' ? capabilitiesOf(error.facts[name]) : error.facts[name]]));
};

/** `elicitation`, or `extensions/NAME`, as the object of capabilities in which a client would declare them. */
const capabilitiesOf = (names: unknown): Readonly<Record<string, unknown>> => {
  const capabilities: Record<string, Record<string, unknown>> = {};
  for (const name of Array.isArray(names) ? (names as readonly string[]) : []) {
    const [first = '', ...rest] = name.split('/');
    const declared = (capabilities[first] ??= {});
    if (rest.length > 0) declared[rest.join('/')] = {};
  }
  return capabilities;
};

/** Sends a whole JSON body. */
export const sendJson = (response: ServerResponse, status: number, text: string, headers: OutgoingHttpHeaders = {}): void => {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, {
    'content-type': 'application/json', 'content-length': Buffer.byteLength(text), 'cache-control': 'no-store',
    ...(status === 429 || status === 503 ? { 'retry-after': String(retryAfterSeconds) } : {}), ...headers,
  });
  response.end(text);
};

/** Answers a request that got no further, as HTTP status and JSON-RPC error in one. */
export const sendError = (request: IncomingMessage, response: ServerResponse, error: unknown, id: RequestId | null = null): void => {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const code = codeOf(error);
  const { http } = errorTable[code];
  const headers: OutgoingHttpHeaders = {};
  if (http === 405) headers.allow = 'POST, GET, DELETE';
  // Whoever comes back should find another gateway.
  if (code === 'ERR_DRAINING') headers.connection = 'close';
  // What is left of the body must not be read as the next request, nor waited for.
  if (!request.complete) headers.connection = 'close';
  sendJson(response, http, jsonRpcError(id, code, publicDataOf(error, code)), headers);
};

/** Ends an answer whose head is gone: a stream tells what its requests came to, anything else breaks off. */
export const endStream = (response: ServerResponse, code: ErrorCode, unanswered: Iterable<RequestId>): void => {
  if (response.destroyed || response.writableEnded) return;
  if (response.getHeader('content-type') !== 'text/event-stream') {
    response.destroy();
    return;
  }
  for (const id of unanswered) response.write(`data: ${jsonRpcError(id, code)}\n\n`);
  response.end();
};
