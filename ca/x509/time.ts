/** UTCTime and GeneralizedTime in the profile of RFC 5280 §4.1.2.5: whole seconds, always Z. */
import { invalid } from './malformed.ts';
import { TAG } from './tag.ts';

const ZERO = 0x30;
const Z = 0x5a;

/** The complete element: UTCTime for 1950 to 2049, else GeneralizedTime. Fractions are cut off. */
export function encodeTime(value: Date): Uint8Array {
  const year = value.getUTCFullYear();
  return write(value, year >= 1950 && year <= 2049);
}

/** The complete element, GeneralizedTime whatever the year. Fractions are cut off. */
export function encodeGeneralizedTime(value: Date): Uint8Array {
  return write(value, false);
}

function write(value: Date, short: boolean): Uint8Array {
  const year = value.getUTCFullYear();
  if (!(year >= 0 && year <= 9999)) throw new RangeError('time must be a valid date between the years 0 and 9999');
  const out = new Uint8Array(short ? 15 : 17);
  out[0] = short ? TAG.utcTime : TAG.generalizedTime;
  out[1] = out.length - 2;
  let at = 2;
  if (!short) at = putPair(out, at, Math.floor(year / 100));
  at = putPair(out, at, year % 100);
  at = putPair(out, at, value.getUTCMonth() + 1);
  at = putPair(out, at, value.getUTCDate());
  at = putPair(out, at, value.getUTCHours());
  at = putPair(out, at, value.getUTCMinutes());
  at = putPair(out, at, value.getUTCSeconds());
  out[at] = Z;
  return out;
}

/** GeneralizedTime before 2050 is read, as RFC 5280 §4.1.2.5 asks of relying parties. */
export function decodeTime(tag: number, content: Uint8Array, offset = 0): Date {
  return new Date(timeSeconds(content, 0, content.length, tag, offset) * 1000);
}

/** Seconds since 1970 of the content octets in `[start, end)`; allocates nothing. */
export function timeSeconds(bytes: Uint8Array, start: number, end: number, tag: number, offset = start): number {
  const short = tag === TAG.utcTime;
  if (end - start !== (short ? 13 : 15) || bytes[end - 1] !== Z) throw invalid('time is not whole seconds ending in Z', offset);
  let year: number;
  let at = start;
  if (short) {
    const two = pair(bytes, at);
    // RFC 5280 §4.1.2.5.1: 50 to 99 are 19YY.
    year = two >= 50 ? 1900 + two : 2000 + two;
    at += 2;
    if (two < 0) year = -1;
  } else {
    const century = pair(bytes, at);
    const two = pair(bytes, at + 2);
    year = century < 0 || two < 0 ? -1 : century * 100 + two;
    at += 4;
  }
  const month = pair(bytes, at);
  const day = pair(bytes, at + 2);
  const hour = pair(bytes, at + 4);
  const minute = pair(bytes, at + 6);
  const second = pair(bytes, at + 8);
  if (year < 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) {
    throw invalid('time is not a moment of the calendar', offset);
  }
  return daysSinceEpoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
}

/** Two decimal digits, or -1. */
function pair(bytes: Uint8Array, at: number): number {
  const tens = (bytes[at] ?? 0) - ZERO;
  const ones = (bytes[at + 1] ?? 0) - ZERO;
  return tens < 0 || tens > 9 || ones < 0 || ones > 9 ? -1 : tens * 10 + ones;
}

function putPair(out: Uint8Array, at: number, value: number): number {
  out[at] = ZERO + Math.floor(value / 10);
  out[at + 1] = ZERO + (value % 10);
  return at + 2;
}

function daysIn(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

/** Days since 1970-01-01 in the proleptic Gregorian calendar, with years that start in March. */
function daysSinceEpoch(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}
