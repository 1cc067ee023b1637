/** Runs a conformance suite against an address, in processes of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { readResults } from './results.ts';
import type { Results } from './results.ts';
import type { ConformanceSuite } from './suites.ts';

export interface RunSuiteOptions {
  readonly limitMs?: number;
}

/** Rejects when the suite itself breaks; failing checks are in the results. */
export async function runSuite(suite: ConformanceSuite, url: string | URL, { limitMs = 300_000 }: RunSuiteOptions = {}): Promise<Results> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-conformance-'));
  /** `end` is what the suite writes when it came through. It exits with 1 when checks failed, and when it broke. */
  const run = async (args: readonly string[], { folder, end }: { readonly folder: string; readonly end: string }): Promise<void> => {
    const child = spawn(process.execPath, [suite.program, 'server', '--url', String(url), ...args, '-o', folder], { stdio: ['ignore', 'pipe', 'pipe'], timeout: limitMs });
    const said = Promise.all([text(child.stdout), text(child.stderr)]);
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    const [output, errors] = await said;
    if (signal !== null || !output.includes(end)) throw new Error(`the suite ${suite.name} ended with ${signal ?? code}:\n${output}\n${errors}`);
  };
  try {
    await Promise.all(suite.runs.map((args) => run(args, { folder: join(directory, 'all'), end: '=== SUMMARY ===' })));
    const results = new Map(await readResults(join(directory, 'all')));
    for (const { scenario, args } of suite.impatient) {
      if (results.get(scenario)?.every(({ status }) => status !== 'FAILURE' && status !== 'WARNING') !== false) continue;
      await run(['--scenario', scenario, ...args], { folder: join(directory, scenario), end: 'Test Results:' });
      for (const [again, checks] of await readResults(join(directory, scenario))) results.set(again, checks);
    }
    return results;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
