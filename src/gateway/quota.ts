import { SallyportError } from '../errors.ts';
import type { GateErrorCode } from '../errors.ts';

export interface QuotaLimits {
  readonly streamsPerPrincipal: number;
  readonly requestsPerPrincipal: number;
  /** Open `subscriptions/listen` streams. */
  readonly subscriptionsPerPrincipal: number;
  /** Resources watched at once, by all sessions and listen streams together. */
  readonly subscribedResourcesPerPrincipal: number;
}

/** Concurrency per principal: connecting again or opening another session does not widen it. */
export class Quota {
  readonly #limits: QuotaLimits;
  readonly #streams = new Map<string, number>();
  readonly #requests = new Map<string, number>();
  readonly #subscriptions = new Map<string, number>();
  readonly #resources = new Map<string, number>();

  constructor(limits: QuotaLimits) {
    this.#limits = limits;
  }

  /** Whether anyone's request is in flight. */
  get busy(): boolean {
    return this.#requests.size > 0;
  }

  /** @throws SallyportError `ERR_LIMIT_STREAMS` @returns what gives the place back, once */
  takeStream(principalId: string): () => void {
    return take(this.#streams, principalId, this.#limits.streamsPerPrincipal, 'ERR_LIMIT_STREAMS', 'the principal holds as many streams as it may: close one or raise gateway.limits.streamsPerPrincipal');
  }

  /** @throws SallyportError `ERR_LIMIT_REQUESTS` @returns what gives the place back, once */
  takeRequest(principalId: string): () => void {
    return take(this.#requests, principalId, this.#limits.requestsPerPrincipal, 'ERR_LIMIT_REQUESTS', 'the principal has as many requests in flight as it may: wait for one or raise gateway.limits.requestsPerPrincipal');
  }

  /**
   * For one `subscriptions/listen` stream and the resources it is told of. All or nothing.
   * @throws SallyportError `ERR_LIMIT_SUBSCRIPTIONS` @returns what gives the places back, once
   */
  takeSubscription(principalId: string, uris: readonly string[]): () => void {
    const giveResources = this.takeResources(principalId, uris.length);
    try {
      const give = take(this.#subscriptions, principalId, this.#limits.subscriptionsPerPrincipal, 'ERR_LIMIT_SUBSCRIPTIONS', 'the principal holds as many subscription streams as it may: close one or raise gateway.limits.subscriptionsPerPrincipal');
      return () => {
        give();
        giveResources();
      };
    } catch (error) {
      giveResources();
      throw error;
    }
  }

  /**
   * For resources a session subscribes to one by one; see `Session.subscribed`.
   * @throws SallyportError `ERR_LIMIT_SUBSCRIPTIONS` @returns what gives the places back, once
   */
  takeResources(principalId: string, count = 1): () => void {
    return take(this.#resources, principalId, this.#limits.subscribedResourcesPerPrincipal, 'ERR_LIMIT_SUBSCRIPTIONS', 'the principal watches as many resources as it may: unsubscribe from some or raise gateway.limits.subscribedResourcesPerPrincipal', count);
  }
}

const take = (counts: Map<string, number>, principalId: string, limit: number, code: GateErrorCode, message: string, places = 1): (() => void) => {
  const held = counts.get(principalId) ?? 0;
  if (held + places > limit) throw new SallyportError(code, message, { facts: { principal: principalId, limit } });
  if (places > 0) counts.set(principalId, held + places);
  let given = places === 0;
  return () => {
    if (given) return;
    given = true;
    const now = (counts.get(principalId) ?? places) - places;
    if (now === 0) counts.delete(principalId);
    else counts.set(principalId, now);
  };
};
