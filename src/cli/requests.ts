/** `sallyport requests`: certificates that a second person must approve. */
import { Option } from 'commander';
import { formatDuration } from '../../ca/duration.ts';
import type { CertificateRequest, RequestQuery, RequestState } from '../../ca/index.ts';
import { profilesOfAuthority } from '../../ca/profile.ts';
import { openDeployment, openForReading, profileSettings } from '../app/deployment.ts';
import { viewOf } from '../app/request-view.ts';
import type { RequestView } from '../app/request-view.ts';
import { argument, common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { formatTable, printable } from './output.ts';
import { readPassphrase } from './passphrase.ts';

interface ListOptions {
  readonly state: RequestState | 'all';
}

interface DenyOptions {
  readonly reason: string;
}

const states = ['pending', 'approved', 'issued', 'collected', 'denied', 'expired'] as const satisfies readonly RequestState[];

export const registerRequests: RegisterCommand = (program, cli) => {
  const requests = program.command('requests').description('certificates that a second person must approve');
  const list = requests
    .command('list')
    .description('list requests, oldest first')
    .addOption(new Option('--state <state>', 'those in this state').choices([...states, 'all']).default('pending'));
  common(list, ['sallyport requests list', 'sallyport requests list --state all --json']);
  list.action(cli.action<ListOptions>(listRequests));
  const show = requests.command('show').description('who asks, from where, with which key, and what would be issued').argument('<id>', 'request');
  common(show, ['sallyport requests show 8f1c5a3be07d2946', 'sallyport requests show 8f1c5a3be07d2946 --json']);
  show.action(cli.action(showRequest));
  const approve = requests.command('approve').description('approve a request that somebody else made, and issue the certificate').argument('<id>', 'request').addOption(passphraseOption());
  common(approve, ['sallyport requests approve 8f1c5a3be07d2946', 'sallyport requests approve 8f1c5a3be07d2946 --json']);
  approve.action(cli.action(approveRequest));
  const deny = requests
    .command('deny')
    .description('deny a request, or take back your own')
    .argument('<id>', 'request')
    .requiredOption('--reason <text>', 'why, for whoever asked and for the audit log')
    .addOption(passphraseOption());
  common(deny, ["sallyport requests deny 8f1c5a3be07d2946 --reason 'nobody ordered this agent'"]);
  deny.action(cli.action<DenyOptions>(denyRequest));
};

async function listRequests(call: Call<ListOptions>): Promise<void> {
  const { options, output } = call;
  const wanted: readonly RequestState[] | undefined = options.state === 'all' ? undefined : [options.state];
  // One that is overdue is written as expired by whoever decides next; it is shown so at once.
  const views = (await read(call, wanted === undefined || options.state === 'expired' ? {} : { states: wanted })).filter(({ state }) => wanted?.includes(state) !== false);
  output.result(views, () =>
    views.length === 0
      ? `no ${options.state === 'all' ? 'requests' : `requests are ${options.state}`}`
      : formatTable(['ID', 'STATE', 'AGENT', 'PROFILE', 'ASKED BY', 'FROM', 'SINCE', 'UNTIL'], views.map((view) => [view.id, view.state, view.agent, view.profile, view.vouchedBy ?? view.requestedBy, view.address ?? '-', minute(view.createdAt), minute(view.expiresAt)])),
  );
}

async function showRequest(call: Call<object>): Promise<void> {
  const [view] = await read(call, { id: argument(call, 0), limit: 1 });
  if (view === undefined) throw usage(`there is no request ${argument(call, 0)}: sallyport requests list shows those that wait`);
  call.output.result(view, () => describe(view));
}

async function approveRequest(call: Call<object>): Promise<void> {
  const { io, options, output, directory } = call;
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const { authority } = deployment;
    const { request, certificate } = await authority.approveRequest(argument(call, 0), { actor: `cli:${io.user}` });
    output.result(
      { request: viewOf(request, { profiles: authority.profiles, trustDomain: authority.trustDomain, now: io.clock.now() }), serial: certificate.serial, thumbprint: certificate.thumbprint, notAfter: certificate.notAfter },
      `approved ${request.id}: ${printable(certificate.agent)}, serial ${certificate.serial}, valid until ${certificate.notAfter.toISOString()}`,
    );
    output.note('whoever asked gets the certificate when asking again with the same request; sallyport enroll --wait and the bridge do so themselves');
  } finally {
    await deployment.close();
  }
}

async function denyRequest(call: Call<DenyOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const { authority } = deployment;
    const request = await authority.denyRequest(argument(call, 0), { actor: `cli:${io.user}`, reason: options.reason });
    output.result({ request: viewOf(request, { profiles: authority.profiles, trustDomain: authority.trustDomain, now: io.clock.now() }) }, `denied ${request.id} of ${printable(request.agent)}`);
  } finally {
    await deployment.close();
  }
}

async function read({ io, directory }: Call<object>, query: RequestQuery): Promise<readonly RequestView[]> {
  const { config, store, close } = await openForReading(directory, io.clock);
  try {
    const profiles = profilesOfAuthority(profileSettings(config));
    return (await store.ca.findRequests(query)).map((request: CertificateRequest) => viewOf(request, { profiles, trustDomain: config.trustDomain, now: io.clock.now() }));
  } finally {
    await close();
  }
}

function describe(view: RequestView): string {
  const { wouldIssue } = view;
  return [
    `request ${view.id} is ${view.state}${view.decidedBy === null ? '' : `, by ${printable(view.decidedBy)}${view.decidedAt === null ? '' : ` at ${view.decidedAt.toISOString()}`}`}`,
    ...(view.reason === null ? [] : [`  reason      ${printable(view.reason)}`]),
    `  asked by    ${printable(view.requestedBy)}${view.vouchedBy === null ? '' : `, with what ${printable(view.vouchedBy)} made`}, by ${view.way}`,
    `  from        ${view.address ?? 'this machine'}`,
    `  asked at    ${view.createdAt.toISOString()}, waits until ${view.expiresAt.toISOString()}`,
    `  key         ${view.key.algorithm}, SHA-256 ${view.key.spkiHash}`,
    `  profile     ${view.profile}`,
    ...(wouldIssue === null
      ? [`  nothing would be issued: ${printable(view.problem ?? '')}`]
      : [`  subject     ${printable(wouldIssue.subject)}`, ...wouldIssue.names.map((name) => `  name        ${printable(name)}`), `  for         ${wouldIssue.extendedKeyUsage.join(', ')}`, `  lifetime    ${formatDuration(wouldIssue.lifetimeSeconds)}`]),
    ...(view.serial === null ? [] : [`  serial      ${view.serial}`]),
    ...(view.state === 'pending' ? ['', 'next', `  sallyport requests approve ${view.id}`, `  sallyport requests deny ${view.id} --reason '…'`] : []),
  ].join('\n');
}

const minute = (date: Date): string => date.toISOString().slice(0, 16).replace('T', ' ');
