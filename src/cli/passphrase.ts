/** Where the passphrase of the keys comes from. It is never an argument: those are visible to every process. */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { SallyportError } from '../errors.ts';
import { filesIn } from '../app/deployment.ts';
import { dataDirectory } from './cli.ts';
import type { CommonOptions } from './cli.ts';
import type { CliIo } from './io.ts';
import { askSecret } from './secret-prompt.ts';

/** Name of the systemd credential, as in `LoadCredentialEncrypted=sallyport.passphrase`. */
const credentialName = 'sallyport.passphrase';

export interface PassphraseOptions extends CommonOptions {
  /** Asks at the terminal, twice: for what is about to be made. */
  readonly askPassphrase?: boolean;
}

/**
 * From `--passphrase-file`, the environment, or a systemd credential, in this order; else asked for at
 * the terminal where the keys of the data directory are encrypted. Undefined when none is given: then the keys are not encrypted.
 */
export async function readPassphrase(io: CliIo, options: PassphraseOptions): Promise<string | undefined> {
  const { passphraseFile } = options;
  if (options.askPassphrase === true) return askSecret(io, { what: 'passphrase', prompt: 'Passphrase for the keys: ', repeat: true, missing: 'there is no terminal to ask for a passphrase at: give it with --passphrase-file FILE or in SALLYPORT_PASSPHRASE' });
  if (passphraseFile !== undefined) return read(resolve(io.cwd, passphraseFile), `the passphrase file ${passphraseFile}`, 'ERR_USAGE');
  const fromEnvironment = io.env['SALLYPORT_PASSPHRASE'] || undefined;
  if (fromEnvironment !== undefined) return fromEnvironment;
  const credentials = io.env['CREDENTIALS_DIRECTORY'] || undefined;
  if (credentials !== undefined) {
    const file = join(credentials, credentialName);
    // A unit may have other credentials, and unencrypted keys.
    const text = await read(file, `the systemd credential ${credentialName}`, 'absent');
    if (text !== undefined) return text;
  }
  if (isTerminal(io) && (await hasEncryptedKeys(dataDirectory(io, options)))) return askSecret(io, { what: 'passphrase', prompt: 'Passphrase of the keys: ', repeat: false, missing: 'the keys are encrypted: give their passphrase with --passphrase-file FILE or in SALLYPORT_PASSPHRASE' });
  return undefined;
}

async function read(file: string, source: string, onMissing: 'ERR_USAGE'): Promise<string>;
async function read(file: string, source: string, onMissing: 'absent'): Promise<string | undefined>;
async function read(file: string, source: string, onMissing: 'ERR_USAGE' | 'absent'): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (onMissing === 'absent' && (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new SallyportError('ERR_USAGE', `${source} cannot be read: check its name and mode`, { facts: { file }, cause: error });
  }
  // The line end an editor adds is not part of it.
  const passphrase = text.replace(/\r?\n$/, '');
  if (passphrase === '') throw new SallyportError('ERR_USAGE', `${source} is empty`, { facts: { file } });
  return passphrase;
}

const isTerminal = ({ stdin }: Pick<CliIo, 'stdin'>): boolean => 'isTTY' in stdin && stdin.isTTY === true;

/** The key of the audit log is in every data directory, and encrypted when the others are. */
async function hasEncryptedKeys(directory: string): Promise<boolean> {
  return readFile(filesIn(directory).auditKey, 'utf8').then(
    (text) => text.startsWith('-----BEGIN ENCRYPTED PRIVATE KEY-----'),
    () => false,
  );
}
