/** The only place that touches the process's clock and random source. */
import { randomBytes } from 'node:crypto';
import type { Clock, Randomness } from '../ca/ports.ts';

export const systemClock: Clock = { now: () => new Date() };

export const systemRandomness: Randomness = { bytes: (length) => randomBytes(length) };
