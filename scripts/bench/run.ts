/**
 * `npm run bench`: all suites but the soak, each in a process of its own; `npm run bench -- NAME …`
 * some of them; `npm run bench -- soak [seconds]`. Prints tables and writes docs/benchmarks.md,
 * where suites that did not run keep what they measured last.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, loadavg, platform, release, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { BenchRow } from './measure.ts';
import { findProgram } from './programs.ts';
import { pageOf, tableOf } from './report.ts';
import type { SuiteResult } from './report.ts';
import { suites } from './suites.ts';
import type { Suite } from './suites.ts';

const pageFile = fileURLToPath(new URL('../../docs/benchmarks.md', import.meta.url));
const resultsFile = fileURLToPath(new URL('../../docs/benchmarks.json', import.meta.url));

const main = async (): Promise<void> => {
  const { positionals, values } = parseArgs({ allowPositionals: true, options: { help: { type: 'boolean', short: 'h' } } });
  if (values.help === true) {
    process.stdout.write(`npm run bench                    all but the soak\nnpm run bench -- NAME …          ${Object.keys(suites).join(', ')}\nnpm run bench -- soak [seconds]  600 when none are given\n`);
    return;
  }
  const names = positionals.filter((one) => !/^\d+$/.test(one));
  const amount = positionals.find((one) => /^\d+$/.test(one));
  for (const name of names) if (!(name in suites)) throw new Error(`there is no suite ${name}: choose from ${Object.keys(suites).join(', ')}`);
  const chosen = Object.entries(suites).filter(([name, suite]) => (names.length === 0 ? suite.alone !== true : names.includes(name)));
  const results = await readResults();
  for (const [name, suite] of chosen) {
    process.stdout.write(`\n${suite.title}\n`);
    const load = loadavg()[0]?.toFixed(2) ?? '';
    const rows = await runApart(name, suite, amount);
    process.stdout.write(`${tableOf(rows)}\n`);
    results.set(name, { title: suite.title, about: suite.about, rows, date: new Date().toISOString().slice(0, 16).replace('T', ' '), load, missing: missingOf(suite) });
  }
  const ordered = Object.keys(suites).flatMap((name) => results.get(name) ?? []);
  await writeFile(resultsFile, `${JSON.stringify(Object.fromEntries(results), undefined, 1)}\n`);
  await writeFile(pageFile, pageOf(ordered, {
    machine: `${cpus()[0]?.model ?? 'unknown'}, ${availableParallelism()} cores, ${Math.round(totalmem() / 2 ** 30)} GB, ${platform()} ${release()}`,
    node: process.versions.node, openssl: process.versions.openssl,
  }));
  process.stdout.write(`\nwritten: docs/benchmarks.md\n`);
};

/** In a process of its own, so that no suite finds the garbage and the compiled code of another. */
const runApart = async (name: string, suite: Suite, amount: string | undefined): Promise<readonly BenchRow[]> => {
  const child = fork(fileURLToPath(new URL('./run-suite.ts', import.meta.url)), [name, ...(amount === undefined ? [] : [amount])]);
  const timer = setTimeout(() => { child.kill('SIGKILL'); }, suite.limitSeconds * 1_000);
  try {
    const [rows] = await Promise.race([
      once(child, 'message') as Promise<[readonly BenchRow[]]>,
      once(child, 'exit').then(() => { throw new Error(`suite ${name} failed or took longer than ${suite.limitSeconds} s`); }),
    ]);
    return rows;
  } finally {
    clearTimeout(timer);
    child.kill();
  }
};

const missingOf = ({ needs = [] }: Suite): readonly string[] => needs.filter((program) => findProgram(program) === undefined).map((program) => `${program}, which is not installed here`);

const readResults = async (): Promise<Map<string, SuiteResult>> => {
  try {
    return new Map(Object.entries(JSON.parse(await readFile(resultsFile, 'utf8')) as Record<string, SuiteResult>));
  } catch {
    return new Map();
  }
};

await main();
