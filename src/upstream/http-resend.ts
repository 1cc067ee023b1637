/**
 * Which requests may be sent a second time. A request whose connection failed before it could be
 * written was not executed; one that was written may have been, so only what changes nothing is repeated.
 */
import type { SallyportError } from '../errors.ts';
import { isConnectionFailure } from './http-failure.ts';
import type { UpstreamRequest } from './upstream.ts';

export interface Attempt {
  /** The request may have been written. */
  readonly left: boolean;
  /** An answer has begun. */
  readonly begun: boolean;
}

export const mayResend = ({ method, messages }: Pick<UpstreamRequest, 'method' | 'messages'>, { left, begun }: Attempt, failure: SallyportError): boolean => {
  if (begun || failure.code !== 'ERR_UPSTREAM_UNREACHABLE' || !isConnectionFailure(failure.facts['reason'])) return false;
  if (!left) return true;
  return method === 'POST' && messages.length > 0 && messages.every((message) => message.kind === 'request' && readOnly.has(message.method));
};

/** Never `tools/call`, nothing that opens, changes or ends a session, a subscription or a task, no notification. */
const readOnly: ReadonlySet<string> = new Set([
  'ping', 'server/discover', 'tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'tasks/list', 'tasks/get',
  'resources/read', 'prompts/get', 'completion/complete',
]);
