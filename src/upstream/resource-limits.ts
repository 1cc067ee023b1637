/** What a child may use of the machine, enforced by the kernel (setrlimit), never by asking the child. */
import { existsSync } from 'node:fs';
import { SallyportError } from '../errors.ts';
import type { Invocation } from './command.ts';

export interface ResourceLimits {
  /** Private memory of one process (RLIMIT_DATA); allocations beyond it fail. Node.js 26 reserves 575 MiB before it runs anything. */
  readonly memoryBytes?: number | undefined;
  /** Processor time of one process (RLIMIT_CPU); then it gets SIGXCPU. */
  readonly cpuSeconds?: number | undefined;
  /** Open files of one process (RLIMIT_NOFILE). */
  readonly openFiles?: number | undefined;
  /** Processes and threads of the user it runs as, all of them on the machine (RLIMIT_NPROC). */
  readonly processes?: number | undefined;
}

/** Puts a command under its limits. */
export type LimitedInvocation = (invocation: Invocation) => Invocation;

export interface LimitSurroundings {
  readonly platform: NodeJS.Platform;
  readonly exists: (file: string) => boolean;
}

/** util-linux; it sets the limits of its own process and becomes the command, without a shell and with the same pid. */
const prlimit = '/usr/bin/prlimit';

/**
 * @throws SallyportError `ERR_CONFIG_INVALID` where limits are wanted but cannot be enforced: they are never ignored
 */
export const limitedInvocation = (upstream: string, limits: ResourceLimits, surroundings: LimitSurroundings = { platform: process.platform, exists: existsSync }): LimitedInvocation => {
  const options = optionsOf(limits);
  if (options.length === 0) return (invocation) => invocation;
  if (surroundings.platform !== 'linux' || !surroundings.exists(prlimit)) {
    throw new SallyportError('ERR_CONFIG_INVALID', `the limits of upstream ${upstream} need Linux with ${prlimit} (util-linux): install it, or take limits out and bound the process by other means`, {
      facts: { upstream, platform: surroundings.platform },
    });
  }
  return ({ file, args, verbatim }) => ({ file: prlimit, args: [...options, '--', file, ...args], verbatim });
};

const optionsOf = ({ memoryBytes, cpuSeconds, openFiles, processes }: ResourceLimits): string[] => [
  ...(memoryBytes === undefined ? [] : [`--data=${memoryBytes}:${memoryBytes}`]),
  // A second between the limits, so that it ends by SIGXCPU, which names the reason, and not by SIGKILL.
  ...(cpuSeconds === undefined ? [] : [`--cpu=${cpuSeconds}:${cpuSeconds + 1}`]),
  ...(openFiles === undefined ? [] : [`--nofile=${openFiles}:${openFiles}`]),
  ...(processes === undefined ? [] : [`--nproc=${processes}:${processes}`]),
];
