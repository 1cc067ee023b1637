/** Servers under measurement, each in a process of its own, so that its CPU time is only its own. */
import { fork, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findProgram } from './programs.ts';

/** A running server. `cpu` is what it has used so far, all threads, in microseconds. */
export interface Contender {
  readonly port: number;
  readonly pid: number;
  cpu(): Promise<number>;
  stop(): Promise<void>;
}

/** What a server holds once what it no longer needs is collected. */
export interface Held {
  /** Octets. */
  readonly rss: number;
  /** Octets of JavaScript: the heap and the buffers outside of it. */
  readonly heap: number;
  /** Undefined where the system does not list them. */
  readonly descriptors: number | undefined;
}

export interface ForkedServer extends Contender {
  readonly child: ChildProcess;
  held(): Promise<Held>;
}

/** A file of this folder as a child: it gets the job as its first message and answers through `serveJob`. */
export const forkServer = async (file: string, job: object): Promise<ForkedServer> => {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), { execArgv: ['--expose-gc'] });
  const ended = once(child, 'exit');
  child.send(job);
  const [{ port }] = (await Promise.race([
    once(child, 'message'),
    ended.then(() => Promise.reject(new Error(`${file} ended before it served`))),
  ])) as [{ port: number }];
  return {
    child, port, pid: child.pid ?? 0,
    cpu: async () => {
      child.send('cpu');
      const [{ cpu }] = await once(child, 'message') as [{ cpu: NodeJS.CpuUsage }];
      return cpu.user + cpu.system;
    },
    held: async () => {
      child.send('held');
      const [held] = await once(child, 'message') as [Held];
      return held;
    },
    stop: async () => {
      child.kill();
      await ended;
    },
  };
};

/** The child's side of `forkServer`: starts with the job, then answers how much CPU it used and how much memory it holds. */
export const serveJob = <Job>(start: (job: Job) => Promise<number>): void => {
  process.once('message', (job: Job) => {
    void start(job).then((port) => {
      process.on('message', (wanted) => { process.send?.(wanted === 'held' ? heldHere() : { cpu: process.cpuUsage() }); });
      process.on('disconnect', () => { process.exit(); });
      process.send?.({ port });
    });
  });
};

const heldHere = (): Held => {
  // Twice, since what is freed by a finalizer goes with the second.
  globalThis.gc?.();
  globalThis.gc?.();
  const { rss, heapUsed, external } = process.memoryUsage();
  return { rss, heap: heapUsed + external, descriptors: process.platform === 'linux' ? readdirSync('/proc/self/fd').length : undefined };
};

/** nginx in one process, with `server` as the inside of its one server block; undefined when it is not installed. */
export const startNginx = async (server: (directory: string, port: number) => Promise<string>): Promise<Contender | undefined> => {
  const program = findProgram('nginx');
  if (program === undefined) return undefined;
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-nginx-'));
  const port = await freePort();
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${directory}/${name};`).join(' ');
  await writeFile(join(directory, 'nginx.conf'), `daemon off; master_process off; pid ${directory}/pid; error_log ${directory}/error.log;
events { worker_connections 1024; }
http { access_log off; keepalive_requests 1000000; ${paths}
${await server(directory, port)}
}
`);
  const child = spawn(program, ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', join(directory, 'error.log')], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  const contender: Contender = {
    port, pid: child.pid ?? 0,
    // The first number is the nanoseconds that the process, which has one thread, was on a CPU.
    cpu: async () => Number(readFileSync(`/proc/${child.pid}/schedstat`, 'utf8').split(' ')[0]) / 1_000,
    stop: async () => {
      child.kill();
      await ended;
      await rm(directory, { recursive: true });
    },
  };
  for (let attempt = 0; ; attempt += 1) {
    if (child.exitCode !== null) throw new Error(`nginx did not start: ${readFileSync(join(directory, 'error.log'), 'utf8')}`);
    if (await answers(port)) return contender;
    if (attempt === 100) {
      await contender.stop();
      throw new Error('nginx did not listen within 10 s');
    }
    await sleep(100);
  }
};

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); }).on('error', () => { resolve(false); });
  });

export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
};
