/** Kinds of values that several parts of the schema hold. */
import { z } from 'zod';
import { parseDuration } from './duration.ts';

/** Type names for the reference, by schema. */
export const typeNames = z.registry<{ readonly type: string }>();

export const duration = () =>
  z
    .string('must be a duration such as 24h or 15m')
    .transform((text, context) => {
      const millis = parseDuration(text);
      if (millis === undefined || millis === 0) {
        context.addIssue('must be a duration such as 24h or 15m (ms, s, m, h, d)');
        return z.NEVER;
      }
      return millis;
    })
    .register(typeNames, { type: 'duration' });

/** Where none at all is a choice. */
export const durationOrNone = () =>
  z
    .string('must be a duration such as 24h, or 0s for none')
    .transform((text, context) => {
      const millis = parseDuration(text);
      if (millis === undefined) {
        context.addIssue('must be a duration such as 24h (ms, s, m, h, d), or 0s for none');
        return z.NEVER;
      }
      return millis;
    })
    .register(typeNames, { type: 'duration' });

export const httpUrl = (protocols: readonly string[], what: string) =>
  z
    .string(`must be ${what}`)
    .refine((text) => {
      const url = URL.parse(text);
      return url !== null && protocols.includes(url.protocol) && url.username === '' && url.password === '' && url.hash === '';
    }, `must be ${what}, without user name and fragment`)
    .transform((text) => text.replace(/\/+$/, ''))
    .register(typeNames, { type: 'URL' });

export const count = (least: number, most: number) => z.int('must be a whole number').min(least, `must be at least ${least}`).max(most, `must be at most ${most}`);
export const text = () => z.string('must be a text: quote it');
