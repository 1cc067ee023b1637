/** When to look again at what somebody else publishes. Pure. */

export interface LookAgain {
  /** Unix milliseconds. */
  readonly now: number;
  /** Life of what is had; undefined while there is nothing. */
  readonly life?: { readonly from: number; readonly until: number } | undefined;
  /** Failures since the last success. */
  readonly failures: number;
  /** Longest time between two looks. */
  readonly refreshMs: number;
  /** 0 to 1, so that many gateways do not come at once. */
  readonly random: number;
}

const LEAST_MS = 5_000;
const FIRST_RETRY_MS = 10_000;
const LONGEST_RETRY_MS = 5 * 60_000;

/** Milliseconds to wait: until half of its life is over, then in ever smaller parts of the rest; after failures at growing distances. */
export const waitBeforeLook = ({ now, life, failures, refreshMs, random }: LookAgain): number => {
  const jitter = 0.9 + 0.2 * Math.min(1, Math.max(0, random));
  if (failures > 0) return Math.min(FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 20), LONGEST_RETRY_MS, refreshMs) * jitter;
  const left = life === undefined ? refreshMs : life.until - now;
  const half = life === undefined ? refreshMs : life.from + (life.until - life.from) / 2 - now;
  const wanted = half > 0 ? half : left / 4;
  return Math.min(Math.max(LEAST_MS, wanted), refreshMs) * jitter;
};
