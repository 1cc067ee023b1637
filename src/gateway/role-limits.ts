/**
 * What a role's `limits` allow its principals: calls per time and calls at once. They belong to the
 * principal, so another session, connection or certificate of the same agent shares them.
 */
import type { Clock } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import type { EffectiveGrants } from '../policy/authorize.ts';

interface Use {
  running: number;
  /** Calls that may be made at once; refilled with time, up to the rate's count. */
  left: number;
  refilledAt: number;
}

/** Beyond this many, what lies idle and full is forgotten: it would start full again anyway. */
const rememberedUses = 10_000;

export class RoleLimits {
  readonly #clock: Clock;
  readonly #uses = new Map<string, Use>();
  #sweptAt = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Takes places for calls under every role of the principal that sets limits: all must have room.
   * @returns what gives the places back, once
   * @throws SallyportError `ERR_LIMIT_RATE`, `ERR_LIMIT_CONCURRENT`
   */
  take(principalId: string, limits: EffectiveGrants['limits'], calls: number): () => void {
    const now = this.#clock.now().getTime();
    const taken = limits.map(({ role, limits: { calls: rate, concurrent } }) => {
      const use = this.#useOf(`${principalId}\n${role}`, rate?.count ?? 0, now);
      if (rate !== undefined) {
        use.left = Math.min(rate.count, use.left + (Math.max(0, now - use.refilledAt) * rate.count) / rate.perMs);
        if (use.left < calls) {
          throw new SallyportError('ERR_LIMIT_RATE', 'the principal calls more often than its role allows: wait, or raise limits.calls of the role', { facts: { principal: principalId, role, calls: rate.count, perMs: rate.perMs } });
        }
      }
      use.refilledAt = now;
      if (concurrent !== undefined && use.running + calls > concurrent) {
        throw new SallyportError('ERR_LIMIT_CONCURRENT', 'the principal has as many calls running as its role allows: wait for one, or raise limits.concurrent of the role', { facts: { principal: principalId, role, concurrent } });
      }
      return use;
    });
    for (const use of taken) {
      use.left -= calls;
      use.running += calls;
    }
    let given = false;
    return () => {
      if (given) return;
      given = true;
      for (const use of taken) use.running -= calls;
    };
  }

  #useOf(key: string, full: number, now: number): Use {
    let use = this.#uses.get(key);
    if (use === undefined) {
      if (this.#uses.size >= rememberedUses && now - this.#sweptAt > sweepEveryMs) this.#forgetIdle(now);
      use = { running: 0, left: full, refilledAt: now };
      this.#uses.set(key, use);
    }
    return use;
  }

  #forgetIdle(now: number): void {
    this.#sweptAt = now;
    for (const [key, { running, refilledAt }] of this.#uses) if (running === 0 && now - refilledAt > forgottenAfterMs) this.#uses.delete(key);
  }
}

/** Looking at all of them is not for every newcomer to pay. */
const sweepEveryMs = 60_000;

/** Longer than any rate's period takes to refill. */
const forgottenAfterMs = 86_400_000;
