/**
 * Check by check: what a suite found of an MCP server reached directly, against what it found of the
 * same server through bridge and gateway. Notes of the suite (INFO) tell the traffic and are no findings.
 */
import type { Check, Results } from './results.ts';

export interface Difference {
  readonly scenario: string;
  readonly id: string;
  /** Statuses in their order; an id may stand for several checks. */
  readonly direct: readonly string[];
  readonly through: readonly string[];
  /** What the suite says of the checks that came out worse. */
  readonly messages: readonly string[];
}

export interface CompareOptions {
  /** Ids of checks that the suite may leave out of what it finds through the gateway; a worse outcome stays a difference. */
  readonly mayBeAbsent?: ReadonlySet<string>;
}

export function differencesBetween(direct: Results, through: Results, { mayBeAbsent = new Set() }: CompareOptions = {}): readonly Difference[] {
  const scenarios = new Set([...direct.keys(), ...through.keys()]);
  return [...scenarios]
    .flatMap((scenario) => differencesIn(scenario, direct.get(scenario) ?? [], through.get(scenario) ?? []))
    .filter(({ id, through: found }) => found.length > 0 || !mayBeAbsent.has(id));
}

export const textOf = ({ scenario, id, direct, through, messages }: Difference): string =>
  [`${scenario} ${id}: ${direct.join(' ') || 'absent'} directly, ${through.join(' ') || 'absent'} through the gateway`, ...messages.map((message) => `    ${message}`)].join('\n');

function differencesIn(scenario: string, direct: readonly Check[], through: readonly Check[]): Difference[] {
  const before = findingsOf(direct);
  const after = findingsOf(through);
  return [...new Set([...before.keys(), ...after.keys()])].flatMap((id) => {
    const [one, other] = [before.get(id) ?? [], after.get(id) ?? []];
    const [directly, indirectly] = [one.map(labelOf), other.map(labelOf)];
    if (directly.join() === indirectly.join()) return [];
    return [{ scenario, id, direct: directly, through: indirectly, messages: other.filter(({ status }) => status !== 'SUCCESS').map(({ name, errorMessage }) => `${name}: ${errorMessage ?? 'no message'}`) }];
  });
}

const findingsOf = (checks: readonly Check[]): ReadonlyMap<string, readonly Check[]> => Map.groupBy(checks.filter(({ status }) => status !== 'INFO'), ({ id }) => id);

const labelOf = ({ name, status }: Check): string => `${name}=${status}`;
