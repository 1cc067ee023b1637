/** What an MCP client announces is cut down to what the gateway can carry. */
import { logLevelKey } from './envelope.ts';
import { parseLossless, stringifyLossless } from './lossless-json.ts';
import { isObject, readMessage } from './read-messages.ts';
import type { ReadMessages } from './read-messages.ts';
import { withParams } from './rewrite.ts';

/**
 * Takes `tasks` out of the capabilities of an `initialize` request. What it announces is the client's own side of
 * tasks (revision 2025-11-25): the MCP server would ask the client for tasks, and then for their results, which
 * the gateway does not let through. Tasks of the server need no capability of the client.
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

/**
 * Takes the level of log messages out of a modern request, for principals that may not set it: the counterpart
 * of refusing `logging/setLevel`, but what else they ask for goes on. Anything else comes back as it is.
 */
export const withoutLogLevel = (read: ReadMessages): ReadMessages => {
  const [message] = read.messages;
  if (read.batch || message?.kind !== 'request' || !isObject(message.params?._meta) || !Object.hasOwn(message.params._meta, logLevelKey)) return read;
  return withParams(read, (params) => {
    const { [logLevelKey]: _level, ...meta } = params._meta as Readonly<Record<string, unknown>>;
    return { ...params, _meta: meta };
  });
};

const dropTasks = (request: unknown): unknown => {
  const { params, ...rest } = request as { params: { capabilities: Record<string, unknown> } };
  const { tasks: _tasks, ...capabilities } = params.capabilities;
  return { ...rest, params: { ...params, capabilities } };
};
