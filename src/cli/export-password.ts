/** The password that protects what is exported: from a file, the environment or the terminal, never an argument. */
import { resolve } from 'node:path';
import { usage } from './cli.ts';
import type { CliIo } from './io.ts';
import { readText } from './read-text.ts';
import { askSecret } from './secret-prompt.ts';

/** Undefined when neither the file nor the environment gives one. */
export async function givenPassword(io: CliIo, file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return checked(io.env['SALLYPORT_EXPORT_PASSWORD'] || undefined, 'SALLYPORT_EXPORT_PASSWORD');
  // The line end an editor adds is not part of it.
  const password = (await readText(resolve(io.cwd, file))).replace(/\r?\n$/, '');
  if (password === '') throw usage(`the password file ${file} is empty`, { file });
  return checked(password, `the password file ${file}`);
}

export const askPassword = (io: CliIo): Promise<string> =>
  askSecret(io, { prompt: 'Password for the export: ', repeat: true, missing: 'a password is missing: give it with --password-file FILE or in SALLYPORT_EXPORT_PASSWORD', what: 'password' });

function checked(password: string | undefined, source: string): string | undefined {
  // OpenSSL and keytool read one line, so that no other password could ever be given to them.
  if (password !== undefined && /[\r\n\0]/u.test(password)) throw usage(`${source} holds more than one line: a password is one line`);
  return password;
}
