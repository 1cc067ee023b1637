/** `sallyport restore`: a data directory and its store, as a backup has them. */
import { relative, resolve } from 'node:path';
import { auditOrigin } from '../app/deployment.ts';
import { restoreBackup } from '../custody/restore.ts';
import type { Restored } from '../custody/restore.ts';
import { backupPassphrase, backupPassphraseOption } from './backup-passphrase.ts';
import { rowProgress } from './backup.ts';
import { argument, collect, common, passphraseOption } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { asArgument } from './output.ts';
import { readPassphrase } from './passphrase.ts';
import { readBytes } from './read-text.ts';

interface RestoreOptions {
  readonly backupPassphraseFile?: string;
  readonly crl?: readonly string[];
  readonly store?: string;
  readonly dangerouslyKeepTokens?: boolean;
}

export const registerRestore: RegisterCommand = (program, cli) => {
  const command = program
    .command('restore')
    .description('make a data directory and its store from a backup; what was unspent of the enrollment tokens is expired')
    .argument('<file>', 'the backup')
    .addOption(backupPassphraseOption())
    .option('--crl <file>', 'CRL that a CA in the backup published since, PEM or DER: what it lists and the backup does not know is revoked from the start; may be repeated', collect)
    .option('--store <address>', 'fill this store instead of that of sallyport.yaml: sqlite:<file relative to the directory> or postgres://…, empty')
    .option('--dangerously-keep-tokens', 'let tokens be used that may have been used since the backup')
    .addOption(passphraseOption());
  common(command, ['sallyport restore port.backup --dir ./port --backup-passphrase-file /root/backup.pass', 'sallyport restore port.backup --dir ./port --crl issuing.crl --crl root.crl', 'sallyport restore port.backup --dir /srv/port --store postgres://sallyport@db/sallyport --passphrase-file /root/keys.pass']);
  command.action(cli.action<RestoreOptions>(restore));
};

async function restore(call: Call<RestoreOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const keyPassphrase = await readPassphrase(io, options);
  const crls = await Promise.all((options.crl ?? []).map(async (name) => ({ name, octets: await readBytes(resolve(io.cwd, name)) })));
  const restored = await restoreBackup({
    file: resolve(io.cwd, argument(call, 0)),
    passphrase: await backupPassphrase(io, options.backupPassphraseFile, 'open'),
    directory, keyPassphrase, auditOrigin, crls,
    store: options.store,
    tokens: options.dangerouslyKeepTokens === true ? 'keep' : 'expire',
    clock: io.clock, actor: `cli:${io.user}`, onProgress: rowProgress(call),
  });
  if (options.dangerouslyKeepTokens === true) output.warn('tokens that were unspent when the backup was made can be used, also those that have been used since');
  output.result(asJson(restored, directory), () => describe(restored, call));
}

const asJson = ({ manifest, files, tables, store, crlNumberFloor, tokensExpired, revocations }: Restored, directory: string) => ({
  directory, backupAt: manifest.createdAt, store, files, tables, crlNumberFloor: String(crlNumberFloor), tokensExpired, revocations,
});

function describe({ manifest, tables, store, tokensExpired, revocations }: Restored, { io, options, output, directory }: Call<RestoreOptions>): string {
  const shown = relative(io.cwd, directory) || '.';
  const dir = io.env['SALLYPORT_DIR'] === undefined && shown === 'sallyport' ? '' : ` --dir ${asArgument(shown)}`;
  return [
    `${output.paint('green', 'restored')} ${shown}, as of ${manifest.createdAt}`,
    `  store        ${store}`,
    `  certificates ${tables['certificate'] ?? 0}; those issued since the backup are unknown here and refused`,
    options.crl === undefined ? '  revocations  those made since the backup are not in it: give the newest CRLs with --crl, or revoke again' : `  revocations  ${recordedText(revocations)}; those made since these CRLs are missing: revoke again`,
    ...revocations.unknown.slice(0, mostShown).map(({ serial }) => `               ${serial}: not in the backup, kept revoked by its serial`),
    ...(revocations.unknown.length > mostShown ? [`               and ${revocations.unknown.length - mostShown} more: sallyport inventory --status revoked`] : []),
    `  tokens       ${tokensExpired === 1 ? '1 was' : `${tokensExpired} were`} expired`,
    'next, once nothing else runs on the old store',
    `  sallyport ca audit${dir}`,
    `  sallyport serve${dir}`,
  ].join('\n');
}

const mostShown = 20;

const recordedText = ({ recorded, unknown }: Restored['revocations']): string =>
  `${recorded === 1 ? '1 was' : `${recorded} were`} taken from CRLs${unknown.length === 0 ? '' : `, ${unknown.length} of them of certificates issued since the backup`}`;
