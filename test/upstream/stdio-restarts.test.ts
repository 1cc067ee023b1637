import { describe, expect, it } from 'vitest';
import { Restarts } from '../../src/upstream/stdio-restarts.ts';

const withClock = (): { restarts: Restarts; advance: (ms: number) => void; dieAfter: (ms: number) => number } => {
  let now = 1_000_000;
  const restarts = new Restarts({ now: () => new Date(now) });
  return {
    restarts,
    advance: (ms) => {
      now += ms;
    },
    /** A child that starts as soon as it may; gives the pause after its death. */
    dieAfter: (ms) => {
      now += restarts.waitMs('a');
      const startedAt = now;
      now += ms;
      restarts.died('a', startedAt);
      return restarts.waitMs('a');
    },
  };
};

describe('the pause between deaths', () => {
  it('doubles from half a second to half a minute', () => {
    const { dieAfter } = withClock();
    expect(Array.from({ length: 10 }, () => dieAfter(1))).toEqual([0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  });

  it('is none again after a child that lived a minute, to the millisecond', () => {
    const { dieAfter } = withClock();
    expect([dieAfter(1), dieAfter(1), dieAfter(59_999), dieAfter(60_000), dieAfter(1)]).toEqual([0, 500, 1_000, 0, 500]);
  });

  it('is none again once the command is known to work', () => {
    const { restarts, dieAfter } = withClock();
    expect([dieAfter(1), dieAfter(1)]).toEqual([0, 500]);
    restarts.recovered('a');
    expect(restarts.waitMs('a')).toBe(0);
    expect(dieAfter(1)).toBe(0);
  });

  it('counts children that died of one cause as one', () => {
    const { restarts, advance } = withClock();
    advance(10);
    for (const startedAt of [1_000_001, 1_000_003, 1_000_002]) restarts.died('a', startedAt);
    expect(restarts.waitMs('a')).toBe(0);
  });

  it('is one for each key, and forgets those whose pause is long over', () => {
    const { restarts, advance } = withClock();
    for (let key = 0; key < 3_000; key += 1) {
      restarts.died(String(key), 1_000_000);
      advance(120);
      restarts.died(String(key), 1_000_000 + key * 120 + 120);
    }
    expect(restarts.waitMs('2999')).toBe(500);
    expect(restarts.waitMs('0')).toBe(0);
    expect(() => restarts.check('2998', { upstream: 'tools' })).toThrow('is started again in 0.4 s');
    restarts.check('0', { upstream: 'tools' });
  });
});
