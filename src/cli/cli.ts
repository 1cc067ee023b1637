/** What every command shares: options, how its work is run, how it ends. */
import { resolve } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { SallyportError, present } from '../errors.ts';
import type { ExitCode } from '../errors.ts';
import type { CliIo } from './io.ts';
import { Output } from './output.ts';

/** One run of one command. */
export interface Call<Options> {
  readonly io: CliIo;
  readonly output: Output;
  /** Positional arguments; variadic ones are one array. */
  readonly args: readonly unknown[];
  readonly options: Options & CommonOptions;
  /** The data directory, absolute. */
  readonly directory: string;
  /** Runs another command in this process. */
  readonly run: RunCommand;
}

export type RunCommand = (argv: readonly string[], io: CliIo) => Promise<number>;

export interface CommonOptions {
  readonly json?: boolean;
  readonly dir?: string;
  readonly passphraseFile?: string;
}

export type RegisterCommand = (program: Command, cli: Cli) => void;

export class Cli {
  readonly io: CliIo;
  /** Set by the command that ran. */
  exitCode: ExitCode = 0;

  readonly #run: RunCommand;

  constructor(io: CliIo, run: RunCommand) {
    this.io = io;
    this.#run = run;
  }

  /** Hand the result to commander's `.action()`. The work answers with an exit code, 0 when it says nothing. */
  action<Options = object>(work: (call: Call<Options>) => Promise<ExitCode | void>): (...all: unknown[]) => Promise<void> {
    return async (...all) => {
      const command = all.at(-1) as Command;
      const options = command.optsWithGlobals<Options & CommonOptions>();
      const output = new Output(this.io, { json: options.json === true });
      const directory = dataDirectory(this.io, options);
      try {
        this.exitCode = (await work({ io: this.io, output, args: all.slice(0, -2), options, directory, run: this.#run })) ?? 0;
      } catch (error) {
        output.error(error);
        this.exitCode = present(error).exit;
      }
    };
  }
}

/** Absolute. */
export const dataDirectory = (io: Pick<CliIo, 'cwd' | 'env'>, { dir }: Pick<CommonOptions, 'dir'>): string => resolve(io.cwd, dir ?? (io.env['SALLYPORT_DIR'] || 'sallyport'));

/** `--json` and `--dir`, and the examples under the help text. */
export function common(command: Command, examples: readonly string[]): Command {
  return command
    .option('--json', 'machine output on standard output')
    .option('--dir <dir>', 'data directory (default: $SALLYPORT_DIR, else ./sallyport)')
    .addHelpText('after', `\nExamples:\n${examples.map((example) => `  $ ${example}`).join('\n')}`);
}

/** For commands that open the CA's keys. */
export const passphraseOption = (): Option => new Option('--passphrase-file <file>', 'file with the passphrase of the keys (default: $SALLYPORT_PASSPHRASE, else the systemd credential sallyport.passphrase, else the terminal)');

/** For options that may be given several times. */
export const collect = (value: string, previous: readonly string[] | undefined): readonly string[] => [...(previous ?? []), value];

export const usage = (message: string, facts: Readonly<Record<string, string>> = {}): SallyportError => new SallyportError('ERR_USAGE', message, { facts });

/** A positional argument. */
export function argument(call: Pick<Call<object>, 'args'>, index: number): string {
  const value = call.args[index];
  if (typeof value !== 'string') throw usage('an argument is missing: see --help');
  return value;
}
