import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { processIo } from '../../src/cli/io.ts';
import type { CliIo } from '../../src/cli/io.ts';
import { readPassphrase } from '../../src/cli/passphrase.ts';

let place: string;
beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'sallyport-passphrase-'));
  await writeFile(join(place, 'file'), 'from the file\n');
  await mkdir(join(place, 'credentials'));
  await writeFile(join(place, 'credentials', 'sallyport.passphrase'), 'from systemd');
  await mkdir(join(place, 'sallyport', 'keys'), { recursive: true });
  await writeFile(join(place, 'sallyport', 'keys', 'audit.key.pem'), '-----BEGIN ENCRYPTED PRIVATE KEY-----\n');
});
afterAll(() => rm(place, { recursive: true, force: true }));

const io = (env: CliIo['env'], answers: readonly string[] = []) => {
  const stdin = Object.assign(new PassThrough(), { isTTY: answers.length > 0 });
  const shown: string[] = [];
  const stderr = {
    write: (chunk: string | Uint8Array) => {
      shown.push(String(chunk));
      if (String(chunk).endsWith(': ')) setImmediate(() => stdin.write(answers[shown.filter((line) => line.endsWith(': ')).length - 1] ?? ''));
    },
  };
  return { ...processIo(new AbortController().signal), stdin, stderr, env, cwd: place, shown };
};

describe('the passphrase', () => {
  it('comes from the file first, then the environment, then the systemd credential', async () => {
    const env = { SALLYPORT_PASSPHRASE: 'from the environment', CREDENTIALS_DIRECTORY: join(place, 'credentials') };
    expect(await readPassphrase(io(env), { passphraseFile: 'file' })).toBe('from the file');
    expect(await readPassphrase(io(env), {})).toBe('from the environment');
    expect(await readPassphrase(io({ CREDENTIALS_DIRECTORY: env.CREDENTIALS_DIRECTORY }), {})).toBe('from systemd');
  });

  it('is none when a unit has other credentials alone, and nobody is there to ask', async () => {
    expect(await readPassphrase(io({ CREDENTIALS_DIRECTORY: place }), {})).toBeUndefined();
  });

  it('is asked for at the terminal when the keys are encrypted, and only then', async () => {
    const terminal = io({}, ['typed\r']);
    expect(await readPassphrase(terminal, {})).toBe('typed');
    expect(terminal.shown).toEqual(['Passphrase of the keys: ', '\n']);
    expect(await readPassphrase(io({}, ['typed\r']), { dir: 'elsewhere' })).toBeUndefined();
  });

  it('is asked for twice when keys are made, without being shown', async () => {
    const terminal = io({}, ['typed\r', 'typed\r']);
    expect(await readPassphrase(terminal, { askPassphrase: true })).toBe('typed');
    expect(terminal.shown).toEqual(['Passphrase for the keys: ', '\n', 'The same again: ', '\n']);
    await expect(readPassphrase(io({}, ['typed\r', 'tpyed\r']), { askPassphrase: true })).rejects.toMatchObject({ code: 'ERR_USAGE', message: 'the two passphrases differ: nothing was written' });
    await expect(readPassphrase(io({}), { askPassphrase: true })).rejects.toMatchObject({ code: 'ERR_USAGE', message: expect.stringContaining('there is no terminal') });
  });

  it('is refused when its file is empty or not there', async () => {
    await writeFile(join(place, 'empty'), '\n');
    await expect(readPassphrase(io({}), { passphraseFile: 'empty' })).rejects.toMatchObject({ message: 'the passphrase file empty is empty' });
    await expect(readPassphrase(io({}), { passphraseFile: 'nothing' })).rejects.toMatchObject({ message: 'the passphrase file nothing cannot be read: check its name and mode' });
  });
});
