/** One line of a benchmark: what was measured, and against what in the same run. */
export interface BenchRow {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** The same work done by the reference, in the same unit. */
  readonly reference?: { readonly name: string; readonly value: number };
}

/** Nanoseconds of one call of `work`: the median of several rounds, after a warm-up of the same length. */
export const nanosecondsPer = (work: () => unknown, options: { readonly milliseconds?: number; readonly rounds?: number } = {}): number => {
  const { milliseconds = 60, rounds = 5 } = options;
  const once = (count: number): number => {
    const startedAt = process.hrtime.bigint();
    for (let index = 0; index < count; index += 1) kept = work();
    return Number(process.hrtime.bigint() - startedAt);
  };
  let count = 1;
  for (let spent = once(count); spent < milliseconds * 1e6; spent = once(count)) count = Math.ceil(count * Math.min(10, Math.max(1.5, (milliseconds * 1.1e6) / Math.max(spent, 1))));
  const measured = Array.from({ length: rounds }, () => once(count) / count).sort((a, b) => a - b);
  return measured[rounds >> 1] ?? Number.NaN;
};

/** The last result, so that no work can be optimized away. */
let kept: unknown;

export const lastResult = (): unknown => kept;
