import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { complaintsOf, differencesBetween } from './compare.ts';
import type { Excuse } from './compare.ts';
import { countOf, failuresIn, scenarioOf } from './results.ts';
import type { Check, Results } from './results.ts';
import { startDirect, startThrough } from './routes.ts';
import type { Route } from './routes.ts';
import { runSuite } from './run-suite.ts';
import { suites } from './suites.ts';
import type { SuiteName } from './suites.ts';
import { fixtureUpstreams } from './upstreams.ts';
import type { FixtureUpstream } from './upstreams.ts';

const found = async (suite: SuiteName, start: () => Promise<Route>): Promise<Results> => {
  const route = await start();
  try {
    return await runSuite(suites[suite], route.url);
  } finally {
    await route.close();
  }
};

/** In front of an HTTP upstream; `npm run conformance` covers every kind, tasks, translation and the older suite. */
describe.concurrent('the official conformance suite', () => {
  for (const suite of ['2025-11-25', '2026-07-28-core'] as const) {
    it(`finds of ${suite} through bridge, mutual TLS and gateway what it finds directly`, { timeout: 120_000 }, async ({ expect: expected }) => {
      const [direct, through] = await Promise.all([found(suite, startDirect), found(suite, async () => startThrough(await fixtureUpstreams.http.start()))]);
      expected(failuresIn(direct)).toEqual([]);
      expected(countOf(direct, 'SUCCESS')).toBe(suites[suite].passing);
      expected(complaintsOf(differencesBetween(direct, through), { excuses: [], direct })).toEqual([]);
    });
  }
});

const check = (id: string, status: Check['status'], name = 'Name'): Check => ({ id, name, status, ...(status === 'SUCCESS' ? {} : { errorMessage: 'why' }) });

const said = (direct: Results, through: Results, ...excuses: readonly Excuse[]): readonly string[] => complaintsOf(differencesBetween(direct, through), { excuses, direct });

const results = (...checks: Check[]): Results => new Map([['scenario', checks]]);

describe('the comparison of two runs', () => {
  const cases: [what: string, direct: Results, through: Results, complaints: string[]][] = [
    ['nothing of the same findings', results(check('a', 'SUCCESS'), check('b', 'FAILURE')), results(check('a', 'SUCCESS'), check('b', 'FAILURE')), []],
    ['nothing of notes', results(check('a', 'SUCCESS'), check('note', 'INFO')), results(check('a', 'SUCCESS')), []],
    ['a check that fails', results(check('a', 'SUCCESS')), results(check('a', 'FAILURE')), ['scenario a: Name=SUCCESS directly, Name=FAILURE through the gateway\n    Name: why']],
    ['a check that comes out better', results(check('a', 'WARNING')), results(check('a', 'SUCCESS')), ['scenario a: Name=WARNING directly, Name=SUCCESS through the gateway']],
    ['a check that is absent', results(check('a', 'SUCCESS')), results(), ['scenario a: Name=SUCCESS directly, absent through the gateway']],
    ['a check that turned into a note', results(check('a', 'SUCCESS')), results(check('a', 'INFO')), ['scenario a: Name=SUCCESS directly, absent through the gateway']],
    ['a scenario that is absent', results(check('a', 'SUCCESS')), new Map(), ['scenario a: Name=SUCCESS directly, absent through the gateway']],
    ['a check that is new', results(), results(check('a', 'SKIPPED')), ['scenario a: absent directly, Name=SKIPPED through the gateway\n    Name: why']],
    [
      'the second of two checks with one id',
      results(check('a', 'SUCCESS', 'One'), check('a', 'SUCCESS', 'Two')),
      results(check('a', 'SUCCESS', 'One'), check('a', 'FAILURE', 'Two')),
      ['scenario a: One=SUCCESS Two=SUCCESS directly, One=SUCCESS Two=FAILURE through the gateway\n    Two: why'],
    ],
  ];
  for (const [what, direct, through, complaints] of cases) it(`says ${what}`, () => expect(said(direct, through)).toEqual(complaints));

  it('says nothing of a check that came out as its excuse has it, and something of any other outcome', () => {
    const excuse = { id: 'a', through: 'absent', why: 'not there' } as const;
    expect(said(results(check('a', 'SUCCESS')), results(), excuse)).toEqual([]);
    expect(said(results(check('a', 'SUCCESS')), results(check('a', 'WARNING')), excuse)).toHaveLength(1);
    expect(said(results(check('a', 'SUCCESS')), results(check('a', 'WARNING')), { ...excuse, through: 'WARNING' })).toEqual([]);
    expect(said(results(check('a', 'SUCCESS', 'One'), check('a', 'SUCCESS', 'Two')), results(check('a', 'WARNING', 'One'), check('a', 'FAILURE', 'Two')), { ...excuse, through: 'WARNING' })).toHaveLength(1);
  });

  it('says which excuse nothing needs, unless the suite has no such check', () => {
    const excuse = { id: 'a', through: 'absent', why: 'not there' } as const;
    expect(said(results(check('a', 'SUCCESS')), results(check('a', 'SUCCESS')), excuse)).toEqual(['a no longer differs: take its excuse away']);
    expect(said(results(check('b', 'SUCCESS')), results(check('b', 'SUCCESS')), excuse)).toEqual([]);
  });
});

it('has a page that names every exception and every suite', () => {
  const rows = readFileSync(new URL('../../docs/conformance.md', import.meta.url), 'utf8').split('\n').filter((line) => line.startsWith('| '));
  const excused = Object.entries<FixtureUpstream>(fixtureUpstreams).flatMap(([name, { excuses }]) => excuses.map(({ id, through, why }) => `| ${name} | \`${id}\` | ${through} | ${why} |`));
  expect(rows.filter((row) => / (?:absent|FAILURE|WARNING) /u.test(row))).toEqual(excused);
  for (const { passing } of Object.values(suites)) expect(rows.join('\n')).toContain(`| ${passing} passed, 0 failed |`);
});

describe('the folders of a run', () => {
  it('name the scenario before the time', () => {
    expect(scenarioOf('server-tools-list-2026-11-21T06-45-46-712Z')).toBe('tools-list');
    expect(scenarioOf('server-json-schema-2020-12-2026-11-21T06-45-56-321Z')).toBe('json-schema-2020-12');
    expect(scenarioOf('client-tools-list-2026-11-21T06-45-46-712Z')).toBeUndefined();
    expect(scenarioOf('server-2026-11-21T06-45-46-712Z')).toBeUndefined();
  });
});
