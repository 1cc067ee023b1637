import type { Argument, Command, Option } from 'commander';
import { Cli } from '../../src/cli/cli.ts';
import { processIo } from '../../src/cli/io.ts';
import { allCommands } from '../../src/cli/commands.ts';
import { createProgram } from '../../src/cli/main.ts';
import { jsonShapes } from './command-json.ts';
import { code, fenced, page, table } from './markdown.ts';

const introduction = `Every command takes \`--help\`, \`--json\` (machine output on standard output; logs and errors go to standard error, an error as \`{ "error": { "code", "message", "next"?, "facts" } }\`) and \`--dir DIR\`, the data directory (default \`$SALLYPORT_DIR\`, else \`./sallyport\`).

Exit codes: **0** done, **1** failed, **2** usage, **3** denied or a finding, **4** waits for a second person. [errors.md](errors.md) says which code leads to which.

Commands that open the CA's keys take the passphrase from \`--passphrase-file\`, from \`SALLYPORT_PASSPHRASE\`, from the systemd credential \`sallyport.passphrase\`, or ask for it at the terminal; never from an argument. \`SALLYPORT_DEBUG=1\` adds stacks to errors; \`NO_COLOR\` and \`FORCE_COLOR\` are heeded.`;

const commands = await allCommands();

export function commandsPage(): string {
  const program = createProgram(new Cli(processIo(new AbortController().signal), async () => 0), { version: '0.0.0', commands });
  const leaves = leavesOf(program);
  return page('Commands', 'the command tree in src/cli', [introduction, leaves.map((command) => `- [${code(nameOf(command))}](#${anchorOf(command)}): ${command.description()}`).join('\n'), ...leaves.map(section)]);
}

function section(command: Command): string {
  const options = command.options.filter((option) => !shared.has(option.long ?? ''));
  const shape = jsonShapes[nameOf(command)];
  return [
    `## ${code(nameOf(command))}`,
    `${sentence(command.description())}.`,
    fenced('', `sallyport ${nameOf(command)} ${usageOf(command)}`),
    ...(command.registeredArguments.length + options.length === 0 ? [] : [table(['Argument or option', 'Default', 'Meaning'], [...command.registeredArguments.map(argumentRow), ...options.map(optionRow)])]),
    ...afterHelp(command),
    ...(shape === undefined ? [] : [`With \`--json\`: ${shape}`]),
  ].join('\n\n');
}

const shared: ReadonlySet<string> = new Set(['--json', '--dir']);

const leavesOf = (command: Command): readonly Command[] => (command.commands.length === 0 ? [command] : command.commands.flatMap(leavesOf));

const nameOf = (command: Command): string => (command.parent?.parent ? `${nameOf(command.parent)} ${command.name()}` : command.name());

const anchorOf = (command: Command): string => nameOf(command).replaceAll(' ', '-');

const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

const usageOf = (command: Command): string => command.usage().replace('[command...]', '[-- command...]');

const argumentRow = (argument: Argument): readonly string[] => [code(argument.required ? `<${argument.name()}>` : `[${argument.name()}]`), '', argument.description];

/** A default that is no single value stands in the description itself. */
function optionRow(option: Option): readonly string[] {
  const said = /^(.*) \(default: (.*)\)$/.exec(option.description);
  const value: unknown = option.defaultValue;
  const choices = option.argChoices === undefined ? '' : ` (${option.argChoices.map(code).join(', ')})`;
  // What `--no-x` switches off has its default at `--x`.
  const given = option.negate || value === undefined ? '' : code(String(value));
  return [code(option.flags), said?.[2] ?? given, `${said?.[1] ?? option.description}${choices}${option.mandatory ? '; required' : ''}`];
}

/** What stands below the options in --help: examples, and remarks after them. */
function afterHelp(command: Command): readonly string[] {
  let text = '';
  command.configureOutput({ writeOut: (chunk) => { text += chunk; } });
  command.outputHelp();
  const [, after = ''] = text.split('\nExamples:\n');
  const lines = after.trimEnd().split('\n');
  const examples = lines.filter((line) => line.startsWith('  $ ')).map((line) => line.slice(4));
  const remarks = lines.filter((line) => line !== '' && !line.startsWith('  $ '));
  return [...remarks, fenced('sh', examples.join('\n'))];
}
