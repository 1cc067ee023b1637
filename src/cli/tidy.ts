/** `sallyport tidy`: what is long over leaves the store. */
import { openForReading, openForRecording } from '../app/deployment.ts';
import { parseDuration } from '../config/duration.ts';
import { previewTidy, tidy } from '../custody/tidy.ts';
import type { ExitCode } from '../errors.ts';
import type { TidyResult } from '../store/tidy.ts';
import { common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { formatTable } from './output.ts';
import { readPassphrase } from './passphrase.ts';

interface TidyOptions {
  readonly olderThan: string;
  readonly yes?: boolean;
}

export const registerTidy: RegisterCommand = (program, cli) => {
  const command = program
    .command('tidy')
    .description('remove from the store what is long over; the audit log is not touched; exit code 3 when only shown, for want of --yes')
    .option('--older-than <duration>', 'how long certificates are kept after their end, 30d at least; tokens, requests and orders are kept for 30d', '730d')
    .option('--yes', 'remove it, instead of showing how much there is')
    .addOption(passphraseOption());
  common(command, ['sallyport tidy', 'sallyport tidy --older-than 365d --yes', 'sallyport tidy --json']);
  command.action(cli.action<TidyOptions>(tidyStore));
};

async function tidyStore(call: Call<TidyOptions>): Promise<ExitCode> {
  const { io, options, output, directory } = call;
  const olderThanMs = parseDuration(options.olderThan);
  if (olderThanMs === undefined) throw usage(`${options.olderThan} is not a duration: write 730d`);
  const doing = options.yes === true;
  const { store, close } = doing ? await openForRecording(directory, { ...io, passphrase: await readPassphrase(io, options) }) : await openForReading(directory, io.clock);
  try {
    const request = { store, clock: io.clock, olderThanMs, actor: `cli:${io.user}`, signal: io.signal };
    const results = await (doing ? tidy(request) : previewTidy(request));
    const rows = Object.fromEntries(results.map(({ rule, rows: number }) => [rule, number]));
    output.result({ dryRun: !doing, olderThan: options.olderThan, rows }, () => describe(results, doing));
    const nothing = results.every((result) => result.rows === 0);
    return doing || nothing ? 0 : 3;
  } finally {
    await close();
  }
}

const words: Readonly<Record<string, string>> = {
  certificates: 'expired certificates',
  supersededCertificates: 'expired certificates that a renewal had superseded',
  tokens: 'used and expired tokens',
  requests: 'decided and expired requests',
  acmeOrders: 'ACME orders',
  acmeNonces: 'ACME nonces',
  apiRequests: 'idempotency keys',
  changes: 'changes that every gateway has applied',
  nodes: 'gateways that ended without a word',
};

function describe(results: readonly TidyResult[], doing: boolean): string {
  const some = results.filter(({ rows }) => rows > 0);
  if (some.length === 0) return 'nothing is long over';
  return [formatTable(['ROWS', 'WHAT'], some.map(({ rule, rows }) => [String(rows), words[rule] ?? rule])), doing ? 'removed' : 'nothing was removed yet: add --yes to do it'].join('\n');
}
