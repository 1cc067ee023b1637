import { SallyportError } from '../errors.ts';
import type { GateErrorCode } from '../errors.ts';

export interface QuotaLimits {
  readonly streamsPerPrincipal: number;
  readonly requestsPerPrincipal: number;
}

/** Concurrency per principal: connecting again or opening another session does not widen it. */
export class Quota {
  readonly #limits: QuotaLimits;
  readonly #streams = new Map<string, number>();
  readonly #requests = new Map<string, number>();

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
}

const take = (counts: Map<string, number>, principalId: string, limit: number, code: GateErrorCode, message: string): (() => void) => {
  const held = counts.get(principalId) ?? 0;
  if (held >= limit) throw new SallyportError(code, message, { facts: { principal: principalId, limit } });
  counts.set(principalId, held + 1);
  let given = false;
  return () => {
    if (given) return;
    given = true;
    const now = (counts.get(principalId) ?? 1) - 1;
    if (now === 0) counts.delete(principalId);
    else counts.set(principalId, now);
  };
};
