import { CaError } from './errors.ts';

const secondsPer: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 };
const ceiling = 100 * 365 * 86_400;

/** A lifetime as people write it (`90s`, `15m`, `24h`, `30d`, `2w`) or as whole seconds → seconds. */
export const parseDuration = (text: string | number): number => {
  const seconds = typeof text === 'number' ? text : secondsOf(text);
  if (!Number.isSafeInteger(seconds) || seconds < 1 || seconds > ceiling) {
    throw new CaError('ERR_CA_TTL', `${JSON.stringify(text)} is not a lifetime; write a whole number and a unit, such as 90s, 15m, 24h or 30d`);
  }
  return seconds;
};

/** Seconds → the shortest exact spelling `parseDuration` reads back. */
export const formatDuration = (seconds: number): string => {
  for (const unit of ['d', 'h', 'm'] as const) {
    const size = secondsPer[unit] ?? 1;
    if (seconds >= size && seconds % size === 0) return `${seconds / size}${unit}`;
  }
  return `${seconds}s`;
};

const secondsOf = (text: string): number => {
  const match = /^(\d{1,9})([smhdw])$/.exec(text);
  return match === null ? Number.NaN : Number(match[1]) * (secondsPer[match[2] ?? ''] ?? Number.NaN);
};
