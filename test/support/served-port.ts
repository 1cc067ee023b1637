/** `sallyport` as its users have it: a data directory, and every command a process of its own. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { createIdentityFetch } from '../../src/bridge/identity-fetch.ts';
import type { IdentityFetch } from '../../src/bridge/identity-fetch.ts';
import { Workplace } from '../cli/run.ts';
import type { Ran } from '../cli/run.ts';
import { v1StdioCommand } from './mcp-servers/v1-stdio.ts';

export const launcher = fileURLToPath(new URL('../../bin/sallyport.js', import.meta.url));

export const fixtureCommand = [v1StdioCommand.command, ...v1StdioCommand.args];

/** Analysts may call some tools of the fixture servers, operators all; nobody else anything. */
export const fixturePolicy = (analystTools: readonly string[] = ['echo', 'slow']): string => `
roles:
  analyst: { grants: [{ upstream: "*", tools: ${JSON.stringify(analystTools)} }] }
  operator: { grants: [{ upstream: "*", tools: ["*"], resources: ["**"], prompts: ["*"], logging: true }] }
bindings:
  - { role: analyst, when: { organizationalUnit: analytics } }
  - { role: operator, when: { organizationalUnit: platform } }
`;

/** What `serve --json` says once it listens. */
export interface ServeFacts {
  readonly url: string;
  readonly endpoints: readonly { readonly upstream: string; readonly url: string }[];
  readonly publicUrl: string;
  readonly enrollUrl: string;
  readonly pid: number;
}

export interface Connected {
  readonly client: Client;
  readonly transport: StreamableHTTPClientTransport;
  readonly fetch: IdentityFetch;
  call(tool: string, args: Record<string, unknown>): Promise<string>;
  tools(): Promise<readonly string[]>;
}

export class ServedPort {
  readonly place: Workplace;
  readonly #children = new Set<Running>();
  readonly #closing: (() => Promise<unknown> | void)[] = [];

  private constructor(place: Workplace) {
    this.place = place;
  }

  static async make(...initOptions: readonly string[]): Promise<ServedPort> {
    const port = new ServedPort(await Workplace.make());
    port.place.env['SALLYPORT_DIR'] = 'port';
    const { code, stderr } = await port.place.run('init', '--dir', 'port', '--name', 'Acme', '--trust-domain', 'acme.internal', ...initOptions);
    if (code !== 0) throw new Error(stderr);
    await port.writePolicy(fixturePolicy());
    return port;
  }

  path(...parts: readonly string[]): string {
    return this.place.path(...parts);
  }

  writePolicy(text: string): Promise<void> {
    return writeFile(this.path('port', 'policy.yaml'), text);
  }

  /** Issues in this process: fast. */
  async issue(name: string, ...options: readonly string[]): Promise<string> {
    await this.place.json('issue', name, '--out', name, ...options);
    return this.path(name);
  }

  /** Starts a command as a process in the workplace. */
  start(argv: readonly string[], options: { readonly env?: Record<string, string> } = {}): Running {
    const child = spawn(process.execPath, [launcher, ...argv], { cwd: this.place.directory, env: { PATH: process.env['PATH'], ...this.place.env, ...options.env }, stdio: ['pipe', 'pipe', 'pipe'] });
    const running = new Running(child);
    this.#children.add(running);
    return running;
  }

  /** Runs a command as a process to its end. */
  async command(argv: readonly string[], options: { readonly env?: Record<string, string> } = {}): Promise<Ran> {
    const running = this.start(argv, options);
    running.child.stdin?.end();
    return { code: await running.exit, stdout: running.stdout, stderr: running.stderr };
  }

  /** Starts the gateway on free ports and waits until it listens. */
  async serve(options: { readonly args?: readonly string[]; readonly upstream?: readonly string[]; readonly env?: Record<string, string> } = {}): Promise<Serving> {
    const argv = ['serve', '--json', '--listen', 'localhost:0', '--public', '127.0.0.1:0', '--enroll', 'localhost:0', ...(options.args ?? []), '--', ...(options.upstream ?? fixtureCommand)];
    const running = this.start(argv, options);
    return { running, ...(JSON.parse(await running.firstLine()) as ServeFacts) };
  }

  /** An MCP session with an identity, through the official client. */
  async connect(identity: string, url: string): Promise<Connected> {
    const fetch = createIdentityFetch({ identity, pollMs: 100 });
    const transport = new StreamableHTTPClientTransport(new URL(url), { fetch });
    const client = new Client({ name: 'test', version: '1.0.0' });
    this.#closing.push(async () => {
      await client.close();
      fetch.close();
    });
    await client.connect(transport as Parameters<Client['connect']>[0]);
    return {
      client, transport, fetch,
      call: async (name, args) => {
        const { content } = await client.callTool({ name, arguments: args });
        return (content as { text?: string }[]).map(({ text }) => text ?? '').join('');
      },
      tools: async () => (await client.listTools()).tools.map(({ name }) => name).toSorted(),
    };
  }

  async close(): Promise<void> {
    for (const close of this.#closing.splice(0).toReversed()) await close();
    await Promise.all([...this.#children].map((running) => running.kill()));
    await this.place.remove();
  }
}

export interface Serving extends ServeFacts {
  readonly running: Running;
}

/** A process with what it has said so far. */
export class Running {
  readonly child: ChildProcess;
  readonly exit: Promise<number>;
  stdout = '';
  stderr = '';

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.on('data', (chunk: Buffer) => (this.stdout += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (this.stderr += chunk.toString()));
    child.stdin?.on('error', () => undefined);
    this.exit = once(child, 'close').then(([code]) => (code as number | null) ?? -1);
  }

  async firstLine(): Promise<string> {
    await until(() => this.stdout.includes('\n') || this.child.exitCode !== null, () => `no line came: ${this.stderr}`);
    const [line] = this.stdout.split('\n', 1);
    if (line === undefined || line === '') throw new Error(`ended with ${String(this.child.exitCode)}: ${this.stderr}`);
    return line;
  }

  /** Log lines of a gateway with this message. */
  logged(message: string): readonly Record<string, unknown>[] {
    return this.stderr.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Record<string, unknown>).filter(({ msg }) => msg === message);
  }

  async said(message: string, times = 1): Promise<Record<string, unknown>> {
    await until(() => this.logged(message).length >= times, () => `"${message}" was not logged: ${this.stderr}`);
    return this.logged(message).at(-1) ?? {};
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    this.child.kill(signal);
    return this.exit;
  }

  async kill(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL');
    await this.exit;
  }
}

/** Looks until it is so; fails with the explanation after 15 seconds. */
export const until = async (holds: () => boolean | Promise<boolean>, otherwise: () => string = () => 'it did not come to be'): Promise<void> => {
  const end = performance.now() + 15_000;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(otherwise());
    await sleep(20);
  }
};
