/** `sallyport tools`: what the tools of the upstreams say about themselves, and what was approved of it. */
import { openDeployment, openForReading } from '../app/deployment.ts';
import type { ExitCode } from '../errors.ts';
import { diffDefinitions } from '../mcp/tool-definition.ts';
import type { DefinitionChange } from '../mcp/tool-definition.ts';
import { waitUntilApplied } from '../store/changes.ts';
import type { ToolRecord } from '../store/tool-definitions.ts';
import { toolApproved } from '../tools/events.ts';
import { argument, common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { formatTable, printable } from './output.ts';
import type { Output } from './output.ts';
import { readPassphrase } from './passphrase.ts';

export type ToolState = 'approved' | 'changed' | 'new' | 'removed';

interface ApproveOptions {
  readonly all?: boolean;
  readonly digest?: string;
}

/** A gateway that has not answered by then is named; the approval stands regardless. */
const patienceMs = 2_000;

export const registerTools: RegisterCommand = (program, cli) => {
  const tools = program.command('tools').description('watch how the tools of the upstreams are defined');
  const list = tools.command('list').description('list every tool that was seen, and whether it is as it was approved').option('--upstream <name>', 'only those of this upstream');
  common(list, ['sallyport tools list', 'sallyport tools list --upstream files', 'sallyport tools list --json']);
  list.action(cli.action<{ readonly upstream?: string }>(listTools));

  const diff = tools
    .command('diff')
    .description('show what changed in definitions since they were approved, and what is new')
    .argument('[upstream]', 'only tools of this upstream')
    .argument('[tool]', 'only this one');
  common(diff, ['sallyport tools diff', 'sallyport tools diff files read_file', 'sallyport tools diff --json']);
  diff.action(cli.action(diffTools));

  const approve = tools
    .command('approve')
    .description('approve tools as they are defined now')
    .argument('<upstream>', 'upstream of the tools')
    .argument('[tools...]', 'names of the tools')
    .option('--all', 'all tools of the upstream that are changed or new')
    .option('--digest <digest>', 'only if this is what would be approved, as tools diff shows it; for one tool')
    .addOption(passphraseOption());
  common(approve, ['sallyport tools approve files read_file', 'sallyport tools approve files --all', 'sallyport tools approve files read_file --digest sha256:9f86…']);
  approve.action(cli.action<ApproveOptions>(approveTools));
};

async function listTools({ io, options, output, directory }: Call<{ readonly upstream?: string }>): Promise<void> {
  const { store, close } = await openForReading(directory, io.clock);
  try {
    const records = await store.tools.records({ upstream: options.upstream });
    output.result(records.map(rowOf), () => table(records, output));
  } finally {
    await close();
  }
}

async function diffTools({ io, args, output, directory }: Call<object>): Promise<ExitCode> {
  const [upstream, tool] = args.map((arg) => (typeof arg === 'string' ? arg : undefined));
  const { store, close } = await openForReading(directory, io.clock);
  try {
    const records = await store.tools.records({ upstream, tool });
    // "All are as approved" would be a wrong answer about a name that was mistyped.
    if (upstream !== undefined && records.length === 0) throw usage(`${printable(upstream)} has shown no ${tool === undefined ? 'tools' : `tool ${printable(tool)}`}: see sallyport tools list`);
    const differing = records.filter((record) => ['changed', 'new'].includes(stateOf(record)));
    output.result(
      differing.map((record) => ({ ...rowOf(record), changes: changesOf(record).map(({ path, before, after }) => ({ path, before: before ?? null, after: after ?? null })) })),
      () => (differing.length === 0 ? 'all tools are as they were approved' : differing.map((record) => describe(record, output)).join('\n\n')),
    );
    return differing.length === 0 ? 0 : 3;
  } finally {
    await close();
  }
}

async function approveTools(call: Call<ApproveOptions>): Promise<void> {
  const { io, args, options, output, directory } = call;
  const upstream = argument(call, 0);
  const names = Array.isArray(args[1]) ? (args[1] as readonly string[]) : [];
  if ((names.length > 0) === (options.all === true)) throw usage('name the tools to approve, or approve --all of the upstream: see sallyport tools diff');
  if (options.digest !== undefined && names.length !== 1) throw usage('--digest is for one tool: name it');
  if (options.digest !== undefined && !/^sha256:[0-9a-f]{64}$/.test(options.digest)) throw usage(`${options.digest} is not a digest: copy it from sallyport tools diff, sha256: and 64 hexadecimal digits`);
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const { store } = deployment;
    const at = io.clock.now();
    const by = `cli:${io.user}`;
    const { approved, changeSeq } = await store.tools.approve(
      { upstream, tools: options.all === true ? 'all' : [...new Set(names)], digest: options.digest, by, at },
      (before) => toolApproved(before, { time: at, actor: by }),
    );
    const { applied, missing } = approved.length === 0 ? { applied: [], missing: [] } : await waitUntilApplied(store.changes, { seq: changeSeq, clock: io.clock, timeoutMs: patienceMs });
    output.result(
      { approved: approved.map(rowOf), gateways: applied.map(({ nodeId }) => ({ node: nodeId })), missing: missing.map(({ nodeId, seenAt }) => ({ node: nodeId, seenAt })) },
      () => [...approvedLines(approved), ...(approved.length > 0 ? [inForce(applied.length)] : [])].join('\n'),
    );
    if (missing.length > 0) output.warn(`${missing.map(({ nodeId }) => nodeId).join(', ')} has not confirmed within ${patienceMs / 1_000} s: the approval is recorded and will reach it; look at its log`);
  } finally {
    await deployment.close();
  }
}

function stateOf(record: ToolRecord): ToolState {
  if (record.removed) return 'removed';
  if (!record.approved) return 'new';
  return record.currentDigest === record.approvedDigest ? 'approved' : 'changed';
}

const rowOf = (record: ToolRecord) => ({
  upstream: record.upstream,
  tool: record.name,
  state: stateOf(record),
  digest: record.currentDigest,
  approvedDigest: record.approved ? record.approvedDigest : null,
  approvedBy: record.approvedBy ?? null,
  approvedAt: record.approved ? record.approvedAt : null,
  firstSeenAt: record.firstSeenAt,
  changedAt: record.currentAt,
  removedAt: record.removedAt ?? null,
});

/** A new tool has nothing to be compared with: all of it is new. */
const changesOf = (record: ToolRecord): readonly DefinitionChange[] =>
  diffDefinitions(record.approved ? record.approvedDefinition : '{}', record.currentDefinition).filter(({ path }) => record.approved || path !== 'name');

function table(records: readonly ToolRecord[], output: Output): string {
  if (records.length === 0) return 'no tools were seen: a gateway takes note of them when an MCP client lists them';
  const body = records.map((record) => [record.upstream, record.name, stateOf(record), shortDigest(record.currentDigest), day(record.firstSeenAt), record.approvedBy ?? '-']);
  const waiting = records.filter((record) => ['changed', 'new'].includes(stateOf(record))).length;
  const count = records.length === 1 ? '1 tool' : `${records.length} tools`;
  return [
    formatTable(['UPSTREAM', 'TOOL', 'STATE', 'DIGEST', 'FIRST SEEN', 'APPROVED BY'], body),
    waiting === 0 ? count : `${count}, ${output.paint('yellow', `${waiting} to be approved`)}: see sallyport tools diff`,
  ].join('\n');
}

const shortDigest = (digest: string): string => digest.replace('sha256:', '').slice(0, 12);

const day = (date: Date): string => date.toISOString().slice(0, 16).replace('T', ' ');

function describe(record: ToolRecord, output: Output): string {
  const since = record.approved ? `changed ${day(record.currentAt)}, approved ${day(record.approvedAt)} (${record.approvedBy ?? ''})` : `new since ${day(record.firstSeenAt)}`;
  return [
    `${output.paint('bold', printable(`${record.upstream} ${record.name}`))}: ${since}`,
    ...changesOf(record).flatMap((change) => [`  ${printable(change.path)}`, ...lines(change, output)]),
    `  ${output.paint('dim', `sallyport tools approve ${quoted(record.upstream)} ${quoted(record.name)} --digest ${record.currentDigest}`)}`,
  ].join('\n');
}

/** What is the same at the beginning and the end of a long text is left out. */
function lines({ before, after }: DefinitionChange, output: Output): readonly string[] {
  const [old, now] = [before, after].map((text) => text?.split('\n') ?? []) as [string[], string[]];
  const differs = (line: string, at: number): boolean => line !== now[at];
  const start = old.findIndex(differs);
  const from = start === -1 ? old.length : start;
  let same = 0;
  while (same < Math.min(old.length, now.length) - from && old.at(-1 - same) === now.at(-1 - same)) same += 1;
  const shown = (text: readonly string[], sign: '-' | '+'): readonly string[] =>
    text.slice(from, text.length - same).map((line) => `    ${output.paint(sign === '-' ? 'red' : 'green', `${sign} ${printable(line)}`)}`);
  return [...shown(old, '-'), ...shown(now, '+')];
}

/** A name as one would type it. */
const quoted = (name: string): string => (/^[\w@%+=:,./][\w@%+=:,./-]*$/.test(name) ? name : `'${printable(name).replaceAll("'", String.raw`'\''`)}'`);

const approvedLines = (approved: readonly ToolRecord[]): readonly string[] =>
  approved.length === 0 ? ['nothing to approve: these tools are as they were approved'] : approved.map((record) => `approved ${printable(`${record.upstream} ${record.name}`)} as ${shortDigest(record.currentDigest)}`);

const inForce = (gateways: number): string => (gateways === 0 ? '  no gateway is running: it holds from the next start' : `  in force at ${gateways === 1 ? '1 gateway' : `${gateways} gateways`}`);
