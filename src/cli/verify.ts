/** `sallyport verify`: does a certificate lead to a trust anchor, by our own rules? */
import { basename, resolve } from 'node:path';
import { Option } from 'commander';
import { CaError } from '../../ca/errors.ts';
import { loadHierarchy } from '../../ca/hierarchy.ts';
import { trustedOf } from '../../ca/issuer.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { parseCrl } from '../../ca/x509/crl.ts';
import type { Crl } from '../../ca/x509/crl.ts';
import { statusFromCrls } from '../../ca/x509/path/crl-status.ts';
import type { Purpose } from '../../ca/x509/path/purpose.ts';
import { verifyPath } from '../../ca/x509/path/verify-path.ts';
import { decodePem } from '../../ca/x509/pem.ts';
import { openForReading } from '../app/deployment.ts';
import type { ExitCode } from '../errors.ts';
import { collect, common, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { moment } from './moment.ts';
import { printable } from './output.ts';
import { readBytes } from './read-text.ts';
import { describeResult, jsonOf } from './verify-report.ts';
import type { FileResult } from './verify-report.ts';

interface VerifyOptions {
  readonly trust?: readonly string[];
  readonly crl?: readonly string[];
  readonly at?: string;
  readonly purpose: Purpose;
  readonly onUnknownStatus: 'deny' | 'allow';
}

export const registerVerify: RegisterCommand = (program, cli) => {
  const command = program
    .command('verify')
    .description('verify certificates up to a trust anchor, and say what was checked; exit code 3 when one is refused')
    .argument('<files...>', 'PEM or DER; the first certificate of each file is verified, all others help to build the path')
    .option('--trust <file>', 'root certificates to trust in place of those of the data directory; may be repeated', collect)
    .option('--crl <file>', 'CRL in PEM or DER; may be repeated (default: those of the data directory when its root is trusted)', collect)
    .option('--at <time>', 'judge at this time, such as 2026-11-21T12:00:00Z (default: now)')
    .addOption(new Option('--purpose <purpose>', 'what the certificate is to be used for').choices(['client', 'server', 'any']).default('any'))
    .addOption(new Option('--on-unknown-status <word>', 'what a certificate gets of which no CRL says how it stands').choices(['deny', 'allow']).default('deny'));
  common(command, [
    'sallyport verify agent.pem --purpose client',
    'sallyport verify partner.pem partner-ca.pem --trust partner-root.pem --crl root.crl --crl partner-ca.crl',
    'sallyport verify server.pem --trust root.pem --on-unknown-status allow --at 2027-06-01',
    'sallyport verify agent.pem --json | jq ".results[].path[].subject"',
  ]);
  command.action(cli.action<VerifyOptions>(verify));
};

interface Grounds {
  readonly anchors: readonly Certificate[];
  readonly intermediates: readonly Certificate[];
  readonly crls: readonly Crl[];
}

async function verify(call: Call<VerifyOptions>): Promise<ExitCode> {
  const { io, options, output, args } = call;
  const at = options.at === undefined ? io.clock.now() : moment(options.at);
  const { purpose, onUnknownStatus } = options;
  const files = await Promise.all((args[0] as readonly string[]).map(async (name) => readTarget(name, await readBytes(resolve(io.cwd, name)))));
  const { anchors, intermediates, crls } = await groundsOf(call);
  const authorities = files.flatMap(({ certificates }) => certificates.filter(({ basicConstraints }) => basicConstraints?.ca === true));
  const status = statusFromCrls(crls, { at });
  const results = files.map(({ name, certificates, problems, malformed }): FileResult => {
    const [target] = certificates;
    if (malformed !== undefined) return { file: name, malformed, problems };
    if (target === undefined) throw new TypeError('a file that was read has a certificate');
    const others = distinct([...intermediates, ...certificates, ...authorities]).filter(({ thumbprint }) => thumbprint !== target.thumbprint);
    return { file: name, problems, verdict: verifyPath(target, { anchors, intermediates: others, at, purpose, status, onUnknownStatus }) };
  });
  output.result({ at, purpose, results: results.map(jsonOf) }, () => results.map((result) => describeResult(result, { at, purpose, output })).join('\n\n'));
  return results.every(({ verdict }) => verdict?.ok === true) ? 0 : 3;
}

interface TargetFile {
  readonly name: string;
  /** The one to verify first. */
  readonly certificates: readonly Certificate[];
  /** Set when the first one cannot be read. */
  readonly malformed: CaError | undefined;
  /** Further ones that cannot be read. */
  readonly problems: readonly string[];
}

function readTarget(name: string, bytes: Uint8Array): TargetFile {
  const certificates: Certificate[] = [];
  const problems: string[] = [];
  let malformed: CaError | undefined;
  try {
    for (const [index, der] of blocksOf(bytes, ['CERTIFICATE']).entries()) {
      try {
        // Else it would be taken for PEM in PEM.
        if (der[0] !== 0x30) throw new CaError('ERR_CERTIFICATE_INVALID', 'the certificate is malformed: it does not begin as a certificate does');
        certificates.push(parseCertificate(der));
      } catch (error) {
        if (!(error instanceof CaError)) throw error;
        if (index === 0) throw error;
        problems.push(`certificate ${index + 1} of ${printable(basename(name))} is left out: ${error.message}`);
      }
    }
  } catch (error) {
    if (!(error instanceof CaError)) throw error;
    malformed = error;
  }
  return { name, certificates, malformed, problems };
}

/** DER of every block with one of the labels, or the DER itself. */
function blocksOf(bytes: Uint8Array, labels: readonly string[]): readonly Uint8Array[] {
  if (bytes[0] === 0x30) return [Uint8Array.from(bytes)];
  const blocks = decodePem(Buffer.from(bytes).toString('latin1')).filter(({ label }) => labels.includes(label));
  if (blocks.length === 0) throw new CaError('ERR_PEM_INVALID', `the PEM text holds no ${labels[0] ?? ''} block`);
  return blocks.map(({ der }) => der);
}

async function groundsOf(call: Call<VerifyOptions>): Promise<Grounds> {
  const { options, directory } = call;
  const crls = await readAll(call, '--crl', options.crl ?? [], ['X509 CRL', 'CRL'], parseCrl);
  if (options.trust !== undefined) return { anchors: await readAll(call, '--trust', options.trust, ['CERTIFICATE'], parseCertificate), intermediates: [], crls };
  const { config, store, close } = await openForReading(directory, call.io.clock);
  try {
    const hierarchy = await loadHierarchy({ directory: config.directory, keys: 'ignore' });
    const anchors = trustedOf(hierarchy, 'root').map(({ certificate }) => certificate);
    const intermediates = [...trustedOf(hierarchy, 'issuing'), ...hierarchy.crossCertificates].map(({ certificate }) => certificate);
    if (options.crl !== undefined) return { anchors, intermediates, crls };
    const states = (await Promise.all(hierarchy.issuers.map(({ id }) => store.ca.crlStates(id)))).flat();
    const latest = await Promise.all(states.map(({ issuerId, scope }) => store.ca.latestCrl(issuerId, { scope })));
    return { anchors, intermediates, crls: latest.flatMap((record) => (record === undefined ? [] : [parseCrl(record.der)])) };
  } finally {
    await close();
  }
}

async function readAll<T>({ io }: Call<VerifyOptions>, option: string, names: readonly string[], labels: readonly string[], parse: (der: Uint8Array) => T): Promise<readonly T[]> {
  const read: T[] = [];
  for (const name of names) {
    const bytes = await readBytes(resolve(io.cwd, name));
    try {
      read.push(...blocksOf(bytes, labels).map(parse));
    } catch (error) {
      if (!(error instanceof CaError)) throw error;
      throw usage(`${name} of ${option} cannot be used: ${error.message}`, { file: name });
    }
  }
  return read;
}

function distinct(certificates: readonly Certificate[]): readonly Certificate[] {
  return [...new Map(certificates.map((certificate) => [certificate.thumbprint, certificate])).values()];
}
