/** Messages as the translation handles them: parsed without loss, with members it does not know kept. */
import { SallyportError } from '../errors.ts';
import { numberOf, parseLossless, stringifyLossless } from '../mcp/lossless-json.ts';
import type { JsonRpcMessage, RequestId } from '../mcp/message.ts';
import { isObject, isRequestId } from '../mcp/read-messages.ts';

export type Fields = Readonly<Record<string, unknown>>;

/** A message to be sent: what an upstream routes by, and its exact text. */
export interface Outgoing {
  readonly message: JsonRpcMessage;
  readonly body: string;
}

/** Whether a value of `parseLossless` is a JSON object; a number of any size is none. */
export const isFields = (value: unknown): value is Fields => isObject(value) && numberOf(value) === undefined;

export const fieldsOf = (value: unknown): Fields => (isFields(value) ? value : {});

/** The object without some of its members; the same one when it has none of them. */
export const without = (fields: Fields, names: ReadonlySet<string>): Fields =>
  Object.keys(fields).some((name) => names.has(name)) ? Object.fromEntries(Object.entries(fields).filter(([name]) => !names.has(name))) : fields;

/** The params of a body that holds one message. */
export const paramsOf = (body: string | undefined): Fields => fieldsOf(fieldsOf(parseLossless(body ?? '{}')).params);

/**
 * The messages of a JSON answer or of one event.
 * @throws SallyportError `ERR_UPSTREAM_INVALID`
 */
export const readAnswer = (text: string): readonly Fields[] => {
  let value: unknown;
  try {
    value = parseLossless(text);
  } catch (cause) {
    throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent something that is not JSON', { cause });
  }
  const messages: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (!messages.every(isFields)) throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent something that is not JSON-RPC');
  return messages;
};

export const outgoingRequest = (id: RequestId, method: string, params: Fields | undefined): Outgoing => ({
  message: { kind: 'request', id, method, params },
  body: stringifyLossless({ jsonrpc: '2.0', id, method, ...(params === undefined ? {} : { params }) }),
});

export const outgoingNotification = (method: string, params?: Fields): Outgoing => ({
  message: { kind: 'notification', method, params },
  body: stringifyLossless({ jsonrpc: '2.0', method, ...(params === undefined ? {} : { params }) }),
});

/** What became of a request: one of both. */
export type Outcome = { readonly result: Fields } | { readonly error: { readonly code: number; readonly message: string } };

export const outgoingResponse = (id: RequestId, outcome: Outcome): Outgoing => ({
  message: 'result' in outcome ? { kind: 'response', id, result: outcome.result, error: undefined } : { kind: 'response', id, result: undefined, error: outcome.error },
  body: stringifyLossless({ jsonrpc: '2.0', id, ...outcome }),
});

export const resultText = (id: RequestId, result: Fields): string => stringifyLossless({ jsonrpc: '2.0', id, result });

export const errorText = (id: RequestId, error: Fields): string => stringifyLossless({ jsonrpc: '2.0', id, error });

export const notificationText = (method: string, params: Fields | undefined): string => outgoingNotification(method, params).body;

export const progressTokenOf = (params: Fields | undefined): RequestId | undefined => {
  const token = fieldsOf(params?._meta).progressToken;
  return isRequestId(token) ? token : undefined;
};
