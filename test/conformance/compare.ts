/**
 * Check by check: what a suite found of an MCP server reached directly, against what it found of the
 * same server through bridge and gateway. Notes of the suite (INFO) tell the traffic and are no findings.
 */
import type { Check, Results } from './results.ts';

export interface Difference {
  readonly scenario: string;
  readonly id: string;
  /** Findings in their order, none when the check is absent; an id may stand for several checks. */
  readonly direct: readonly Check[];
  readonly through: readonly Check[];
}

/** A check that cannot come out alike on some way to the MCP server, and how it does come out. */
export interface Excuse {
  readonly id: string;
  readonly through: 'absent' | Exclude<Check['status'], 'INFO'>;
  readonly why: string;
}

export function differencesBetween(direct: Results, through: Results): readonly Difference[] {
  const scenarios = new Set([...direct.keys(), ...through.keys()]);
  return [...scenarios].flatMap((scenario) => {
    const [before, after] = [findingsOf(direct.get(scenario)), findingsOf(through.get(scenario))];
    return [...new Set([...before.keys(), ...after.keys()])]
      .map((id) => ({ scenario, id, direct: before.get(id) ?? [], through: after.get(id) ?? [] }))
      .filter((pair) => labelsOf(pair.direct) !== labelsOf(pair.through));
  });
}

/** What is still to be said: differences without an excuse, and excuses that nothing needs. */
export function complaintsOf(differences: readonly Difference[], { excuses, direct }: { readonly excuses: readonly Excuse[]; readonly direct: Results }): readonly string[] {
  const excused = (difference: Difference): boolean => excuses.some((excuse) => excuse.id === difference.id && excuse.through === outcomeOf(difference.through));
  const found = new Set([...direct.values()].flatMap((checks) => [...findingsOf(checks).keys()]));
  const idle = excuses.filter(({ id }) => found.has(id) && !differences.some((difference) => difference.id === id));
  return [...differences.filter((difference) => !excused(difference)).map(textOf), ...idle.map(({ id }) => `${id} no longer differs: take its excuse away`)];
}

const textOf = ({ scenario, id, direct, through }: Difference): string =>
  [
    `${scenario} ${id}: ${labelsOf(direct) || 'absent'} directly, ${labelsOf(through) || 'absent'} through the gateway`,
    ...through.filter(({ status }) => status !== 'SUCCESS').map(({ name, errorMessage }) => `    ${name}: ${errorMessage ?? 'no message'}`),
  ].join('\n');

const findingsOf = (checks: readonly Check[] = []): ReadonlyMap<string, readonly Check[]> => Map.groupBy(checks.filter(({ status }) => status !== 'INFO'), ({ id }) => id);

const labelsOf = (checks: readonly Check[]): string => checks.map(({ name, status }) => `${name}=${status}`).join(' ');

/** One word for all checks of an id; undefined when they came out in different ways. */
const outcomeOf = (checks: readonly Check[]): string | undefined => {
  const [first, ...others] = new Set(checks.map(({ status }) => status));
  return others.length > 0 ? undefined : (first ?? 'absent');
};
