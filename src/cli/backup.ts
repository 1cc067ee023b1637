/** `sallyport backup` and `backup verify`: everything that a deployment is, in one encrypted file. */
import { relative, resolve } from 'node:path';
import { openForRecording } from '../app/deployment.ts';
import { createBackup } from '../custody/backup.ts';
import { checkBackup } from '../custody/check.ts';
import type { BackupCheck } from '../custody/check.ts';
import { readBackup } from '../custody/contents.ts';
import { openBackup } from '../custody/restore.ts';
import type { ExitCode } from '../errors.ts';
import { gatewayInfo } from '../upstream/gateway-info.ts';
import { backupPassphrase, backupPassphraseOption } from './backup-passphrase.ts';
import { argument, common, passphraseOption } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { printable } from './output.ts';
import type { Output } from './output.ts';
import { readPassphrase } from './passphrase.ts';

interface BackupOptions {
  readonly backupPassphraseFile?: string;
  readonly force?: boolean;
}

export const registerBackup: RegisterCommand = (program, cli) => {
  const backup = program.command('backup').description('write everything that a deployment is into one encrypted file, and look such a file over');
  const create = backup
    .command('create', { isDefault: true })
    .description('write store, keys, certificates, configuration and policy into one encrypted file, also while gateways run; the word create may be left out')
    .argument('<file>', 'the file to make')
    .addOption(backupPassphraseOption())
    .option('--force', 'replace a file that exists')
    .addOption(passphraseOption());
  common(create, ['sallyport backup /mnt/backup/port-$(date +%F).backup --backup-passphrase-file /root/backup.pass', 'SALLYPORT_BACKUP_PASSPHRASE=… sallyport backup port.backup --json']);
  create.action(cli.action<BackupOptions>(makeBackup));

  const verify = backup
    .command('verify')
    .description('open a backup and check everything in it, without writing anything; exit code 3 when something is wrong')
    .argument('<file>', 'the backup')
    .addOption(backupPassphraseOption());
  common(verify, ['sallyport backup verify /mnt/backup/port-2026-11-21.backup --backup-passphrase-file /root/backup.pass', 'sallyport backup verify port.backup --json']);
  verify.action(cli.action<BackupOptions>(verifyBackup));
};

async function makeBackup(call: Call<BackupOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const file = resolve(io.cwd, argument(call, 0));
  const keyPassphrase = await readPassphrase(io, options);
  const { config, store, close } = await openForRecording(directory, { ...io, passphrase: keyPassphrase });
  try {
    const passphrase = await backupPassphrase(io, options.backupPassphraseFile, 'make');
    const progress = rowProgress(call);
    const made = await createBackup({
      config, store, file, passphrase,
      existing: options.force === true ? 'replace' : 'refuse',
      clock: io.clock, randomness: io.randomness, version: gatewayInfo().version, actor: `cli:${io.user}`, signal: io.signal, onProgress: progress,
    });
    for (const path of made.skipped) output.warn(`${printable(path)} is not in the backup: keep a copy of it elsewhere`);
    output.result({ file, ...made }, () =>
      [
        `${output.paint('green', 'made')} ${printable(relative(io.cwd, file) || file)}, ${size(made.octets)}`,
        `  ${count(made.certificates, 'certificate')}, ${count(made.auditEntries, 'audit entry', 'audit entries')}, ${count(made.files, 'file')}, as of ${made.createdAt.toISOString()}`,
        'next',
        `  sallyport backup verify ${printable(relative(io.cwd, file) || file)}`,
      ].join('\n'),
    );
  } finally {
    await close();
  }
}

async function verifyBackup(call: Call<BackupOptions>): Promise<ExitCode> {
  const { io, options, output } = call;
  const file = await openBackup(resolve(io.cwd, argument(call, 0)));
  try {
    const check = await checkBackup(readBackup(file, { passphrase: await backupPassphrase(io, options.backupPassphraseFile, 'open') }));
    output.result({ ok: check.findings.length === 0, ...check.manifest, files: check.files, tables: check.tables, findings: check.findings }, () => describe(check, output));
    return check.findings.length === 0 ? 0 : 3;
  } finally {
    await file.close();
  }
}

function describe({ manifest, files, tables, findings }: BackupCheck, output: Output): string {
  const scope = `${count(tables['certificate'] ?? 0, 'certificate')}, ${count(tables['audit_entry'] ?? 0, 'audit entry', 'audit entries')}, ${count(files, 'file')}, as of ${manifest.createdAt}`;
  if (findings.length === 0) return `${output.paint('green', 'whole')}: ${scope}`;
  return [`${output.paint('red', count(findings.length, 'finding'))}: ${scope}`, ...findings.map(({ where, message }) => `  ${printable(`${where} ${message}`)}`)].join('\n');
}

/** Nothing within the first seconds, then a line every two. */
export function rowProgress({ io, output }: Pick<Call<object>, 'io' | 'output'>): (progress: { readonly table: string; readonly rows: number }) => void {
  let next = io.clock.now().getTime() + 2_000;
  return ({ table, rows }) => {
    const now = io.clock.now().getTime();
    if (now < next) return;
    next = now + 2_000;
    output.note(`${table}: ${rows} rows so far`);
  };
}

const count = (number: number, one: string, many = `${one}s`): string => (number === 1 ? `1 ${one}` : `${number} ${many}`);

const size = (octets: number): string => (octets < 1_048_576 ? `${Math.ceil(octets / 1_024)} KiB` : `${(octets / 1_048_576).toFixed(1)} MiB`);
