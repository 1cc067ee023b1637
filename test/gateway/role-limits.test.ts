import { describe, expect, it } from 'vitest';
import { RoleLimits } from '../../src/gateway/role-limits.ts';

const at = { ms: 1_000_000 };
const clock = { now: () => new Date(at.ms) };
const limitsOf = (limits: { calls?: { count: number; perMs: number }; concurrent?: number }, role = 'analyst') => [{ role, limits: { calls: limits.calls, concurrent: limits.concurrent } }];

const codeOf = (work: () => unknown): unknown => {
  try {
    work();
    return 'taken';
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
};

describe('the limits of a role', () => {
  it('allow as many calls as the rate says, and one more once time has refilled it', () => {
    const limits = new RoleLimits(clock);
    const rate = limitsOf({ calls: { count: 3, perMs: 60_000 } });
    for (let call = 0; call < 3; call += 1) limits.take('ada', rate, 1)();
    expect(codeOf(() => limits.take('ada', rate, 1))).toBe('ERR_LIMIT_RATE');
    at.ms += 19_999;
    expect(codeOf(() => limits.take('ada', rate, 1))).toBe('ERR_LIMIT_RATE');
    at.ms += 1;
    expect(codeOf(() => limits.take('ada', rate, 1))).toBe('taken');
  });

  it('count calls at once, and give each place back exactly once', () => {
    const limits = new RoleLimits(clock);
    const concurrent = limitsOf({ concurrent: 2 });
    const release = limits.take('ada', concurrent, 1);
    limits.take('ada', concurrent, 1);
    expect(codeOf(() => limits.take('ada', concurrent, 1))).toBe('ERR_LIMIT_CONCURRENT');
    release();
    release();
    expect(codeOf(() => limits.take('ada', concurrent, 1))).toBe('taken');
    expect(codeOf(() => limits.take('ada', concurrent, 1))).toBe('ERR_LIMIT_CONCURRENT');
  });

  it('are counted for each principal and role apart, and all roles must have room', () => {
    const limits = new RoleLimits(clock);
    const both = [...limitsOf({ concurrent: 5 }, 'wide'), ...limitsOf({ concurrent: 1 }, 'narrow')];
    limits.take('ada', both, 1);
    expect(codeOf(() => limits.take('otto', both, 1))).toBe('taken');
    expect(codeOf(() => limits.take('ada', both, 1))).toBe('ERR_LIMIT_CONCURRENT');
    // What was refused took nothing from the role that had room.
    expect(codeOf(() => limits.take('ada', limitsOf({ concurrent: 2 }, 'wide'), 1))).toBe('taken');
  });

  it('count every call of a batch', () => {
    const limits = new RoleLimits(clock);
    expect(codeOf(() => limits.take('ada', limitsOf({ concurrent: 2 }), 3))).toBe('ERR_LIMIT_CONCURRENT');
  });

  it('do not bind a role that sets none', () => {
    expect(codeOf(() => new RoleLimits(clock).take('ada', [], 1_000))).toBe('taken');
  });
});
