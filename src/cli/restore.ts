/** `sallyport restore`: a data directory and its store, as a backup has them. */
import { relative, resolve } from 'node:path';
import { auditOrigin } from '../app/deployment.ts';
import { restoreBackup } from '../custody/restore.ts';
import type { Restored } from '../custody/restore.ts';
import { backupPassphrase, backupPassphraseOption } from './backup-passphrase.ts';
import { rowProgress } from './backup.ts';
import { argument, common, passphraseOption } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { asArgument } from './output.ts';
import { readPassphrase } from './passphrase.ts';

interface RestoreOptions {
  readonly backupPassphraseFile?: string;
  readonly store?: string;
  readonly dangerouslyKeepTokens?: boolean;
}

export const registerRestore: RegisterCommand = (program, cli) => {
  const command = program
    .command('restore')
    .description('make a data directory and its store from a backup; what was unspent of the enrollment tokens is expired')
    .argument('<file>', 'the backup')
    .addOption(backupPassphraseOption())
    .option('--store <address>', 'fill this store instead of that of sallyport.yaml: sqlite:<file relative to the directory> or postgres://…, empty')
    .option('--dangerously-keep-tokens', 'let tokens be used that may have been used since the backup')
    .addOption(passphraseOption());
  common(command, ['sallyport restore port.backup --dir ./port --backup-passphrase-file /root/backup.pass', 'sallyport restore port.backup --dir /srv/port --store postgres://sallyport@db/sallyport --passphrase-file /root/keys.pass']);
  command.action(cli.action<RestoreOptions>(restore));
};

async function restore(call: Call<RestoreOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const keyPassphrase = await readPassphrase(io, options);
  const restored = await restoreBackup({
    file: resolve(io.cwd, argument(call, 0)),
    passphrase: await backupPassphrase(io, options.backupPassphraseFile, 'open'),
    directory, keyPassphrase, auditOrigin,
    store: options.store,
    tokens: options.dangerouslyKeepTokens === true ? 'keep' : 'expire',
    clock: io.clock, actor: `cli:${io.user}`, onProgress: rowProgress(call),
  });
  if (options.dangerouslyKeepTokens === true) output.warn('tokens that were unspent when the backup was made can be used, also those that have been used since');
  output.result(asJson(restored, directory), () => describe(restored, call));
}

const asJson = ({ manifest, files, tables, store, crlNumberFloor, tokensExpired }: Restored, directory: string) => ({
  directory, backupAt: manifest.createdAt, store, files, tables, crlNumberFloor: String(crlNumberFloor), tokensExpired,
});

function describe({ manifest, tables, store, tokensExpired }: Restored, { io, output, directory }: Call<RestoreOptions>): string {
  const shown = relative(io.cwd, directory) || '.';
  const dir = io.env['SALLYPORT_DIR'] === undefined && shown === 'sallyport' ? '' : ` --dir ${asArgument(shown)}`;
  return [
    `${output.paint('green', 'restored')} ${shown}, as of ${manifest.createdAt}`,
    `  store        ${store}`,
    `  certificates ${tables['certificate'] ?? 0}; those issued since the backup are unknown here and refused`,
    `  revocations  those made since the backup are not in it: revoke again`,
    `  tokens       ${tokensExpired === 1 ? '1 was' : `${tokensExpired} were`} expired`,
    'next, once nothing else runs on the old store',
    `  sallyport ca audit${dir}`,
    `  sallyport serve${dir}`,
  ].join('\n');
}
