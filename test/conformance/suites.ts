/** The official conformance suites, and what a full run of each against the fixture gives. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

export interface ConformanceSuite {
  readonly name: string;
  /** Program of the suite, and its arguments besides the address for each run; the runs are independent. */
  readonly program: string;
  readonly runs: readonly (readonly string[])[];
  /**
   * Scenarios with checks that give up after half a second, which a busy machine can need for a handshake:
   * one that did not pass is run once more by itself, and that counts.
   */
  readonly impatient: readonly { readonly scenario: string; readonly args: readonly string[] }[];
  /** Checks that pass against the fixture, reached directly. */
  readonly passing: number;
}

const current = programOf('@modelcontextprotocol/conformance');

const impatient = [{ scenario: 'server-stateless', args: ['--spec-version', '2026-07-28'] }];

/** `--requirements` runs what a revision requires, and what it never scores: tasks, polling, the life of sessions. */
export const suites = {
  '2025-11-25': { name: '2025-11-25', program: current, runs: [['--requirements', '2025-11-25']], impatient: [], passing: 84 },
  '2026-07-28': { name: '2026-07-28', program: current, runs: [['--requirements', '2026-07-28']], impatient, passing: 196 },
  /** Without the tasks extension, whose checks wait for seconds. */
  '2026-07-28-core': { name: '2026-07-28-core', program: current, runs: ['active', 'draft'].map((suite) => ['--suite', suite, '--spec-version', '2026-07-28']), impatient, passing: 144 },
  '0.1.16': { name: '0.1.16', program: programOf('conformance-0.1'), runs: [[]], impatient: [], passing: 40 },
} as const satisfies Record<string, ConformanceSuite>;

export type SuiteName = keyof typeof suites;

export const suiteNames = Object.keys(suites) as readonly SuiteName[];

/** The package exports nothing: it is found by its `package.json`. */
function programOf(name: string): string {
  const file = createRequire(import.meta.url).resolve(`${name}/package.json`);
  const { bin } = JSON.parse(readFileSync(file, 'utf8')) as { bin: Readonly<Record<string, string>> };
  return join(dirname(file), bin['conformance'] ?? '');
}
