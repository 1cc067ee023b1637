/**
 * `node command-child.ts <log> <step> <user> <words of a command>`: runs the command in the current directory, as that
 * user, and kills itself at the given step, by number or by name. Steps are the moments before and after whatever outlasts the process: a
 * commit of the store, a file that appears, changes its name or goes. Each is noted in the log under its name.
 */
import { appendFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import fs from 'node:fs/promises';
import { basename } from 'node:path';
import { SqliteThread } from '../../src/store/sqlite-thread.ts';
import type { SqliteResult, SqliteStatement } from '../../src/store/sqlite-thread.ts';

const [log = '', step = '', user = '', ...argv] = process.argv.slice(2);
let passed = 0;

const moment = (name: string): void => {
  appendFileSync(log, `${name}\n`);
  if (String(passed++) === step || name === step) process.kill(process.pid, 'SIGKILL');
};

const around = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
  moment(`before ${name}`);
  const result = await work();
  moment(`after ${name}`);
  return result;
};

const nameless = (path: unknown): string => basename(String(path)).replaceAll(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/gu, 'x');
const { rename, link, unlink, rm } = fs;
fs.rename = (from, to) => around(`rename ${nameless(to)}`, () => rename(from, to));
fs.link = (from, to) => around(`link ${nameless(to)}`, () => link(from, to));
fs.unlink = (path) => around(`unlink ${nameless(path)}`, () => unlink(path));
fs.rm = (path, options) => around(`rm ${nameless(path)}`, () => rm(path, options));
syncBuiltinESMExports();

/** What the transaction at hand has written: its audit entries, else its tables. */
let written: readonly SqliteStatement[] = [];
const runAll: (this: SqliteThread, connection: 'read' | 'write', statements: readonly SqliteStatement[]) => Promise<readonly SqliteResult[]> = SqliteThread.prototype.runAll;
SqliteThread.prototype.runAll = async function (this: SqliteThread, connection, statements) {
  if (connection === 'read') return runAll.call(this, connection, statements);
  written = [...written, ...statements];
  if (statements.at(-1)?.sql !== 'COMMIT') return runAll.call(this, connection, statements);
  const actions = written.flatMap(({ parameters }) => parameters.flatMap((each) => (typeof each === 'string' ? (/"action":"([a-zA-Z.]+)"/u.exec(each)?.[1] ?? []) : [])));
  const tables = written.flatMap(({ sql }) => /^(?:insert into|update|delete from) "(\w+)"/u.exec(sql)?.[1] ?? []);
  written = [];
  return around(`commit ${[...new Set(actions.length > 0 ? actions : tables)].join(' ')}`, () => runAll.call(this, connection, statements));
};

const { run, processIo } = await import('../../src/cli/main.ts');
process.exitCode = await run(argv, { ...processIo(new AbortController().signal), user });
