import type { CreateHierarchyOptions } from './hierarchy.ts';
import type { CaStore, Clock, Randomness } from './ports.ts';
import type { ProfileConfig } from './profile.ts';

/** What an authority works with, besides its hierarchy. */
export interface AuthorityOptions {
  readonly store: CaStore;
  readonly clock: Clock;
  readonly randomness: Randomness;
  /** SPIFFE trust domain: agents are `spiffe://<trustDomain>/agent/<name>`. */
  readonly trustDomain: string;
  /** Base URL of the public listener, for CDP and AIA in what is issued. Without it there are none. */
  readonly publicUrl?: string | undefined;
  /** Further profiles, or replacements of the built-in ones. */
  readonly profiles?: Readonly<Record<string, ProfileConfig>> | undefined;
  /** Lifetimes of the built-in agent profiles. Default 24h and 90d. */
  readonly defaultTtl?: string | number | undefined;
  readonly maxTtl?: string | number | undefined;
  /** Live certificates one agent may hold. Default 2, so that renewal can overlap; with 1 nothing can be renewed. */
  readonly maxLivePerAgent?: number | undefined;
  /** How long after its end a certificate may be renewed, with proof of its key. Default 0: not at all. */
  readonly renewalGraceSeconds?: number | undefined;
  /** How long a request for approval waits. Default 7d. */
  readonly requestExpiry?: string | number | undefined;
  /** Requests that may wait for approval at once. Default 1,000. */
  readonly maxPendingRequests?: number | undefined;
  /** How long a replaced certificate is good beside its successor, from the first use of that one; `never` retires none. Default 1h. */
  readonly retireReplaced?: string | number | undefined;
  /** SPKI hashes (lower-case hex SHA-256) that are never certified. */
  readonly refusedSpkiHashes?: readonly string[] | undefined;
  /** Of the key that signs OCSP answers, which the authority makes for itself in its directory. */
  readonly passphrase?: string | undefined;
  /** Whether OCSP requests are answered, at `<publicUrl>/ocsp`, which then goes into certificates. Default true. */
  readonly ocsp?: boolean | undefined;
  /** From thisUpdate to nextUpdate. Default 24h. */
  readonly crlLifetime?: string | number | undefined;
  /** How many CRLs those of an issuing CA are spread over: a power of two up to 256. Default 1; more need `publicUrl`. */
  readonly crlPartitions?: number | undefined;
  /** From thisUpdate to nextUpdate of delta CRLs, which need `publicUrl`. Default: none are published. */
  readonly crlDeltaLifetime?: string | number | undefined;
  /** Shortest time between two CRLs of one issuer after revocations. Default 1,000. */
  readonly crlCoalesceMs?: number | undefined;
  /** How old an intent is before `recover` takes it for left behind. Default 60,000. */
  readonly intentPatienceMs?: number | undefined;
  /** Told of failures nobody waits for, such as a CRL that could not be rebuilt. It is tried again. */
  readonly onBackgroundError?: ((error: unknown) => void) | undefined;
}

export interface CreateAuthorityOptions extends AuthorityOptions, Omit<CreateHierarchyOptions, 'clock' | 'randomness' | 'trustDomain' | 'publicUrl'> {}

export interface LoadAuthorityOptions extends AuthorityOptions {
  readonly directory: string;
}
