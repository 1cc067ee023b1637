/** `sallyport ca rotate`: the next root or issuing CA, in three steps with both trusted in between. */
import { Option } from 'commander';
import { z } from 'zod';
import type { Command } from 'commander';
import { requestIssuer } from '../../ca/accepting.ts';
import { tokenCaKey } from '../../ca/ca-key.ts';
import type { CertificateAuthority, Issuer, IssuerRole, KeyAlgorithm } from '../../ca/index.ts';
import { CaError } from '../../ca/index.ts';
import type { PendingRequest } from '../../ca/pending.ts';
import { keyAlgorithmOfSpki } from '../../ca/x509/algorithm.ts';
import { authority as authoritySchema } from '../api/schemas.ts';
import { openDeployment } from '../app/deployment.ts';
import { argument, collect, common, passphraseOption, usage } from './cli.ts';
import type { Call, Cli } from './cli.ts';
import { issuerFacts } from './ca-show.ts';
import { printable } from './output.ts';
import { readPassphrase } from './passphrase.ts';
import { remoteOf, remoteOptions } from './remote.ts';
import type { RemoteAuthority, RemoteOptions } from './remote.ts';

const algorithms = ['p256', 'p384', 'ed25519', 'rsa3072', 'rsa4096', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'] as const satisfies readonly KeyAlgorithm[];

interface PrepareOptions extends RemoteOptions {
  readonly keyAlgorithm?: KeyAlgorithm;
  readonly permitDns?: readonly string[];
  readonly keyUri?: string;
  readonly years?: string;
}

interface ActivateOptions extends RemoteOptions {
  readonly now?: boolean;
}

interface RetireOptions extends RemoteOptions {
  readonly cutOff?: boolean;
}

export const registerCaRotate = (ca: Command, cli: Cli): void => {
  const rotate = ca.command('rotate').description('replace the root or the issuing CA: prepare, activate, retire; running gateways follow');

  const prepare = rotate
    .command('prepare')
    .description('make the next CA: trusted from now on, issuing once it is activated; a root gets an issuing CA under it and is certified by the old root, and the old one by it')
    .argument('<role>', 'issuing or root')
    .addOption(new Option('--key-algorithm <algorithm>', 'of the new keys (default: as before)').choices(algorithms))
    .option('--permit-dns <domain>', 'restrict the issuing CA to its trust domain and this DNS domain; may be repeated (default: as before)', collect)
    .option('--key-uri <uri>', 'keep the key of the issuing CA on a PKCS#11 token')
    .option('--years <years>', 'until the new CA ends (default: 20 for a root, 10 for an issuing CA)')
    .addOption(passphraseOption());
  common(remoteOptions(prepare), ['sallyport ca rotate prepare issuing', 'sallyport ca rotate prepare issuing --server https://mcp.acme.internal:8444 --identity ./pki-admin', 'sallyport ca rotate prepare root --key-algorithm ml-dsa-65', 'sallyport ca rotate prepare issuing --permit-dns acme.internal --permit-dns localhost']);
  prepare.action(cli.action<PrepareOptions>(prepareCa));

  const activate = rotate
    .command('activate')
    .description('let a prepared CA issue, or again one that was superseded; a root takes its issuing CA along')
    .argument('<ca>', 'as sallyport ca show lists it')
    .option('--now', 'even though the root was prepared less than a day ago')
    .addOption(passphraseOption());
  common(remoteOptions(activate), ['sallyport ca rotate activate issuing-2', 'sallyport ca rotate activate root-2', 'sallyport ca rotate activate issuing   # take it back']);
  activate.action(cli.action<ActivateOptions>(activateCa));

  const retire = rotate
    .command('retire')
    .description('end the trust in a CA that no valid certificate depends on any more; a root takes along what stands under it')
    .argument('<ca>', 'as sallyport ca show lists it')
    .option('--cut-off', 'even though valid certificates depend on it: whoever holds them is refused from now on')
    .addOption(passphraseOption());
  common(remoteOptions(retire), ['sallyport ca rotate retire issuing', 'sallyport ca rotate retire root', 'sallyport ca rotate retire issuing --cut-off']);
  retire.action(cli.action<RetireOptions>(retireCa));
};

async function prepareCa(call: Call<PrepareOptions>): Promise<void> {
  const { options, io } = call;
  const role = argument(call, 0);
  if (!isRole(role)) throw usage(`${JSON.stringify(role)} is no kind of CA: give issuing or root`);
  const years = options.years === undefined ? undefined : Number(options.years);
  if (years !== undefined && !(years > 0 && years <= 50)) throw usage(`--years ${options.years ?? ''} is not a time: give years, from above 0 to 50`);
  const remote = remoteOf(io, options);
  if (remote !== undefined) {
    const { keyAlgorithm, permitDns, keyUri } = options;
    const changed = await changeThere(remote, '', { only: { '--permit-dns': permitDns, '--key-uri': keyUri, '--years': years }, body: { role, ...(keyAlgorithm === undefined ? {} : { keyAlgorithm }) } });
    report(call, changed, prepared(role, changed));
    return;
  }
  let asked: PendingRequest | undefined;
  const made = await withAuthority(call, async (authority, passphrase) => {
    const keyAlgorithm = options.keyAlgorithm ?? keyAlgorithmOfSpki(authority.issuing.certificate.spki);
    const issuingKey = options.keyUri === undefined ? undefined : await tokenCaKey(options.keyUri, keyAlgorithm, { pin: passphrase });
    if (role === 'issuing' && authority.root.signer === undefined) {
      if (options.permitDns !== undefined || years !== undefined) throw usage('the root is elsewhere, and decides there: give --permit-dns and --years to sallyport ca sign');
      asked = await requestIssuer(authority.hierarchy, { keyAlgorithm, issuingKey }, { passphrase, randomness: io.randomness });
      return [];
    }
    return authority.prepareIssuer({
      role, issuingKey, keyAlgorithm: options.keyAlgorithm, permittedDnsNames: options.permitDns, actor: `cli:${io.user}`,
      ...(role === 'root' ? { rootYears: years } : { issuingYears: years }),
    });
  });
  if (asked !== undefined) {
    const { name, file, csr } = asked;
    call.output.result({ waits: true, ca: name, request: file, csr }, () => [`wrote ${file}: ${name} waits for its certificate`, '', 'next', `  carry it to the root, and there: sallyport ca sign ${name}.csr.pem --out ${name}.cert.pem`, `  sallyport ca accept ${name}.cert.pem`].join('\n'));
    return;
  }
  const changed = factsOf(made);
  report(call, changed, prepared(role, changed));
}

const prepared = (role: IssuerRole, [first]: readonly Changed[]) => ({
  did: 'prepared',
  next: `${role === 'root' ? 'let every agent and relying party have the new root (docs/hierarchy.md), then: ' : ''}sallyport ca rotate activate ${first?.name ?? ''}`,
});

async function activateCa(call: Call<ActivateOptions>): Promise<void> {
  const name = argument(call, 0);
  const { io, options } = call;
  const remote = remoteOf(io, options);
  const made = remote !== undefined ? await changeThere(remote, `/${name}/activation`, { only: { '--now': options.now } }) : await withAuthority(call, (authority) => authority.activateIssuer(name, { settling: options.now === true ? 'waived' : 'required', actor: `cli:${io.user}` }), { waived: 'add --now' }).then(factsOf);
  report(call, made, { did: 'issues from now on:', next: 'see with sallyport ca show how many certificates the one before still has, and retire it when none is left' });
}

async function retireCa(call: Call<RetireOptions>): Promise<void> {
  const name = argument(call, 0);
  const { io, options } = call;
  const remote = remoteOf(io, options);
  const made = remote !== undefined ? await changeThere(remote, `/${name}/retirement`, { only: { '--cut-off': options.cutOff } }) : await withAuthority(call, (authority) => authority.retireIssuer(name, { onLive: options.cutOff === true ? 'cutOff' : 'refuse', actor: `cli:${io.user}` }), { waived: 'add --cut-off' }).then(factsOf);
  report(call, made, { did: 'retired', next: undefined });
}

/** `waived`: what on the command line says that a refusal is to be overruled. */
async function withAuthority(call: Call<object>, work: (authority: CertificateAuthority, passphrase: string | undefined) => Promise<readonly Issuer[]>, { waived }: { readonly waived?: string } = {}): Promise<readonly Issuer[]> {
  const { io, options, directory } = call;
  const passphrase = await readPassphrase(io, options);
  const deployment = await openDeployment(directory, { ...io, passphrase });
  try {
    return await work(deployment.authority, passphrase);
  } catch (error) {
    if (!(error instanceof CaError) || waived === undefined) throw error;
    throw new CaError(error.code, error.message.replace(/waive the wait|cut (?:it|them) off$/, (words) => `${words} (${waived})`), { facts: error.facts, cause: error });
  } finally {
    // Also publishes the CRLs of new CAs, and of roots that revoked one.
    await deployment.close();
  }
}

type Changed = ReturnType<typeof issuerFacts>;

const factsOf = (issuers: readonly Issuer[]): readonly Changed[] => issuers.map(issuerFacts);

/** Far away nothing is waived, and keys are made where the gateway keeps its own. `only`: what is for a data directory. */
async function changeThere(remote: RemoteAuthority, path: string, { only, body }: { readonly only: Readonly<Record<string, unknown>>; readonly body?: unknown }): Promise<readonly Changed[]> {
  try {
    for (const [option, value] of Object.entries(only)) if (value !== undefined) throw usage(`${option} is for whoever is at the data directory: leave --server out`);
    const { authorities } = await remote.call('POST', `/hierarchy/authorities${path}`, { answer: z.strictObject({ authorities: z.array(authoritySchema) }), body });
    return authorities.map(({ name, role, status, since, root, id, subject, serial, thumbprint, notAfter, keyAlgorithm }) => ({ name, role, status, since: since === null ? null : new Date(since), root, id, subject, serial, thumbprint, notAfter: new Date(notAfter), keyAlgorithm: keyAlgorithm as KeyAlgorithm }));
  } finally {
    remote.close();
  }
}

function report({ output }: Call<object>, changed: readonly Changed[], { did, next }: { readonly did: string; readonly next: string | undefined }): void {
  output.result({ changed }, () =>
    [
      ...changed.map(({ name, subject, keyAlgorithm, notAfter }) => `${did} ${name} (${printable(subject)}), ${keyAlgorithm}, until ${notAfter.toISOString().slice(0, 10)}`),
      ...(next === undefined ? [] : ['', 'next', `  ${next}`]),
    ].join('\n'),
  );
}

const isRole = (text: string): text is IssuerRole => text === 'issuing' || text === 'root';
