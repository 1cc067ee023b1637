import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runSuite } from './run-suite.ts';
import type { ConformanceSuite } from './suites.ts';

let directory: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-suite-'));
  // In the place of a suite: two scenarios fail, alone they pass. `--broken` ends it early, `--cut` leaves a folder empty.
  writeFileSync(join(directory, 'suite.mjs'), `
    import { mkdirSync, writeFileSync } from 'node:fs';
    const args = process.argv.slice(2);
    const folder = args[args.indexOf('-o') + 1];
    const alone = args.includes('--scenario') ? args[args.indexOf('--scenario') + 1] : undefined;
    if (args.includes('--broken')) throw new Error('no such option');
    for (const scenario of alone === undefined ? ['quick', 'slow', 'slower'] : [alone]) {
      const place = folder + '/server-' + scenario + '-2026-11-21T06-45-46-712Z';
      mkdirSync(place, { recursive: true });
      const status = alone === undefined && scenario !== 'quick' ? 'FAILURE' : 'SUCCESS';
      if (!args.includes('--cut')) writeFileSync(place + '/checks.json', JSON.stringify([{ id: scenario, name: args.join(' '), status }]));
    }
    console.log(alone === undefined ? '=== SUMMARY ===' : 'Test Results:');
    process.exitCode = 1;
  `);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const suite = (args: readonly string[], impatient: ConformanceSuite['impatient'] = []): ConformanceSuite => ({ name: 'fake', program: join(directory, 'suite.mjs'), runs: [args], impatient, passing: 0 });

const outcomes = async (one: ConformanceSuite): Promise<Record<string, string>> => Object.fromEntries([...(await runSuite(one, 'http://127.0.0.1/mcp'))].map(([scenario, checks]) => [scenario, checks.map(({ status }) => status).join(' ')]));

describe('a run of a suite', () => {
  it('gives what each scenario found', async () => {
    expect(await outcomes(suite([]))).toEqual({ quick: 'SUCCESS', slow: 'FAILURE', slower: 'FAILURE' });
  });

  it('looks once more at an impatient scenario that did not pass, and at no other', async () => {
    const results = await runSuite(suite(['--all'], [{ scenario: 'quick', args: ['--again'] }, { scenario: 'slow', args: ['--again'] }]), 'http://127.0.0.1/mcp');
    expect([...results].map(([scenario, [check]]) => [scenario, check?.status, check?.name.includes('--again')])).toEqual([['quick', 'SUCCESS', false], ['slow', 'SUCCESS', true], ['slower', 'FAILURE', false]]);
  });

  it('counts a scenario without results as failed', async () => {
    expect(await outcomes(suite(['--cut']))).toEqual({ quick: 'FAILURE', slow: 'FAILURE', slower: 'FAILURE' });
  });

  it('rejects when the suite breaks off', async () => {
    await expect(runSuite(suite(['--broken']), 'http://127.0.0.1/mcp')).rejects.toThrow(/the suite fake ended with 1:[^]*no such option/);
  });
});
