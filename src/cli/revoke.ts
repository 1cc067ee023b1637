/** `sallyport revoke`: durable first, then every gateway, then the CRL. */
import { Option } from 'commander';
import { revocationReasons } from '../../ca/index.ts';
import type { CertificateRecord, RevocationPreview, RevocationReason, RevokeSelector } from '../../ca/index.ts';
import { revocation } from '../api/schemas.ts';
import { openDeployment } from '../app/deployment.ts';
import type { ExitCode } from '../errors.ts';
import { waitUntilApplied } from '../store/changes.ts';
import type { Applied } from '../store/changes.ts';
import { certificateOf, selectionOptions, selectorOf, withIssuer } from './certificate-selection.ts';
import type { SelectionOptions } from './certificate-selection.ts';
import { common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { formatTable, printable } from './output.ts';
import { readPassphrase } from './passphrase.ts';
import { remoteOf, remoteOptions } from './remote.ts';
import type { RemoteAuthority, RemoteOptions } from './remote.ts';

interface RevokeOptions extends SelectionOptions, RemoteOptions {
  readonly reason: RevocationReason;
  readonly yes?: boolean;
}

/** A gateway that has not answered by then is named; the revocation stands regardless. */
const patienceMs = 2_000;
/** Certificates listed one by one. */
const shown = 50;

export const registerRevoke: RegisterCommand = (program, cli) => {
  const command = selectionOptions(
    program
      .command('revoke')
      .description('revoke certificates, finally or on hold, and close their connections; of several options all must match; exit code 3 when only shown, for want of --yes')
      .argument('[name]', 'name of the agent: all of its live certificates'),
  )
    .addOption(new Option('--reason <reason>', 'as in RFC 5280; certificateHold can be taken back with sallyport release').choices(revocationReasons).default('unspecified'))
    .option('--yes', 'revoke more than one, other than those of one agent, instead of showing them')
    .addOption(passphraseOption());
  remoteOptions(command);
  common(command, [
    'sallyport revoke agent-7 --reason keyCompromise',
    'sallyport revoke agent-7 --reason keyCompromise --server https://mcp.acme.internal:8444 --identity ./pki-admin',
    'sallyport revoke agent-7 --reason certificateHold',
    'sallyport revoke --serial 4a3f…',
    'sallyport revoke --ou analytics --issued-before 2026-11-01 --reason superseded --yes',
    'sallyport revoke --key stolen.pem --reason keyCompromise --json',
  ]);
  command.action(cli.action<RevokeOptions>(revoke));
};

async function revoke(call: Call<RevokeOptions>): Promise<ExitCode> {
  const { io, options, output, directory } = call;
  const { reason } = options;
  const given = await selectorOf(call);
  if (Object.keys(given).length === 0) throw usage('say what to revoke: NAME, --serial HEX, or one of the other options; see --help');
  const remote = remoteOf(io, options);
  if (remote !== undefined) return revokeRemotely(call, remote, given);
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const { authority, store } = deployment;
    let selector = withIssuer(given, authority);
    if (options.yes !== true && !isOneIdentity(selector)) {
      const preview = await authority.previewRevocation(selector, { reason });
      const [only] = preview.due;
      if (preview.due.length !== 1 || only === undefined) {
        const command = commandOf(call);
        output.result(
          { dryRun: true, reason, wouldRevoke: preview.due.map(certificateOf), alreadyRevoked: preview.alreadyRevoked.map(certificateOf), command },
          () => describePreview(preview, reason, command),
        );
        return 3;
      }
      // What was issued since is for another look.
      selector = { issuerId: only.issuerId, serial: only.serial };
    }
    const result = await authority.revoke(selector, {
      reason,
      actor: `cli:${io.user}`,
      onProgress: ({ done, of }) => {
        if (of > shown) output.note(`revoked ${done} of ${of}`);
      },
    });
    const applied = result.revoked.length === 0 ? { applied: [], missing: [] } : await waitUntilApplied(store.changes, { seq: result.changeSeq, clock: io.clock, timeoutMs: patienceMs });
    output.result(
      {
        reason,
        revoked: result.revoked.map(certificateOf),
        alreadyRevoked: result.alreadyRevoked.map(certificateOf),
        gateways: applied.applied.map(({ nodeId, facts }) => ({ node: nodeId, connectionsCut: facts.connectionsCut, millis: facts.millis })),
        missing: applied.missing.map(({ nodeId, seenAt }) => ({ node: nodeId, seenAt })),
      },
      () => describe(result.revoked, result.alreadyRevoked, applied, reason),
    );
    if (applied.missing.length > 0) output.warn(`${applied.missing.map(({ nodeId }) => nodeId).join(', ')} has not confirmed within ${patienceMs / 1_000} s: the revocation is recorded and will reach it; look at its log, or stop it`);
    return 0;
  } finally {
    // Also waits for the CRL that lists them.
    await deployment.close();
  }
}

/** What is one identity and what must be confirmed is decided at the far end, by the same rules. */
async function revokeRemotely(call: Call<RevokeOptions>, remote: RemoteAuthority, { issuedFrom, issuedBefore, ...selector }: RevokeSelector & { readonly issuer?: string }): Promise<ExitCode> {
  const { options: { reason, yes }, output } = call;
  try {
    const body = { ...selector, ...(issuedFrom === undefined ? {} : { issuedFrom: issuedFrom.toISOString() }), ...(issuedBefore === undefined ? {} : { issuedBefore: issuedBefore.toISOString() }), reason, confirm: yes === true };
    const { dryRun, count, certificates, alreadyRevoked, gateways, missing } = await remote.call('POST', '/revocations', { answer: revocation, body });
    const told = certificates.map(({ agent, serial, thumbprint, subject, notAfter, revokedAt, revocationReason }) => ({ agent, serial, thumbprint, subject, notAfter, revokedAt, reason: revocationReason }));
    const names = certificates.slice(0, shown).map(({ agent, serial }) => `${agent}, serial ${serial}`);
    const rest = count > shown ? [`and ${count - shown} more: ${count} in all`] : [];
    if (dryRun) {
      const command = commandOf(call);
      output.result({ dryRun, reason, wouldRevoke: told, alreadyRevoked, command }, () => [...names, ...rest, `nothing was revoked yet: ${count} would be (${reason}). To do it:`, `  ${command}`].join('\n'));
      return 3;
    }
    output.result({ reason, revoked: told, alreadyRevoked, gateways, missing }, () => [...names.map((name) => `revoked ${name} (${reason})`), ...rest, ...gateways.map(({ node, connectionsCut }) => `  ${node} cut ${connectionsCut === 1 ? '1 connection' : `${connectionsCut} connections`}`)].join('\n'));
    if (missing.length > 0) output.warn(`${missing.map(({ node }) => node).join(', ')} has not confirmed: the revocation is recorded and will reach it; look at its log, or stop it`);
    return 0;
  } finally {
    remote.close();
  }
}

/** Named by itself. That an agent has a second certificate while it renews must not hold up its revocation. */
const isOneIdentity = (selector: RevokeSelector): boolean => Object.keys(selector).length === 1 && (selector.agent !== undefined || selector.serial !== undefined || selector.thumbprint !== undefined);

/** The same again, this time for good. */
function commandOf({ args, options }: Call<RevokeOptions>): string {
  const flags = { serial: options.serial, thumbprint: options.thumbprint, ou: options.ou, key: options.key, issuer: options.issuer, profile: options.profile, 'issued-after': options.issuedAfter, 'issued-before': options.issuedBefore, reason: options.reason, 'passphrase-file': options.passphraseFile, dir: options.dir, server: options.server, identity: options.identity };
  const words = ['sallyport', 'revoke', ...(typeof args[0] === 'string' ? [args[0]] : [])];
  for (const [flag, value] of Object.entries(flags)) if (value !== undefined) words.push(`--${flag}`, value);
  return [...words, '--yes'].map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${printable(word).replaceAll("'", String.raw`'\''`)}'`)).join(' ');
}

function describePreview({ due, alreadyRevoked }: RevocationPreview, reason: RevocationReason, command: string): string {
  const day = (date: Date): string => date.toISOString().slice(0, 16).replace('T', ' ');
  const rows = due.slice(0, shown).map((record) => [record.agent, record.profile, record.organizationalUnits.join(', ') || '-', day(record.createdAt), day(record.notAfter), record.serial]);
  return [
    formatTable(['AGENT', 'PROFILE', 'OU', 'ISSUED', 'EXPIRES', 'SERIAL'], rows),
    ...(due.length > shown ? [`and ${due.length - shown} more: --json lists them all`] : []),
    ...skipped(alreadyRevoked),
    `nothing was revoked yet: ${due.length} would be (${reason}). To do it:`,
    `  ${command}`,
  ].join('\n');
}

function describe(revoked: readonly CertificateRecord[], already: readonly CertificateRecord[], { applied }: Applied, reason: RevocationReason): string {
  const lines = revoked.slice(0, shown).map((record) => `revoked ${record.agent}, serial ${record.serial} (${reason})`);
  if (revoked.length > shown) lines.push(`and ${revoked.length - shown} more: ${revoked.length} in all`);
  if (already.length > shown) lines.push(...skipped(already));
  else lines.push(...already.map((record) => `already revoked ${record.agent}, serial ${record.serial}${record.revocationReason === undefined ? '' : ` (${record.revocationReason})`}`));
  if (revoked.length > 0) {
    if (applied.length === 0) lines.push('  no gateway is running: a gateway refuses them from its start');
    for (const { nodeId, facts } of applied) lines.push(`  ${nodeId} cut ${facts.connectionsCut === 1 ? '1 connection' : `${facts.connectionsCut} connections`} in ${facts.millis < 10 ? facts.millis.toFixed(1) : Math.round(facts.millis)} ms`);
  }
  return lines.join('\n');
}

const skipped = (already: readonly CertificateRecord[]): readonly string[] => (already.length === 0 ? [] : [`${already.length} revoked before: skipped`]);
