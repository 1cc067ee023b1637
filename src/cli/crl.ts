/** `sallyport crl`: the current certificate revocation lists of a CA. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Option } from 'commander';
import { z } from 'zod';
import { crlPath } from '../../ca/crl-scope.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { loadHierarchy } from '../../ca/index.ts';
import type { CrlRecord, CrlState, Issuer, IssuerName } from '../../ca/index.ts';
import { issuerIn } from '../../ca/issuer.ts';
import { crl as crlSchema } from '../api/schemas.ts';
import { openDeployment, openForReading } from '../app/deployment.ts';
import { loadConfig } from '../config/load.ts';
import { SallyportError } from '../errors.ts';
import { common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { formatTable } from './output.ts';
import { readPassphrase } from './passphrase.ts';
import { remoteOf, remoteOptions } from './remote.ts';
import type { RemoteAuthority, RemoteOptions } from './remote.ts';

interface CrlOptions extends RemoteOptions {
  readonly ca?: IssuerName;
  readonly partition?: string;
  readonly delta?: boolean;
  readonly list?: boolean;
  readonly out?: string;
  readonly format: 'der' | 'pem';
  readonly publish?: boolean;
}

export const registerCrl: RegisterCommand = (program, cli) => {
  const command = program
    .command('crl')
    .description('write the current CRL, in PEM all partitions of it; a new one is signed when it is stale or with --publish')
    .option('--ca <ca>', 'whose CRL: issuing, root, or another that sallyport ca show lists (default: the issuing CA that is active)')
    .option('--partition <number>', 'only this partition, such as 3, or 3/16 of one partitioning among several')
    .option('--delta', 'the delta CRL in place of the complete one')
    .option('--list', 'list the CRLs of every CA, and until when they are good, in place of writing one')
    .option('--out <file>', 'file to write to (default: standard output)')
    .addOption(new Option('--format <format>', 'encoding').choices(['der', 'pem']).default('pem'))
    .option('--publish', 'sign a new one now')
    .addOption(passphraseOption());
  remoteOptions(command);
  common(command, ['sallyport crl --out issuing.crl.pem', 'sallyport crl --publish --server https://mcp.acme.internal:8444 --identity ./pki-revoker', 'sallyport crl --ca root --format der > root.crl', 'sallyport crl | openssl crl -noout -text', 'sallyport crl --list --json']);
  command.action(cli.action<CrlOptions>(crl));
};

async function crl(call: Call<CrlOptions>): Promise<void> {
  const { io, options, output } = call;
  const remote = remoteOf(io, options);
  if (remote !== undefined) {
    await publishThere(call, remote);
    return;
  }
  if (options.list === true) {
    await list(call);
    return;
  }
  const { name: ca, id } = await issuerOf(call);
  const records = (options.publish === true ? undefined : await storedCrls(call, ca, id)) ?? (await publish(call, ca));
  const [first] = records;
  if (first === undefined) throw usage(`the ${ca} CA has no such CRL: see sallyport crl --list`);
  if (options.format === 'der' && records.length > 1) throw usage(`the ${ca} CA has ${records.length} CRLs, and a DER file holds one: name it with --partition, or leave out --format der`);
  const pem = records.map(({ der }) => encodePem('X509 CRL', der)).join('');
  const facts = {
    ca,
    crlNumber: String(records.reduce((most, { crlNumber }) => (crlNumber > most ? crlNumber : most), 0n)),
    thisUpdate: new Date(Math.min(...records.map(({ thisUpdate }) => thisUpdate.getTime()))),
    nextUpdate: new Date(Math.min(...records.map(({ nextUpdate }) => nextUpdate.getTime()))),
    entries: records.reduce((sum, { entries }) => sum + entries, 0),
  };
  if (options.out !== undefined) {
    const file = resolve(io.cwd, options.out);
    try {
      await writeFile(file, options.format === 'der' ? first.der : pem);
    } catch (cause) {
      throw new SallyportError('ERR_USAGE', `${file} cannot be written (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): name another file with --out`, { facts: { file }, cause });
    }
    const what = records.length === 1 ? `CRL ${facts.crlNumber}` : `${records.length} CRLs`;
    output.result({ ...facts, file }, `wrote ${what} of the ${ca} CA to ${options.out}: ${facts.entries} entries, next one by ${facts.nextUpdate.toISOString()}`);
  } else if (output.json) output.result({ ...facts, crl: pem }, '');
  else if (options.format === 'der') output.bytes(first.der);
  else output.line(pem.trimEnd());
}

/** The list itself is where certificates say it is. */
async function publishThere({ options, output }: Call<CrlOptions>, remote: RemoteAuthority): Promise<void> {
  try {
    if (options.publish !== true || options.list === true || options.out !== undefined || options.partition !== undefined || options.delta === true) throw usage('with --server a CRL is only published: give --publish, and --ca at most; it is read where publicUrl of the gateway leads');
    const ca = options.ca ?? (await remote.call('GET', '/hierarchy', { answer: z.looseObject({ issuing: z.string() }) })).issuing;
    const { crlNumber, thisUpdate, nextUpdate, entries } = await remote.call('POST', `/crls/${encodeURIComponent(ca)}`, { answer: crlSchema });
    output.result({ ca, crlNumber, thisUpdate, nextUpdate, entries }, `published CRL ${crlNumber} of the ${ca} CA: ${entries} entries, next one by ${nextUpdate}`);
  } finally {
    remote.close();
  }
}

async function list({ io, output, directory }: Call<CrlOptions>): Promise<void> {
  const { config, store, close } = await openForReading(directory, io.clock);
  try {
    const { issuers } = await loadHierarchy({ directory: config.directory, keys: 'ignore' });
    const rows = [];
    for (const { name: ca, id } of issuers) {
      for (const { scope, delta, crlNumber, thisUpdate, nextUpdate, entries } of await store.ca.crlStates(id)) {
        const { partitions, partition } = scope;
        const common = { ca, partition: partitions === 1 ? null : partition, partitions, crlNumber: String(crlNumber), thisUpdate };
        rows.push({ ...common, kind: 'complete', baseCrlNumber: null, entries, nextUpdate, path: `/crl/${crlPath(ca, scope)}` });
        if (delta !== undefined) rows.push({ ...common, kind: 'delta', baseCrlNumber: String(delta.baseCrlNumber), entries: delta.entries, nextUpdate: delta.nextUpdate, path: `/crl/${crlPath(ca, scope, 'delta')}` });
      }
    }
    if (output.json) {
      output.line(JSON.stringify(rows, undefined, 2));
      return;
    }
    const now = io.clock.now();
    const cells = rows.map((row) => [
      row.ca, row.partition === null ? 'all' : `${row.partition} of ${row.partitions}`, row.kind === 'delta' ? `delta from ${row.baseCrlNumber}` : 'complete', row.crlNumber, String(row.entries), row.thisUpdate.toISOString(),
      row.nextUpdate > now ? row.nextUpdate.toISOString() : `${row.nextUpdate.toISOString()} (stale)`,
    ]);
    output.line(cells.length === 0 ? 'no CRLs: publish them with sallyport crl --publish' : formatTable(['CA', 'PARTITION', 'KIND', 'NUMBER', 'ENTRIES', 'THIS UPDATE', 'NEXT UPDATE'], cells));
  } finally {
    await close();
  }
}

async function issuerOf({ options, directory }: Call<CrlOptions>): Promise<Issuer> {
  const { directory: place } = await loadConfig(directory);
  const hierarchy = await loadHierarchy({ directory: place, keys: 'ignore' });
  const issuer = options.ca === undefined ? hierarchy.issuing : issuerIn(hierarchy, options.ca);
  if (issuer === undefined) throw usage(`there is no CA named ${JSON.stringify(options.ca)}: use one of ${hierarchy.issuers.map(({ name }) => name).join(', ')}`);
  return issuer;
}

/** Without opening a key; undefined when there are none, or one of them is stale. */
async function storedCrls({ io, options, directory }: Call<CrlOptions>, ca: IssuerName, id: string): Promise<readonly CrlRecord[] | undefined> {
  const { store, close } = await openForReading(directory, io.clock);
  try {
    const records: CrlRecord[] = [];
    const states = await store.ca.crlStates(id);
    for (const { scope } of chosen(states, ca, options)) {
      const record = await store.ca.latestCrl(id, { scope, kind: options.delta === true ? 'delta' : 'complete' });
      if (record === undefined) continue;
      if (record.nextUpdate <= io.clock.now()) return undefined;
      records.push(record);
    }
    return states.length === 0 ? undefined : records;
  } finally {
    await close();
  }
}

async function publish({ io, options, directory }: Call<CrlOptions>, ca: IssuerName): Promise<readonly CrlRecord[]> {
  const { authority, close } = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    await authority.publishCrls(ca, { actor: `cli:${io.user}` });
    const records: CrlRecord[] = [];
    for (const { scope, delta } of chosen(await authority.crlStates(ca), ca, options)) {
      if (options.delta !== true) records.push(await authority.currentCrl(ca, { scope }));
      else if (delta !== undefined) records.push(await authority.currentCrl(ca, { scope, kind: 'delta' }));
    }
    return records;
  } finally {
    await close();
  }
}

/** All that certificates may name, unless one is asked for. */
function chosen(states: readonly CrlState[], ca: IssuerName, { partition }: Pick<CrlOptions, 'partition'>): readonly CrlState[] {
  if (partition === undefined) return states;
  const [, number, of] = /^(\d{1,3})(?:\/(\d{1,3}))?$/.exec(partition) ?? [];
  if (number === undefined) throw usage(`${partition} is not a partition: write 3, or 3/16`);
  const found = states.filter(({ scope }) => scope.partitions > 1 && scope.partition === Number(number) && (of === undefined || scope.partitions === Number(of)));
  if (found.length !== 1) throw usage(`the ${ca} CA has ${found.length === 0 ? 'no' : 'more than one'} partition ${partition}: see sallyport crl --list`);
  return found;
}
