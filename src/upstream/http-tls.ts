/** What the gateway trusts and shows when it calls an upstream over https, and how it is replaced while it runs. */
export interface HttpUpstreamTls {
  /** PEM of the CAs that may sign the upstream's certificate. Undefined: those Node trusts. */
  readonly ca?: string | undefined;
  /** PEM of the gateway's certificate and what leads from it to a CA the upstream trusts. */
  readonly cert?: string | undefined;
  /** PEM, not encrypted. */
  readonly key?: string | undefined;
  /** The name the upstream's certificate must hold, when it is not the host of the url. */
  readonly serverName?: string | undefined;
}

/** Calls back with each new material. Answers with what ends it. */
export type FollowTls = (onChange: (tls: HttpUpstreamTls) => void) => () => void;
