/** Bounds of what a translation holds for others. */
export interface TranslationLimits {
  /** Sessions with a legacy MCP server that modern MCP clients need, per principal and altogether. */
  readonly sessionsPerPrincipal: number;
  readonly sessions: number;
  /** After which a session without work is ended. */
  readonly sessionIdleMs: number;
  /** Calls that wait for what their MCP client was asked, per principal. */
  readonly parkedPerPrincipal: number;
  /** How long such a call waits, in either direction. */
  readonly parkedMs: number;
  /** How long further questions of the MCP server are waited for, to be asked in one. */
  readonly gatherMs: number;
  /** Times that a modern MCP server may ask for input within one request of a legacy MCP client. */
  readonly rounds: number;
  /** After which a request without an answer gets a stream, so that nobody takes it for dead. */
  readonly openStreamAfterMs: number;
  /** Characters that wait for a slow reader before the MCP server is held back. */
  readonly pendingBytes: number;
  /** Resources that one listen stream or session follows. */
  readonly resourceSubscriptions: number;
}

export const defaultTranslationLimits: TranslationLimits = {
  sessionsPerPrincipal: 8,
  sessions: 1024,
  sessionIdleMs: 600_000,
  parkedPerPrincipal: 16,
  parkedMs: 600_000,
  gatherMs: 25,
  rounds: 8,
  openStreamAfterMs: 1_000,
  pendingBytes: 1024 * 1024,
  resourceSubscriptions: 256,
};
