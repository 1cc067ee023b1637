/** `sallyport doctor`: proof that the gate of the running gateway is shut. */
import { runDoctor } from '../doctor/doctor.ts';
import type { DoctorReport } from '../doctor/doctor.ts';
import type { Check, Outcome } from '../doctor/check.ts';
import type { ExitCode } from '../errors.ts';
import { common, passphraseOption } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { printable } from './output.ts';
import type { Colour, Output } from './output.ts';
import { readPassphrase } from './passphrase.ts';

interface DoctorCommandOptions {
  readonly url?: string;
}

export const registerDoctor: RegisterCommand = (program, cli) => {
  const command = program
    .command('doctor')
    .description('prove that the running gateway refuses whom it must, and that keys, certificates, CRLs and the audit log are sound')
    .option('--url <url>', 'what agents dial (default: gateway.url)')
    .addOption(passphraseOption());
  common(command, ['sallyport doctor', 'sallyport doctor --dir ./port --url https://mcp.acme.internal:8443', 'sallyport doctor --json | jq ".checks[] | select(.outcome != \\"pass\\")"']);
  command.addHelpText('after', '\nMakes identities that live for a minute and are revoked at once; each is recorded and audited. Exit code 3 when a check fails.');
  command.action(cli.action<DoctorCommandOptions>(doctor));
};

async function doctor({ io, options, output, directory }: Call<DoctorCommandOptions>): Promise<ExitCode> {
  const report = await runDoctor({
    directory,
    url: options.url,
    passphrase: await readPassphrase(io, options),
    actor: `cli:${io.user}`,
    clock: io.clock,
    randomness: io.randomness,
  });
  output.result(report, () => describe(report, output));
  return report.ok ? 0 : 3;
}

const marks: Readonly<Record<Outcome, readonly [mark: string, colour: Colour]>> = { pass: ['✔', 'green'], fail: ['✘', 'red'], warn: ['!', 'yellow'], skip: ['-', 'dim'] };

function describe({ checks, url }: DoctorReport, output: Output): string {
  const width = Math.max(...checks.map(({ title }) => title.length));
  const line = ({ outcome, title, detail, next }: Check): string => {
    const [mark, colour] = marks[outcome];
    const said = `${output.paint(colour, mark)} ${title.padEnd(width)}  ${outcome === 'skip' ? output.paint('dim', printable(detail)) : printable(detail)}`;
    return next === null ? said : `${said}\n${' '.repeat(width + 4)}→ ${printable(next)}`;
  };
  return [...checks.map(line), '', summary(checks, url)].join('\n');
}

function summary(checks: readonly Check[], url: string): string {
  const count = (wanted: Outcome): number => checks.filter(({ outcome }) => outcome === wanted).length;
  const counts = [`${count('pass')} passed`, `${count('fail')} failed`, ...(count('warn') === 0 ? [] : [`${count('warn')} to look at`]), ...(count('skip') === 0 ? [] : [`${count('skip')} not examined`])].join(', ');
  const gate = checks.find(({ id }) => id === 'gateway')?.outcome;
  if (count('fail') > 0) return `${counts}: do what stands beside →`;
  return gate === 'pass' || gate === 'warn' ? `${counts}: the gate at ${new URL(url).host} is shut` : counts;
}
