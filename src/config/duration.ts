/** `500ms`, `30s`, `15m`, `24h`, `7d` ↔ milliseconds. Whole numbers only, at most 100 years. */

const unitMillis: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const longest = 36_525 * 86_400_000;

/** Milliseconds; undefined when the text is not a duration. */
export function parseDuration(text: string): number | undefined {
  const parts = /^([0-9]{1,13})(ms|s|m|h|d)$/.exec(text);
  if (parts === null) return undefined;
  const millis = Number(parts[1]) * (unitMillis[parts[2] ?? ''] ?? Number.NaN);
  return millis <= longest ? millis : undefined;
}

/** The shortest exact spelling: `90m`, not `5400s`. */
export function formatDuration(millis: number): string {
  for (const unit of ['d', 'h', 'm', 's']) {
    const size = unitMillis[unit] ?? 1;
    if (millis !== 0 && millis % size === 0) return `${millis / size}${unit}`;
  }
  return `${millis}ms`;
}
