import { describe, expect, it } from 'vitest';
import { differencesBetween, textOf } from './compare.ts';
import { countOf, failuresIn, scenarioOf } from './results.ts';
import type { Check, Results } from './results.ts';
import { startDirect, startThrough } from './routes.ts';
import type { Route } from './routes.ts';
import { runSuite } from './run-suite.ts';
import { suites, withoutTasks } from './suites.ts';
import type { ConformanceSuite } from './suites.ts';

const found = async (suite: ConformanceSuite, start: () => Promise<Route>): Promise<Results> => {
  const route = await start();
  try {
    return await runSuite(suite, route.url);
  } finally {
    await route.close();
  }
};

/** In front of an HTTP upstream; `npm run conformance` covers every kind, tasks and the older suite. */
describe.concurrent('the official conformance suite', () => {
  for (const suite of [suites['2025-11-25'], withoutTasks]) {
    it(`finds of ${suite.name} through bridge, mutual TLS and gateway what it finds directly`, { timeout: 60_000 }, async ({ expect: expected }) => {
      const [direct, through] = await Promise.all([found(suite, startDirect), found(suite, () => startThrough('http'))]);
      expected(failuresIn(direct)).toEqual([]);
      expected(countOf(direct, 'SUCCESS')).toBe(suite.passing);
      expected(differencesBetween(direct, through).map(textOf)).toEqual([]);
    });
  }
});

const check = (id: string, status: Check['status'], name = 'Name'): Check => ({ id, name, status, ...(status === 'SUCCESS' ? {} : { errorMessage: 'why' }) });

const results = (...checks: Check[]): Results => new Map([['scenario', checks]]);

describe('the comparison of two runs', () => {
  const cases: [what: string, direct: Results, through: Results, said: string[]][] = [
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
  for (const [what, direct, through, said] of cases) it(`says ${what}`, () => expect(differencesBetween(direct, through).map(textOf)).toEqual(said));

  it('passes over a check that may be absent, and not over one that came out worse', () => {
    const mayBeAbsent = new Set(['a']);
    expect(differencesBetween(results(check('a', 'SUCCESS')), results(), { mayBeAbsent })).toEqual([]);
    expect(differencesBetween(results(check('a', 'SUCCESS')), results(check('a', 'WARNING')), { mayBeAbsent })).toHaveLength(1);
  });
});

describe('the folders of a run', () => {
  it('name the scenario before the time', () => {
    expect(scenarioOf('server-tools-list-2026-11-21T06-45-46-712Z')).toBe('tools-list');
    expect(scenarioOf('server-json-schema-2020-12-2026-11-21T06-45-56-321Z')).toBe('json-schema-2020-12');
    expect(scenarioOf('client-tools-list-2026-11-21T06-45-46-712Z')).toBeUndefined();
    expect(scenarioOf('server-2026-11-21T06-45-46-712Z')).toBeUndefined();
  });
});
