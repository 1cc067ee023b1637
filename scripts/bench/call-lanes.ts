/** Contenders of a call benchmark measured side by side: the same calls, interleaved. */
import type { Caller } from './call-client.ts';
import type { Contender } from './child.ts';
import { median, quantile } from './measure.ts';
import type { BenchRow, Goal } from './measure.ts';

export interface Measured {
  /** Per second, all callers at once. */
  readonly rates: number[];
  /** Milliseconds, all callers at once. */
  readonly latencies: number[];
  /** Milliseconds, one call at a time. */
  readonly alone: number[];
  /** Microseconds of the process nearest to the client, per call. */
  readonly cpu: number[];
}

export interface Lane extends Measured {
  readonly name: string;
  /** Whose CPU is measured, if anybody's. */
  readonly contender: Contender | undefined;
  readonly callers: readonly Caller[];
}

export const openLane = async (name: string, contender: Contender | undefined, { clients, open }: { readonly clients: number; readonly open: () => Promise<Caller> }): Promise<Lane> =>
  ({ name, contender, callers: await Promise.all(Array.from({ length: clients }, open)), rates: [], latencies: [], alone: [], cpu: [] });

export interface Passes {
  readonly passes: number;
  /** In each pass, by all callers together. */
  readonly calls: number;
  /** In each pass, one at a time. Default none. */
  readonly callsAlone?: number;
}

/** Interleaved, so that whatever else the machine does falls on all alike. The first pass warms up. */
export const measureLanes = async (lanes: readonly Lane[], { passes, calls, callsAlone = 0 }: Passes): Promise<void> => {
  for (let pass = 0; pass <= passes; pass += 1) {
    for (const lane of lanes) {
      await measure(lane, calls, pass > 0);
      if (callsAlone > 0) await measureAlone(lane, callsAlone, pass > 0);
    }
  }
};

const measure = async ({ contender, callers, rates, latencies, cpu }: Lane, calls: number, kept: boolean): Promise<void> => {
  const times: number[] = [];
  const before = await contender?.cpu();
  const startedAt = performance.now();
  await Promise.all(callers.map((caller) => callRepeatedly(caller, calls / callers.length, times)));
  const elapsed = performance.now() - startedAt;
  if (!kept) return;
  rates.push((times.length / elapsed) * 1_000);
  latencies.push(...times);
  if (contender !== undefined && before !== undefined) cpu.push(((await contender.cpu()) - before) / times.length);
};

const measureAlone = async ({ callers: [caller], alone }: Lane, calls: number, kept: boolean): Promise<void> => {
  const times: number[] = [];
  if (caller !== undefined) await callRepeatedly(caller, calls, times);
  if (kept) alone.push(...times);
};

const callRepeatedly = async (caller: Caller, calls: number, times: number[]): Promise<void> => {
  for (let number = 0; number < calls; number += 1) {
    const sent = performance.now();
    await caller.call();
    times.push(performance.now() - sent);
  }
};

export interface Reference {
  readonly lane: Measured;
  readonly name: string;
}

/** Rate and latency under load, each with that of the reference. */
export const compareUnderLoad = (name: string, lane: Measured, reference: Reference): readonly BenchRow[] => [
  compareRates(name, lane, reference),
  rowOf(`${name}: p50`, 'ms', { lane, reference, of: ({ latencies }) => median(latencies) }),
  rowOf(`${name}: p99`, 'ms', { lane, reference, of: ({ latencies }) => quantile(latencies, 0.99) }),
];

export const compareRates = (name: string, lane: Measured, reference: Reference): BenchRow => rowOf(`${name}: calls per second`, 'calls/s', { lane, reference, of: ({ rates }) => median(rates) });

export const compareCpu = (name: string, lane: Measured, reference: Reference, goal?: Goal): BenchRow => {
  const row = rowOf(name, 'µs CPU/call', { lane, reference, of: ({ cpu }) => median(cpu) });
  return goal === undefined ? row : { ...row, goal };
};

/** What one call alone takes longer than at the reference, in milliseconds. */
export const addedLatency = (name: string, lane: Measured, { lane: reference }: Reference): readonly BenchRow[] =>
  ([['p50', 0.5], ['p99', 0.99]] as const).map(([what, part]) => ({ name: `${name}: ${what} added to one call at a time`, value: quantile(lane.alone, part) - quantile(reference.alone, part), unit: 'ms' }));

const rowOf = (name: string, unit: string, { lane, reference, of }: { readonly lane: Measured; readonly reference: Reference; readonly of: (measured: Measured) => number }): BenchRow =>
  ({ name, value: of(lane), unit, reference: { name: reference.name, value: of(reference.lane) } });
