/**
 * What other programs are told after a renewal, so that they load the new files: a command, a signal, or both.
 * Told until it worked: which certificate was announced last is kept beside the identity.
 */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeDurably } from '../../ca/durable-file.ts';
import type { Identity } from '../bridge/identity.ts';
import { SallyportError } from '../errors.ts';
import { usage } from './cli.ts';

export interface RenewalHook {
  /** Program and arguments; run without a shell. */
  readonly command: readonly string[] | undefined;
  readonly pidFile: string | undefined;
  readonly signal: NodeJS.Signals;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

const timeoutMs = 30_000;
const keptOutput = 2_000;
const announcedName = 'renewal.announced';

/** Before anything is renewed: who starts with this certificate has just read it, and is told of the next. */
export async function rememberAnnounced(hook: RenewalHook, { directory, thumbprint }: Identity): Promise<void> {
  if (isSilent(hook) || (await lastAnnounced(directory)) !== undefined) return;
  await writeDurably(join(directory, announcedName), `${thumbprint}\n`);
}

/** Announces the certificate in use unless that was done. Answers whether there was anything to do; rejects when it failed. */
export async function announce(hook: RenewalHook, identity: Identity): Promise<boolean> {
  if (isSilent(hook) || (await lastAnnounced(identity.directory)) === identity.thumbprint) return false;
  if (hook.pidFile !== undefined) await signalPidFile(hook.pidFile, hook.signal);
  if (hook.command !== undefined) await runCommand(hook.command, hook, identity);
  await writeDurably(join(identity.directory, announcedName), `${identity.thumbprint}\n`);
  return true;
}

const isSilent = (hook: RenewalHook): boolean => hook.command === undefined && hook.pidFile === undefined;

const lastAnnounced = (directory: string): Promise<string | undefined> => readFile(join(directory, announcedName), 'utf8').then((text) => text.trim(), () => undefined);

/** `systemctl reload nginx`, with quotes around what has blanks in it. There is no shell: no variables, no pipes. */
export function wordsOf(text: string): readonly string[] {
  const words = [...text.matchAll(/\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))(?=\s|$)/gu)];
  const [first] = words;
  if (first === undefined || words.map(([whole]) => whole).join('') !== text.trimEnd()) throw usage('--exec needs a program and its arguments, separated by blanks, with quotes around what has blanks in it; for more write a script');
  return words.map(([, double, single, bare]) => double ?? single ?? bare ?? '');
}

async function signalPidFile(file: string, signal: NodeJS.Signals): Promise<void> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw failed(`the pid file ${file} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'})`, cause);
  });
  const pid = Number(/^\s*(\d{1,10})\s*$/u.exec(text)?.[1]);
  if (!(pid > 1)) throw failed(`the pid file ${file} holds no process id`);
  try {
    process.kill(pid, signal);
  } catch (cause) {
    throw failed(`process ${pid} of ${file} cannot be sent ${signal} (${(cause as NodeJS.ErrnoException).code ?? 'unknown'})`, cause);
  }
}

function runCommand([program = '', ...args]: readonly string[], { env, cwd }: RenewalHook, identity: Identity): Promise<void> {
  return new Promise((done, reject) => {
    const child = spawn(program, args, {
      cwd, stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...env, SALLYPORT_PASSPHRASE: undefined, SALLYPORT_IDENTITY: identity.directory, SALLYPORT_IDENTITY_NAME: identity.name, SALLYPORT_IDENTITY_NOT_AFTER: identity.notAfter.toISOString() },
    });
    let said = '';
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      said = (said + chunk).slice(-keptOutput);
    });
    child.on('error', (cause) => {
      clearTimeout(timer);
      reject(failed(`${program} cannot be run (${(cause as NodeJS.ErrnoException).code ?? cause.message})`, cause));
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      // Grandchildren may keep the pipe; nobody waits for them.
      child.stderr.destroy();
      if (code === 0) done();
      else reject(failed(late ? `${program} took longer than ${timeoutMs / 1_000} s and was ended` : `${program} ended with ${signal ?? code ?? 'nothing'}${said.trim() === '' ? '' : `: ${said.trim().split('\n').at(-1) ?? ''}`}`));
    });
  });
}

const failed = (what: string, cause?: unknown): SallyportError =>
  new SallyportError('ERR_RENEWAL_HOOK', `the renewed certificate was not announced: ${what}; correct it, and it is tried again at the next look`, { cause });
