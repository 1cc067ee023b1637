/** `sallyport revoke`: durable first, then every gateway, then the CRL. */
import { Option } from 'commander';
import { revocationReasons } from '../../ca/index.ts';
import type { CertificateRecord, RevocationReason, RevokeSelector } from '../../ca/index.ts';
import { openDeployment } from '../app/deployment.ts';
import { waitUntilApplied } from '../store/changes.ts';
import type { Applied } from '../store/changes.ts';
import { common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { readPassphrase } from './passphrase.ts';

interface RevokeOptions {
  readonly serial?: string;
  readonly thumbprint?: string;
  readonly reason: RevocationReason;
}

/** A gateway that has not answered by then is named; the revocation stands regardless. */
const patienceMs = 2_000;

export const registerRevoke: RegisterCommand = (program, cli) => {
  const command = program
    .command('revoke')
    .description('revoke the certificates of an agent, or one certificate, and close their connections')
    .argument('[name]', 'name of the agent: all of its live certificates')
    .option('--serial <hex>', 'one certificate by its serial')
    .option('--thumbprint <hex>', 'one certificate by the SHA-256 of its DER')
    .addOption(new Option('--reason <reason>', 'as in RFC 5280').choices(revocationReasons).default('unspecified'))
    .addOption(passphraseOption());
  common(command, ['sallyport revoke agent-7 --reason keyCompromise', 'sallyport revoke --serial 4a3f…', 'sallyport revoke agent-7 --json']);
  command.action(cli.action<RevokeOptions>(revoke));
};

async function revoke(call: Call<RevokeOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const selector = selectorOf(call);
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const { authority, store } = deployment;
    const result = await authority.revoke(selector, { reason: options.reason, actor: `cli:${io.user}` });
    const applied = result.revoked.length === 0 ? { applied: [], missing: [] } : await waitUntilApplied(store.changes, { seq: result.changeSeq, clock: io.clock, timeoutMs: patienceMs });
    output.result(
      {
        reason: options.reason,
        revoked: result.revoked.map(certificateOf),
        alreadyRevoked: result.alreadyRevoked.map(certificateOf),
        gateways: applied.applied.map(({ nodeId, facts }) => ({ node: nodeId, connectionsCut: facts.connectionsCut, millis: facts.millis })),
        missing: applied.missing.map(({ nodeId, seenAt }) => ({ node: nodeId, seenAt })),
      },
      () => describe(result.revoked, result.alreadyRevoked, applied, options.reason),
    );
    if (applied.missing.length > 0) output.warn(`${applied.missing.map(({ nodeId }) => nodeId).join(', ')} has not confirmed within ${patienceMs / 1_000} s: the revocation is recorded and will reach it; look at its log, or stop it`);
  } finally {
    // Also waits for the CRL that lists them.
    await deployment.close();
  }
}

function selectorOf({ args, options }: Call<RevokeOptions>): RevokeSelector {
  const agent = typeof args[0] === 'string' ? args[0] : undefined;
  const given = [agent, options.serial, options.thumbprint].filter((each) => each !== undefined);
  if (given.length !== 1) throw usage('name what to revoke in one way: NAME, --serial HEX or --thumbprint HEX');
  if (agent !== undefined) return { agent };
  if (options.serial !== undefined) return { serial: hex(options.serial, '--serial', /^[0-9a-f]{1,40}$/) };
  return { thumbprint: hex(options.thumbprint ?? '', '--thumbprint', /^[0-9a-f]{64}$/) };
}

/** As OpenSSL prints them: with colons, in upper case. */
function hex(text: string, option: string, form: RegExp): string {
  const digits = text.replaceAll(':', '').toLowerCase();
  if (!form.test(digits)) throw usage(`${option} ${text} is not one: copy its hexadecimal digits from sallyport inventory, or from openssl x509 -serial or -fingerprint -sha256`);
  return digits;
}

const certificateOf = (record: CertificateRecord) => ({ agent: record.agent, serial: record.serial, thumbprint: record.thumbprint ?? null, subject: record.subject, notAfter: record.notAfter, revokedAt: record.revokedAt ?? null, reason: record.revocationReason ?? null });

function describe(revoked: readonly CertificateRecord[], already: readonly CertificateRecord[], { applied }: Applied, reason: RevocationReason): string {
  const lines = revoked.map((record) => `revoked ${record.agent}, serial ${record.serial} (${reason})`);
  lines.push(...already.map((record) => `already revoked ${record.agent}, serial ${record.serial}${record.revocationReason === undefined ? '' : ` (${record.revocationReason})`}`));
  if (revoked.length > 0) {
    if (applied.length === 0) lines.push('  no gateway is running: a gateway refuses them from its start');
    for (const { nodeId, facts } of applied) lines.push(`  ${nodeId} cut ${facts.connectionsCut === 1 ? '1 connection' : `${facts.connectionsCut} connections`} in ${facts.millis < 10 ? facts.millis.toFixed(1) : Math.round(facts.millis)} ms`);
  }
  return lines.join('\n');
}
