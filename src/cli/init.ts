/** `sallyport init`: a data directory, complete or not there at all. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { Option } from 'commander';
import { importCrl } from '../../ca/crl-import.ts';
import { syncDirectory } from '../../ca/durable-file.ts';
import { requestFile } from '../../ca/hierarchy-files.ts';
import type { Issuer } from '../../ca/index.ts';
import { checkAttributeText, checkHosts, checkTrustDomain } from '../../ca/subject-rules.ts';
import { planRequested, signSubordinate } from '../../ca/subordinate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { parseCsr } from '../../ca/x509/csr.ts';
import { formatName } from '../../ca/x509/name.ts';
import { openDeployment } from '../app/deployment.ts';
import { beginDeployment, completeDeployment, foundDeployment, foundRootAlone } from '../app/founding.ts';
import type { FoundingOptions } from '../app/founding.ts';
import { SallyportError } from '../errors.ts';
import { authoritySourceOptions, caAlgorithms, readAuthoritySource, remarkLines } from './authority-source.ts';
import type { AuthoritySourceOptions, ReadSource } from './authority-source.ts';
import { collect, common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { asArgument } from './output.ts';
import { readPassphrase } from './passphrase.ts';

interface InitOptions extends AuthoritySourceOptions {
  readonly name: string;
  readonly trustDomain: string;
  readonly host?: readonly string[];
  readonly keyAlgorithm: (typeof caAlgorithms)[number];
  readonly rootOnly?: boolean;
  readonly offlineRoot?: string;
  readonly askPassphrase?: boolean;
}

export const registerInit: RegisterCommand = (program, cli) => {
  const command = authoritySourceOptions(
    program
      .command('init')
      .description('make a data directory: root and issuing CA, server certificate, configuration, policy, store')
      .option('--name <name>', 'name of the organization, in the CA certificates', 'Sallyport')
      .option('--trust-domain <domain>', 'agents are spiffe://<domain>/agent/<name>', 'sallyport.internal')
      .option('--host <host>', 'name or address agents dial; may be repeated (default: localhost)', collect)
      .addOption(new Option('--key-algorithm <algorithm>', 'keys of the CAs and the server').choices(caAlgorithms).default('p256')),
  )
    .option('--root-only', 'make a root alone, for a machine without network')
    .option('--offline-root <dir>', 'make the root in a directory of its own, such as one on a removable medium')
    .option('--ask-passphrase', 'ask for the passphrase of the keys at the terminal, twice')
    .addOption(passphraseOption());
  common(command, [
    'sallyport init',
    'sallyport init --dir ./port --name "Acme" --trust-domain acme.internal --host localhost',
    'SALLYPORT_PASSPHRASE=… sallyport init --host mcp.acme.internal --host 10.0.0.5',
    'sallyport init --offline-root /media/usb/root --root-key-algorithm ml-dsa-87 --permit-dns acme.internal',
    'sallyport init --root enterprise-root.cer --issuing agents-ca.p12 --chain policy-ca.cer',
    'sallyport init --root enterprise-root.cer   # writes a request for the issuing CA',
  ]);
  command.action(cli.action<InitOptions>(init));
};

async function init(call: Call<InitOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const { name, trustDomain, keyAlgorithm } = options;
  const hosts = options.host ?? ['localhost'];
  // Before anything is written, and in the words of the options rather than of the files made from them.
  checkTrustDomain(trustDomain);
  checkHosts(hosts);
  checkAttributeText(name, 'name');
  await refuseOccupied(directory);
  const offline = options.offlineRoot === undefined ? undefined : resolve(io.cwd, options.offlineRoot);
  if (options.rootOnly === true && (offline !== undefined || options.issuing !== undefined || options.keyUri !== undefined || options.permitDns !== undefined || options.permitTrustDomain === true)) throw usage('--root-only makes nothing but a root: leave --offline-root and the options of the issuing CA out');
  if (offline !== undefined && (options.root !== undefined || relative(directory, offline) === '')) throw usage('--offline-root makes a root in a directory of its own: name another directory, and leave --root out');
  if (offline !== undefined) await refuseOccupied(offline, '--offline-root');
  const passphrase = await readPassphrase(io, options);
  const { source, remarks, waits } = await readAuthoritySource(io, options, { keyAlgorithm, passphrase });
  if (waits && options.rootOnly !== true && (options.permitDns !== undefined || options.permitTrustDomain === true)) throw usage('what the issuing CA is confined to is said where the root signs: give --permit-dns to sallyport ca sign');

  const shown = relative(io.cwd, directory) || '.';
  const dir = io.env['SALLYPORT_DIR'] === undefined && shown === 'sallyport' ? '' : ` --dir ${asArgument(shown)}`;
  const common = { name, trustDomain, hosts, keyAlgorithm, passphrase, source, remarks, waits, clock: io.clock, randomness: io.randomness, actor: `cli:${io.user}` };
  const made = await inDraft(directory, async (draft) => {
    const making = { ...common, directory: draft };
    if (options.rootOnly === true) return makeRootAlone(making, { shown, dir });
    if (offline !== undefined) return inDraft(offline, (beside) => makeBeside(making, { offline: beside, place: offline }, { shown, dir }));
    return waits && source.root !== undefined ? makeWaiting({ ...making, root: source.root }, { shown, dir }) : makeWhole(making, { shown, dir });
  });
  output.result({ directory, ...made.facts, passphrase: passphrase !== undefined }, () =>
    [
      `${output.paint('green', 'made')} ${shown}`,
      ...made.lines,
      `  keys         ${options.keyAlgorithm}, ${onToken(options)}${passphrase === undefined ? 'not encrypted: give a passphrase where others can read the disk' : 'encrypted with your passphrase'}`,
      '',
      'next',
      ...made.next,
    ].join('\n'),
  );
}

/** Its PIN or the device guards it; the passphrase is for the files. */
function onToken({ rootKeyUri, keyUri }: InitOptions): string {
  const named = [...(rootKeyUri === undefined ? [] : ['root']), ...(keyUri === undefined ? [] : ['issuing CA'])];
  return named.length === 0 ? '' : `${named.join(' and ')} on a token, those in files `;
}

/** Beside its place first: what an interrupted run leaves is never taken for a data directory. */
async function inDraft<T>(directory: string, work: (draft: string) => Promise<T>): Promise<T> {
  const draft = join(dirname(directory), `.${randomUUID()}.sallyport`);
  try {
    await mkdir(dirname(directory), { recursive: true });
    await mkdir(draft, { mode: 0o700 });
    const done = await work(draft);
    await putInPlace(draft, directory);
    return done;
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    // Nobody knows the directory it was made in.
    if (error instanceof Error) error.message = error.message.replaceAll(draft, directory);
    if (isSystemError(error)) throw new SallyportError('ERR_CONFIG_EXISTS', `${directory} cannot be made (${error.code}): nothing was left behind; check the path, its owner and the space on the disk`, { facts: { directory }, cause: error });
    throw error;
  }
}

interface MadeCertificate {
  readonly subject: string;
  readonly thumbprint: string;
  readonly serial: string;
  readonly notAfter: Date;
}

const madeCertificate = ({ certificate }: Issuer): MadeCertificate => ({ subject: formatName(certificate.subject), thumbprint: certificate.thumbprint, serial: certificate.serial, notAfter: certificate.notAfter });

/** What was made, as JSON and in words. */
interface Made {
  readonly facts: Readonly<Record<string, unknown>>;
  readonly lines: readonly string[];
  readonly next: readonly string[];
}

type Making = FoundingOptions & Pick<ReadSource, 'remarks' | 'waits'>;

/** `shown` is how the directory will be called, which is made under another name. */
const makeWhole = async (making: Making, { shown, dir }: Shown): Promise<Made> => {
  const { config, authority, server, auditVerifierKey } = await foundDeployment(making);
  const [root, issuing] = [madeCertificate(authority.root), madeCertificate(authority.issuing)];
  return {
    facts: {
      root, issuing,
      server: { subject: server.subject, thumbprint: server.thumbprint, serial: server.serial, notAfter: server.notAfter },
      url: config.gateway.url,
      auditVerifierKey,
      ...(making.source.root === undefined ? {} : { imported: true, remarks: remarkLines(making.remarks) }),
    },
    lines: [
      `  root CA      ${root.subject}, until ${day(root.notAfter)}${authority.root.signer === undefined ? ', its key is elsewhere' : ''}`,
      `  issuing CA   ${issuing.subject}, until ${day(issuing.notAfter)}`,
      `  server       ${making.hosts.join(', ')}, until ${day(server.notAfter)}`,
      ...remarkLines(making.remarks).map((line) => `  remark       ${line}`),
    ],
    next: [
      ...(authority.root.signer === undefined ? [`  sallyport ca import-crl root.crl${dir}   (the CRL of the root, for verifiers that check the whole chain)`] : []),
      `  edit ${join(shown, 'policy.yaml')}`,
      `  sallyport issue agent-7 --ou analytics${dir}`,
      `  sallyport serve${dir} -- npx -y @modelcontextprotocol/server-everything`,
    ],
  };
};

const makeWaiting = async (making: Making & { readonly root: Certificate }, { shown, dir }: Shown): Promise<Made> => {
  const { csr, auditVerifierKey } = await beginDeployment(making);
  const { thumbprint, serial, notAfter, subject } = making.root;
  return {
    facts: { waits: true, root: { subject: formatName(subject), thumbprint, serial, notAfter }, csr, request: requestFile(shown, 'issuing'), auditVerifierKey, imported: true, remarks: remarkLines(making.remarks) },
    lines: [`  root CA      ${formatName(subject)}, until ${day(notAfter)}, its key is elsewhere`, `  issuing CA   waits for its certificate`, ...remarkLines(making.remarks).map((line) => `  remark       ${line}`)],
    next: [`  carry ${requestFile(shown, 'issuing')} to the root, and there: sallyport ca sign issuing.csr.pem --out issuing.cert.pem`, `  sallyport ca accept issuing.cert.pem${dir}`],
  };
};

const makeRootAlone = async (making: Making, { dir }: Shown): Promise<Made> => {
  const { authority, auditVerifierKey } = await foundRootAlone(making);
  const root = madeCertificate(authority.root);
  return {
    facts: { rootOnly: true, root, auditVerifierKey },
    lines: [`  root CA      ${root.subject}, until ${day(root.notAfter)}`, '  nothing else: keep it away from any network'],
    next: [`  sallyport init --root root.cert.pem   (on the machine that issues, with the certificate from certs/)`, `  sallyport ca sign issuing.csr.pem --out issuing.cert.pem${dir}`],
  };
};

interface Shown {
  readonly shown: string;
  readonly dir: string;
}

/** Root in one directory, the rest in another; the request goes from one to the other without leaving this machine. */
async function makeBeside(making: Making, { offline, place }: { readonly offline: string; readonly place: string }, { shown, dir }: Shown): Promise<Made> {
  const { issuingKey: _elsewhere, permittedDnsNames, ...forRoot } = making.source;
  await foundRootAlone({ ...making, directory: offline, source: forRoot });
  const world = { clock: making.clock, randomness: making.randomness, passphrase: making.passphrase };
  const keeper = await openDeployment(offline, world);
  try {
    const { root } = keeper.authority;
    const { issuingKey } = making.source;
    const request = await beginDeployment({ ...making, source: issuingKey === undefined ? {} : { issuingKey }, root: root.certificate });
    const nameConstraints = permittedDnsNames === undefined ? undefined : { permittedUriHosts: [making.trustDomain], permittedDnsNames };
    const plan = planRequested(parseCsr(request.csr), root, { nameConstraints }, making.clock.now());
    const certificate = await signSubordinate(plan, root, { ...world, store: keeper.store.ca, publicUrl: undefined, actor: making.actor });
    const crl = await keeper.authority.currentCrl('root');
    const { deployment, server } = await completeDeployment({ ...world, directory: making.directory, certificates: [certificate], actor: making.actor });
    try {
      await importCrl(crl.der, deployment.authority.hierarchy, { store: deployment.store.ca, clock: making.clock, actor: making.actor });
      const [rootMade, issuing] = [madeCertificate(deployment.authority.root), madeCertificate(deployment.authority.issuing)];
      return {
        facts: {
          root: rootMade, issuing, offlineRoot: place,
          server: { subject: server.subject, thumbprint: server.thumbprint, serial: server.serial, notAfter: server.notAfter },
          url: deployment.config.gateway.url,
          auditVerifierKey: request.auditVerifierKey,
        },
        lines: [`  root CA      ${rootMade.subject}, until ${day(rootMade.notAfter)}, its key in ${place}: take that away`, `  issuing CA   ${issuing.subject}, until ${day(issuing.notAfter)}`, `  server       ${making.hosts.join(', ')}, until ${day(server.notAfter)}`],
        next: [`  edit ${join(shown, 'policy.yaml')}`, `  sallyport issue agent-7 --ou analytics${dir}`, `  sallyport crl --ca root --dir ${asArgument(place)} --out root.crl && sallyport ca import-crl root.crl${dir}   (before ${day(crl.nextUpdate)}, and again)`],
      };
    } finally {
      await deployment.close();
    }
  } finally {
    await keeper.close();
  }
}

/** Fails on a directory with content, so that of two runs the first stays. */
async function putInPlace(draft: string, directory: string): Promise<void> {
  // Windows renames onto nothing only; elsewhere an empty directory is replaced.
  if (process.platform === 'win32') await rmdir(directory).catch(() => undefined);
  await syncDirectory(draft);
  await rename(draft, directory);
  await syncDirectory(dirname(directory));
}

async function refuseOccupied(directory: string, option = '--dir'): Promise<void> {
  const content = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new SallyportError('ERR_CONFIG_EXISTS', `${directory} cannot be used (${error.code ?? 'unknown'}): name another with ${option}`, { facts: { directory }, cause: error });
  });
  if (content.length > 0) throw new SallyportError('ERR_CONFIG_EXISTS', `${directory} is not empty, and nothing in it was touched: name another with ${option}`, { facts: { directory } });
}

const isSystemError = (error: unknown): error is NodeJS.ErrnoException & { code: string } => error instanceof Error && 'syscall' in error && 'code' in error;

const day = (date: Date): string => date.toISOString().slice(0, 10);
