/** What an MCP client announces is cut down to what the gateway can carry. */
import { parseLossless, stringifyLossless } from './lossless-json.ts';
import { isObject, readMessage } from './read-messages.ts';
import type { ReadMessages } from './read-messages.ts';

/**
 * Takes `tasks` out of the capabilities of an `initialize` request: the MCP server would otherwise
 * ask the client for tasks and then for their results, which the gateway does not let through.
 * Anything else comes back as it is.
 */
export const withoutTasks = (read: ReadMessages): ReadMessages => {
  const [message] = read.messages;
  if (read.batch || message?.kind !== 'request' || message.method !== 'initialize') return read;
  const capabilities = message.params?.capabilities;
  if (!isObject(capabilities) || capabilities.tasks === undefined) return read;
  const text = stringifyLossless(dropTasks(parseLossless(read.text)));
  const value = dropTasks(read.value);
  return { ...read, text, value, messages: [readMessage(value)] };
};

const dropTasks = (request: unknown): unknown => {
  const { params, ...rest } = request as { params: { capabilities: Record<string, unknown> } };
  const { tasks: _tasks, ...capabilities } = params.capabilities;
  return { ...rest, params: { ...params, capabilities } };
};
