/** `sallyport ca import-crl`: the CRL of a CA whose key is elsewhere, carried as a file. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { importCrl } from '../../ca/crl-import.ts';
import { CaError } from '../../ca/errors.ts';
import type { ImportedCrl } from '../../ca/crl-import.ts';
import { loadHierarchy } from '../../ca/index.ts';
import { formatName } from '../../ca/x509/name.ts';
import { openForRecording } from '../app/deployment.ts';
import { common, passphraseOption, usage } from './cli.ts';
import type { Call, Cli } from './cli.ts';
import { printable } from './output.ts';
import { readPassphrase } from './passphrase.ts';
import { readBytes } from './read-text.ts';

export const registerCaImportCrl = (ca: Command, cli: Cli): void => {
  const command = ca
    .command('import-crl')
    .description('take the CRL of a root or another CA above the issuing CA whose key is elsewhere; what it revokes of this hierarchy is refused from then on')
    .argument('<files...>', 'CRLs, PEM or DER')
    .addOption(passphraseOption());
  common(command, ['sallyport ca import-crl root.crl', 'sallyport ca import-crl enterprise-root.crl policy-ca.crl']);
  command.action(cli.action(importCrls));
};

async function importCrls({ io, options, args, output, directory }: Call<object>): Promise<void> {
  const [files] = args;
  if (!Array.isArray(files)) throw usage('a file is missing: see --help');
  const { config, store, close } = await openForRecording(directory, { clock: io.clock, passphrase: await readPassphrase(io, options) });
  try {
    const hierarchy = await loadHierarchy({ directory: config.directory, keys: 'ignore' });
    const imported: ImportedCrl[] = [];
    for (const file of files as readonly string[]) {
      const octets = await readBytes(resolve(io.cwd, file));
      try {
        imported.push(await importCrl(octets, hierarchy, { store: store.ca, clock: io.clock, actor: `cli:${io.user}` }));
      } catch (cause) {
        // Of several, which one it was.
        throw cause instanceof CaError ? new CaError(cause.code, `${file}: ${cause.message}`, { facts: { ...cause.facts, file }, cause }) : cause;
      }
    }
    output.result({ imported: imported.map(factsOf) }, () => imported.flatMap(linesOf).join('\n'));
  } finally {
    await close();
  }
}

const factsOf = ({ issuer, name, record, revoked }: ImportedCrl) => ({ issuer: formatName(issuer.subject), ca: name ?? null, crlNumber: String(record.crlNumber), thisUpdate: record.thisUpdate, nextUpdate: record.nextUpdate, entries: record.entries, revoked });

const linesOf = ({ issuer, record, revoked }: ImportedCrl): readonly string[] => [
  `imported CRL ${record.crlNumber} of ${printable(formatName(issuer.subject))}: ${record.entries === 1 ? '1 entry' : `${record.entries} entries`}, next one by ${record.nextUpdate.toISOString()}`,
  ...revoked.map(({ serial, reason }) => `  it revokes the CA with serial ${serial} (${reason}): nothing under it is accepted any more`),
];
