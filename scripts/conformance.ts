/**
 * `npm run conformance`: the official conformance suites against the fixture server, directly and
 * through bridge and gateway in front of each kind of upstream, compared check by check.
 * `npm run conformance -- SUITE … UPSTREAM …` runs some of them. Any difference without an excuse fails.
 */
import { parseArgs } from 'node:util';
import { complaintsOf, differencesBetween } from '../test/conformance/compare.ts';
import { countOf, failuresIn } from '../test/conformance/results.ts';
import type { Results } from '../test/conformance/results.ts';
import { startDirect, startThrough } from '../test/conformance/routes.ts';
import type { Route } from '../test/conformance/routes.ts';
import { runSuite } from '../test/conformance/run-suite.ts';
import { suiteNames, suites } from '../test/conformance/suites.ts';
import type { SuiteName } from '../test/conformance/suites.ts';
import { fixtureUpstreams, upstreamNames } from '../test/conformance/upstreams.ts';
import type { FixtureUpstream } from '../test/conformance/upstreams.ts';

const main = async (): Promise<void> => {
  const { positionals } = parseArgs({ allowPositionals: true });
  const unknown = positionals.find((one) => ![...suiteNames, ...upstreamNames].some((name) => name === one));
  if (unknown !== undefined) throw new Error(`there is no suite or upstream ${unknown}: choose from ${[...suiteNames, ...upstreamNames].join(', ')}`);
  let sound = true;
  for (const suite of chosen(suiteNames, positionals)) {
    const upstreams = chosen(upstreamNames, positionals)
      .map((name) => ({ name, upstream: fixtureUpstreams[name] as FixtureUpstream }))
      .filter(({ upstream }) => upstream.suites.includes(suite));
    if (upstreams.length > 0) sound = (await compared(suite, upstreams)) && sound;
  }
  process.exitCode = sound ? 0 : 1;
};

const compared = async (suite: SuiteName, upstreams: readonly { readonly name: string; readonly upstream: FixtureUpstream }[]): Promise<boolean> => {
  // The suites wait more than they work, so the ways run side by side.
  const [direct, through] = await Promise.all([
    measured(suite, startDirect),
    Promise.all(upstreams.map(async ({ name, upstream }) => ({ name, ...upstream, ...(await measured(suite, async () => startThrough(await upstream.start()))) }))),
  ]);
  say(`${suite}, directly: ${summaryOf(direct.results)} in ${direct.seconds} s`);
  const missed = [
    ...failuresIn(direct.results),
    ...(countOf(direct.results, 'SUCCESS') === suites[suite].passing ? [] : [`the fixture is expected to pass ${suites[suite].passing} checks`]),
  ];
  for (const line of missed) say(`  ${line}`);
  let sound = missed.length === 0;
  for (const { name, excuses, results, seconds } of through) {
    const complaints = complaintsOf(differencesBetween(direct.results, results), { excuses, direct: direct.results });
    say(`${suite}, through the gateway to ${name}: ${summaryOf(results)} in ${seconds} s, ${complaints.length} differences`);
    for (const complaint of complaints) say(`  ${complaint}`);
    sound &&= complaints.length === 0;
  }
  return sound;
};

const measured = async (suite: SuiteName, start: () => Promise<Route>): Promise<{ readonly results: Results; readonly seconds: string }> => {
  const route = await start();
  const since = performance.now();
  try {
    return { results: await runSuite(suites[suite], route.url), seconds: ((performance.now() - since) / 1_000).toFixed(1) };
  } finally {
    await route.close();
  }
};

/** Those named, or all when none is. */
const chosen = <T extends string>(names: readonly T[], given: readonly string[]): readonly T[] => {
  const named = names.filter((name) => given.includes(name));
  return named.length === 0 ? names : named;
};

const summaryOf = (results: Results): string => `${countOf(results, 'SUCCESS')} passed, ${countOf(results, 'FAILURE')} failed, ${countOf(results, 'WARNING')} warnings, ${countOf(results, 'SKIPPED')} skipped`;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

await main();
