/**
 * The change feed: what every gateway must hear of, in the order it was committed, whichever process
 * committed it; and the gateways' word that they have applied it.
 */
import type { Clock, IssuerId, RevocationReason, SerialHex } from '../../ca/ports.ts';

export type Change = Revoked | Released | ToolsChanged;

interface Announced {
  /** Ascending without exception; a subscriber that knows `seq` has seen all before it. */
  readonly seq: number;
  readonly at: Date;
}

export interface Revoked extends Announced {
  readonly kind: 'revoked';
  readonly issuerId: IssuerId;
  readonly serial: SerialHex;
  readonly reason: RevocationReason;
}

/** A hold was lifted: the certificate is good again. */
export interface Released extends Announced {
  readonly kind: 'released';
  readonly issuerId: IssuerId;
  readonly serial: SerialHex;
}

/** What is known or approved of an upstream's tools is not what it was: read it again. */
export interface ToolsChanged extends Announced {
  readonly kind: 'tools';
  readonly upstream: string;
}

/** What a gateway did about a change. */
export interface AppliedFacts {
  readonly connectionsCut: number;
  readonly millis: number;
}

export interface NodeStatus {
  readonly nodeId: string;
  readonly appliedSeq: number;
  readonly seenAt: Date;
  readonly facts: AppliedFacts;
}

export interface ChangeFeed {
  /**
   * Calls the listener with every change after `after` (default: after the latest one now), one at a
   * time in order, from this and other processes. Resolves with a function that ends it.
   */
  subscribe(listener: (change: Change) => void, options?: { readonly after?: number }): Promise<() => Promise<void>>;
  /** Number of the latest change, 0 when there is none. */
  latest(): Promise<number>;
  /** When this process last knew that it has heard everything; undefined before the first subscription. A gateway that must not miss a revocation denies when this grows old. */
  currentAsOf(): Date | undefined;
  /** A gateway has applied all changes up to `seq`; also says that it lives. Numbers do not go back. */
  acknowledge(nodeId: string, seq: number, facts: AppliedFacts): Promise<void>;
  /** A gateway lives. */
  heartbeat(nodeId: string): Promise<void>;
  nodes(): Promise<readonly NodeStatus[]>;
  /** A gateway has ended and is waited for no longer. */
  forget(nodeId: string): Promise<void>;
}

export interface Applied {
  /** Nodes that have applied the change, with what they did. */
  readonly applied: readonly NodeStatus[];
  /** Nodes that live and have not said so within the time. */
  readonly missing: readonly NodeStatus[];
}

/** Waits until every gateway that was seen within `liveWithinMs` has applied the change. */
export const waitUntilApplied = async (
  feed: Pick<ChangeFeed, 'nodes'>,
  options: { readonly seq: number; readonly clock: Clock; readonly timeoutMs: number; readonly liveWithinMs?: number },
): Promise<Applied> => {
  const until = performance.now() + options.timeoutMs;
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 20)) {
    const since = options.clock.now().getTime() - (options.liveWithinMs ?? 15_000);
    const live = (await feed.nodes()).filter((node) => node.seenAt.getTime() >= since);
    const missing = live.filter((node) => node.appliedSeq < options.seq);
    if (missing.length === 0 || performance.now() >= until) return { applied: live.filter((node) => node.appliedSeq >= options.seq), missing };
    await new Promise((resolve) => {
      setTimeout(resolve, pauseMs);
    });
  }
};
