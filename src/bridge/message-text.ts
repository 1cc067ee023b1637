/** What the bridge must know of a JSON-RPC text to carry it; the text itself is never written anew. */
import { present } from '../errors.ts';
import type { SallyportError } from '../errors.ts';
import { claimsEnvelope } from '../mcp/envelope.ts';
import { parseLossless, stringifyLossless } from '../mcp/lossless-json.ts';

export interface MessageFacts {
  readonly kind: 'request' | 'notification' | 'response';
  /** The id as JSON text, in the spelling it came in. */
  readonly id: string | undefined;
  readonly method: string | undefined;
  readonly message: Readonly<Record<string, unknown>>;
}

/** The facts of every message of a text, one for each element of a batch; undefined when the text is not JSON-RPC. */
export function factsOf(text: string): readonly MessageFacts[] | undefined {
  let value: unknown;
  try {
    value = parseLossless(text);
  } catch {
    return undefined;
  }
  const elements: readonly unknown[] = Array.isArray(value) ? value : [value];
  const facts: MessageFacts[] = [];
  for (const element of elements) {
    if (!isObject(element)) return undefined;
    const id = element['id'] === undefined || element['id'] === null ? undefined : stringifyLossless(element['id']);
    if (typeof element['method'] === 'string') {
      facts.push({ kind: id === undefined ? 'notification' : 'request', id, method: element['method'], message: element });
    } else if ('result' in element || 'error' in element) {
      facts.push({ kind: 'response', id, method: undefined, message: element });
    } else {
      return undefined;
    }
  }
  return facts.length === 0 ? undefined : facts;
}

/** The id that a `notifications/cancelled` names, as JSON text. */
export function cancelledId(facts: MessageFacts): string | undefined {
  const params = facts.method === 'notifications/cancelled' ? facts.message['params'] : undefined;
  return isObject(params) && params['requestId'] !== undefined ? stringifyLossless(params['requestId']) : undefined;
}

/** Whether a message is written in the modern era: it says so itself, so eras may alternate on one pipe. */
export const isModernMessage = (facts: MessageFacts): boolean => facts.kind !== 'response' && claimsEnvelope(paramsOf(facts));

export function paramsOf(facts: MessageFacts): Readonly<Record<string, unknown>> | undefined {
  const params = facts.message['params'];
  return isObject(params) ? params : undefined;
}

/** The answer to the request with this id, in words. */
export function errorAnswer(id: string, error: SallyportError): string {
  const reason = error.facts['reason'];
  const data = { code: error.code, ...(typeof reason === 'string' && reason !== '' ? { reason } : {}) };
  return `{"jsonrpc":"2.0","id":${id},"error":${JSON.stringify({ code: present(error).jsonRpc, message: error.message, data })}}`;
}

/** An error answer as it came, numbers and data included, with other words. */
export function rewordedAnswer(id: string, error: Readonly<Record<string, unknown>>, message: string): string {
  return `{"jsonrpc":"2.0","id":${id},"error":${stringifyLossless({ ...error, message })}}`;
}

/** The error of an answer, when it is one of JSON-RPC. */
export function errorOf(facts: MessageFacts): Readonly<Record<string, unknown>> | undefined {
  const error = facts.message['error'];
  return isObject(error) && typeof error['code'] === 'number' ? error : undefined;
}

/** The revision that an answer to `initialize` settles. */
export function negotiatedRevision(facts: MessageFacts): string | undefined {
  const result = facts.message['result'];
  return isObject(result) && typeof result['protocolVersion'] === 'string' ? result['protocolVersion'] : undefined;
}

/** Whether an answer is the gateway's own "not permitted". */
export function isDenial(facts: MessageFacts): boolean {
  const error = facts.message['error'];
  const data = isObject(error) ? error['data'] : undefined;
  return isObject(data) && data['code'] === 'ERR_MCP_DENIED';
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value);
