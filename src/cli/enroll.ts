/** `sallyport enroll`: the agent's side of a one-time token. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { Option } from 'commander';
import type { Command } from 'commander';
import { parseDuration } from '../config/duration.ts';
import { enroll as enrollIdentity } from '../bridge/enroll.ts';
import type { AgentKeyAlgorithm } from '../bridge/enroll.ts';
import { argument, common, passphraseOption, usage } from './cli.ts';
import type { Call, Cli } from './cli.ts';
import { printable } from './output.ts';
import { readPassphrase } from './passphrase.ts';

interface EnrollCommandOptions {
  readonly token?: string;
  readonly tokenFile?: string;
  readonly out: string;
  readonly keyAlgorithm: AgentKeyAlgorithm;
  readonly wait?: string | true;
}

export function registerEnroll(program: Command, cli: Cli): void {
  const command = program
    .command('enroll')
    .description('make a key on this machine and have it certified for a one-time token')
    .argument('<url>', 'enrollment listener of the gateway')
    .option('--token <token>', 'what sallyport token create printed')
    .option('--token-file <file>', 'file with the token, - for standard input, which keeps it out of the list of processes')
    .requiredOption('--out <dir>', 'identity directory to write; must not exist or be empty')
    .option('--wait [duration]', 'wait for a second person to approve, for so long at most (default: 7d); without it exit with code 4')
    .addOption(new Option('--key-algorithm <algorithm>', 'algorithm of the key').choices(['p256', 'p384', 'ed25519', 'rsa3072', 'ml-dsa-65']).default('p256'))
    .addOption(passphraseOption());
  common(command, [
    'sallyport enroll https://localhost:8444 --token sallyport1.… --out ./agent-7',
    'sallyport enroll https://localhost:8444 --token-file - --out ./agent-7',
    'sallyport enroll https://localhost:8444 --token-file ./token --out ./agent-7 --wait 1h',
    'sallyport enroll https://gateway.acme.internal:8444 --token-file ./token --out ./agent-7 --key-algorithm ed25519',
  ]).action(cli.action<EnrollCommandOptions>(enroll));
}

async function enroll(call: Call<EnrollCommandOptions>): Promise<void> {
  const { io, output, options } = call;
  const enrolled = await enrollIdentity({
    url: argument(call, 0),
    token: await tokenOf(call),
    out: resolve(io.cwd, options.out),
    clock: io.clock,
    keyAlgorithm: options.keyAlgorithm,
    passphrase: await readPassphrase(io, options),
    waitMs: waitOf(options.wait),
    signal: io.signal,
    onPending: ({ facts }) => {
      if (options.wait !== undefined) output.note(`waiting for a second person to approve request ${String(facts['request'])}, until ${String(facts['expiresAt'])} at most; ^C ends the waiting, not the request`);
    },
  });
  const { name, serial, thumbprint, directory, notBefore, notAfter, gateway } = enrolled;
  output.result(
    { name, serial, thumbprint, directory, notBefore: notBefore.toISOString(), notAfter: notAfter.toISOString(), gateway },
    `enrolled ${printable(name)}: serial ${serial}, valid until ${notAfter.toISOString()}, stored in ${options.out}`,
  );
  output.note(`next: sallyport connect ${gateway ?? 'URL'} --identity ${options.out}`);
}

function waitOf(wait: string | true | undefined): number {
  if (wait === undefined) return 0;
  if (wait === true) return 7 * 86_400_000;
  const millis = parseDuration(wait);
  if (millis === undefined) throw usage('--wait must be a duration such as 30m or 2d');
  return millis;
}

async function tokenOf({ io, options }: Call<EnrollCommandOptions>): Promise<string> {
  if ((options.token === undefined) === (options.tokenFile === undefined)) throw usage('give either --token or --token-file');
  if (options.token !== undefined) return options.token;
  if (options.tokenFile === '-') return firstLine(io.stdin);
  try {
    return await readFile(resolve(io.cwd, options.tokenFile ?? ''), 'utf8');
  } catch {
    throw usage(`the token file ${options.tokenFile ?? ''} cannot be read: check its name and mode`);
  }
}

/** A terminal does not end its input behind the line that was pasted. */
async function firstLine(input: NodeJS.ReadableStream): Promise<string> {
  try {
    for await (const line of createInterface({ input })) return line;
  } finally {
    // Or the command would wait for whoever holds the other end.
    if (input instanceof Readable) input.destroy();
  }
  throw usage('there is no token on standard input: pipe in, or paste, what sallyport token create printed');
}
