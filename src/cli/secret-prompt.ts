/** Asks for a secret on the terminal, without showing it. */
import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { usage } from './cli.ts';
import type { CliIo } from './io.ts';

export interface SecretPrompt {
  readonly prompt: string;
  /** Asks twice: a typing error would make what nobody opens. */
  readonly repeat: boolean;
  /** Said where there is no terminal. */
  readonly missing: string;
  /** `password` or `passphrase`. */
  readonly what: string;
}

export async function askSecret(io: CliIo, { prompt, repeat, missing, what }: SecretPrompt): Promise<string> {
  if (!('isTTY' in io.stdin) || io.stdin.isTTY !== true) throw usage(missing);
  // In terminal mode readline reads without the terminal's echo and would echo itself: to nowhere.
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: io.stdin, output: silent, terminal: true });
  const interrupted = new AbortController();
  lines.once('close', () => interrupted.abort());
  const ask = async (text: string): Promise<string> => {
    io.stderr.write(text);
    try {
      return await lines.question('', { signal: interrupted.signal });
    } catch {
      throw usage(`no ${what} was given: nothing was written`);
    } finally {
      io.stderr.write('\n');
    }
  };
  try {
    const secret = await ask(prompt);
    if (secret === '') throw usage(`the ${what} is empty: nothing was written`);
    if (repeat && (await ask('The same again: ')) !== secret) throw usage(`the two ${what}s differ: nothing was written`);
    return secret;
  } finally {
    lines.close();
  }
}
