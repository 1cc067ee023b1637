/** `sallyport ca accept`: the certificate that a root elsewhere signed for a request made here. */
import type { Command } from 'commander';
import { acceptedBefore, acceptIssuer } from '../../ca/accepting.ts';
import { endRequest } from '../../ca/pending.ts';
import { formatName } from '../../ca/x509/name.ts';
import { openDeployment } from '../app/deployment.ts';
import { completeDeployment, isWaiting } from '../app/founding.ts';
import { loadConfig } from '../config/load.ts';
import { ForeignFiles } from './authority-source.ts';
import { argument, collect, common, passphraseOption } from './cli.ts';
import type { Call, Cli } from './cli.ts';
import { printable } from './output.ts';
import { readPassphrase } from './passphrase.ts';

interface AcceptOptions {
  readonly chain?: readonly string[];
}

export const registerCaAccept = (ca: Command, cli: Cli): void => {
  const accept = ca
    .command('accept')
    .description('take the certificate that was signed for a request of sallyport init --root or sallyport ca rotate prepare')
    .argument('<certificate>', 'PEM, DER or PKCS#7, with the CAs between it and the root')
    .option('--chain <file>', 'CA certificates between it and the root; may be repeated', collect)
    .addOption(passphraseOption());
  common(accept, ['sallyport ca accept issuing.cert.pem', 'sallyport ca accept issuing.cer --chain policy-ca.cer']);
  accept.action(cli.action<AcceptOptions>(acceptCertificate));
};

async function acceptCertificate(call: Call<AcceptOptions>): Promise<void> {
  const { io, options, output, directory: given } = call;
  const { directory, authorityWorld } = await placeOf(call, given);
  const certificates = await new ForeignFiles(io, undefined).certificates([argument(call, 0), ...(options.chain ?? [])]);
  const passphrase = await readPassphrase(io, options);
  const actor = `cli:${io.user}`;
  if (await isWaiting(directory)) {
    const { deployment, server } = await completeDeployment({ ...io, directory, certificates, passphrase, actor });
    try {
      const { issuing, root } = deployment.authority;
      output.result({ ca: issuing.name, subject: formatName(issuing.certificate.subject), thumbprint: issuing.certificate.thumbprint, notAfter: issuing.certificate.notAfter, root: formatName(root.certificate.subject), server: { subject: server.subject, notAfter: server.notAfter } }, () =>
        [
          `accepted ${issuing.name} (${printable(formatName(issuing.certificate.subject))}), until ${day(issuing.certificate.notAfter)}: the data directory is complete`,
          '',
          'next',
          ...(root.signer === undefined ? ['  sallyport ca import-crl root.crl   (the CRL of the root, for verifiers that check the whole chain)'] : []),
          '  sallyport issue agent-7 --ou analytics',
        ].join('\n'),
      );
    } finally {
      await deployment.close();
    }
    return;
  }
  const deployment = await openDeployment(given, { ...io, passphrase });
  try {
    const { authority, store } = deployment;
    const before = acceptedBefore(authority.hierarchy, certificates);
    const [made] = before !== undefined ? [before] : await authority.changeHierarchy((hierarchy) => acceptIssuer(hierarchy, certificates, { ...authorityWorld, store: store.ca, passphrase, trustDomain: authority.trustDomain, actor }));
    if (made === undefined) throw new TypeError('a change of the hierarchy is about some CA');
    await endRequest(directory, made.name);
    output.result({ ca: made.name, status: made.status, subject: formatName(made.certificate.subject), thumbprint: made.certificate.thumbprint, notAfter: made.certificate.notAfter }, () =>
      [`accepted ${made.name} (${printable(formatName(made.certificate.subject))}), until ${day(made.certificate.notAfter)}`, ...(made.status === 'prepared' ? ['', 'next', `  sallyport ca rotate activate ${made.name}`] : [])].join('\n'),
    );
  } finally {
    await deployment.close();
  }
}

const placeOf = async ({ io }: Call<AcceptOptions>, given: string) => {
  const { directory, publicUrl } = await loadConfig(given);
  return { directory, authorityWorld: { clock: io.clock, randomness: io.randomness, publicUrl } };
};

const day = (date: Date): string => date.toISOString().slice(0, 10);
