/** Makes a data directory and its store from a backup: complete, or not there at all. */
import { randomUUID } from 'node:crypto';
import { chmod, mkdir, open, readFile, readdir, rename, rm, rmdir } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative } from 'node:path';
import { parseDocument } from 'yaml';
import { syncDirectory, writeDurably } from '../../ca/durable-file.ts';
import { readPrivateKey } from '../../ca/key-store.ts';
import type { AuditEvent, Clock } from '../../ca/ports.ts';
import { createCheckpointSigner } from '../audit/checkpoint.ts';
import type { CheckpointSigner } from '../audit/checkpoint.ts';
import { configFileName, loadConfig } from '../config/load.ts';
import { SallyportError } from '../errors.ts';
import { loadStore } from '../store/load.ts';
import type { Restoration, StoreLoader } from '../store/load.ts';
import { BackupChecker } from './check.ts';
import type { BackupCheck } from './check.ts';
import { readBackup } from './contents.ts';
import type { BackupEvent } from './contents.ts';
import type { Manifest } from './records.ts';
import { readRestoredCrls } from './restored-crls.ts';
import type { CrlFile } from './restored-crls.ts';

export interface RestoreOptions {
  /** The backup. */
  readonly file: string;
  readonly passphrase: string;
  /** Absolute; absent or empty. */
  readonly directory: string;
  /** In place of `store` of sallyport.yaml, which is changed then. */
  readonly store?: string | undefined;
  /** Of the keys in the backup, when they are encrypted. */
  readonly keyPassphrase: string | undefined;
  readonly tokens: 'expire' | 'keep';
  /** Published since the backup, by CAs that are in it: what they list is revoked from the start. */
  readonly crls?: readonly CrlFile[] | undefined;
  readonly clock: Clock;
  readonly actor: string;
  /** Name of the audit log for a trust domain. */
  readonly auditOrigin: (trustDomain: string) => string;
  readonly onProgress?: ((progress: { readonly table: string; readonly rows: number }) => void) | undefined;
}

/** The next CRL of each CA has a number above `crlNumberFloor`. */
export interface Restored extends BackupCheck, Restoration {
  readonly store: string;
}

/**
 * @throws SallyportError `ERR_BACKUP_*`, `ERR_CONFIG_EXISTS` when something is in the way, CaError `ERR_KEY_*` when the
 * keys of the backup do not open, `ERR_CRL_*`, `ERR_STORE_*`
 */
export const restoreBackup = async (options: RestoreOptions): Promise<Restored> => {
  const { directory } = options;
  await refuseOccupied(directory);
  const file = await openBackup(options.file);
  const draft = join(dirname(directory), `.${randomUUID()}.sallyport`);
  try {
    await mkdir(dirname(directory), { recursive: true });
    await mkdir(draft, { mode: 0o700 });
    const restored = await restoreInto(draft, file, options);
    await syncDirectory(draft);
    // Windows renames onto nothing only; elsewhere an empty directory is replaced.
    if (process.platform === 'win32') await rmdir(directory).catch(() => undefined);
    await rename(draft, directory);
    await syncDirectory(dirname(directory));
    return { ...restored, store: restored.store.replace(draft, directory) };
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    // Nobody knows the directory it was made in.
    if (error instanceof Error) error.message = error.message.replaceAll(draft, directory);
    throw error;
  } finally {
    await file.close();
  }
};

/** A backup to read. */
export const openBackup = async (file: string): Promise<FileHandle> => {
  try {
    return await open(file, 'r');
  } catch (cause) {
    throw new SallyportError('ERR_USAGE', `${file} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): name a backup`, { facts: { file }, cause });
  }
};

const restoreInto = async (draft: string, file: FileHandle, options: RestoreOptions): Promise<Restored> => {
  const checker = new BackupChecker();
  const events = checker.through(readBackup(file, options))[Symbol.asyncIterator]();
  try {
    const { manifest, first } = await restoreFiles(draft, events);
    const backupAt = new Date(manifest.createdAt);
    const restoredAt = options.clock.now();
    if (restoredAt < backupAt) throw new SallyportError('ERR_BACKUP_INVALID', `the backup was made at ${manifest.createdAt}, which is in the future here: set the clock right, since the numbers of CRLs follow it`);
    const crls = await readRestoredCrls(options.crls ?? [], { directory: draft, now: restoredAt });
    const storeUrl = await placeStore(draft, options.store);
    const signer = await readSigner(draft, options);
    let facts: Restoration = { crlNumberFloor: 0n, tokensExpired: 0, revocations: { recorded: 0, unknown: [] } };
    const { checkpoint } = await loadStore(storeUrl, { clock: options.clock, schema: manifest.schema }, async (loader) => {
      await restoreRows(loader, events, first, options);
      const [finding] = checker.result.findings;
      if (finding !== undefined) throw new SallyportError('ERR_BACKUP_CONTENT', `${finding.where} ${finding.message}: sallyport backup verify lists everything; restore another backup`, { facts: { findings: checker.result.findings.slice(0, 10).map(({ where, message }) => `${where} ${message}`) } });
      return loader.finish({
        backupAt, restoredAt, signer, tokens: options.tokens, crls, actor: options.actor,
        event: (known) => {
          facts = known;
          return storeRestored({ ...known, backupAt, tokens: options.tokens }, restoredAt, options.actor);
        },
      });
    });
    if (checkpoint !== undefined) await writeDurably(join(draft, 'audit.checkpoint'), checkpoint, { mode: 0o600 });
    return { ...checker.result, store: withoutPassword(storeUrl), ...facts };
  } finally {
    await events.return(undefined);
  }
};

type Events = AsyncGenerator<BackupEvent>;

/** Everything before the first table, which is handed back. */
const restoreFiles = async (draft: string, events: Events): Promise<{ readonly manifest: Manifest; readonly first: BackupEvent }> => {
  let manifest: Manifest | undefined;
  let handle: FileHandle | undefined;
  const directories: { readonly path: string; readonly mode: number }[] = [];
  try {
    for (;;) {
      const { done, value: event } = await events.next();
      if (done === true) throw new SallyportError('ERR_BACKUP_INVALID', 'the backup holds no store; take another');
      if (event.kind === 'manifest') manifest = event.manifest;
      else if (event.kind === 'directory') {
        const path = join(draft, event.path);
        await mkdir(path, { mode: 0o700 });
        directories.push({ path, mode: event.mode });
      } else if (event.kind === 'file') {
        handle = await open(join(draft, event.path), 'wx', 0o600);
        await handle.chmod(event.mode);
      } else if (event.kind === 'part') await handle?.writeFile(event.octets);
      else if (event.kind === 'fileEnd') {
        await handle?.sync();
        await handle?.close();
        handle = undefined;
      } else if (manifest !== undefined) {
        // Only now: a directory that its owner may not write to could not be filled.
        for (const { path, mode } of directories.toReversed()) {
          await syncDirectory(path);
          await chmod(path, mode);
        }
        return { manifest, first: event };
      }
    }
  } finally {
    await handle?.close();
  }
};

const restoreRows = async (loader: StoreLoader, events: Events, first: BackupEvent, { onProgress }: RestoreOptions): Promise<void> => {
  let done = 0;
  for (let event: BackupEvent | undefined = first; event !== undefined; ) {
    if (event.kind === 'table') done = 0;
    else if (event.kind === 'rows') {
      await loader.insert(event.table, event.rows);
      done += event.rows.length;
      onProgress?.({ table: event.table.name, rows: done });
    }
    const next: IteratorResult<BackupEvent> = await events.next();
    event = next.done === true ? undefined : next.value;
  }
};

/** Where the rows go. A SQLite file is always in the directory: what lies outside may be in use by whoever made the backup. */
const placeStore = async (draft: string, wanted: string | undefined): Promise<string> => {
  const config = await loadConfig(draft);
  const change = async (store: string): Promise<string> => {
    const path = join(draft, configFileName);
    const document = parseDocument(await readFile(path, 'utf8'));
    document.set('store', store);
    await writeDurably(path, String(document), { mode: 0o600 });
    return (await loadConfig(draft)).storeUrl;
  };
  const url = wanted === undefined ? config.storeUrl : await change(wanted);
  if (!url.startsWith('sqlite:')) return url;
  const path = url.slice('sqlite:'.length);
  const inside = relative(draft, path);
  if (inside.startsWith('..') || isAbsolute(inside)) {
    if (wanted !== undefined) throw new SallyportError('ERR_USAGE', `a SQLite file outside the data directory is not filled: give --store sqlite:<file relative to the directory>, or a PostgreSQL address`);
    return change('sqlite:sallyport.db');
  }
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  return url;
};

const readSigner = async (draft: string, { keyPassphrase, auditOrigin }: RestoreOptions): Promise<CheckpointSigner> => {
  const { trustDomain } = await loadConfig(draft);
  return createCheckpointSigner({ origin: auditOrigin(trustDomain), privateKey: await readPrivateKey(join(draft, 'keys', 'audit.key.pem'), { passphrase: keyPassphrase }) });
};

const storeRestored = (facts: Restoration & { readonly backupAt: Date; readonly tokens: 'expire' | 'keep' }, time: Date, actor: string): AuditEvent => ({
  action: 'store.restored',
  outcome: 'done',
  time,
  actor,
  detail: { backupAt: facts.backupAt.toISOString(), crlNumberFloor: String(facts.crlNumberFloor), tokens: facts.tokens, tokensExpired: facts.tokensExpired, ...(facts.revocations.recorded === 0 ? {} : { revocations: facts.revocations.recorded }) },
});

const withoutPassword = (url: string): string => {
  if (url.startsWith('sqlite:')) return url;
  const parsed = new URL(url);
  parsed.password = '';
  return parsed.href;
};

const refuseOccupied = async (directory: string): Promise<void> => {
  const content = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new SallyportError('ERR_CONFIG_EXISTS', `${directory} cannot be used (${error.code ?? 'unknown'}): name another with --dir`, { facts: { directory }, cause: error });
  });
  if (content.length > 0) throw new SallyportError('ERR_CONFIG_EXISTS', `${directory} is not empty, and nothing in it was touched: name another with --dir`, { facts: { directory } });
};
