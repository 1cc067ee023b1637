/** What routing needs to know of a line that a child wrote. The text itself is carried on as it is. */
import { subscriptionIdKey } from '../mcp/envelope.ts';
import type { RequestId } from '../mcp/message.ts';
import { parseExact } from '../mcp/exact-json.ts';
import { isObject, isRequestId } from '../mcp/read-messages.ts';
import { splitBatch } from './json-text.ts';

export type ChildMessage =
  | {
      readonly kind: 'response';
      readonly id: RequestId;
      readonly text: string;
      /** The protocol revision, in a response to `initialize`. */
      readonly revision: string | undefined;
      /** Of an error response. */
      readonly errorCode: number | undefined;
      readonly subscriptionId: RequestId | undefined;
    }
  | {
      readonly kind: 'request';
      readonly id: RequestId;
      readonly text: string;
      readonly method: string;
      readonly concernsSession: boolean;
      readonly progressToken: undefined;
    }
  | {
      readonly kind: 'notification';
      readonly text: string;
      readonly method: string;
      /** It is not about any one request. */
      readonly concernsSession: boolean;
      readonly progressToken: RequestId | undefined;
      /** Modern: the `subscriptions/listen` request it belongs to. */
      readonly subscriptionId: RequestId | undefined;
      /** Of `notifications/cancelled`. */
      readonly requestId: RequestId | undefined;
    };

/** The messages of a line (several if it is a batch), or undefined if it is not JSON-RPC. */
export const readChildLine = (line: string): readonly ChildMessage[] | undefined => {
  const value = parsed(line);
  if (!Array.isArray(value)) {
    const message = readMessage(value, line);
    return message === undefined ? undefined : [message];
  }
  const texts = splitBatch(line);
  const messages = value.map((element: unknown, index) => readMessage(element, texts[index] ?? ''));
  return messages.length > 0 && messages.every((message) => message !== undefined) ? messages : undefined;
};

const sessionNotifications = new Set([
  'notifications/tools/list_changed',
  'notifications/prompts/list_changed',
  'notifications/resources/list_changed',
  'notifications/resources/updated',
]);

const parsed = (line: string): unknown => {
  try {
    return parseExact(line);
  } catch {
    return undefined;
  }
};

const readMessage = (value: unknown, text: string): ChildMessage | undefined => {
  if (!isObject(value)) return undefined;
  const { id, method, params } = value;
  if (typeof method === 'string') {
    if (id === undefined) {
      return {
        kind: 'notification', text, method,
        concernsSession: sessionNotifications.has(method),
        progressToken: idIn(params, 'progressToken'),
        subscriptionId: subscriptionIdOf(params),
        requestId: idIn(params, 'requestId'),
      };
    }
    return isRequestId(id) ? { kind: 'request', id, text, method, concernsSession: false, progressToken: undefined } : undefined;
  }
  if (!isRequestId(id) || !(Object.hasOwn(value, 'result') || Object.hasOwn(value, 'error'))) return undefined;
  const { result, error } = value;
  const revision = isObject(result) && typeof result['protocolVersion'] === 'string' ? result['protocolVersion'] : undefined;
  const errorCode = isObject(error) && typeof error['code'] === 'number' ? error['code'] : undefined;
  return { kind: 'response', id, text, revision, errorCode, subscriptionId: subscriptionIdOf(result) };
};

const idIn = (value: unknown, name: string): RequestId | undefined => {
  const id = isObject(value) ? value[name] : undefined;
  return isRequestId(id) ? id : undefined;
};

/** Stands in `_meta` of params and of results. */
const subscriptionIdOf = (value: unknown): RequestId | undefined => (isObject(value) ? idIn(value['_meta'], subscriptionIdKey) : undefined);
