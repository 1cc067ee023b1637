/** At its first start the bridge enrolls with a one-time token; from then on the identity is there and the token is of no interest. */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import { enroll } from './enroll.ts';
import { identityFileName } from './identity.ts';
import type { NoticeSink } from './notice.ts';

/** Where a token is read, and only when it is needed. */
export type TokenSource =
  | { readonly file: string }
  | { readonly variable: string; readonly env: Readonly<Record<string, string | undefined>> };

export interface FirstStartOptions {
  /** Identity directory, absolute. */
  readonly directory: string;
  /** Enrollment listener of the gateway. */
  readonly url: URL;
  readonly token: TokenSource;
  readonly clock: Clock;
  readonly notice: NoticeSink;
  readonly passphrase?: string | undefined;
  /** How long another bridge, started at the same moment with the same token, may take to finish. Default 1,000. */
  readonly patienceMs?: number;
}

/** Makes the identity when there is none. Rejects in words when the token is refused, missing or unreadable. */
export async function enrollAtFirstStart(options: FirstStartOptions): Promise<void> {
  const { directory, url, clock, notice, passphrase } = options;
  if (await hasIdentity(directory)) return;
  const token = await readToken(options);
  try {
    const enrolled = await enroll({ url, token, out: directory, clock, passphrase });
    notice({ level: 'info', message: `enrolled ${enrolled.name}, valid until ${enrolled.notAfter.toISOString()}, stored in ${directory}` });
  } catch (error) {
    // A token works once. An MCP client that starts the bridge twice at once needs it once, too.
    if (!(await hasIdentity(directory)) && !(isSpent(error) && (await appearsSoon(directory, options.patienceMs ?? 1_000)))) throw error;
  }
}

export async function hasIdentity(directory: string): Promise<boolean> {
  try {
    await stat(join(directory, identityFileName));
    return true;
  } catch {
    return false;
  }
}

const isSpent = (error: unknown): boolean => error instanceof SallyportError && String(error.facts['reason']).startsWith('ERR_TOKEN_');

async function appearsSoon(directory: string, patienceMs: number): Promise<boolean> {
  for (let waited = 0; waited < patienceMs; waited += 100) {
    if (await hasIdentity(directory)) return true;
    await sleep(100);
  }
  return false;
}

async function readToken({ token, directory }: FirstStartOptions): Promise<string> {
  const ask = `there is no identity in ${directory} yet, and`;
  if ('file' in token) {
    try {
      return await readFile(token.file, 'utf8');
    } catch (cause) {
      throw missing(`${ask} the token file ${token.file} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}); write what sallyport token create printed into it`, cause);
    }
  }
  const value = token.env[token.variable];
  if (value === undefined || value.trim() === '') throw missing(`${ask} the environment variable ${token.variable} is not set; set it to what sallyport token create printed`);
  return value;
}

const missing = (message: string, cause?: unknown): SallyportError => new SallyportError('ERR_BRIDGE_ENROLLMENT', message, { facts: { reason: 'ERR_TOKEN_INVALID' }, cause });
