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
export async function runSuite(suite: ConformanceSuite, url: string | URL, { limitMs = 120_000 }: RunSuiteOptions = {}): Promise<Results> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-conformance-'));
  try {
    await Promise.all(
      suite.runs.map(async (args) => {
        const child = spawn(process.execPath, [suite.program, 'server', '--url', String(url), ...args, '-o', directory], { stdio: ['ignore', 'pipe', 'pipe'], timeout: limitMs });
        const said = Promise.all([text(child.stdout), text(child.stderr)]);
        const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
        const [output, errors] = await said;
        // It exits with 1 when checks failed, and when it broke.
        if (signal !== null || !output.includes('=== SUMMARY ===')) throw new Error(`the suite ${suite.name} ended with ${signal ?? code} and without a summary:\n${output}\n${errors}`);
      }),
    );
    return await readResults(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
