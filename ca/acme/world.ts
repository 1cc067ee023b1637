/** What the ACME server works with. */
import type { CertificateAuthority } from '../authority.ts';
import type { PresentError } from '../http/json-exchange.ts';
import type { CaStore, Clock, Randomness } from '../ports.ts';
import type { NamePolicy } from './identifiers.ts';
import type { Nonces } from './nonces.ts';
import type { AcmeStore } from './ports.ts';
import type { RateLimits } from './rate-limits.ts';
import type { AcmeSecrets } from './secrets.ts';
import type { Validator } from './validation/validator.ts';

export type AcmeAuthority = Pick<CertificateAuthority, 'issue' | 'issueServer' | 'revoke' | 'certificates' | 'profiles' | 'trustDomain' | 'hierarchy' | 'issuerById'>;

export interface AcmeSettings extends NamePolicy {
  /** Profiles of kind `server` that may be ordered; the first unless another is asked for. */
  readonly profiles: readonly string[];
  /** Who needs an external account. */
  readonly externalAccount: 'agents' | 'everyone';
  readonly termsOfService: string | undefined;
  readonly website: string | undefined;
}

export interface AcmeWorld {
  readonly authority: AcmeAuthority;
  readonly store: AcmeStore;
  readonly certificates: Pick<CaStore, 'findCertificates' | 'findRequests' | 'recordEvent'>;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly settings: AcmeSettings;
  readonly secrets: AcmeSecrets;
  readonly nonces: Nonces;
  readonly limits: RateLimits;
  readonly validator: Validator;
  readonly urls: AcmeUrls;
  readonly present: PresentError;
  /** Work that outlives the request. The server waits for it when it closes. */
  background(work: (closing: AbortSignal) => Promise<void>): void;
}

/** Where everything is, absolute. */
export class AcmeUrls {
  readonly #base: () => string;

  /** `https://host:port`, known once the listener is bound. */
  constructor(base: () => string) {
    this.#base = base;
  }

  /** Of a path as it was asked for. */
  absolute(path: string): string {
    return this.#base() + path;
  }
  get directory(): string {
    return this.absolute('/acme/directory');
  }
  get newAccount(): string {
    return this.absolute('/acme/new-account');
  }
  account(id: string): string {
    return this.absolute(`/acme/account/${id}`);
  }
  order(id: string): string {
    return this.absolute(`/acme/order/${id}`);
  }
  authorization(id: string): string {
    return this.absolute(`/acme/authorization/${id}`);
  }
  challenge(authorizationId: string, type: string): string {
    return this.absolute(`/acme/challenge/${authorizationId}/${type}`);
  }
  certificate(orderId: string): string {
    return this.absolute(`/acme/certificate/${orderId}`);
  }
}

export const json = (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Response =>
  new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers } });
