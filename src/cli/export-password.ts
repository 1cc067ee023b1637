/** The password that protects what is exported: from a file, the environment or the terminal, never an argument. */
import { resolve } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { usage } from './cli.ts';
import type { CliIo } from './io.ts';
import { readText } from './read-text.ts';

/** Undefined when neither the file nor the environment gives one. */
export async function givenPassword(io: CliIo, file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return checked(io.env['SALLYPORT_EXPORT_PASSWORD'] || undefined, 'SALLYPORT_EXPORT_PASSWORD');
  // The line end an editor adds is not part of it.
  const password = (await readText(resolve(io.cwd, file))).replace(/\r?\n$/, '');
  if (password === '') throw usage(`the password file ${file} is empty`, { file });
  return checked(password, `the password file ${file}`);
}

/** Asks twice: a typing error would make a file that nobody opens. */
export async function askPassword(io: CliIo): Promise<string> {
  if (!('isTTY' in io.stdin) || io.stdin.isTTY !== true) throw usage('a password is missing: give it with --password-file FILE or in SALLYPORT_EXPORT_PASSWORD');
  // In terminal mode readline reads without the terminal's echo and would echo itself: to nowhere.
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: io.stdin, output: silent, terminal: true });
  const interrupted = new AbortController();
  lines.once('close', () => interrupted.abort());
  const ask = async (what: string): Promise<string> => {
    io.stderr.write(what);
    try {
      return await lines.question('', { signal: interrupted.signal });
    } catch {
      throw usage('no password was given: nothing was written');
    } finally {
      io.stderr.write('\n');
    }
  };
  try {
    const password = await ask('Password for the export: ');
    if (password === '') throw usage('the password is empty: nothing was written');
    if ((await ask('The same again: ')) !== password) throw usage('the two passwords differ: nothing was written');
    return password;
  } finally {
    lines.close();
  }
}

function checked(password: string | undefined, source: string): string | undefined {
  // OpenSSL and keytool read one line, so that no other password could ever be given to them.
  if (password !== undefined && /[\r\n\0]/u.test(password)) throw usage(`${source} holds more than one line: a password is one line`);
  return password;
}
