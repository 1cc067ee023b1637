/** A request changed by the gateway on its way to the MCP server: text, value and messages stay one. */
import { parseLossless, stringifyLossless } from './lossless-json.ts';
import { readMessage } from './read-messages.ts';
import type { ReadMessages } from './read-messages.ts';

type Params = Readonly<Record<string, unknown>>;

/**
 * The same single message with other params. `change` is called with the params as handlers get them and
 * with the params as they are written on, where big numbers are kept; it must treat both alike.
 */
export const withParams = (read: ReadMessages, change: (params: Params) => Params): ReadMessages => {
  const value = changed(read.value, change);
  return { ...read, text: stringifyLossless(changed(parseLossless(read.text), change)), value, messages: [readMessage(value)] };
};

const changed = (message: unknown, change: (params: Params) => Params): unknown => {
  const { params, ...rest } = message as { readonly params?: Params };
  return { ...rest, params: change(params ?? {}) };
};
