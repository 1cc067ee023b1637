/** The passphrase of a backup: from a file, the environment or the terminal, never an argument. */
import { resolve } from 'node:path';
import { Option } from 'commander';
import { usage } from './cli.ts';
import type { CliIo } from './io.ts';
import { readText } from './read-text.ts';
import { askSecret } from './secret-prompt.ts';

/** Whoever opens a backup has every key of the authority, and all the time in the world to guess. */
const shortest = 12;

export const backupPassphraseOption = (): Option => new Option('--backup-passphrase-file <file>', 'file with the passphrase of the backup (default: $SALLYPORT_BACKUP_PASSPHRASE, else it is asked for)');

export async function backupPassphrase(io: CliIo, file: string | undefined, purpose: 'make' | 'open'): Promise<string> {
  const passphrase = (await given(io, file)) ?? (await ask(io, purpose));
  if (purpose === 'make' && [...passphrase].length < shortest) throw usage(`the passphrase of a backup has at least ${shortest} characters: every key is in it`);
  return passphrase;
}

async function given(io: CliIo, file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return io.env['SALLYPORT_BACKUP_PASSPHRASE'] || undefined;
  // The line end an editor adds is not part of it.
  const passphrase = (await readText(resolve(io.cwd, file))).replace(/\r?\n$/, '');
  if (passphrase === '') throw usage(`the passphrase file ${file} is empty`, { file });
  return passphrase;
}

async function ask(io: CliIo, purpose: 'make' | 'open'): Promise<string> {
  const missing = 'the passphrase of the backup is missing: give it with --backup-passphrase-file FILE or in SALLYPORT_BACKUP_PASSPHRASE';
  return askSecret(io, { prompt: 'Passphrase of the backup: ', repeat: purpose === 'make', missing, what: 'passphrase' });
}
