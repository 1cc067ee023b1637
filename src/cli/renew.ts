/** `sallyport renew`: keeps identities alive where no bridge does. */
import { relative, resolve } from 'node:path';
import { constants } from 'node:os';
import { Option } from 'commander';
import { renewalDue } from '../../ca/renewal-due.ts';
import { loadIdentity } from '../bridge/identity.ts';
import type { Identity } from '../bridge/identity.ts';
import { Renewal, renewWhenDue } from '../bridge/renewal.ts';
import type { RenewalLook } from '../bridge/renewal.ts';
import { RenewalStore } from '../bridge/renewal-store.ts';
import { codeOf, present } from '../errors.ts';
import type { ExitCode } from '../errors.ts';
import { common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { identityDirectories } from './identity-directories.ts';
import { formatTable, printable } from './output.ts';
import { readPassphrase } from './passphrase.ts';
import { announce, rememberAnnounced, wordsOf } from './renewal-hook.ts';
import type { RenewalHook } from './renewal-hook.ts';

interface RenewOptions {
  readonly daemon?: boolean;
  readonly force?: boolean;
  readonly check?: boolean;
  readonly sameKey?: boolean;
  readonly exec?: string;
  readonly pidFile?: string;
  readonly signal?: string;
}

export const registerRenew: RegisterCommand = (program, cli) => {
  const command = program
    .command('renew')
    .description('renew identities that are due, once or for as long as it runs; exit code 3 when one was refused or, with --check, is late')
    .argument('<identity...>', 'identity directories, folders of them, or patterns such as "/etc/agents/*"')
    .option('--daemon', 'go on: each at two thirds of its lifetime; new identities in a folder are found')
    .option('--force', 'renew now, due or not')
    .option('--check', 'renew nothing: say when each is due')
    .option('--same-key', 'keep the key instead of making a new one')
    .option('--exec <command>', 'run this after a renewal, without a shell, for 30 s at most, so that other programs load the new files')
    .option('--pid-file <file>', 'after a renewal send --signal to the process in this file')
    .addOption(new Option('--signal <signal>', 'what the process of --pid-file is sent').choices(['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGTERM', 'SIGINT']))
    .addOption(passphraseOption());
  common(command, [
    'sallyport renew ./agent-7',
    'sallyport renew ./agent-7 --force',
    'sallyport renew /etc/agents --daemon --json',
    'sallyport renew /etc/nginx/identity --daemon --exec "systemctl reload nginx"',
    'sallyport renew /etc/agents --check',
  ]);
  command.action(cli.action<RenewOptions>(renew));
};

async function renew(call: Call<RenewOptions>): Promise<ExitCode> {
  const { io, options, args } = call;
  refuseContradictions(options);
  const places = args[0] as readonly string[];
  const hook: RenewalHook = {
    command: options.exec === undefined ? undefined : wordsOf(options.exec),
    pidFile: options.pidFile === undefined ? undefined : resolve(io.cwd, options.pidFile),
    signal: (options.signal ?? 'SIGHUP') as keyof typeof constants.signals,
    env: io.env, cwd: io.cwd,
  };
  const passphrase = await readPassphrase(io, options);
  if (options.daemon === true) return keepRenewing(call, { places, passphrase, hook });
  const directories = await identityDirectories(places, io.cwd);
  if (directories.length === 0) throw usage(`there is no identity in ${places.join(', ')}: give what sallyport issue --out or sallyport enroll --out wrote, or a folder of such directories`);
  return options.check === true ? check(call, directories, passphrase) : renewOnce(call, { directories, passphrase, hook });
}

function refuseContradictions({ daemon, force, check: checking, sameKey, exec, pidFile, signal }: RenewOptions): void {
  if (daemon === true && force === true) throw usage('--force renews once: leave out --daemon');
  if (checking === true && (daemon === true || force === true || sameKey === true || exec !== undefined || pidFile !== undefined)) throw usage('--check renews nothing: leave the other options out');
  if (signal !== undefined && pidFile === undefined) throw usage('--signal needs to know whom: give --pid-file FILE');
}

interface Work {
  readonly passphrase: string | undefined;
  readonly hook: RenewalHook;
}

const timeoutMs = 15_000;

const factsOf = ({ directory, name, serial, notAfter }: Identity): Record<string, string> => ({ directory, name, serial, notAfter: notAfter.toISOString() });

async function renewOnce({ io, output, options }: Call<RenewOptions>, { directories, passphrase, hook }: Work & { readonly directories: readonly string[] }): Promise<ExitCode> {
  const results: object[] = [];
  const lines: string[] = [];
  let exit: ExitCode = 0;
  for (const directory of directories) {
    const shown = printable(relative(io.cwd, directory) || '.');
    try {
      await rememberAnnounced(hook, await loadIdentity(directory, { passphrase }));
      const look = await renewWhenDue({ directory, passphrase, store: new RenewalStore(directory), gateway: undefined, clock: io.clock, timeoutMs, jitter: 0, key: options.sameKey === true ? 'same' : 'new', force: options.force === true });
      const announced = await announce(hook, look.identity);
      results.push({ ...factsOf(look.identity), outcome: look.outcome, ...detailsOf(look), ...(announced ? { announced } : {}) });
      lines.push(`${shown}: ${wordsFor(look)}${announced ? ', announced' : ''}`);
      if (look.outcome === 'unrenewable' && look.why === 'expired') exit = 3;
    } catch (error) {
      const { exit: its } = present(error);
      if (its > exit) exit = its;
      results.push({ directory, outcome: 'failed', error: { code: codeOf(error), message: error instanceof Error ? error.message : String(error) } });
      output.error(error);
    }
  }
  output.result({ identities: results }, lines.join('\n'));
  return exit;
}

const detailsOf = (look: RenewalLook): object => {
  if (look.outcome === 'renewed') return { replaces: look.replaces };
  if (look.outcome === 'fresh') return { due: look.due.toISOString() };
  return look.outcome === 'unrenewable' ? { why: look.why } : {};
};

function wordsFor(look: RenewalLook): string {
  const { name, serial, notAfter } = look.identity;
  const until = notAfter.toISOString();
  switch (look.outcome) {
    case 'renewed':
      return `renewed ${printable(name)}: serial ${serial}, valid until ${until}`;
    case 'fresh':
      return `${printable(name)} is due from ${look.due.toISOString()}, valid until ${until}`;
    case 'elsewhere':
      return `${printable(name)} is being renewed by another process, valid until ${until}`;
    case 'unrenewable':
      return look.why === 'expired' ? `${printable(name)} ended at ${until}: enroll again with a new token` : `${printable(name)} names no renewal, valid until ${until}: issue or enroll it again before that`;
  }
}

async function check({ io, output }: Call<RenewOptions>, directories: readonly string[], passphrase: string | undefined): Promise<ExitCode> {
  const now = io.clock.now();
  let exit: ExitCode = 0;
  const rows: { readonly facts: object; readonly cells: readonly string[] }[] = [];
  for (const directory of directories) {
    const shown = relative(io.cwd, directory) || '.';
    try {
      const identity = await loadIdentity(directory, { passphrase });
      const state = stateOf(identity, now);
      if (state === 'late' || state === 'expired') exit = 3;
      const due = renewalDue(identity, 0).toISOString();
      rows.push({ facts: { ...factsOf(identity), due, state }, cells: [shown, identity.name, state, due, identity.notAfter.toISOString(), identity.serial] });
    } catch (error) {
      exit = 3;
      rows.push({ facts: { directory, state: 'unusable', error: { code: codeOf(error), message: error instanceof Error ? error.message : String(error) } }, cells: [shown, '-', 'unusable', '-', '-', '-'] });
      output.error(error);
    }
  }
  output.result({ identities: rows.map(({ facts }) => facts) }, () => formatTable(['DIRECTORY', 'NAME', 'STATE', 'DUE', 'EXPIRES', 'SERIAL'], rows.map(({ cells }) => cells)));
  return exit;
}

/** Whoever renews does so by `renewalDue` with a jitter of 1; a while later something is wrong with it. */
function stateOf(identity: Identity, now: Date): 'fresh' | 'due' | 'late' | 'expired' {
  if (now > identity.notAfter) return 'expired';
  const [from, until] = [renewalDue(identity, 0).getTime(), renewalDue(identity, 1).getTime()];
  if (now.getTime() < from) return 'fresh';
  return now.getTime() < until + (until - from) ? 'due' : 'late';
}

/** Where new identities are looked for, and ended ones forgotten. */
const lookAroundMs = 30_000;

async function keepRenewing({ io, output, options }: Call<RenewOptions>, { places, passphrase, hook }: Work & { readonly places: readonly string[] }): Promise<ExitCode> {
  const kept = new Map<string, Renewal>();
  const warned = new Map<string, string>();
  const failed = (directory: string, code: string, message: string): void => output.event({ event: 'failed', directory, code, message }, `${printable(relative(io.cwd, directory) || '.')}: ${printable(message)}`);
  const onLook = async (look: RenewalLook): Promise<void> => {
    const { identity } = look;
    const shown = printable(relative(io.cwd, identity.directory) || '.');
    if (look.outcome === 'renewed') output.event({ event: 'renewed', ...factsOf(identity), ...detailsOf(look) }, `${shown}: ${wordsFor(look)}`);
    try {
      if (await announce(hook, identity)) output.event({ event: 'announced', ...factsOf(identity) }, `${shown}: announced`);
      warned.delete(identity.directory);
    } catch (error) {
      // Said once, done again at every look.
      const message = error instanceof Error ? error.message : String(error);
      if (warned.get(identity.directory) !== message) failed(identity.directory, codeOf(error), message);
      warned.set(identity.directory, message);
    }
  };
  const lookAround = async (): Promise<void> => {
    const directories = new Set(await identityDirectories(places, io.cwd));
    for (const [directory, renewal] of kept) {
      if (directories.has(directory)) continue;
      renewal.stop();
      kept.delete(directory);
      output.event({ event: 'forgotten', directory }, `${printable(relative(io.cwd, directory) || '.')}: is gone`);
    }
    for (const directory of directories) {
      if (kept.has(directory)) continue;
      const renewal = new Renewal({
        directory, passphrase, clock: io.clock, randomness: io.randomness, timeoutMs, key: options.sameKey === true ? 'same' : 'new', onLook,
        notice: ({ message, facts }) => failed(directory, String(facts?.['code'] ?? 'ERR_INTERNAL'), message),
      });
      kept.set(directory, renewal);
      try {
        const identity = await loadIdentity(directory, { passphrase });
        await rememberAnnounced(hook, identity);
        const due = renewalDue(identity, 0).toISOString();
        output.event({ event: 'kept', ...factsOf(identity), due }, `${printable(relative(io.cwd, directory) || '.')}: keeps ${printable(identity.name)}, due from ${due}, valid until ${identity.notAfter.toISOString()}`);
      } catch (error) {
        failed(directory, codeOf(error), error instanceof Error ? error.message : String(error));
      }
      renewal.start();
    }
  };
  await lookAround();
  output.event({ event: 'ready', identities: kept.size }, `ready: ${kept.size === 1 ? '1 identity' : `${kept.size} identities`}`);
  let looking = Promise.resolve();
  const timer = setInterval(() => {
    looking = looking.then(lookAround).catch((error: unknown) => output.error(error));
  }, lookAroundMs);
  if (!io.signal.aborted) await new Promise<void>((ended) => io.signal.addEventListener('abort', () => ended(), { once: true }));
  clearInterval(timer);
  await looking;
  // What was asked for is put in its place before this ends.
  await Promise.all([...kept.values()].map((renewal) => renewal.close()));
  output.event({ event: 'stopped' }, 'stopped');
  return 0;
}
