import type { Principal } from '../identity/principal.ts';

declare const verified: unique symbol;

/**
 * The far end of a TLS connection after every check. Only `verify-peer.ts` makes one,
 * so code that asks for a `VerifiedPeer` cannot run on an unchecked connection.
 */
export interface VerifiedPeer {
  readonly [verified]: true;
  readonly principal: Principal;
  readonly certificate: Uint8Array;
  /** Unix milliseconds of the first instant at which the certificate is no longer valid. */
  readonly expiresAt: number;
  readonly remoteAddress: string | undefined;
  readonly resumed: boolean;
  /** Id of the proxy that proved to be one and vouches for possession of the key; undefined: the peer itself did. */
  readonly via: string | undefined;
}
