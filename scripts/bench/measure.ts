/** One line of a benchmark: what was measured, and against what in the same run. */
export interface BenchRow {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** The same work done by the reference, in the same unit and run. */
  readonly reference?: { readonly name: string; readonly value: number };
  readonly goal?: Goal;
}

/** A bound on the ratio to the reference or on the value itself. */
export interface Goal {
  readonly of: 'ratio' | 'value';
  readonly is: 'atMost' | 'atLeast';
  readonly bound: number;
}

export const ratioOf = ({ value, reference }: BenchRow): number | undefined => (reference === undefined ? undefined : value / reference.value);

/** Undefined without a goal. What is not a number has missed it. */
export const meetsGoal = (row: BenchRow): boolean | undefined => {
  if (row.goal === undefined) return undefined;
  const measured = row.goal.of === 'value' ? row.value : (ratioOf(row) ?? Number.NaN);
  return row.goal.is === 'atMost' ? measured <= row.goal.bound : measured >= row.goal.bound;
};

export const atMost = (bound: number): Goal => ({ of: 'value', is: 'atMost', bound });
export const ratioAtMost = (bound: number): Goal => ({ of: 'ratio', is: 'atMost', bound });
export const ratioAtLeast = (bound: number): Goal => ({ of: 'ratio', is: 'atLeast', bound });

export const median = (samples: readonly number[]): number => quantile(samples, 0.5);

export const quantile = (samples: readonly number[], part: number): number => {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
};

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
  return median(Array.from({ length: rounds }, () => once(count) / count));
};

/** The last result, so that no work can be optimized away. */
let kept: unknown;

export const lastResult = (): unknown => kept;
