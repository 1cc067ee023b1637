/** What a run of a suite found, read from the files it wrote. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface Check {
  readonly id: string;
  readonly name: string;
  readonly status: 'SUCCESS' | 'FAILURE' | 'WARNING' | 'SKIPPED' | 'INFO';
  readonly errorMessage?: string | undefined;
  readonly details?: unknown;
}

/** Checks by scenario, in the order they were made. */
export type Results = ReadonlyMap<string, readonly Check[]>;

/** One folder for each scenario, `server-SCENARIO-TIME`, with its `checks.json` unless the scenario broke off. */
export async function readResults(directory: string): Promise<Results> {
  const results = new Map<string, readonly Check[]>();
  for (const folder of (await readdir(directory)).toSorted()) {
    const scenario = scenarioOf(folder);
    if (scenario === undefined) continue;
    if (results.has(scenario)) throw new Error(`the scenario ${scenario} was run twice in ${directory}`);
    results.set(scenario, await checksOf(join(directory, folder, 'checks.json')));
  }
  return results;
}

const checksOf = async (file: string): Promise<readonly Check[]> => {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Check[];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return [{ id: 'scenario', name: 'Scenario', status: 'FAILURE', errorMessage: 'the scenario took too long or broke off' }];
  }
};

export const scenarioOf = (folder: string): string | undefined => /^server-(?<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z$/u.exec(folder)?.groups?.['scenario'];

export const countOf = (results: Results, status: Check['status']): number => [...results.values()].flat().filter((check) => check.status === status).length;

export const failuresIn = (results: Results): readonly string[] =>
  [...results].flatMap(([scenario, checks]) => checks.filter(({ status }) => status === 'FAILURE').map(({ id, errorMessage }) => `${scenario} ${id}: ${errorMessage ?? ''}`));
