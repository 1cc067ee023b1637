/** `sallyport trust`: the certificates of other authorities, how current what they publish is, and whom they let in. */
import { basename, resolve } from 'node:path';
import { formatName } from '../../ca/x509/name.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import type { FollowedAnchorState } from '../app/followed-anchor.ts';
import { readPolicy } from '../app/policy-file.ts';
import { certificatesIn } from '../app/trust-files.ts';
import { openTrustView } from '../app/trust-view.ts';
import { formatDuration } from '../config/duration.ts';
import type { Config } from '../config/load.ts';
import { codeOf } from '../errors.ts';
import type { ExitCode } from '../errors.ts';
import { rolesOf } from '../policy/bindings.ts';
import type { FollowedCrlState } from '../revocation/followed-crl.ts';
import { waitBeforeLook } from '../revocation/refresh-schedule.ts';
import { verifyPeer } from '../tls/verify-peer.ts';
import type { PeerVerdict } from '../tls/verify-peer.ts';
import { common, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { printable } from './output.ts';

export const registerTrust: RegisterCommand = (program, cli) => {
  const trust = program.command('trust').description('certificates of other authorities that may connect beside ours');
  const list = trust.command('list').description('say whom the gateway trusts, and how fresh what they publish is; exit code 3 when something is missing or stale');
  common(list, ['sallyport trust list', 'sallyport trust list --json | jq ".anchors[].crls[].standing"']);
  list.action(cli.action(listTrust));

  const check = trust
    .command('check')
    .description('say whether a certificate may connect, as whom and with which roles; exit code 3 when one may not')
    .argument('<files...>', 'PEM or DER; the first certificate of each file is checked, the others are what its holder would send with it');
  common(check, ['sallyport trust check alice.pem', 'sallyport trust check svid.pem --json']);
  check.action(cli.action(checkTrust));

  const refresh = trust
    .command('refresh')
    .description('fetch CRLs and trust bundles now; a running gateway takes them over')
    .argument('[name]', 'of one anchor (default: all)');
  common(refresh, ['sallyport trust refresh', 'sallyport trust refresh corp']);
  refresh.action(cli.action(refreshTrust));
};

async function listTrust(call: Call<object>): Promise<ExitCode> {
  const { output, io } = call;
  const { config, foreign, problems } = await openTrustView(call.directory, call.io);
  const anchors = foreign.state.map((state) => describe(state, config, io.clock.now().getTime()));
  for (const problem of problems) output.warn(problem instanceof Error ? problem.message : String(problem));
  output.result({ anchors }, () => (anchors.length === 0 ? 'nobody beside our own CA is trusted: name others under trust: in sallyport.yaml' : anchors.map((anchor) => format(anchor, output)).join('\n\n')));
  return anchors.every(({ roots, crls }) => roots.length > 0 && crls.every(({ standing }) => standing === 'fresh' || standing === 'late')) ? 0 : 3;
}

async function checkTrust(call: Call<object>): Promise<ExitCode> {
  const { io, output, args } = call;
  const { config, index, foreign, store } = await openTrustView(call.directory, call.io);
  const policy = await readPolicy(config.policyFile);
  const results = await Promise.all((args[0] as readonly string[]).map(async (file) => {
    const [certificate, ...chain] = await certificatesFrom(resolve(io.cwd, file), file);
    if (certificate === undefined) throw usage(`${file} holds no certificate: give PEM or DER`, { file });
    if (store.issuerOf(certificate) !== undefined) return { file, ok: true, trust: 'own', principal: null, roles: [], note: 'our own CA issued it: see sallyport verify and sallyport inventory' };
    const verdict = await verifyPeer(
      { certificate: certificate.der, chain: () => chain.map(({ der }) => der), opensslError: undefined, remoteAddress: undefined, resumed: false },
      { trust: store, index, clock: io.clock, askStatus: (each, issuer) => foreign.ask(each, issuer) },
    );
    return { file, ...outcomeOf(verdict, (principal) => rolesOf(policy, principal)) };
  }));
  output.result({ results }, () => results.map((result) => {
    const name = printable(basename(result.file));
    if (!result.ok) return `${output.paint('red', '✘')} ${name} is refused: ${'message' in result ? printable(result.message) : ''}\n  ${'code' in result ? result.code : ''}`;
    if (result.principal === null) return `${output.paint('green', '✔')} ${name}: ${'note' in result ? result.note : ''}`;
    return `${output.paint('green', '✔')} ${name} connects as ${printable(result.principal)} of trust.${result.trust}\n  roles   ${result.roles.length === 0 ? 'none: no binding of the policy matches it' : result.roles.join(', ')}\n  until   ${'expiresAt' in result ? result.expiresAt.toISOString() : ''}`;
  }).join('\n'));
  return results.every(({ ok }) => ok) ? 0 : 3;
}

const outcomeOf = (verdict: PeerVerdict, roles: (principal: Extract<PeerVerdict, { ok: true }>['peer']['principal']) => readonly string[]) => {
  if (!verdict.ok) return { ok: false as const, code: verdict.error.code, message: verdict.error.message };
  const { principal, expiresAt } = verdict.peer;
  return { ok: true as const, trust: principal.trust, principal: principal.id, roles: roles(principal), expiresAt: new Date(expiresAt) };
};

async function refreshTrust(call: Call<object>): Promise<ExitCode> {
  const { output, args, io } = call;
  const name = typeof args[0] === 'string' ? args[0] : undefined;
  const { config, foreign } = await openTrustView(call.directory, call.io);
  if (name !== undefined && !config.trust.has(name)) throw usage(`no authority is named ${name} under trust: ${config.trust.size === 0 ? 'there are none' : `there are ${[...config.trust.keys()].join(', ')}`}`, { name });
  const outcomes = await foreign.refresh(name);
  const now = io.clock.now().getTime();
  const anchors = foreign.state.filter((state) => outcomes.has(state.name)).map((state) => ({
    ...describe(state, config, now), problems: (outcomes.get(state.name) ?? []).map((error) => ({ code: codeOf(error), message: error instanceof Error ? error.message : String(error) })),
  }));
  foreign.close();
  output.result({ anchors }, () => (anchors.length === 0 ? 'nobody beside our own CA is trusted: name others under trust: in sallyport.yaml' : anchors.map((anchor) => [format(anchor, output), ...anchor.problems.map(({ message }) => `  ${output.paint('red', '✘')} ${printable(message)}`)].join('\n')).join('\n\n')));
  return anchors.every(({ problems }) => problems.length === 0) ? 0 : 1;
}

async function certificatesFrom(file: string, given: string): Promise<readonly Certificate[]> {
  try {
    return await certificatesIn(file, 'the command line');
  } catch (cause) {
    throw usage(`${given} cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`, { file: given });
  }
}

interface Described {
  readonly name: string;
  readonly identity: string;
  readonly issuers: 'any' | readonly string[];
  readonly status: string;
  readonly roots: readonly { readonly subject: string; readonly thumbprint: string; readonly notAfter: Date }[];
  readonly bundle: { readonly from: string; readonly sequence: string | null; readonly checkedAt: Date | null } | null;
  readonly crls: readonly DescribedCrl[];
  readonly ocsp: string | null;
}

interface DescribedCrl {
  readonly from: string;
  readonly delta: string | null;
  readonly standing: 'fresh' | 'late' | 'stale' | 'absent';
  readonly issuer: string | null;
  readonly crlNumber: string | null;
  readonly deltaNumber: string | null;
  readonly thisUpdate: Date | null;
  readonly nextUpdate: Date | null;
  readonly entries: number | null;
  readonly checkedAt: Date | null;
  readonly nextLookBy: Date | null;
}

function describe({ name, anchor, trustDomain, bundle, crls, ocsp }: FollowedAnchorState, config: Config, now: number): Described {
  const { status } = anchor;
  return {
    name,
    identity: trustDomain === undefined ? anchor.identity.from : `spiffe://${trustDomain}/…`,
    issuers: anchor.pinned?.map(({ subject }) => formatName(subject)) ?? 'any',
    status: typeof status === 'object' ? `certificates of at most ${formatDuration(status.shortLivedMs)}` : status === 'required' ? 'must be known' : 'dangerouslyAcceptUnknownStatus',
    roots: anchor.roots.map(({ subject, thumbprint, notAfter }) => ({ subject: formatName(subject), thumbprint, notAfter })),
    bundle: bundle === undefined ? null : { from: bundle.from, sequence: bundle.sequence?.toString() ?? null, checkedAt: bundle.checkedAt ?? null },
    crls: crls.map((state) => describeCrl(state, config.trust.get(name)?.refresh ?? 0, now)),
    ocsp: ocsp?.url ?? null,
  };
}

function describeCrl({ from, delta, crl, checkedAt }: FollowedCrlState, refreshMs: number, now: number): DescribedCrl {
  const looked = checkedAt ?? now;
  const life = crl === undefined ? undefined : { from: crl.thisUpdate.getTime(), until: crl.until };
  return {
    from, delta: delta ?? null,
    standing: crl === undefined ? 'absent' : crl.lifeSpent >= 1 ? 'stale' : crl.lifeSpent >= 0.75 ? 'late' : 'fresh',
    issuer: crl === undefined ? null : formatName(crl.issuer.subject),
    crlNumber: crl?.crlNumber?.toString() ?? null, deltaNumber: crl?.deltaNumber?.toString() ?? null,
    thisUpdate: crl?.thisUpdate ?? null, nextUpdate: crl?.nextUpdate ?? null, entries: crl?.entries ?? null,
    checkedAt: checkedAt === undefined ? null : new Date(checkedAt),
    nextLookBy: checkedAt === undefined ? null : new Date(looked + waitBeforeLook({ now: looked, life, failures: 0, refreshMs, random: 1 })),
  };
}

function format({ name, identity, issuers, status, roots, bundle, crls, ocsp }: Described, output: Call<object>['output']): string {
  const row = (what: string, text: string): string => `  ${what.padEnd(9)} ${text}`;
  return [
    output.paint('bold', name),
    ...(roots.length === 0 ? [row('roots', output.paint('red', 'none: nobody of it is let in'))] : roots.map(({ subject, notAfter }) => row('root', `${printable(subject)}, until ${day(notAfter)}`))),
    row('issuers', issuers === 'any' ? 'any CA below' : issuers.map(printable).join(' · ')),
    row('agents', `named by ${identity}`),
    row('status', status),
    ...(bundle === null ? [] : [row('bundle', `${bundle.from}${bundle.sequence === null ? '' : `, number ${bundle.sequence}`}, ${bundle.checkedAt === null ? 'never fetched' : `looked up ${minute(bundle.checkedAt)}`}`)]),
    ...crls.map((crl) => row('CRL', `${crl.from}\n${' '.repeat(12)}${formatCrl(crl, output)}`)),
    ...(ocsp === null ? [] : [row('OCSP', ocsp)]),
  ].join('\n');
}

function formatCrl({ standing, crlNumber, deltaNumber, entries, nextUpdate, nextLookBy }: DescribedCrl, output: Call<object>['output']): string {
  if (standing === 'absent') return output.paint('red', 'none yet: certificates are refused until there is one');
  const number = `${crlNumber === null ? 'without number' : `number ${crlNumber}`}${deltaNumber === null ? '' : ` with delta ${deltaNumber}`}`;
  return [
    output.paint(standing === 'fresh' ? 'green' : standing === 'late' ? 'yellow' : 'red', standing), number, `${entries ?? 0} revoked`,
    ...(nextUpdate === null ? [] : [`ends ${minute(nextUpdate)}`]), ...(nextLookBy === null ? [] : [`next look by ${minute(nextLookBy)}`]),
  ].join(' · ');
}

const day = (time: Date): string => time.toISOString().slice(0, 10);
const minute = (time: Date): string => `${time.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
