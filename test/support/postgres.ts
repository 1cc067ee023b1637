/** A real PostgreSQL for the tests that want one: started by the first of them, shared by all of one run. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import type { PostgresState } from './postgres-server.ts';

export interface TestPostgres {
  /** An empty schema of its own, as a store address. */
  createSchema(): Promise<string>;
  /** Runs statements as the server's superuser, in the schema of a store address if one is given. */
  execute(sql: string, url?: string): Promise<void>;
  /** Leaves nothing on a server that was given. */
  close(): Promise<void>;
}

const startWithinMs = 50_000;

/**
 * Resolves with the server, or with the reason why there is none on this machine; tests then skip and say so.
 * `SALLYPORT_TEST_POSTGRES=postgres://…` uses another server.
 */
export const testPostgres = async (): Promise<TestPostgres | { readonly skipped: string }> => {
  const given = process.env['SALLYPORT_TEST_POSTGRES'];
  const state = given === undefined ? await runningServer() : { url: given };
  if ('skipped' in state) return state;
  const schemas: string[] = [];
  const execute = async (sql: string, url = state.url): Promise<void> => {
    const client = new Client({ connectionString: url });
    await client.connect();
    try {
      await client.query(sql);
    } finally {
      await client.end();
    }
  };
  return {
    createSchema: async () => {
      const schema = `test_${randomBytes(8).toString('hex')}`;
      await execute(`CREATE SCHEMA ${schema}`);
      schemas.push(schema);
      const url = new URL(state.url);
      url.searchParams.set('options', `-c search_path=${schema}`);
      return url.href;
    },
    execute,
    close: async () => {
      // Ours ends with the run, and its schemas with it.
      if (given === undefined) return;
      for (const schema of schemas.splice(0)) await execute(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
    },
  };
};

/** One server per parent process: the test runner that started all workers of this run. */
const runningServer = async (): Promise<PostgresState> => {
  const directory = join(tmpdir(), `sallyport-test-postgres-${process.ppid}`);
  const stateFile = join(directory, 'state.json');
  const until = Date.now() + startWithinMs;
  while (Date.now() < until) {
    try {
      mkdirSync(directory);
      const server = fileURLToPath(new URL('postgres-server.ts', import.meta.url));
      spawn(process.execPath, [server, directory, String(process.ppid)], { detached: true, stdio: 'ignore' }).unref();
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    }
    try {
      const state = JSON.parse(readFileSync(stateFile, 'utf8')) as PostgresState;
      if (isAlive(state.pid)) return state;
      // Left by a run that was killed and had the same process number.
      rmSync(directory, { recursive: true, force: true });
    } catch {
      await pause(50);
    }
  }
  return { skipped: `it did not start within ${startWithinMs / 1_000} s`, pid: 0 };
};

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};
