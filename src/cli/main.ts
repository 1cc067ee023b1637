/** The command line. `run` does everything but end the process, so that tests call it as the launcher does. */
import { Command, CommanderError } from 'commander';
import { SallyportError, present } from '../errors.ts';
import { Cli } from './cli.ts';
import type { RegisterCommand } from './cli.ts';
import { commandsFor } from './commands.ts';
import type { CliIo } from './io.ts';
import { Output } from './output.ts';
import { gatewayInfo } from '../upstream/gateway-info.ts';

export { processIo } from './io.ts';
export type { CliIo } from './io.ts';

/** `argv` without program and script. Resolves with the exit code: 0 done, 1 failed, 2 usage, 3 denied or a finding, 4 waits for a second person. */
export async function run(argv: readonly string[], io: CliIo): Promise<number> {
  const cli = new Cli(io, run);
  const program = createProgram(cli, { version: gatewayInfo().version, commands: await commandsFor(argv[0]) });
  if (argv.length === 0) {
    io.stderr.write(program.helpInformation());
    return 2;
  }
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return cli.exitCode;
  } catch (error) {
    return ended(error, new Output(io, { json: argv.includes('--json') }), commandIn(program, argv));
  }
}

/** The command tree; with all commands also what the reference is generated from. */
export function createProgram(cli: Cli, { version, commands }: { readonly version: string; readonly commands: readonly RegisterCommand[] }): Command {
  const program = new Command('sallyport')
    .description('Mutual TLS in front of MCP servers, with its own certificate authority')
    .version(version, '-V, --version', 'print the version')
    .helpCommand('help [command]', 'help for a command')
    .showSuggestionAfterError(true)
    .addHelpText(
      'after',
      `
Exit codes: 0 done, 1 failed, 2 usage, 3 denied or a finding, 4 waits for a second person.

Begin with:
  $ sallyport demo
  $ sallyport init --name Acme --trust-domain acme.internal --host localhost
  $ sallyport issue agent-7 --ou analytics
  $ sallyport serve -- npx -y @modelcontextprotocol/server-everything`,
    );
  for (const register of commands) register(program, cli);
  for (const command of program.commands) pointToExamples(command, program.name());
  quiet(program, cli);
  return program;
}

/** A group has no examples of its own. */
function pointToExamples(command: Command, above: string): void {
  if (command.commands.length === 0) return;
  const name = `${above} ${command.name()}`;
  command.addHelpText('after', `\nExamples are in the help of each command, such as ${name} ${command.commands[0]?.name() ?? ''} --help`);
  for (const child of command.commands) pointToExamples(child, name);
}

/** Commander says what is wrong with the arguments through us, and never ends the process. */
function quiet(command: Command, cli: Cli): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => {
      cli.io.stdout.write(text);
    },
    writeErr: () => {
      // Said by `ended`, once and in our form.
    },
  });
  for (const child of command.commands) quiet(child, cli);
}

/** The command the words lead to, as far as they do: its help is the one to read. */
function commandIn(program: Command, argv: readonly string[]): string {
  const names = [program.name()];
  let at: Command | undefined = program;
  for (const word of argv) {
    at = at.commands.find((command) => command.name() === word);
    if (at === undefined) break;
    names.push(word);
  }
  return names.join(' ');
}

function ended(error: unknown, output: Output, command: string): number {
  if (!(error instanceof CommanderError)) {
    output.error(error);
    return present(error).exit;
  }
  // --help and --version have been printed.
  if (error.exitCode === 0) return 0;
  const message = error.message.replace(/^error: /, '').replace(/\n/g, ' ').replace(/\.$/, '');
  const text = error.code === 'commander.help' ? 'a command is missing' : message;
  output.error(new SallyportError('ERR_USAGE', `${text}: see ${command} --help`));
  return 2;
}
