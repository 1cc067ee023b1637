/** What routing needs to know of a line that a child wrote. The text itself is carried on as it is. */
import type { RequestId } from '../mcp/message.ts';
import { isObject, isRequestId } from '../mcp/read-messages.ts';
import { splitBatch } from './json-text.ts';

export type ChildMessage =
  | {
      readonly kind: 'response';
      readonly id: RequestId;
      readonly text: string;
      /** The protocol revision, in a response to `initialize`. */
      readonly revision: string | undefined;
    }
  | {
      readonly kind: 'request';
      readonly id: RequestId;
      readonly text: string;
      readonly concernsSession: boolean;
      readonly progressToken: undefined;
    }
  | {
      readonly kind: 'notification';
      readonly text: string;
      /** It is not about any one request. */
      readonly concernsSession: boolean;
      readonly progressToken: RequestId | undefined;
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
    return JSON.parse(line);
  } catch {
    return undefined;
  }
};

const readMessage = (value: unknown, text: string): ChildMessage | undefined => {
  if (!isObject(value)) return undefined;
  const { id, method, params } = value;
  if (typeof method === 'string') {
    if (id === undefined) {
      const progressToken = isObject(params) && isRequestId(params['progressToken']) ? params['progressToken'] : undefined;
      return { kind: 'notification', text, concernsSession: sessionNotifications.has(method), progressToken };
    }
    return isRequestId(id) ? { kind: 'request', id, text, concernsSession: false, progressToken: undefined } : undefined;
  }
  if (!isRequestId(id) || !(Object.hasOwn(value, 'result') || Object.hasOwn(value, 'error'))) return undefined;
  const result = value['result'];
  const revision = isObject(result) && typeof result['protocolVersion'] === 'string' ? result['protocolVersion'] : undefined;
  return { kind: 'response', id, text, revision };
};
