import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { run } from '../../src/cli/main.ts';
import type { CliIo } from '../../src/cli/main.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A directory to run commands in, in this process. */
export class Workplace {
  readonly directory: string;
  readonly env: Record<string, string>;
  /** Who runs the commands. */
  user = 'tester';
  /** What the next command finds on its standard input. */
  readonly typed: string[] = [];

  private constructor(directory: string) {
    this.directory = directory;
    this.env = {};
  }

  static async make(): Promise<Workplace> {
    return new Workplace(await mkdtemp(join(tmpdir(), 'sallyport-cli-')));
  }

  path(...parts: readonly string[]): string {
    return join(this.directory, ...parts);
  }

  async run(...argv: readonly string[]): Promise<Ran> {
    const written = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
    const stream = (chunks: Uint8Array[]) => ({ write: (chunk: string | Uint8Array) => chunks.push(Buffer.from(chunk)) });
    const io: CliIo = {
      stdin: Readable.from(this.typed.splice(0)),
      stdout: stream(written.stdout),
      stderr: stream(written.stderr),
      env: this.env,
      cwd: this.directory,
      signal: new AbortController().signal,
      clock: systemClock,
      randomness: systemRandomness,
      user: this.user,
    };
    const code = await run(argv, io);
    return { code, stdout: Buffer.concat(written.stdout).toString(), stderr: Buffer.concat(written.stderr).toString() };
  }

  async json(...argv: readonly string[]): Promise<Record<string, unknown>> {
    const { code, stdout, stderr } = await this.run(...argv, '--json');
    if (code !== 0) throw new Error(`exit ${code}: ${stderr}`);
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  remove(): Promise<void> {
    return rm(this.directory, { recursive: true, force: true });
  }
}
