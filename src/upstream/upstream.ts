/**
 * An MCP server behind the gateway, spoken to one Streamable HTTP exchange at a time.
 * The gateway has already decided the messages; an upstream only carries them.
 */
import type { Principal } from '../identity/principal.ts';
import type { JsonRpcMessage } from '../mcp/message.ts';
import type { Era } from '../mcp/revisions.ts';

export interface UpstreamRequest {
  /** Of the messages; an upstream gets only requests of the eras it speaks. Modern ones are POSTs of one message, without a session. */
  readonly era: Era;
  readonly method: 'POST' | 'GET' | 'DELETE';
  readonly principal: Principal;
  readonly roles: readonly string[];
  /** Where the peer is, for the audit log of what takes the request in again; undefined for requests of the gateway's own. */
  readonly address?: string | undefined;
  /** Id of the proxy that the caller came through. */
  readonly via?: string | undefined;
  /** The upstream's own session id; undefined before `initialize` was answered and for stateless upstreams. */
  readonly session: string | undefined;
  readonly protocolVersion: string | undefined;
  /** The upstream's own event id, unsealed. GET only. */
  readonly lastEventId: string | undefined;
  /** POST only: the messages, parsed once, and their exact text to carry on. */
  readonly messages: readonly JsonRpcMessage[];
  readonly body: string | undefined;
  /** Modern only: the client's `Mcp-Param-*` headers by lower-case name, values untouched. Method and name headers are made from the message. */
  readonly paramHeaders?: Readonly<Record<string, string>> | undefined;
  /** The gateway's own question: nothing but its response belongs to it, whatever else the MCP server has to say meanwhile. */
  readonly own?: boolean | undefined;
  /** Aborted when the peer went away, was revoked or ran out of time. */
  readonly signal: AbortSignal;
}

export interface SseEvent {
  /** The upstream's own event id. */
  readonly id: string | undefined;
  readonly event: string | undefined;
  /** A message as the upstream wrote it; empty in the event that only starts a resumable stream. */
  readonly data: string;
  readonly retry: number | undefined;
}

export type UpstreamAnswer =
  /** 202 and other answers without content. */
  | { readonly kind: 'empty'; readonly status: number; readonly session?: string | undefined }
  | { readonly kind: 'json'; readonly status: number; readonly session?: string | undefined; readonly text: string }
  /** Iterated once; throws `SallyportError` `ERR_UPSTREAM_*` when the upstream fails before the end. */
  | { readonly kind: 'stream'; readonly status: number; readonly session?: string | undefined; readonly events: AsyncIterable<SseEvent> };

export interface Upstream {
  readonly name: string;
  /** Whether the MCP server never sees the headers that mirror a modern body, or does not know them: then whoever carries to it checks them. Absent: it does so itself. */
  headerless?(): Promise<boolean>;
  /**
   * The eras the MCP server speaks by itself, found out once by asking it (`server/discover`) unless configured.
   * Rejects with `ERR_UPSTREAM_*` while that cannot be found out; then it is asked again next time.
   */
  eras(): Promise<readonly Era[]>;
  /** Rejects with `SallyportError`: `ERR_UPSTREAM_*`, or `ERR_MCP_SESSION_UNKNOWN` when the upstream's session is gone. */
  exchange(request: UpstreamRequest): Promise<UpstreamAnswer>;
  /**
   * Ends what is held for one upstream session (a stdio child, an HTTP session): at DELETE, idleness, revocation.
   * Exchanges and streams of a stdio session end before the call returns; the promise waits for the child to be gone.
   */
  endSession(session: string): Promise<void>;
  /** Ends what is held for a principal without a session, such as the child of its modern requests: once its certificate has lost its right. */
  endPrincipal(principalId: string): Promise<void>;
  /** Whether the upstream can be used now; for /readyz. */
  healthy(): Promise<boolean>;
  close(): Promise<void>;
}
