/** Where programs that serve as references are found, by name. */
import { existsSync } from 'node:fs';

export const programPaths = {
  nginx: ['/usr/sbin/nginx', '/usr/local/sbin/nginx', '/usr/bin/nginx', '/opt/homebrew/bin/nginx'],
  cfssl: ['/usr/bin/cfssl', '/usr/local/bin/cfssl', '/opt/homebrew/bin/cfssl'],
  openssl: ['/usr/bin/openssl', '/usr/local/bin/openssl', '/opt/homebrew/bin/openssl'],
} as const;

export type Program = keyof typeof programPaths;

/** Undefined where it is not installed. */
export const findProgram = (program: Program): string | undefined => programPaths[program].find((path) => existsSync(path));
