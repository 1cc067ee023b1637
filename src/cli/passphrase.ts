/** Where the passphrase of the keys comes from. It is never an argument: those are visible to every process. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { SallyportError } from '../errors.ts';
import type { CommonOptions } from './cli.ts';
import type { CliIo } from './io.ts';

/** Undefined when none is given: then the keys are not encrypted. */
export async function readPassphrase(io: CliIo, options: CommonOptions): Promise<string | undefined> {
  const { passphraseFile } = options;
  if (passphraseFile === undefined) return io.env['SALLYPORT_PASSPHRASE'] || undefined;
  let text: string;
  try {
    text = await readFile(resolve(io.cwd, passphraseFile), 'utf8');
  } catch (error) {
    throw new SallyportError('ERR_USAGE', `the passphrase file ${passphraseFile} cannot be read: check its name and mode`, { facts: { file: passphraseFile }, cause: error });
  }
  // The line end an editor adds is not part of it.
  const passphrase = text.replace(/\r?\n$/, '');
  if (passphrase === '') throw new SallyportError('ERR_USAGE', `the passphrase file ${passphraseFile} is empty`, { facts: { file: passphraseFile } });
  return passphrase;
}
