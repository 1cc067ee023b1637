/** `sallyport issue`: a certificate on the operator's word, with or without a key made here. */
import { readdir } from 'node:fs/promises';
import { relative, resolve } from 'node:path';
import type { IssuedCertificate } from '../../ca/index.ts';
import type { CertificateAuthority } from '../../ca/index.ts';
import { openDeployment } from '../app/deployment.ts';
import { beginIdentity } from '../bridge/identity-directory.ts';
import { aggregatePath, endpointPath } from '../config/endpoint-path.ts';
import type { Config } from '../config/load.ts';
import { defaultUpstreamName } from '../config/starter.ts';
import { SallyportError } from '../errors.ts';
import type { GrantSummary } from '../policy/summary.ts';
import { argument, collect, common, passphraseOption } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { formatGrants, grantsOfCertificate } from './grants.ts';
import { checkOptions, writeCertificate } from './issue-order.ts';
import type { IssueOptions, Outcome } from './issue-order.ts';
import { issueRemotely } from './issue-remotely.ts';
import { asArgument } from './output.ts';
import { readPassphrase } from './passphrase.ts';
import { readRequest } from './read-request.ts';
import { remoteOf, remoteOptions } from './remote.ts';

export const registerIssue: RegisterCommand = (program, cli) => {
  const command = program
    .command('issue')
    .description('issue a certificate; without --csr also make its key and a directory for sallyport connect')
    .argument('<name>', 'name of the agent, or host name for --profile server')
    .option('--ou <unit>', 'organizational unit; may be repeated', collect)
    .option('--profile <profile>', 'one of sallyport profiles list', 'agent')
    .option('--ttl <duration>', 'lifetime, such as 24h (default: that of the profile)')
    .option('--csr <file>', 'certificate signing request: only a certificate is made')
    .option('--out <dir>', 'directory to write to (default: ./<name>; with --csr: standard output)')
    .option('--host <host>', 'with --profile server: a further host name or address; may be repeated', collect)
    .option('--email <address>', 'with a profile for people: email address in the certificate')
    .option('--allow-revoked', 'issue although this agent was revoked before')
    .addOption(passphraseOption());
  remoteOptions(command);
  common(command, ['sallyport issue agent-7 --ou analytics --out ./agent-7', 'sallyport issue agent-7 --ou analytics --server https://mcp.acme.internal:8444 --identity ./pki-issuer', 'sallyport issue agent-7 --ou analytics --ou reports --ttl 1h --json', 'sallyport issue agent-7 --csr agent-7.csr > agent-7.pem', 'sallyport issue mcp.acme.internal --profile server --host 10.0.0.5', 'sallyport issue alice --profile console-user --email alice@acme.example --out ./alice']);
  command.action(cli.action<IssueOptions>(issue));
};

async function issue(call: Call<IssueOptions>): Promise<void> {
  const { io, options, directory } = call;
  const name = argument(call, 0);
  const csr = options.csr === undefined ? undefined : (await readRequest(resolve(io.cwd, options.csr))).der;
  const out = options.out ?? (csr === undefined ? name : undefined);
  const target = out === undefined ? undefined : resolve(io.cwd, out);
  const place = target ?? resolve(io.cwd, name);
  // Before anything is issued: a refusal here costs no certificate.
  if (csr === undefined) await refuseContent(place);
  const remote = remoteOf(io, options);
  if (remote !== undefined) {
    try {
      tell(call, await issueRemotely(call, remote, { csr, target, directory: place }), { target, csr: csr !== undefined });
    } finally {
      remote.close();
    }
    return;
  }
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const { authority, config } = deployment;
    const { certificate, files } = csr === undefined ? await issueWithKey(authority, config, call, place) : await issueForCsr(authority, call, csr, target);
    tell(call, { certificate, files, grants: await grantsFor(config, certificate, call), kind: authority.profiles.get(certificate.profile)?.kind, gatewayUrl: gatewayUrl(config) }, { target, csr: csr !== undefined });
  } finally {
    await deployment.close();
  }
}

function tell({ io, output }: Call<IssueOptions>, outcome: Outcome, { target, csr }: { readonly target: string | undefined; readonly csr: boolean }): void {
  const { certificate, grants, files, gatewayUrl: url, kind } = outcome;
  if (target === undefined && !output.json) output.line(certificate.chain.trimEnd());
  const shown = target === undefined ? undefined : relative(io.cwd, target) || '.';
  const text = describe(certificate, grants, { shown, csr, url, kind });
  if (target === undefined && !output.json) output.note(text);
  else output.result(asJson(certificate, grants, { target, files }), text);
}

interface Written {
  readonly certificate: IssuedCertificate;
  readonly files: readonly string[];
}

async function order(authority: CertificateAuthority, { io, args, options }: Call<IssueOptions>, from: { readonly csr?: Uint8Array; readonly keyAlgorithm?: Config['ca']['keyAlgorithm'] }): Promise<IssuedCertificate> {
  const name = argument({ args }, 0);
  const { kind } = authority.profiles.get(options.profile) ?? {};
  checkOptions(options, kind);
  const common = { profile: options.profile, actor: `cli:${io.user}`, ...(options.ttl === undefined ? {} : { ttl: options.ttl }), ...from };
  if (kind === 'server') return authority.issueServer({ hosts: [name, ...(options.host ?? [])], ...common });
  return authority.issue({ agent: name, organizationalUnits: options.ou ?? [], onRevokedIdentity: options.allowRevoked === true ? 'allow' : 'deny', ...(options.email === undefined ? {} : { email: options.email }), ...common });
}

async function refuseContent(target: string): Promise<void> {
  const content = await readdir(target).catch(() => []);
  if (content.length > 0) throw new SallyportError('ERR_CONFIG_EXISTS', `${target} is not empty, and nothing in it was touched: give another directory with --out`, { facts: { directory: target } });
}

async function issueWithKey(authority: CertificateAuthority, config: Config, call: Call<IssueOptions>, target: string): Promise<Written> {
  // The key of an agent's identity stays plain: the agent opens it alone. Its directory is 0700, the file 0600.
  const certificate = await order(authority, call, { keyAlgorithm: config.ca.keyAlgorithm });
  if (certificate.privateKey === undefined) throw new SallyportError('ERR_INTERNAL', 'the authority made no key');
  try {
    const draft = await beginIdentity(target, certificate.privateKey, undefined);
    await draft.commit({ name: certificate.agent, certificatePem: certificate.chain, caPem: certificate.ca, gateway: gatewayUrl(config), renewal: config.gateway.enrollUrl === undefined ? undefined : `${config.gateway.enrollUrl}/renew` });
  } catch (error) {
    // A certificate whose key is on no disk helps nobody and would count as live.
    await authority.revoke({ serial: certificate.serial, issuerId: certificate.issuerId }, { reason: 'superseded', actor: `cli:${call.io.user}` });
    throw error;
  }
  return { certificate, files: ['key.pem', 'cert.pem', 'ca.pem', 'identity.json'] };
}

async function issueForCsr(authority: CertificateAuthority, call: Call<IssueOptions>, csr: Uint8Array, target: string | undefined): Promise<Written> {
  const certificate = await order(authority, call, { csr });
  return { certificate, files: target === undefined ? [] : await writeCertificate(target, certificate) };
}

/** A bad policy does not keep a certificate from being issued; it grants nothing until it is mended. */
async function grantsFor(config: Config, certificate: IssuedCertificate, { output }: Call<IssueOptions>): Promise<readonly GrantSummary[]> {
  try {
    return await grantsOfCertificate(config, certificate);
  } catch (error) {
    output.warn(`what this certificate may do cannot be told: ${error instanceof Error ? error.message : String(error)}`);
    return [];
  }
}

/** Of several upstreams the agent's configuration names the first. */
const gatewayUrl = (config: Config): string => {
  const names = [...config.upstreams.keys()];
  const { aggregate, url } = config.gateway;
  return url + (aggregate ? aggregatePath : endpointPath(names[0] ?? defaultUpstreamName, { names, aggregate }));
};

const asJson = (certificate: Outcome['certificate'], grants: readonly GrantSummary[], written: { readonly target: string | undefined; readonly files: readonly string[] }) => ({
  serial: certificate.serial,
  thumbprint: certificate.thumbprint,
  subject: certificate.subject,
  organizationalUnits: certificate.organizationalUnits,
  uri: certificate.uri ?? null,
  notBefore: certificate.notBefore,
  notAfter: certificate.notAfter,
  profile: certificate.profile,
  grants,
  directory: written.target ?? null,
  files: written.files,
  ...(written.target === undefined ? { certificate: certificate.chain } : {}),
});

function describe(certificate: Outcome['certificate'], grants: readonly GrantSummary[], context: { readonly shown: string | undefined; readonly csr: boolean; readonly url: string; readonly kind: string | undefined }): string {
  const lines = [
    `issued ${certificate.agent}${context.shown === undefined ? '' : ` → ${context.shown}`}`,
    `  subject    ${certificate.subject}`,
    ...(certificate.uri === undefined ? [] : [`  uri        ${certificate.uri}`]),
    `  serial     ${certificate.serial}`,
    `  valid to   ${certificate.notAfter.toISOString()}`,
    ...(context.kind === 'server' ? [] : [formatGrants(grants)]),
  ];
  const directory = asArgument(context.shown ?? '');
  if (!context.csr && context.kind === 'console-user') lines.push('', 'next, for a browser', `  sallyport export ${directory} --format pkcs12 --out ${asArgument(`${certificate.agent}.p12`)}`);
  else if (!context.csr && context.kind !== 'server') lines.push('', 'next', `  sallyport connect ${context.url} --identity ${directory}`);
  return lines.join('\n');
}
