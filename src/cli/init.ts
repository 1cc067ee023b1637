/** `sallyport init`: a data directory, complete or not there at all. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { Option } from 'commander';
import { CertificateAuthority, generatePrivateKey, writePrivateKey } from '../../ca/index.ts';
import type { Issuer, KeyAlgorithm } from '../../ca/index.ts';
import { checkAttributeText, checkHosts, checkTrustDomain } from '../../ca/subject-rules.ts';
import { auditOrigin, authorityOptions, filesIn, keepLatestCheckpoint } from '../app/deployment.ts';
import { createCheckpointSigner } from '../audit/checkpoint.ts';
import { configFileName, loadConfig } from '../config/load.ts';
import { starterConfig, starterPolicy } from '../config/starter.ts';
import { SallyportError } from '../errors.ts';
import { openStore } from '../store/open-store.ts';
import { collect, common, passphraseOption } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { asArgument } from './output.ts';
import { readPassphrase } from './passphrase.ts';

const algorithms = ['p256', 'p384', 'ed25519', 'rsa3072', 'ml-dsa-65'] as const;

interface InitOptions {
  readonly name: string;
  readonly trustDomain: string;
  readonly host?: readonly string[];
  readonly keyAlgorithm: (typeof algorithms)[number];
}

export const registerInit: RegisterCommand = (program, cli) => {
  const command = program
    .command('init')
    .description('make a data directory: root and issuing CA, server certificate, configuration, policy, store')
    .option('--name <name>', 'name of the organization, in the CA certificates', 'Sallyport')
    .option('--trust-domain <domain>', 'agents are spiffe://<domain>/agent/<name>', 'sallyport.internal')
    .option('--host <host>', 'name or address agents dial; may be repeated (default: localhost)', collect)
    .addOption(new Option('--key-algorithm <algorithm>', 'keys of the CAs and the server').choices(algorithms).default('p256'))
    .addOption(passphraseOption());
  common(command, ['sallyport init', 'sallyport init --dir ./port --name "Acme" --trust-domain acme.internal --host localhost', 'SALLYPORT_PASSPHRASE=… sallyport init --host mcp.acme.internal --host 10.0.0.5']);
  command.action(cli.action<InitOptions>(init));
};

async function init(call: Call<InitOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const passphrase = await readPassphrase(io, options);
  const hosts = options.host ?? ['localhost'];
  // Before anything is written, and in the words of the options rather than of the files made from them.
  checkTrustDomain(options.trustDomain);
  checkHosts(hosts);
  checkAttributeText(options.name, 'name');
  await refuseOccupied(directory);

  // Beside its place first: what an interrupted run leaves is never taken for a data directory.
  const draft = join(dirname(directory), `.${randomUUID()}.sallyport`);
  let made: Made;
  try {
    await mkdir(dirname(directory), { recursive: true });
    await mkdir(draft, { mode: 0o700 });
    made = await make(draft, { ...options, hosts, passphrase }, call);
    await putInPlace(draft, directory);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    // Nobody knows the directory it was made in.
    if (error instanceof Error) error.message = error.message.replaceAll(draft, directory);
    if (isSystemError(error)) throw new SallyportError('ERR_CONFIG_EXISTS', `${directory} cannot be made (${error.code}): nothing was left behind; check the path, its owner and the space on the disk`, { facts: { directory }, cause: error });
    throw error;
  }

  const shown = relative(io.cwd, directory) || '.';
  const dir = io.env['SALLYPORT_DIR'] === undefined && shown === 'sallyport' ? '' : ` --dir ${asArgument(shown)}`;
  output.result({ directory, ...made, passphrase: passphrase !== undefined }, () =>
    [
      `${output.paint('green', 'made')} ${shown}`,
      `  root CA      ${made.root.subject}, until ${day(made.root.notAfter)}`,
      `  issuing CA   ${made.issuing.subject}, until ${day(made.issuing.notAfter)}`,
      `  server       ${hosts.join(', ')}, until ${day(made.server.notAfter)}`,
      `  keys         ${options.keyAlgorithm}, ${passphrase === undefined ? 'not encrypted: give a passphrase where others can read the disk' : 'encrypted with your passphrase'}`,
      '',
      'next',
      `  edit ${join(shown, 'policy.yaml')}`,
      `  sallyport issue agent-7 --ou analytics${dir}`,
      `  sallyport serve${dir} -- npx -y @modelcontextprotocol/server-everything`,
    ].join('\n'),
  );
}

interface MadeCertificate {
  readonly subject: string;
  readonly thumbprint: string;
  readonly serial: string;
  readonly notAfter: Date;
}

interface Made {
  readonly root: MadeCertificate;
  readonly issuing: MadeCertificate;
  readonly server: MadeCertificate;
  readonly url: string;
  readonly auditVerifierKey: string;
}

interface Wanted extends InitOptions {
  readonly hosts: readonly string[];
  readonly passphrase: string | undefined;
}

async function make(directory: string, wanted: Wanted, { io }: Call<InitOptions>): Promise<Made> {
  const { name, trustDomain, hosts, passphrase } = wanted;
  const keyAlgorithm: KeyAlgorithm = wanted.keyAlgorithm;
  await writeFile(join(directory, configFileName), starterConfig({ name, trustDomain, hosts, keyAlgorithm }), { mode: 0o600 });
  await writeFile(join(directory, 'policy.yaml'), starterPolicy({ trustDomain }), { mode: 0o600 });
  const config = await loadConfig(directory);

  const auditKey = await generatePrivateKey('ed25519');
  const signer = createCheckpointSigner({ origin: auditOrigin(trustDomain), privateKey: auditKey });
  const { clock, randomness } = io;
  const store = await openStore(config.storeUrl, { clock, checkpointSigner: signer });
  try {
    const authority = await CertificateAuthority.create({ ...authorityOptions(config, store, io), directory, name, keyAlgorithm, passphrase });
    const files = filesIn(directory);
    await writePrivateKey(files.auditKey, auditKey, { passphrase, randomness });
    await writeFile(files.auditVerifierKey, `${signer.verifierKey}\n`, { mode: 0o644 });
    const server = await authority.issueServer({ hosts, keyAlgorithm, ttl: Math.floor(config.ca.serverTtl / 1_000), actor: `cli:${io.user}` });
    if (server.privateKey === undefined) throw new SallyportError('ERR_INTERNAL', 'the authority made no key for the server');
    await writePrivateKey(files.serverKey, server.privateKey, { passphrase, randomness });
    await writeFile(files.serverCertificate, server.chain, { mode: 0o644 });
    await authority.close();
    await keepLatestCheckpoint(directory, store);
    const made = ({ certificate }: Issuer, subject: string): MadeCertificate => ({ subject, thumbprint: certificate.thumbprint, serial: certificate.serial, notAfter: certificate.notAfter });
    return {
      root: made(authority.root, `${name} Root CA`),
      issuing: made(authority.issuing, `${name} Issuing CA`),
      server: { subject: server.subject, thumbprint: server.thumbprint, serial: server.serial, notAfter: server.notAfter },
      url: config.gateway.url,
      auditVerifierKey: signer.verifierKey,
    };
  } finally {
    await store.close();
  }
}

/** Fails on a directory with content, so that of two runs the first stays. */
async function putInPlace(draft: string, directory: string): Promise<void> {
  // Windows renames onto nothing only; elsewhere an empty directory is replaced.
  if (process.platform === 'win32') await rmdir(directory).catch(() => undefined);
  await rename(draft, directory);
}

async function refuseOccupied(directory: string): Promise<void> {
  const content = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new SallyportError('ERR_CONFIG_EXISTS', `${directory} cannot be used (${error.code ?? 'unknown'}): name another with --dir`, { facts: { directory }, cause: error });
  });
  if (content.length > 0) throw new SallyportError('ERR_CONFIG_EXISTS', `${directory} is not empty, and nothing in it was touched: name another with --dir`, { facts: { directory } });
}

const isSystemError = (error: unknown): error is NodeJS.ErrnoException & { code: string } => error instanceof Error && 'syscall' in error && 'code' in error;

const day = (date: Date): string => date.toISOString().slice(0, 10);
