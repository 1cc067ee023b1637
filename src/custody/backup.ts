/** Makes a backup: the store as of one moment, and the files of the data directory, sealed into one file. */
import { randomUUID } from 'node:crypto';
import { link, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import type { AuditEvent, Clock, Randomness } from '../../ca/ports.ts';
import { syncDirectory } from '../../ca/durable-file.ts';
import type { Config } from '../config/load.ts';
import type { UpstreamConfig } from '../config/schema.ts';
import type { TrustAnchorConfig } from '../config/trust-schema.ts';
import { SallyportError } from '../errors.ts';
import type { Store } from '../store/store.ts';
import { ContainerWriter } from './container.ts';
import { dataFiles, partsOf } from './data-files.ts';
import { lineOfPart, lineOfRecord, lineOfRow } from './records.ts';
import type { BackupRecord } from './records.ts';

export interface BackupOptions {
  readonly config: Config;
  readonly store: Store;
  /** Absolute. */
  readonly file: string;
  readonly existing: 'refuse' | 'replace';
  readonly passphrase: string;
  readonly clock: Clock;
  readonly randomness: Randomness;
  /** Of Sallyport. */
  readonly version: string;
  readonly actor: string;
  readonly signal?: AbortSignal | undefined;
  /** Cost of the passphrase, for tests that make many. */
  readonly logN?: number | undefined;
  readonly onProgress?: ((progress: { readonly table: string; readonly rows: number }) => void) | undefined;
}

export interface BackupMade {
  readonly createdAt: Date;
  readonly octets: number;
  readonly files: number;
  readonly certificates: number;
  readonly auditEntries: number;
  /** What of the data directory is not in it, and what lies outside. */
  readonly skipped: readonly string[];
}

/**
 * Whole under its name or not there at all: it is written beside its place, synced, recorded in the audit log and only
 * then renamed. @throws SallyportError `ERR_CONFIG_EXISTS`, `ERR_USAGE`, CaError `ERR_STORE_*`
 */
export const createBackup = async (options: BackupOptions): Promise<BackupMade> => {
  const { file, store, clock } = options;
  if (options.existing === 'refuse') await refuseExisting(file);
  const temporary = join(dirname(file), `.${basename(file)}.${randomUUID()}.tmp`);
  try {
    const handle = await open(temporary, 'wx', 0o600);
    let made: BackupMade;
    try {
      const writer = await ContainerWriter.begin(handle, options);
      made = await store.snapshot((of) => writeContent(writer, of, options));
      await handle.sync();
      made = { ...made, octets: (await handle.stat()).size };
    } finally {
      await handle.close();
    }
    // All keys have left the machine: no copy without an entry.
    await store.ca.recordEvent(backupCreated(made, options, clock.now()));
    if (options.existing === 'refuse') await link(temporary, file);
    else await rename(temporary, file);
    await syncDirectory(dirname(file));
    return made;
  } catch (error) {
    if (error instanceof Error && 'syscall' in error && 'code' in error) throw new SallyportError('ERR_USAGE', `${file} cannot be written (${String(error.code)}): name another place`, { facts: { file }, cause: error });
    throw error;
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
};

type Snapshot = Parameters<Parameters<Store['snapshot']>[0]>[0];

const writeContent = async (writer: ContainerWriter, snapshot: Snapshot, options: BackupOptions): Promise<BackupMade> => {
  const { config, clock, signal, onProgress } = options;
  const say = (record: BackupRecord): Promise<void> => writer.write(Buffer.from(lineOfRecord(record)));
  const createdAt = clock.now();
  await say({ manifest: { createdAt: createdAt.toISOString(), madeBy: options.version, schema: snapshot.schemaVersion, storeKind: snapshot.kind, trustDomain: config.trustDomain } });

  // After the moment of the snapshot: a key that the store knows of is on the disk by then.
  const { entries, skipped } = await dataFiles(config.directory, leavesOut(config));
  const outside = outsideOf(config);
  for (const { path, kind, mode } of entries) {
    signal?.throwIfAborted();
    if (kind === 'directory') {
      await say({ directory: { path, mode } });
      continue;
    }
    await say({ file: { path, mode } });
    let size = 0;
    for await (const part of partsOf(join(config.directory, path))) {
      size += part.length;
      await writer.write(Buffer.from(lineOfPart(part)));
    }
    await say({ fileEnd: { size } });
  }

  const counts = new Map<string, number>();
  for (const table of snapshot.tables) {
    await say({ table: { name: table.name, columns: table.columns.map((column) => ({ ...column })), key: [...table.key] } });
    let rows = 0;
    for await (const page of snapshot.rows(table)) {
      signal?.throwIfAborted();
      await writer.write(Buffer.from(page.map((row) => lineOfRow(row)).join('')));
      rows += page.length;
      onProgress?.({ table: table.name, rows });
    }
    counts.set(table.name, rows);
    await say({ tableEnd: { rows } });
  }
  const files = entries.filter(({ kind }) => kind === 'file').length;
  await say({ end: { files, tables: snapshot.tables.length } });
  await writer.end();
  return { createdAt, octets: 0, files, certificates: counts.get('certificate') ?? 0, auditEntries: counts.get('audit_entry') ?? 0, skipped: [...skipped, ...outside] };
};

/** The store comes row by row, the checkpoint from the store; drafts of files are none, and a lock is of a process: where the backup is restored there is none that would let go of it. */
const leavesOut = (config: Config): ((path: string) => boolean) => {
  const database = config.storeUrl.startsWith('sqlite:') ? relative(config.directory, config.storeUrl.slice('sqlite:'.length)).split(sep).join('/') : undefined;
  const left = new Set(['audit.checkpoint', ...(database === undefined ? [] : [database, `${database}-wal`, `${database}-shm`, `${database}-journal`])]);
  return (path) => left.has(path) || isLock.test(path) || (path.startsWith('.') && path.endsWith('.tmp')) || /\/\.[^/]*\.tmp$/.test(path) || /^audit\.checkpoint\..*\.tmp$/.test(path);
};

/** With the drafts of `ProcessLock`. */
const isLock = /(?:^|\/)(?:certs\/(?:\.hierarchy|server\.renewal)|renewal)\.lock(?:\.[0-9a-f-]{36})?$/;

/** Files and folders that the configuration names and that are not in the directory. */
const outsideOf = (config: Config): readonly string[] => {
  const named = [config.policyFile, ...[...config.upstreams.values()].flatMap(filesOfUpstream), ...[...config.trust.values()].flatMap(filesOfAnchor)];
  const files = named.flatMap((place) => (place === undefined || place.includes('://') ? [] : [resolve(config.directory, place)]));
  return [...new Set(files)].filter((path) => relative(config.directory, path).startsWith('..') || isAbsolute(relative(config.directory, path)));
};

const filesOfUpstream = (upstream: UpstreamConfig): readonly (string | undefined)[] => ('url' in upstream ? [upstream.tls?.ca, upstream.tls?.cert, upstream.tls?.key, upstream.credential?.fromFile] : [upstream.cwd]);

const filesOfAnchor = ({ anchors = [], issuers = [], crl, spiffe }: TrustAnchorConfig): readonly (string | undefined)[] => [
  ...anchors, ...(issuers === 'any' ? [] : issuers), ...crl.flatMap(({ from, delta, issuer }) => [from, delta, issuer]), spiffe?.bundle, spiffe?.bootstrap, spiffe?.ca,
];

const backupCreated = (made: BackupMade, { actor, file }: BackupOptions, time: Date): AuditEvent => ({
  action: 'backup.created',
  outcome: 'done',
  time,
  actor,
  name: basename(file),
  detail: { certificates: made.certificates, auditEntries: made.auditEntries, files: made.files, octets: made.octets },
});

const refuseExisting = async (file: string): Promise<void> => {
  const present = await open(file, 'r').catch(() => undefined);
  if (present === undefined) return;
  await present.close();
  throw new SallyportError('ERR_CONFIG_EXISTS', `${file} exists and was not touched: name another file, or replace it with --force`, { facts: { file } });
};

