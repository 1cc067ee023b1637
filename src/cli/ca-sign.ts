/** `sallyport ca sign` and `ca cross-sign`: certify a CA that is run elsewhere. What is to be signed is shown first. */
import { createInterface } from 'node:readline/promises';
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Issuer } from '../../ca/index.ts';
import { pemOf } from '../../ca/issuer.ts';
import { planCrossSigned, planRequested, signSubordinate } from '../../ca/subordinate.ts';
import type { SubordinateOptions, SubordinatePlan } from '../../ca/subordinate.ts';
import { checkHosts, checkTrustDomain } from '../../ca/subject-rules.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { openDeployment } from '../app/deployment.ts';
import type { Deployment } from '../app/deployment.ts';
import type { ExitCode } from '../errors.ts';
import { SallyportError } from '../errors.ts';
import { ForeignFiles } from './authority-source.ts';
import { argument, collect, common, passphraseOption, usage } from './cli.ts';
import type { Call, Cli } from './cli.ts';
import { asArgument, asWord, printable } from './output.ts';
import { readPassphrase } from './passphrase.ts';
import { readRequest } from './read-request.ts';

interface SignOptions {
  readonly ca?: string;
  readonly pathLen?: string;
  readonly years?: string;
  readonly permitDns?: readonly string[];
  readonly excludeDns?: readonly string[];
  readonly permitUri?: readonly string[];
  readonly out?: string;
  readonly yes?: boolean;
}

export const registerCaSign = (ca: Command, cli: Cli): void => {
  const sign = signingOptions(ca.command('sign').description('certify the CA of a request, such as sallyport init writes for a root that is elsewhere; exit code 3 when only shown').argument('<request>', 'certificate signing request, PEM or DER'));
  common(sign, ['sallyport ca sign issuing.csr.pem --out issuing.cert.pem', 'sallyport ca sign issuing.csr.pem --permit-uri acme.internal --permit-dns acme.internal --yes', 'sallyport ca sign plant.csr.pem --path-len 1 --years 5']);
  sign.action(cli.action<SignOptions>(async (call) => certify(call, 'ca sign', async (by) => planRequested(await readRequest(resolve(call.io.cwd, argument(call, 0))), by, optionsOf(call.options), call.io.clock.now()))));

  const crossSign = signingOptions(
    ca.command('cross-sign').description('certify the key of another root or CA under its own name, so that what it issued leads to this root too; exit code 3 when only shown').argument('<certificate>', 'certificate of that CA, PEM or DER'),
  );
  common(crossSign, ['sallyport ca cross-sign partner-root.pem --out partner-by-acme.pem', 'sallyport ca cross-sign partner-root.pem --path-len 0 --permit-uri partner.example --yes']);
  crossSign.action(
    cli.action<SignOptions>(async (call) => {
      const { certificates } = await new ForeignFiles(call.io, undefined).read(argument(call, 0));
      const [certificate, another] = certificates;
      if (certificate === undefined || another !== undefined) throw usage(`${argument(call, 0)} does not hold exactly one certificate: give that of the CA to cross-sign`);
      return certify(call, 'ca cross-sign', (by) => Promise.resolve(planCrossSigned(certificate, by, optionsOf(call.options), call.io.clock.now())));
    }),
  );
};

const signingOptions = (command: Command): Command =>
  command
    .option('--ca <ca>', 'which CA signs (default: the root that is active)')
    .option('--path-len <number>', 'CAs that may stand below it (default: 0 for a request; as the certificate says for cross-signing)')
    .option('--years <years>', 'until it ends (default: 10, never beyond the CA that signs)')
    .option('--permit-dns <domain>', 'confine it to this DNS domain; may be repeated', collect)
    .option('--exclude-dns <domain>', 'exclude this DNS domain; may be repeated', collect)
    .option('--permit-uri <host>', 'confine it to URIs of this host, which is the trust domain of SPIFFE IDs; may be repeated', collect)
    .option('--out <file>', 'file for the certificate, with the CAs between it and the root (default: standard output)')
    .option('--yes', 'sign without asking')
    .addOption(passphraseOption());

async function certify(call: Call<SignOptions>, command: 'ca sign' | 'ca cross-sign', plan: (by: Issuer) => Promise<SubordinatePlan>): Promise<ExitCode> {
  const { io, options, output, directory } = call;
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const by = signerOf(deployment, options.ca);
    const planned = await plan(by);
    const facts = factsOf(planned, by);
    if (!(await isConfirmed(call, planned, by))) {
      const again = `sallyport ${command} ${argumentsOf(call).join(' ')} --yes`;
      output.result({ dryRun: true, ...facts, command: again }, () => [...linesOf(planned, by), '', 'nothing was signed; to sign it', `  ${again}`].join('\n'));
      return 3;
    }
    const { config, store } = deployment;
    const certificate = await signSubordinate(planned, by, { store: store.ca, clock: io.clock, randomness: io.randomness, publicUrl: config.publicUrl, refusedSpkiHashes: config.ca.refusedKeys, actor: `cli:${io.user}` });
    const pem = pemOf([certificate, ...between(by)]);
    const signed = { ...facts, serial: certificate.serial, thumbprint: certificate.thumbprint, notAfter: certificate.notAfter };
    if (options.out === undefined) {
      if (output.json) output.result({ ...signed, certificate: pem }, '');
      else output.line(pem.trimEnd());
      return 0;
    }
    const file = resolve(io.cwd, options.out);
    await writeFile(file, pem).catch((cause: unknown) => {
      throw new SallyportError('ERR_USAGE', `${file} cannot be written (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): the certificate is in the inventory, with the serial ${certificate.serial}; name another file with --out`, { facts: { file }, cause });
    });
    output.result({ ...signed, file }, () => [`signed ${options.out ?? ''}`, ...linesOf(planned, by), ...(command === 'ca sign' ? ['', 'next', `  carry it back, and there: sallyport ca accept ${asArgument(options.out ?? '')}`] : [])].join('\n'));
    return 0;
  } finally {
    await deployment.close();
  }
}

const signerOf = ({ authority }: Deployment, name: string | undefined): Issuer => {
  const by = name === undefined ? authority.root : authority.issuerNamed(name);
  if (by === undefined) throw usage(`there is no CA named ${JSON.stringify(name)}: use one of ${authority.issuers.map((each) => each.name).join(', ')}`);
  return by;
};

/** What a relying party that has the root alone needs besides. */
const between = (by: Issuer): readonly Certificate[] => (by.role === 'root' ? [] : [by.certificate, ...by.above]);

/** At a terminal the operator is asked; a script says --yes. */
async function isConfirmed({ io, options, output }: Call<SignOptions>, planned: SubordinatePlan, by: Issuer): Promise<boolean> {
  if (options.yes === true) return true;
  if (output.json || !('isTTY' in io.stdin) || io.stdin.isTTY !== true) return false;
  for (const line of linesOf(planned, by)) io.stderr.write(`${line}\n`);
  io.stderr.write('sign this? [y/N] ');
  const lines = createInterface({ input: io.stdin });
  try {
    const answer = await lines.question('', { signal: io.signal }).catch(() => '');
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    lines.close();
  }
}

const factsOf = ({ subjectText, spkiHash, keyAlgorithm, pathLen, validity, nameConstraints }: SubordinatePlan, by: Issuer) => ({
  subject: subjectText, spkiHash, keyAlgorithm, pathLen, notBefore: validity.notBefore, notAfter: validity.notAfter, nameConstraints: nameConstraints ?? null, issuer: by.name,
});

const linesOf = ({ subjectText, spkiHash, keyAlgorithm, pathLen, validity, nameConstraints }: SubordinatePlan, by: Issuer): readonly string[] => [
  `  subject      ${printable(subjectText)}`,
  `  key          ${keyAlgorithm}, SHA-256 of its SubjectPublicKeyInfo ${spkiHash}`,
  `  may certify  ${pathLen === 0 ? 'agents and servers' : `CAs, ${pathLen} deep, and through them agents and servers`}`,
  `  names        ${boundsText(nameConstraints)}`,
  `  valid until  ${validity.notAfter.toISOString()}`,
  `  signed by    ${by.name}`,
];

const boundsText = (constraints: SubordinatePlan['nameConstraints']): string => {
  if (constraints === undefined) return 'any';
  const { permittedUriHosts = [], permittedDnsNames = [], excludedDnsNames = [] } = constraints;
  return [...permittedUriHosts.map((host) => `URI ${host}`), ...permittedDnsNames.map((name) => `DNS ${name}`), ...excludedDnsNames.map((name) => `not DNS ${name}`)].join(', ');
};

function optionsOf({ pathLen, years, permitDns = [], excludeDns = [], permitUri = [] }: SignOptions): SubordinateOptions {
  if (pathLen !== undefined && !/^[0-8]$/.test(pathLen)) throw usage(`--path-len ${pathLen} is not a depth: give a whole number from 0 to 8`);
  const span = years === undefined ? undefined : Number(years);
  if (span !== undefined && !(span > 0 && span <= 50)) throw usage(`--years ${years ?? ''} is not a time: give years, from above 0 to 50`);
  if (permitDns.length + excludeDns.length > 0) checkHosts([...permitDns, ...excludeDns]);
  for (const host of permitUri) checkTrustDomain(host);
  const constrained = permitDns.length + excludeDns.length + permitUri.length > 0;
  return {
    ...(pathLen === undefined ? {} : { pathLen: Number(pathLen) }),
    ...(span === undefined ? {} : { years: span }),
    ...(constrained ? { nameConstraints: { permittedDnsNames: permitDns, excludedDnsNames: excludeDns, permittedUriHosts: permitUri } } : {}),
  };
}

/** As they were typed. */
function argumentsOf({ args, options }: Call<SignOptions>): readonly string[] {
  const repeated = (name: string, values: readonly string[] | undefined): readonly string[] => (values ?? []).flatMap((value) => [name, asWord(value)]);
  const word = (name: string, value: string | undefined): readonly string[] => (value === undefined ? [] : [name, asWord(value)]);
  const path = (name: string, value: string | undefined): readonly string[] => (value === undefined ? [] : [name, asArgument(value)]);
  return [
    ...args.filter((each) => typeof each === 'string').map(asArgument), ...word('--ca', options.ca), ...word('--path-len', options.pathLen), ...word('--years', options.years), ...repeated('--permit-dns', options.permitDns),
    ...repeated('--exclude-dns', options.excludeDns), ...repeated('--permit-uri', options.permitUri), ...path('--out', options.out), ...path('--dir', options.dir), ...path('--passphrase-file', options.passphraseFile),
  ];
}
