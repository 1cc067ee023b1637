/** `sallyport release`: a certificate on hold is good again. */
import { openDeployment } from '../app/deployment.ts';
import { release as releaseSchema } from '../api/schemas.ts';
import { waitUntilApplied } from '../store/changes.ts';
import { certificateOf, oneCertificateOptions, selectorOf } from './certificate-selection.ts';
import type { OneCertificateOptions } from './certificate-selection.ts';
import { common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { readPassphrase } from './passphrase.ts';
import { remoteOf, remoteOptions } from './remote.ts';
import type { RemoteOptions } from './remote.ts';

interface ReleaseOptions extends OneCertificateOptions, RemoteOptions {}

const patienceMs = 2_000;

export const registerRelease: RegisterCommand = (program, cli) => {
  const command = oneCertificateOptions(
    program
      .command('release')
      .description('lift the hold of an agent or a certificate, so that it is good again; any other revocation is final')
      .argument('[name]', 'name of the agent: all of its certificates on hold'),
  ).addOption(passphraseOption());
  common(remoteOptions(command), ['sallyport release agent-7', 'sallyport release --serial 4a3f…', 'sallyport release agent-7 --json', 'sallyport release agent-7 --server https://mcp.acme.internal:8444 --identity ./pki-revoker']);
  command.action(cli.action<ReleaseOptions>(release));
};

async function release(call: Call<ReleaseOptions>): Promise<void> {
  const { io, options, directory } = call;
  const selector = await selectorOf(call);
  if (Object.keys(selector).length === 0) throw usage('say what to release: NAME, --serial HEX or --thumbprint HEX');
  const remote = remoteOf(io, options);
  if (remote !== undefined) {
    try {
      const { certificates, gateways, missing } = await remote.call('POST', '/releases', { answer: releaseSchema, body: selector });
      tell(call, { released: certificates.map(({ agent, serial, thumbprint, subject, notAfter }) => ({ agent, serial, thumbprint, subject, notAfter: new Date(notAfter), revokedAt: null, reason: null })), gateways, missing: missing.map(({ node, seenAt }) => ({ node, seenAt: new Date(seenAt) })) });
    } finally {
      remote.close();
    }
    return;
  }
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const { authority, store } = deployment;
    const { released, changeSeq } = await authority.release(selector, { actor: `cli:${io.user}` });
    const { applied, missing } = await waitUntilApplied(store.changes, { seq: changeSeq, clock: io.clock, timeoutMs: patienceMs });
    tell(call, { released: released.map(certificateOf), gateways: applied.map(({ nodeId }) => ({ node: nodeId })), missing: missing.map(({ nodeId, seenAt }) => ({ node: nodeId, seenAt })) });
  } finally {
    // Also waits for the CRL that lists it no longer.
    await deployment.close();
  }
}

interface Released {
  readonly released: readonly ReturnType<typeof certificateOf>[];
  readonly gateways: readonly { readonly node: string }[];
  readonly missing: readonly { readonly node: string; readonly seenAt: Date }[];
}

function tell({ output }: Call<ReleaseOptions>, { released, gateways, missing }: Released): void {
  output.result({ released, gateways, missing }, () =>
    [
      ...released.map(({ agent, serial }) => `released ${agent}, serial ${serial}`),
      gateways.length === 0 ? '  no gateway is running: it is let in from the next start' : `  let in by ${gateways.length === 1 ? '1 gateway' : `${gateways.length} gateways`}`,
    ].join('\n'),
  );
  if (missing.length > 0) output.warn(`${missing.map(({ node }) => node).join(', ')} has not confirmed within ${patienceMs / 1_000} s: the release is recorded and will reach it; look at its log`);
}
