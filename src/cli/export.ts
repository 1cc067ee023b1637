/** `sallyport export`: an identity as other programs take it. */
import { mkdir, realpath, unlink } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { writeDurably } from '../../ca/durable-file.ts';
import { encodePkcs12 } from '../../ca/pkcs12.ts';
import { loadIdentity, refuseIdlePassphrase } from '../bridge/identity.ts';
import type { Identity } from '../bridge/identity.ts';
import { SallyportError } from '../errors.ts';
import { argument, common, passphraseOption, usage } from './cli.ts';
import type { Call, Cli } from './cli.ts';
import { kubernetesSecret, loadCredentialLines, mountedFiles, pemBundle, pemKey, separatePem } from './export-formats.ts';
import { askPassword, givenPassword } from './export-password.ts';
import { printable } from './output.ts';
import { readPassphrase } from './passphrase.ts';

const formats = ['pem', 'pkcs12', 'kubernetes', 'systemd'] as const;

interface ExportOptions {
  readonly format: (typeof formats)[number];
  readonly out?: string;
  readonly separate?: boolean;
  readonly name?: string;
  readonly passwordFile?: string;
  readonly force?: boolean;
}

export function registerExport(program: Command, cli: Cli): void {
  const command = program
    .command('export')
    .description('write an identity as other programs take it')
    .argument('<identity-dir>', 'identity directory, as issue and enroll make it')
    .addOption(new Option('--format <format>', 'pem: leaf, issuing CA, key in one file; pkcs12: those and the root; kubernetes: manifest of a Secret; systemd: files and LoadCredential lines').choices([...formats]).makeOptionMandatory())
    .option('--out <path>', 'file to write to, a directory for systemd and --separate (default: standard output)')
    .option('--separate', 'with pem: leaf.pem, chain.pem, ca.pem and key.pem in the directory --out')
    .option('--name <name>', 'with pkcs12 the friendly name, which Java calls alias; with kubernetes the name of the Secret (default: that of the identity)')
    .option('--password-file <file>', 'file with the password that protects the export: pkcs12 needs one, pem takes one (default: $SALLYPORT_EXPORT_PASSWORD, else pkcs12 asks)')
    .option('--force', 'replace files that exist')
    .addOption(passphraseOption());
  common(command, [
    'sallyport export ./agent-7 --format pkcs12 --password-file ./password --out agent-7.p12',
    'keytool -importkeystore -srckeystore agent-7.p12 -srcstoretype PKCS12 -destkeystore agent-7.jks -deststoretype JKS',
    'sallyport export ./agent-7 --format pem --out agent-7.pem',
    'sallyport export ./agent-7 --format kubernetes | kubectl apply -f -',
    'sallyport export ./agent-7 --format systemd --out /etc/sallyport/agent-7',
  ]).action(cli.action<ExportOptions>(exportIdentity));
}

/** What a format comes to. */
interface Exported {
  readonly files: ReadonlyMap<string, string | Uint8Array>;
  /** Whether the key is encrypted in it. */
  readonly encrypted: boolean;
  readonly loadCredential?: readonly string[];
}

async function exportIdentity(call: Call<ExportOptions>): Promise<void> {
  const { io, output, options } = call;
  refuseContradictions(call);
  const directory = resolve(io.cwd, argument(call, 0));
  const passphrase = await readPassphrase(io, options);
  const identity = await loadIdentity(directory, { passphrase });
  if (options.passphraseFile !== undefined) await refuseIdlePassphrase(directory);
  const target = options.out === undefined ? undefined : resolve(io.cwd, options.out);
  const { files, encrypted, loadCredential } = await exportAs(call, identity, target);

  if (identity.notAfter <= io.clock.now()) output.warn(`the certificate ended at ${identity.notAfter.toISOString()}: renew it, and export it again`);
  if (target === undefined) {
    for (const content of files.values()) output.bytes(Buffer.from(content));
    return;
  }
  const written = await writeFiles(files, { force: options.force === true, identity });
  if (!encrypted) output.warn('the key in it is not encrypted: whoever reads it is the agent');
  const lines = loadCredential === undefined ? '' : `; for the [Service] section of its unit:\n${loadCredential.join('\n')}`;
  output.result(
    { format: options.format, name: identity.name, serial: identity.serial, notAfter: identity.notAfter.toISOString(), files: written, encrypted, loadCredential },
    `exported ${printable(identity.name)} to ${written.map((file) => printable(relative(io.cwd, file))).join(', ')}${lines}`,
  );
}

function refuseContradictions({ io, options: { format, out, separate, name, passwordFile, force, json } }: Call<ExportOptions>): void {
  if (separate === true && format !== 'pem') throw usage('--separate is for --format pem: leave it out');
  if (name !== undefined && (format === 'pem' || format === 'systemd')) throw usage(`nothing in ${format} bears a name: leave --name out`);
  if (passwordFile !== undefined && (format === 'kubernetes' || format === 'systemd')) throw usage(`${format} hands the key to the program as it is: leave --password-file out`);
  if (out !== undefined) return;
  if (separate === true || format === 'systemd') throw usage('several files need a directory: give it with --out DIR');
  if (json === true) throw usage('--json says what was written: give --out FILE with it');
  if (force === true) throw usage('--force is for files: give --out FILE with it');
  if (io.stdout.isTTY === true) throw usage('this would show the private key on the screen: give --out FILE, or hand it on with a pipe');
}

async function exportAs({ io, options }: Call<ExportOptions>, identity: Identity, target: string | undefined): Promise<Exported> {
  const path = target ?? '';
  const { randomness } = io;
  switch (options.format) {
    case 'pem': {
      const password = await givenPassword(io, options.passwordFile);
      const key = await pemKey(identity.key, { password, randomness });
      const files = options.separate === true ? within(path, separatePem(identity, key)) : new Map([[path, pemBundle(identity, key)]]);
      return { files, encrypted: password !== undefined };
    }
    case 'pkcs12': {
      const passphrase = (await givenPassword(io, options.passwordFile)) ?? (await askPassword(io));
      // Java refuses others under PBES2, and the tools do not agree on their octets.
      if (!/^[\x20-\x7e]+$/u.test(passphrase)) throw usage('the password of a PKCS#12 file may hold only printable ASCII, which is all that Java opens: choose another');
      const { key, leaf, intermediates, roots } = identity;
      const pfx = await encodePkcs12({ key, leaf, authorities: [...intermediates, ...roots], friendlyName: options.name ?? identity.name }, { passphrase, randomness });
      return { files: new Map([[path, pfx]]), encrypted: true };
    }
    case 'kubernetes':
      return { files: new Map([[path, kubernetesSecret(options.name ?? identity.name, mountedFiles(identity))]]), encrypted: false };
    case 'systemd': {
      const files = mountedFiles(identity);
      return { files: within(path, files), encrypted: false, loadCredential: loadCredentialLines(path, files.keys()) };
    }
  }
}

const within = (directory: string, files: ReadonlyMap<string, string>): ReadonlyMap<string, string> => new Map([...files].map(([name, text]) => [join(directory, name), text]));

/** All of them or, without --force, none. */
async function writeFiles(files: Exported['files'], { force, identity }: { readonly force: boolean; readonly identity: Identity }): Promise<readonly string[]> {
  const made: string[] = [];
  const [first = ''] = files.keys();
  let current = first;
  try {
    if (files.size > 1) await mkdir(dirname(first), { recursive: true, mode: 0o700 });
    // An identity is never replaced by its own export, which may be less protected.
    const replace = force && (await realpath(dirname(first))) !== (await realpath(identity.directory));
    for (const [path, content] of files) {
      current = path;
      await writeDurably(path, content, { mode: 0o600, existing: replace ? 'replace' : 'refuse' });
      if (!replace) made.push(path);
    }
  } catch (cause) {
    for (const path of made) await unlink(path).catch(() => undefined);
    throw notWritten(current, cause, force);
  }
  return [...files.keys()];
}

function notWritten(file: string, cause: unknown, force: boolean): SallyportError {
  const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
  if (code !== 'EEXIST') return new SallyportError('ERR_USAGE', `${file} cannot be written (${code}): name another place with --out`, { facts: { file }, cause });
  const next = force ? 'files of the identity itself are not replaced: name another place with --out' : 'name another place with --out, or replace it with --force';
  return new SallyportError('ERR_CONFIG_EXISTS', `${file} exists and was not touched: ${next}`, { facts: { file }, cause });
}
