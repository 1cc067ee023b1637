/** What a command may touch of its process; tests give their own. */
import { userInfo } from 'node:os';
import type { Clock, Randomness } from '../../ca/ports.ts';
import { systemClock, systemRandomness } from '../system.ts';

export interface CliStream {
  write(chunk: string | Uint8Array): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

export interface CliIo {
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: CliStream;
  readonly stderr: CliStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly randomness: Randomness;
  /** Who acts, for the audit log. */
  readonly user: string;
}

export function processIo(signal: AbortSignal): CliIo {
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    cwd: process.cwd(),
    signal,
    clock: systemClock,
    randomness: systemRandomness,
    user: userName(),
  };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user id without an entry in the password database, as in many containers.
    return `uid-${process.getuid?.() ?? 'unknown'}`;
  }
}
