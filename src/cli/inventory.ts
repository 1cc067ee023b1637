/** `sallyport inventory`: every certificate there is, and how it stands. */
import { Option } from 'commander';
import type { z } from 'zod';
import type { CertificateQuery, CertificateRecord } from '../../ca/ports.ts';
import { openForReading } from '../app/deployment.ts';
import { parseDuration } from '../config/duration.ts';
import { certificate, page } from '../api/schemas.ts';
import type { Store } from '../store/store.ts';
import { common, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { formatTable } from './output.ts';
import { algorithmsOf } from './quantum-safety.ts';
import type { Algorithms } from './quantum-safety.ts';
import { remoteOf, remoteOptions } from './remote.ts';
import type { RemoteAuthority, RemoteOptions } from './remote.ts';

export type CertificateStatus = 'live' | 'expired' | 'held' | 'revoked' | 'unknownIssued' | 'intent';

const statuses: readonly CertificateStatus[] = ['live', 'expired', 'held', 'revoked', 'unknownIssued', 'intent'];

interface InventoryOptions extends RemoteOptions {
  readonly status?: CertificateStatus;
  readonly expiring?: string;
  readonly ou?: string;
  readonly agent?: string;
  readonly algorithms?: true;
  readonly format?: 'table' | 'json' | 'csv';
}

export const registerInventory: RegisterCommand = (program, cli) => {
  const command = remoteOptions(program
    .command('inventory')
    .description('list certificates')
    .addOption(new Option('--status <status>', 'only those').choices(statuses))
    .option('--expiring <duration>', 'only live ones that expire within this time, such as 30d')
    .option('--ou <unit>', 'only those with this organizational unit')
    .option('--agent <name>', 'only those of this agent')
    .option('--algorithms', 'add the algorithms of key and signature, and whether both are quantum-safe')
    .addOption(new Option('--format <format>', 'how to print (default: table)').choices(['table', 'json', 'csv'])));
  common(command, ['sallyport inventory', 'sallyport inventory --status live --expiring 7d', 'sallyport inventory --ou analytics --format csv > analytics.csv', 'sallyport inventory --json', 'sallyport inventory --algorithms', 'sallyport inventory --server https://mcp.acme.internal:8444 --identity ./pki-admin']);
  command.action(cli.action<InventoryOptions>(inventory));
};

async function inventory(call: Call<InventoryOptions>): Promise<void> {
  const { io, options, directory } = call;
  const within = options.expiring === undefined ? undefined : parseDuration(options.expiring);
  if (options.expiring !== undefined && within === undefined) throw usage(`${options.expiring} is not a duration: write 30d or 12h`);
  const remote = remoteOf(io, options);
  if (remote !== undefined) {
    if (options.algorithms === true) {
      remote.close();
      throw usage('--algorithms looks into the certificates of a data directory: leave --server out');
    }
    try {
      print(call, await remoteRows(remote, options, within === undefined ? undefined : new Date(io.clock.now().getTime() + within)));
    } finally {
      remote.close();
    }
    return;
  }
  const { store, close } = await openForReading(directory, io.clock);
  try {
    const now = io.clock.now();
    const query = { ...(options.ou === undefined ? {} : { organizationalUnit: options.ou }), ...(options.agent === undefined ? {} : { agent: options.agent }), ...(within === undefined ? {} : { expiresBefore: new Date(now.getTime() + within) }) };
    const rows = (await all(store, query))
      .map((record) => ({ ...rowOf(record, now), ...(options.algorithms === true ? algorithmsOf(record) : {}) }))
      .filter(({ status }) => (options.status === undefined || status === options.status) && (within === undefined || status === 'live'));
    print(call, rows);
  } finally {
    await close();
  }
}

function print({ io, options, output }: Call<InventoryOptions>, rows: readonly Row[]): void {
  const format = output.json ? 'json' : (options.format ?? 'table');
  if (format === 'json') output.line(JSON.stringify(rows, undefined, 2));
  else output.line(format === 'csv' ? csv(rows) : table(rows, io.clock.now()));
}

async function remoteRows(remote: RemoteAuthority, { status, ou, agent }: InventoryOptions, expiresBefore: Date | undefined): Promise<readonly Row[]> {
  if (status !== undefined && status !== 'live' && expiresBefore !== undefined) return [];
  const wanted = expiresBefore === undefined ? status : 'live';
  const query = {
    limit: '500',
    ...(wanted === undefined ? {} : { status: wanted }),
    ...(ou === undefined ? {} : { organizationalUnit: ou }),
    ...(agent === undefined ? {} : { agent }),
    ...(expiresBefore === undefined ? {} : { expiresBefore: expiresBefore.toISOString() }),
  };
  const rows: Row[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const { items, next }: z.output<typeof certificates> = await remote.call('GET', '/certificates', { answer: certificates, query: { ...query, ...(cursor === '' ? {} : { cursor }) } });
    for (const { spkiHash: _key, createdAt: _created, notBefore, notAfter, revokedAt, firstSeenAt, ...item } of items) {
      rows.push({ ...item, notBefore: new Date(notBefore), notAfter: new Date(notAfter), revokedAt: dateOf(revokedAt), firstSeenAt: dateOf(firstSeenAt) });
    }
    cursor = next;
  }
  return rows;
}

const certificates = page(certificate);

const dateOf = (text: string | null): Date | null => (text === null ? null : new Date(text));

async function all(store: Store, query: CertificateQuery): Promise<readonly CertificateRecord[]> {
  const pageSize = 1_000;
  const records: CertificateRecord[] = [];
  for (;;) {
    const page = await store.ca.findCertificates({ ...query, limit: pageSize, offset: records.length });
    records.push(...page);
    if (page.length < pageSize) return records;
  }
}

function rowOf(record: CertificateRecord, now: Date) {
  return {
    agent: record.agent,
    status: statusOf(record, now),
    serial: record.serial,
    thumbprint: record.thumbprint ?? null,
    issuer: record.issuerId,
    subject: record.subject,
    organizationalUnits: record.organizationalUnits,
    uri: record.uri ?? null,
    dnsNames: record.dnsNames,
    profile: record.profile,
    notBefore: record.notBefore,
    notAfter: record.notAfter,
    revokedAt: record.revokedAt ?? null,
    revocationReason: record.revocationReason ?? null,
    firstSeenAt: record.firstSeenAt ?? null,
    replaces: record.replaces ?? null,
  };
}

type Row = ReturnType<typeof rowOf> & Partial<Algorithms>;

function statusOf(record: CertificateRecord, now: Date): CertificateStatus {
  if (record.revocationReason === 'certificateHold') return 'held';
  if (record.state !== 'issued') return record.state;
  // notAfter is inclusive, and certificates count in seconds.
  return now.getTime() >= record.notAfter.getTime() + 1_000 ? 'expired' : 'live';
}

function table(rows: readonly Row[], now: Date): string {
  if (rows.length === 0) return 'no certificates';
  const body = rows.map((row) => [row.agent, row.status === 'revoked' ? `revoked (${row.revocationReason ?? 'unspecified'})` : row.status, row.profile, row.organizationalUnits.join(', ') || '-', until(row, now), row.serial,
    ...(withAlgorithms(rows) ? [row.keyAlgorithm ?? '-', row.signatureAlgorithm ?? '-', row.quantumSafe === null ? '-' : row.quantumSafe === true ? 'yes' : 'no'] : [])]);
  const heads = ['AGENT', 'STATUS', 'PROFILE', 'OU', 'EXPIRES', 'SERIAL'];
  return `${formatTable(withAlgorithms(rows) ? [...heads, 'KEY', 'SIGNATURE', 'QUANTUM-SAFE'] : heads, body)}\n${rows.length === 1 ? '1 certificate' : `${rows.length} certificates`}`;
}

const withAlgorithms = ([first]: readonly Row[]): boolean => first?.quantumSafe !== undefined;

function until(row: Row, now: Date): string {
  const date = row.notAfter.toISOString().slice(0, 16).replace('T', ' ');
  const hours = (row.notAfter.getTime() - now.getTime()) / 3_600_000;
  if (row.status !== 'live' || hours > 72) return date;
  return `${date} (${hours < 1 ? `${Math.max(0, Math.floor(hours * 60))}m` : `${Math.floor(hours)}h`})`;
}

/** RFC 4180. A cell that a spreadsheet would take for a formula gets a quote in front. */
function csv(rows: readonly Row[]): string {
  const plain = ['agent', 'status', 'serial', 'thumbprint', 'issuer', 'subject', 'organizationalUnits', 'uri', 'dnsNames', 'profile', 'notBefore', 'notAfter', 'revokedAt', 'revocationReason', 'firstSeenAt', 'replaces'] as const;
  const header: readonly (keyof Row)[] = withAlgorithms(rows) ? [...plain, 'keyAlgorithm', 'signatureAlgorithm', 'quantumSafe'] : plain;
  const cell = (value: Row[keyof Row]): string => {
    const text = value === null || value === undefined ? '' : value instanceof Date ? value.toISOString() : typeof value === 'string' ? value : typeof value === 'boolean' ? String(value) : value.join(';');
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [header.join(','), ...rows.map((row) => header.map((key) => cell(row[key])).join(','))].join('\r\n');
}
