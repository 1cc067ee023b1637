/** `sallyport crl`: the current certificate revocation list of a CA. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Option } from 'commander';
import { encodePem } from '../../ca/x509/pem.ts';
import { loadHierarchy } from '../../ca/index.ts';
import type { CrlRecord, Issuer, IssuerName } from '../../ca/index.ts';
import { issuerIn } from '../../ca/issuer.ts';
import { openDeployment, openForReading } from '../app/deployment.ts';
import { loadConfig } from '../config/load.ts';
import { SallyportError } from '../errors.ts';
import { common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { readPassphrase } from './passphrase.ts';

interface CrlOptions {
  readonly ca?: IssuerName;
  readonly out?: string;
  readonly format: 'der' | 'pem';
  readonly publish?: boolean;
}

export const registerCrl: RegisterCommand = (program, cli) => {
  const command = program
    .command('crl')
    .description('write the current CRL; a new one is signed when it is stale or with --publish')
    .option('--ca <ca>', 'whose CRL: issuing, root, or another that sallyport ca show lists (default: the issuing CA that is active)')
    .option('--out <file>', 'file to write to (default: standard output)')
    .addOption(new Option('--format <format>', 'encoding').choices(['der', 'pem']).default('pem'))
    .option('--publish', 'sign a new one now')
    .addOption(passphraseOption());
  common(command, ['sallyport crl --out issuing.crl.pem', 'sallyport crl --ca root --format der > root.crl', 'sallyport crl | openssl crl -noout -text']);
  command.action(cli.action<CrlOptions>(crl));
};

async function crl(call: Call<CrlOptions>): Promise<void> {
  const { io, options, output } = call;
  const { name: ca, id } = await issuerOf(call);
  const record = (options.publish === true ? undefined : await storedCrl(call, id)) ?? (await publish(call, ca));
  const pem = encodePem('X509 CRL', record.der);
  const facts = { ca, crlNumber: String(record.crlNumber), thisUpdate: record.thisUpdate, nextUpdate: record.nextUpdate, entries: record.entries };
  if (options.out !== undefined) {
    const file = resolve(io.cwd, options.out);
    try {
      await writeFile(file, options.format === 'der' ? record.der : pem);
    } catch (cause) {
      throw new SallyportError('ERR_USAGE', `${file} cannot be written (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): name another file with --out`, { facts: { file }, cause });
    }
    output.result({ ...facts, file }, `wrote CRL ${facts.crlNumber} of the ${ca} CA to ${options.out}: ${record.entries} entries, next one by ${record.nextUpdate.toISOString()}`);
  } else if (output.json) output.result({ ...facts, crl: pem }, '');
  else if (options.format === 'der') output.bytes(record.der);
  else output.line(pem.trimEnd());
}

async function issuerOf({ options, directory }: Call<CrlOptions>): Promise<Issuer> {
  const { directory: place } = await loadConfig(directory);
  const hierarchy = await loadHierarchy({ directory: place, keys: 'ignore' });
  const issuer = options.ca === undefined ? hierarchy.issuing : issuerIn(hierarchy, options.ca);
  if (issuer === undefined) throw usage(`there is no CA named ${JSON.stringify(options.ca)}: use one of ${hierarchy.issuers.map(({ name }) => name).join(', ')}`);
  return issuer;
}

/** Without opening a key; undefined when there is none or it is stale. */
async function storedCrl({ io, directory }: Call<CrlOptions>, id: string): Promise<CrlRecord | undefined> {
  const { store, close } = await openForReading(directory, io.clock);
  try {
    const record = await store.ca.latestCrl(id);
    return record !== undefined && record.nextUpdate > io.clock.now() ? record : undefined;
  } finally {
    await close();
  }
}

async function publish({ io, options, directory }: Call<CrlOptions>, ca: IssuerName): Promise<CrlRecord> {
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    return await deployment.authority.publishCrl(ca, { actor: `cli:${io.user}` });
  } finally {
    await deployment.close();
  }
}
