/** `sallyport release`: a certificate on hold is good again. */
import { openDeployment } from '../app/deployment.ts';
import { waitUntilApplied } from '../store/changes.ts';
import { certificateOf, oneCertificateOptions, selectorOf } from './certificate-selection.ts';
import type { OneCertificateOptions } from './certificate-selection.ts';
import { common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { readPassphrase } from './passphrase.ts';

const patienceMs = 2_000;

export const registerRelease: RegisterCommand = (program, cli) => {
  const command = oneCertificateOptions(
    program
      .command('release')
      .description('lift the hold of an agent or a certificate, so that it is good again; any other revocation is final')
      .argument('[name]', 'name of the agent: all of its certificates on hold'),
  ).addOption(passphraseOption());
  common(command, ['sallyport release agent-7', 'sallyport release --serial 4a3f…', 'sallyport release agent-7 --json']);
  command.action(cli.action<OneCertificateOptions>(release));
};

async function release(call: Call<OneCertificateOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const selector = await selectorOf(call);
  if (Object.keys(selector).length === 0) throw usage('say what to release: NAME, --serial HEX or --thumbprint HEX');
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const { authority, store } = deployment;
    const { released, changeSeq } = await authority.release(selector, { actor: `cli:${io.user}` });
    const { applied, missing } = await waitUntilApplied(store.changes, { seq: changeSeq, clock: io.clock, timeoutMs: patienceMs });
    output.result(
      { released: released.map(certificateOf), gateways: applied.map(({ nodeId }) => ({ node: nodeId })), missing: missing.map(({ nodeId, seenAt }) => ({ node: nodeId, seenAt })) },
      () =>
        [
          ...released.map((record) => `released ${record.agent}, serial ${record.serial}`),
          applied.length === 0 ? '  no gateway is running: it is let in from the next start' : `  let in by ${applied.length === 1 ? '1 gateway' : `${applied.length} gateways`}`,
        ].join('\n'),
    );
    if (missing.length > 0) output.warn(`${missing.map(({ nodeId }) => nodeId).join(', ')} has not confirmed within ${patienceMs / 1_000} s: the release is recorded and will reach it; look at its log`);
  } finally {
    // Also waits for the CRL that lists it no longer.
    await deployment.close();
  }
}
