/** One strict read of a POST body: octets in, JSON-RPC messages out, or a refusal that says what to send instead. */
import { CodedError } from '../../ca/errors.ts';
import { SallyportError } from '../errors.ts';
import { hasExactNumbers } from './lossless-json.ts';
import { KnownNames } from './look-alike.ts';
import { readStrictJson } from './strict-json.ts';
import type { JsonRpcMessage, JsonRpcResponse, RequestId } from './message.ts';

export interface ReadMessages {
  readonly messages: readonly JsonRpcMessage[];
  /** Whether the body was an array. */
  readonly batch: boolean;
  /** The body's own text, to be carried on: every number is as it was given. */
  readonly text: string;
  /** The body as parsed, for handlers in this process; `messages` refer to parts of it. */
  readonly value: unknown;
  /**
   * False when some number is too big or too long for a double. Policy then saw another number
   * than an MCP server that reads it exactly, so rules about arguments must not be satisfied by it.
   */
  readonly exactNumbers: boolean;
}

/** Messages in one array. */
export const maxBatch = 64;

/** Characters of a string id or a method name. */
const maxNameLength = 256;

/**
 * Reads a body as JSON-RPC 2.0 the way MCP uses it. The error carries the fact `id` when the body
 * was one request whose id could be read.
 * @throws SallyportError `ERR_MCP_PARSE`, `ERR_MCP_INVALID_REQUEST`, `ERR_MCP_BATCH`
 */
export const readMessages = (bytes: Uint8Array): ReadMessages => {
  const { value, text } = readStrictJson(bytes);
  const batch = Array.isArray(value);
  const messages = batch ? readBatch(value as readonly unknown[]) : [readMessage(value)];
  return { messages, batch, text, value, exactNumbers: hasExactNumbers(text) };
};

/**
 * Reads one parsed message.
 * @throws SallyportError `ERR_MCP_INVALID_REQUEST`
 */
export const readMessage = (value: unknown): JsonRpcMessage => {
  if (!isObject(value)) throw invalid('a message must be an object');
  try {
    return readObject(value);
  } catch (error) {
    if (!(error instanceof CodedError) || !isRequestId(value.id)) throw error;
    throw new SallyportError('ERR_MCP_INVALID_REQUEST', error.message, { facts: { ...error.facts, id: value.id } });
  }
};

/** A string or a safe integer; never null (MCP, base protocol: requests). */
export const isRequestId = (value: unknown): value is RequestId =>
  typeof value === 'string' ? value.length <= maxNameLength : typeof value === 'number' && Number.isSafeInteger(value);

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value);

const readBatch = (values: readonly unknown[]): readonly JsonRpcMessage[] => {
  if (values.length === 0) throw invalid('a batch must hold at least one message');
  if (values.length > maxBatch) {
    throw new SallyportError('ERR_MCP_BATCH', 'the batch holds too many messages: send fewer at a time', { facts: { messages: values.length, maxBatch } });
  }
  const messages = values.map(readObjectOf);
  const seen = new Set<string>();
  for (const message of messages) {
    if (message.kind === 'notification') continue;
    // Requests and responses count their ids apart, and 1 and "1" are two ids.
    const key = `${message.kind}:${typeof message.id}:${message.id}`;
    if (seen.has(key)) throw invalid('two messages of the batch have one id');
    seen.add(key);
  }
  return messages;
};

/** A batch is refused as a whole, so that none of its ids may be answered alone. */
const readObjectOf = (value: unknown): JsonRpcMessage => {
  if (!isObject(value)) throw invalid('a message must be an object');
  return readObject(value);
};

const readObject = (value: Readonly<Record<string, unknown>>): JsonRpcMessage => {
  if (value.jsonrpc !== '2.0') throw invalid('jsonrpc must be "2.0"');
  const hasId = Object.hasOwn(value, 'id');
  if (hasId && !isRequestId(value.id)) throw invalid('an id must be a string of at most 256 characters or a safe integer, and never null');
  if (!Object.hasOwn(value, 'method')) return readResponse(value);
  assertMembers(value, requestMembers);
  const { id, method } = value;
  if (typeof method !== 'string' || method.length === 0 || method.length > maxNameLength) throw invalid('a method must be a string of 1 to 256 characters');
  const params = readParams(value);
  return isRequestId(id) ? { kind: 'request', id, method, params } : { kind: 'notification', method, params };
};

const readParams = (value: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> | undefined => {
  if (!Object.hasOwn(value, 'params')) return undefined;
  const { params } = value;
  // MCP has named parameters only, though JSON-RPC 2.0 §4.2 allows arrays.
  if (!isObject(params)) throw invalid('params must be an object');
  paramNames.assertUnambiguous(params, 'params');
  for (const [member, names] of nestedNames) {
    if (!Object.hasOwn(params, member)) continue;
    const nested = params[member];
    if (!isObject(nested)) throw invalid(`params.${member} must be an object`);
    names.assertUnambiguous(nested, `params.${member}`);
  }
  return params;
};

const readResponse = (value: Readonly<Record<string, unknown>>): JsonRpcResponse => {
  assertMembers(value, responseMembers);
  const { id, result, error } = value;
  if (!isRequestId(id)) throw invalid('a message needs a method, or the id of the request it responds to');
  if (Object.hasOwn(value, 'result') === Object.hasOwn(value, 'error')) throw invalid('a response has either a result or an error');
  if (!Object.hasOwn(value, 'error')) {
    if (!isObject(result)) throw invalid('a result must be an object');
    return { kind: 'response', id, result, error: undefined };
  }
  if (!isObject(error) || typeof error.message !== 'string' || !Number.isSafeInteger(error.code)) throw invalid('an error must have an integer code and a message');
  const { code, message } = error as { code: number; message: string };
  return { kind: 'response', id, result: undefined, error: Object.hasOwn(error, 'data') ? { code, message, data: error.data } : { code, message } };
};

const assertMembers = (value: Readonly<Record<string, unknown>>, allowed: ReadonlySet<string>): void => {
  for (const name of Object.keys(value)) {
    if (!allowed.has(name)) throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'a message has a member that JSON-RPC does not know', { facts: { member: name.slice(0, 64) } });
  }
};

const requestMembers: ReadonlySet<string> = new Set(['jsonrpc', 'id', 'method', 'params']);
const responseMembers: ReadonlySet<string> = new Set(['jsonrpc', 'id', 'result', 'error']);

/** Every parameter name of MCP, whatever the method: names that look like one of them are refused in `params`. */
const paramNames = new KnownNames([
  'name', 'arguments', 'uri', 'ref', 'argument', 'context', 'cursor', 'level', '_meta', 'task', 'taskId',
  'requestId', 'reason', 'progressToken', 'progress', 'total', 'message',
  'protocolVersion', 'capabilities', 'clientInfo', 'inputResponses', 'requestState', 'notifications', 'resourceSubscriptions',
]);

/** Objects inside `params` that the gateway reads too. `arguments` is user data and stays as it is. */
const nestedNames: ReadonlyMap<string, KnownNames> = new Map([
  ['_meta', new KnownNames(['progressToken', 'io.modelcontextprotocol/protocolVersion', 'io.modelcontextprotocol/clientInfo', 'io.modelcontextprotocol/clientCapabilities', 'io.modelcontextprotocol/logLevel', 'io.modelcontextprotocol/related-task'])],
  ['ref', new KnownNames(['type', 'name', 'uri', 'title'])],
  ['argument', new KnownNames(['name', 'value'])],
  ['capabilities', new KnownNames(['roots', 'sampling', 'elicitation', 'experimental', 'tasks', 'extensions'])],
]);

const invalid = (message: string): SallyportError => new SallyportError('ERR_MCP_INVALID_REQUEST', message);
