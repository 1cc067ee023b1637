/** What the parts of the gateway hand to each other for one admitted HTTP exchange. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Principal } from '../identity/principal.ts';
import type { Envelope } from '../mcp/envelope.ts';
import type { JsonRpcMessage, RequestId } from '../mcp/message.ts';
import type { ReadMessages } from '../mcp/read-messages.ts';
import type { Era } from '../mcp/revisions.ts';
import type { Subscription } from '../mcp/subscriptions.ts';
import type { AnswerFilter } from './answer-filter.ts';
import type { Front } from './front.ts';
import type { AuthorizedMessages, Caller } from './gate.ts';
import type { Session } from './sessions.ts';

/** One admitted HTTP exchange on its way to the upstream. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly front: Front;
  readonly era: Era;
  /** Of a modern request. */
  readonly envelope: Envelope | undefined;
  /** Of `subscriptions/listen`: what its stream may carry. */
  readonly subscription: Subscription | undefined;
  readonly caller: Caller;
  readonly principal: Principal;
  readonly roles: readonly string[];
  /** Undefined before `initialize` was answered and for upstreams without sessions. */
  session: Session | undefined;
  /** POST only. */
  readonly call: AuthorizedMessages | undefined;
  /** The body as it came and as it was parsed, for upstreams that take the one or the other. */
  readonly body: ReadMessages | undefined;
  readonly filter: AnswerFilter;
  /** Requests of the MCP server that the client must not see; the leg refuses them on its behalf. */
  readonly dropped: RequestId[];
  /** Aborted when the peer went away or was cut, or the session ended; the reason is a `SallyportError`. */
  readonly signal: AbortSignal;
  /** Binds the upstream's new session to the principal; used for the answer to `initialize` only. */
  openSession(upstreamSession: string): Session;
}

/** What the gateway asks an MCP server by itself, for the principal of an exchange and within its session. */
export type Asking = Pick<Exchange, 'principal' | 'roles' | 'era' | 'envelope' | 'session'>;

/** Carries an admitted exchange to where the MCP server is, and its answer back. */
export interface Leg {
  readonly upstream: string;
  /** Whether the MCP server never sees headers that mirror a body, so that the gateway checks them (mcp.md row 22). */
  headerless(): Promise<boolean>;
  /** The result of a request of the gateway's own; rejects with `ERR_UPSTREAM_*` when there is none. */
  ask(asking: Asking, method: string, params: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>>;
  carry(exchange: Exchange): Promise<void>;
  endSession(session: Session): Promise<void>;
  /** Ends what the upstream holds for a principal without a session. */
  endPrincipal(principalId: string): Promise<void>;
}

export const isInitialize = (messages: readonly JsonRpcMessage[] | undefined): boolean =>
  messages?.some((message) => message.kind === 'request' && message.method === 'initialize') ?? false;
