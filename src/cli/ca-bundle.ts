/** `sallyport ca bundle`: whom relying parties are to trust, as a file to hand out. */
import { resolve } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { writeDurably } from '../../ca/durable-file.ts';
import { loadHierarchy } from '../../ca/index.ts';
import { trustedOf } from '../../ca/issuer.ts';
import { spiffeBundle, trustBundlePem } from '../../ca/trust-bundle.ts';
import { loadConfig } from '../config/load.ts';
import { SallyportError } from '../errors.ts';
import { common } from './cli.ts';
import type { Call, Cli } from './cli.ts';

interface BundleOptions {
  readonly format: 'pem' | 'spiffe';
  readonly out?: string;
}

export const registerCaBundle = (ca: Command, cli: Cli): void => {
  const bundle = ca
    .command('bundle')
    .description('write every root and issuing CA that is trusted now, as the gateway serves them at /ca/bundle.pem and /.well-known/spiffe-bundle')
    .addOption(new Option('--format <format>', 'pem: roots and issuing CAs; spiffe: the roots as SPIFFE bundle in JSON').choices(['pem', 'spiffe']).default('pem'))
    .option('--out <file>', 'file to write to, replaced at once (default: standard output)');
  common(bundle, ['sallyport ca bundle --out /etc/nginx/agents-ca.pem', 'sallyport ca bundle --format spiffe']);
  bundle.action(cli.action<BundleOptions>(writeBundle));
};

async function writeBundle({ io, options, output, directory }: Call<BundleOptions>): Promise<void> {
  const { directory: place } = await loadConfig(directory);
  const hierarchy = await loadHierarchy({ directory: place, keys: 'ignore' });
  const text = options.format === 'pem' ? trustBundlePem(hierarchy) : `${JSON.stringify(spiffeBundle(hierarchy), undefined, 2)}\n`;
  const names = (['root', 'issuing'] as const).flatMap((role) => (role === 'issuing' && options.format === 'spiffe' ? [] : trustedOf(hierarchy, role).map(({ name }) => name)));
  const facts = { format: options.format, sequence: hierarchy.sequence, authorities: names };
  if (options.out === undefined) {
    if (output.json) output.result({ ...facts, bundle: text }, '');
    else output.line(text.trimEnd());
    return;
  }
  const file = resolve(io.cwd, options.out);
  try {
    await writeDurably(file, text, { mode: 0o644 });
  } catch (cause) {
    throw new SallyportError('ERR_USAGE', `${file} cannot be written (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): name another file with --out`, { facts: { file }, cause });
  }
  output.result({ ...facts, file }, `wrote ${names.join(', ')} to ${options.out}`);
}
