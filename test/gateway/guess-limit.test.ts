import { expect, it } from 'vitest';
import { GuessLimit } from '../../src/gateway/guess-limit.ts';

const start = () => {
  const clock = { ms: 1_000_000, now: () => new Date(clock.ms) };
  return { clock, limit: new GuessLimit(clock) };
};

it('makes the network pause that guesses, and no other', () => {
  const { clock, limit } = start();
  for (let times = 0; times < 100; times += 1) limit.count('192.0.2.1');
  expect(limit.pauses('192.0.2.1')).toBe(false);
  limit.count('192.0.2.1');
  expect([limit.pauses('192.0.2.1'), limit.pauses('::ffff:192.0.2.1'), limit.pauses('192.0.2.2'), limit.pauses(undefined)]).toEqual([true, true, false, false]);
  clock.ms += 999;
  expect(limit.pauses('192.0.2.1')).toBe(true);
  clock.ms += 1;
  expect(limit.pauses('192.0.2.1')).toBe(false);
  // A second gives back five.
  for (let times = 0; times < 5; times += 1) limit.count('192.0.2.1');
  expect(limit.pauses('192.0.2.1')).toBe(false);
  limit.count('192.0.2.1');
  expect(limit.pauses('192.0.2.1')).toBe(true);
});

it('takes a /64 for one, and makes all pause when guesses come from everywhere', () => {
  const { limit } = start();
  for (let times = 0; times <= 100; times += 1) limit.count(`2001:db8::${times.toString(16)}`);
  expect([limit.pauses('2001:db8::ffff'), limit.pauses('2001:db8:0:1::1')]).toEqual([true, false]);
  for (let times = 0; times < 900; times += 1) limit.count(`10.0.${Math.floor(times / 250)}.${times % 250}`);
  expect(limit.pauses('203.0.113.1')).toBe(true);
});
