/**
 * `npm run conformance`: the official conformance suites against the fixture server, directly and
 * through bridge and gateway in front of each kind of upstream, compared check by check.
 * `npm run conformance -- SUITE … UPSTREAM …` runs some of them. Any difference fails.
 */
import { parseArgs } from 'node:util';
import { differencesBetween, textOf } from '../test/conformance/compare.ts';
import { countOf, failuresIn } from '../test/conformance/results.ts';
import type { Results } from '../test/conformance/results.ts';
import { mayBeAbsent, startDirect, startThrough, upstreamKinds } from '../test/conformance/routes.ts';
import type { Route } from '../test/conformance/routes.ts';
import { runSuite } from '../test/conformance/run-suite.ts';
import { suiteNames, suites } from '../test/conformance/suites.ts';
import type { SuiteName } from '../test/conformance/suites.ts';

const main = async (): Promise<void> => {
  const { positionals } = parseArgs({ allowPositionals: true });
  const unknown = positionals.find((one) => !isOneOf(suiteNames, one) && !isOneOf(upstreamKinds, one));
  if (unknown !== undefined) throw new Error(`there is no suite or upstream ${unknown}: choose from ${[...suiteNames, ...upstreamKinds].join(', ')}`);
  const kinds = chosen(upstreamKinds, positionals);
  let sound = true;
  for (const name of chosen(suiteNames, positionals)) {
    // The suites wait more than they work, so the routes run side by side.
    const [direct, through] = await Promise.all([measured(name, startDirect), Promise.all(kinds.map(async (kind) => [kind, await measured(name, () => startThrough(kind))] as const))]);
    say(`${name}, directly: ${summaryOf(direct.results)} in ${direct.seconds} s`);
    for (const failure of failuresIn(direct.results)) say(`  ${failure}`);
    if (countOf(direct.results, 'SUCCESS') !== suites[name].passing || countOf(direct.results, 'FAILURE') > 0) {
      sound = false;
      say(`  the fixture is expected to pass ${suites[name].passing} checks and to fail none`);
    }
    for (const [kind, { results, seconds }] of through) {
      const differences = differencesBetween(direct.results, results, { mayBeAbsent: mayBeAbsent[kind] });
      say(`${name}, through the gateway to ${kind}: ${summaryOf(results)} in ${seconds} s, ${differences.length} differences`);
      for (const difference of differences) say(`  ${textOf(difference)}`);
      sound &&= differences.length === 0;
    }
  }
  process.exitCode = sound ? 0 : 1;
};

const measured = async (name: SuiteName, start: () => Promise<Route>): Promise<{ readonly results: Results; readonly seconds: string }> => {
  const route = await start();
  const since = performance.now();
  try {
    return { results: await runSuite(suites[name], route.url), seconds: ((performance.now() - since) / 1_000).toFixed(1) };
  } finally {
    await route.close();
  }
};

const isOneOf = <T extends string>(names: readonly T[], one: string): one is T => (names as readonly string[]).includes(one);

/** Those named, or all when none is. */
const chosen = <T extends string>(names: readonly T[], given: readonly string[]): readonly T[] => {
  const named = names.filter((name) => given.includes(name));
  return named.length === 0 ? names : named;
};

const summaryOf = (results: Results): string => `${countOf(results, 'SUCCESS')} passed, ${countOf(results, 'FAILURE')} failed, ${countOf(results, 'WARNING')} warnings, ${countOf(results, 'SKIPPED')} skipped`;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

await main();
