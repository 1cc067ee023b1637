/** `sallyport audit tail`, `verify` and `export`. */
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { auditOrigin, filesIn, openForReading, readVerifierKey } from '../app/deployment.ts';
import { readKeptCheckpoint } from '../audit/checkpoint-file.ts';
import { readEvent } from '../audit/entry.ts';
import type { RecordedEvent } from '../audit/entry.ts';
import { exportLog, verifyExport } from '../audit/export.ts';
import type { ExportVerification } from '../audit/export.ts';
import { verifyStore } from '../audit/verify.ts';
import type { Verification } from '../audit/verify.ts';
import { SallyportError } from '../errors.ts';
import type { ExitCode } from '../errors.ts';
import type { Store } from '../store/store.ts';
import { common, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { printable } from './output.ts';

interface TailOptions {
  readonly lines: string;
  readonly follow?: boolean;
  readonly agent?: string;
  readonly action?: string;
  readonly denied?: boolean;
}

interface VerifyOptions {
  readonly file?: string;
  readonly checkpoint?: string;
  readonly key?: string;
}

interface ExportOptions {
  readonly out?: string;
}

export const registerAudit: RegisterCommand = (program, cli) => {
  const audit = program.command('audit').description('read, verify and export the audit log');
  const tail = audit
    .command('tail')
    .description('print the last entries')
    .option('-n, --lines <count>', 'how many', '20')
    .option('-f, --follow', 'go on as entries are written')
    .option('--agent <name>', 'only those of this agent')
    .option('--action <action>', 'only this action, such as certificate.issued')
    .option('--denied', 'only denials and failures');
  common(tail, ['sallyport audit tail', 'sallyport audit tail -f --denied', 'sallyport audit tail -n 100 --agent agent-7 --json']);
  tail.action(cli.action<TailOptions>(tailLog));

  const verify = audit
    .command('verify')
    .description('check every entry against the signed checkpoints; exit code 3 when something was altered')
    .option('--file <export>', 'verify an export instead of the store')
    .option('--checkpoint <file>', 'a checkpoint kept elsewhere, instead of audit.checkpoint of the data directory')
    .option('--key <verifier key>', 'the key to trust (default: audit.vkey of the data directory)');
  common(verify, ['sallyport audit verify', 'sallyport audit verify --checkpoint /mnt/auditor/audit.checkpoint', 'sallyport audit verify --file audit.jsonl --key "$(cat audit.vkey)"']);
  verify.action(cli.action<VerifyOptions>(verifyAudit));

  const exporting = audit.command('export').description('write the log as JSON Lines that verify without this machine').option('--out <file>', 'file to write to (default: standard output)');
  common(exporting, ['sallyport audit export --out audit.jsonl', 'sallyport audit export | gzip > audit.jsonl.gz']);
  exporting.action(cli.action<ExportOptions>(exportAudit));
};

const pageSize = 500;

async function tailLog(call: Call<TailOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const wanted = Number(options.lines);
  if (!Number.isInteger(wanted) || wanted < 0 || wanted > 1_000_000) throw usage('--lines is a whole number');
  const { store, close } = await openForReading(directory, io.clock);
  try {
    let next = await store.audit.size();
    for (const event of await lastMatching(store, next, wanted, options)) print(call, event);
    while (options.follow === true && !io.signal.aborted) {
      const page = await store.audit.read({ from: next, limit: pageSize });
      for (const entry of page) {
        next = entry.index + 1;
        const event = readEvent(entry.event);
        if (event !== undefined && matches(event, options)) print(call, event);
      }
      if (page.length === 0) await pause(250, io.signal);
    }
    if (next === 0 && options.follow !== true) output.note('the log is empty');
  } finally {
    await close();
  }
}

/** Reads backwards, page by page, until there are enough. */
async function lastMatching(store: Store, size: number, wanted: number, options: TailOptions): Promise<readonly RecordedEvent[]> {
  let found: RecordedEvent[] = [];
  for (let end = size; end > 0 && found.length < wanted; ) {
    const from = Math.max(0, end - pageSize);
    const page = await store.audit.read({ from, limit: end - from });
    const events = page.flatMap((entry) => readEvent(entry.event) ?? []).filter((event) => matches(event, options));
    found = [...events, ...found];
    end = from;
  }
  return wanted === 0 ? [] : found.slice(-wanted);
}

const matches = (event: RecordedEvent, { agent, action, denied }: TailOptions): boolean =>
  (agent === undefined || event.agent === agent) && (action === undefined || event.action === action) && (denied !== true || event.outcome === 'denied' || event.outcome === 'failed');

function print({ output }: Call<TailOptions>, event: RecordedEvent): void {
  if (output.json) {
    output.line(JSON.stringify(event));
    return;
  }
  const bad = event.outcome === 'denied' || event.outcome === 'failed';
  const what = [event.upstream, event.method, event.name].filter((each) => each !== undefined).join(' ');
  const fields = [
    String(event.index).padStart(6),
    event.time,
    output.paint(bad ? 'red' : 'green', event.outcome.padEnd(7)),
    event.action,
    printable(event.agent ?? event.subject ?? event.actor ?? ''),
    printable(what),
    event.reason === undefined ? '' : `(${event.reason})`,
    event.rule === undefined ? '' : output.paint('dim', event.rule),
  ];
  output.line(fields.filter((field) => field !== '').join(' '));
}

async function verifyAudit(call: Call<VerifyOptions>): Promise<ExitCode> {
  const { io, options, output, directory } = call;
  const verification = options.file === undefined ? await verifyStored(call) : await verifyExportFile(resolve(io.cwd, options.file), options.key ?? (await readVerifierKey(directory).catch(() => undefined)));
  output.result(verification, () =>
    verification.ok
      ? `${output.paint('green', 'intact')}: ${count(verification.size)}, ${verification.signedSize === verification.size ? 'all' : verification.signedSize} covered by signed checkpoints`
      : [`${output.paint('red', 'altered')}: ${count(verification.size)}, ${verification.findings.length === 1 ? '1 finding' : `${verification.findings.length} findings`}`, ...verification.findings.map(({ kind, index, message }) => `  ${kind} at ${index}: ${message}`)].join('\n'),
  );
  if ('keyTrusted' in verification && !verification.keyTrusted) output.warn('the verifier key came from the export itself: give the one you know with --key, otherwise only its consistency is proved');
  return verification.ok ? 0 : 3;
}

const count = (entries: number): string => (entries === 1 ? '1 entry' : `${entries} entries`);

async function verifyStored({ io, options, directory }: Call<VerifyOptions>): Promise<Verification> {
  const { config, store, close } = await openForReading(directory, io.clock);
  try {
    const verifierKey = options.key ?? (await readVerifierKey(config.directory));
    // Read before the store: it may be older than the log by then, never newer.
    const keptCheckpoint = await readKeptCheckpoint(options.checkpoint === undefined ? filesIn(config.directory).auditCheckpoint : resolve(io.cwd, options.checkpoint));
    if (keptCheckpoint === undefined && options.checkpoint !== undefined) throw usage(`there is no checkpoint at ${options.checkpoint}`);
    return await verifyStore(store.audit, { verifierKey, keptCheckpoint });
  } finally {
    await close();
  }
}

async function verifyExportFile(file: string, key: string | undefined): Promise<ExportVerification> {
  const stream = createReadStream(file, 'utf8');
  const opened = new Promise<void>((done, failed) => {
    stream.once('open', () => {
      done();
    });
    stream.once('error', failed);
  });
  try {
    await opened;
  } catch (cause) {
    throw new SallyportError('ERR_USAGE', `${file} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): check its name and mode`, { facts: { file }, cause });
  }
  return verifyExport(createInterface({ input: stream, crlfDelay: Infinity }), key);
}

async function exportAudit(call: Call<ExportOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const { config, store, close } = await openForReading(directory, io.clock);
  try {
    const lines = exportLog(store.audit, { origin: auditOrigin(config.trustDomain), verifierKey: await readVerifierKey(config.directory) });
    if (options.out === undefined) {
      for await (const line of lines) output.line(line);
      return;
    }
    const file = resolve(io.cwd, options.out);
    // Beside its place first: an export is whole or not there.
    const draft = `${file}.${process.pid}.tmp`;
    let entries = -1;
    const counted = async function* (): AsyncGenerator<string> {
      for await (const line of lines) {
        entries++;
        yield `${line}\n`;
      }
    };
    try {
      await pipeline(Readable.from(counted()), createWriteStream(draft, { flags: 'wx', mode: 0o600 }));
      await rename(draft, file);
    } catch (cause) {
      await rm(draft, { force: true });
      if (!(cause instanceof Error && 'syscall' in cause)) throw cause;
      throw new SallyportError('ERR_USAGE', `${file} cannot be written (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): name another file with --out`, { facts: { file }, cause });
    }
    output.result({ file, entries }, `exported ${count(entries)} to ${options.out}\nnext, anywhere\n  sallyport audit verify --file ${options.out} --key "${await readVerifierKey(config.directory)}"`);
  } finally {
    await close();
  }
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((done) => {
    const timer = setTimeout(finish, ms);
    function finish(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', finish);
      done();
    }
    signal.addEventListener('abort', finish, { once: true });
  });
