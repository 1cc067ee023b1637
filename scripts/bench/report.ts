/** Benchmark results as a table for the terminal and as a page of the documentation. */
import { meetsGoal, ratioOf } from './measure.ts';
import type { BenchRow, Goal } from './measure.ts';

export interface SuiteResult {
  readonly title: string;
  /** What to know to read the numbers. */
  readonly about: string;
  readonly rows: readonly BenchRow[];
  readonly date: string;
  readonly load: string;
  /** What could not be measured here, and why. */
  readonly missing: readonly string[];
}

export interface Surroundings {
  readonly machine: string;
  readonly node: string;
  readonly openssl: string;
}

export const tableOf = (rows: readonly BenchRow[]): string => {
  const cells = [header, ...rows.map(cellsOf)];
  const widths = header.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  return cells.map((row) => row.map((cell, column) => (column === 0 || column >= 4 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  ').trimEnd()).join('\n');
};

export const pageOf = (results: readonly SuiteResult[], { machine, node, openssl }: Surroundings): string => {
  const rows = results.flatMap((result) => result.rows);
  const withGoal = rows.filter((row) => row.goal !== undefined);
  const missed = withGoal.filter((row) => meetsGoal(row) === false);
  const verdict = missed.length === 0
    ? `All ${withGoal.length} goals were met.`
    : `Of ${withGoal.length} goals ${missed.length} ${missed.length === 1 ? 'was' : 'were'} missed: ${missed.map(({ name }) => name).join(' · ')}.`;
  return `# Benchmarks

Written by \`npm run bench\`; \`npm run bench -- NAME …\` measures some suites only and replaces their part of this page. Absolute numbers depend on
the machine and on what else it does. The ratios compare with a reference measured in the same run, interleaved where both take a while. Every goal is shown, met or not.

- Machine: ${machine}
- Node.js ${node}, its OpenSSL ${openssl}

${verdict}
${results.map(sectionOf).join('')}`;
};

const sectionOf = ({ title, about, rows, date, load, missing }: SuiteResult): string => `
## ${title}

${about}

| ${header.join(' | ')} |
|${header.map((_, column) => (column === 0 || column >= 4 ? '---' : '--:')).join('|')}|
${rows.map((row) => `| ${cellsOf(row).join(' | ')} |`).join('\n')}

${missing.map((line) => `Not measured: ${line}.\n\n`).join('')}Measured ${date}, load average ${load}.
`;

const header = ['What', 'Value', 'Reference', 'Ratio', 'Compared with', 'Goal'] as const;

const cellsOf = (row: BenchRow): readonly string[] => {
  const ratio = ratioOf(row);
  const met = meetsGoal(row);
  return [
    row.name,
    `${numeral(row.value)} ${row.unit}`,
    row.reference === undefined ? '' : `${numeral(row.reference.value)} ${row.unit}`,
    ratio === undefined ? '' : ratio.toFixed(ratio < 0.095 ? 3 : 2),
    row.reference?.name ?? '',
    row.goal === undefined ? '' : `${textOf(row.goal, row.unit)}: ${met === true ? 'met' : 'MISSED'}`,
  ];
};

const textOf = ({ of, is, bound }: Goal, unit: string): string => `${is === 'atMost' ? '≤' : '≥'} ${of === 'ratio' ? `${bound.toFixed(2)} ×` : `${numeral(bound)} ${unit}`}`;

const numeral = (value: number): string => (Number.isFinite(value) ? value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 2 : value < 100 ? 1 : 0 }) : 'not measured');
