/** `sallyport requests`: certificates that a second person must approve. */
import { Option } from 'commander';
import { z } from 'zod';
import { formatDuration } from '../../ca/duration.ts';
import type { CertificateAuthority, CertificateRequest, RequestQuery, RequestState } from '../../ca/index.ts';
import { profilesOfAuthority } from '../../ca/profile.ts';
import { certificate as certificateSchema, issued, request as requestSchema } from '../api/schemas.ts';
import { openDeployment, openForReading, profileSettings } from '../app/deployment.ts';
import { requestStates, viewOf } from '../api/request-view.ts';
import type { RequestView } from '../api/request-view.ts';
import { argument, common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { formatTable, printable } from './output.ts';
import { readPassphrase } from './passphrase.ts';
import { remoteOf, remoteOptions } from './remote.ts';
import type { RemoteAuthority, RemoteOptions } from './remote.ts';

interface ListOptions extends RemoteOptions {
  readonly state: RequestState | 'all';
}

interface DenyOptions extends RemoteOptions {
  readonly reason: string;
}

export const registerRequests: RegisterCommand = (program, cli) => {
  const requests = program.command('requests').description('certificates that a second person must approve');
  const list = requests
    .command('list')
    .description('list requests, oldest first')
    .addOption(new Option('--state <state>', 'those in this state').choices([...requestStates, 'all']).default('pending'));
  common(remoteOptions(list), ['sallyport requests list', 'sallyport requests list --state all --json', 'sallyport requests list --server https://mcp.acme.internal:8444 --identity ./pki-approver']);
  list.action(cli.action<ListOptions>(listRequests));
  const show = requests.command('show').description('who asks, from where, with which key, and what would be issued').argument('<id>', 'request');
  common(remoteOptions(show), ['sallyport requests show 8f1c5a3be07d2946', 'sallyport requests show 8f1c5a3be07d2946 --json']);
  show.action(cli.action<RemoteOptions>(showRequest));
  const approve = requests.command('approve').description('approve a request that somebody else made, and issue the certificate').argument('<id>', 'request').addOption(passphraseOption());
  common(remoteOptions(approve), ['sallyport requests approve 8f1c5a3be07d2946', 'sallyport requests approve 8f1c5a3be07d2946 --json', 'sallyport requests approve 8f1c5a3be07d2946 --server https://mcp.acme.internal:8444 --identity ./pki-approver']);
  approve.action(cli.action<RemoteOptions>(approveRequest));
  const deny = requests
    .command('deny')
    .description('deny a request, or take back your own')
    .argument('<id>', 'request')
    .requiredOption('--reason <text>', 'why, for whoever asked and for the audit log')
    .addOption(passphraseOption());
  common(remoteOptions(deny), ["sallyport requests deny 8f1c5a3be07d2946 --reason 'nobody ordered this agent'"]);
  deny.action(cli.action<DenyOptions>(denyRequest));
};

async function listRequests(call: Call<ListOptions>): Promise<void> {
  const { options, output } = call;
  const { state } = options;
  const views = await reading(call, { far: async (remote) => (await remote.call('GET', '/requests', { answer: z.strictObject({ items: z.array(requestSchema) }), query: { state } })).items.map(viewOfAnswer), here: state === 'all' || state === 'expired' ? {} : { states: [state] } });
  // One that is overdue is written as expired by whoever decides next; it is shown so at once.
  const wanted = views.filter((view) => state === 'all' || view.state === state);
  output.result(wanted, () =>
    wanted.length === 0
      ? `no ${state === 'all' ? 'requests' : `requests are ${state}`}`
      : formatTable(['ID', 'STATE', 'AGENT', 'PROFILE', 'ASKED BY', 'FROM', 'SINCE', 'UNTIL'], wanted.map((view) => [view.id, view.state, view.agent, view.profile, view.vouchedBy ?? view.requestedBy, view.address ?? '-', minute(view.createdAt), minute(view.expiresAt)])),
  );
}

async function showRequest(call: Call<RemoteOptions>): Promise<void> {
  const id = argument(call, 0);
  const [view] = await reading(call, { far: async (remote) => [viewOfAnswer(await remote.call('GET', `/requests/${encodeURIComponent(id)}`, { answer: requestSchema }))], here: { id, limit: 1 } });
  if (view === undefined) throw usage(`there is no request ${id}: sallyport requests list shows those that wait`);
  call.output.result(view, () => describe(view));
}

async function approveRequest(call: Call<RemoteOptions>): Promise<void> {
  const { output } = call;
  const { request, agent, serial, thumbprint, notAfter } = await deciding(call, {
    far: async (remote, id) => {
      const answer = await remote.call('POST', `/requests/${id}/approval`, { answer: z.strictObject({ request: requestSchema, issued }) });
      return { request: viewOfAnswer(answer.request), ...madeOf(answer.issued.certificate) };
    },
    here: async (authority, id, { actor, view }) => {
      const { request: decided, certificate } = await authority.approveRequest(id, { actor });
      return { request: view(decided), agent: certificate.agent, serial: certificate.serial, thumbprint: certificate.thumbprint, notAfter: certificate.notAfter };
    },
  });
  output.result({ request, serial, thumbprint, notAfter }, `approved ${request.id}: ${printable(agent)}, serial ${serial}, valid until ${notAfter.toISOString()}`);
  output.note('whoever asked gets the certificate when asking again with the same request; sallyport enroll --wait and the bridge do so themselves');
}

async function denyRequest(call: Call<DenyOptions>): Promise<void> {
  const { reason } = call.options;
  const request = await deciding(call, {
    far: async (remote, id) => viewOfAnswer(await remote.call('POST', `/requests/${id}/denial`, { answer: requestSchema, body: { reason } })),
    here: async (authority, id, { actor, view }) => view(await authority.denyRequest(id, { actor, reason })),
  });
  call.output.result({ request }, `denied ${request.id} of ${printable(request.agent)}`);
}

interface Deciding<Result> {
  readonly far: (remote: RemoteAuthority, id: string) => Promise<Result>;
  readonly here: (authority: CertificateAuthority, id: string, world: { readonly actor: string; readonly view: (request: CertificateRequest) => RequestView }) => Promise<Result>;
}

async function deciding<Result>(call: Call<RemoteOptions>, { far, here }: Deciding<Result>): Promise<Result> {
  const { io, options, directory } = call;
  const id = argument(call, 0);
  const remote = remoteOf(io, options);
  if (remote !== undefined) {
    try {
      return await far(remote, encodeURIComponent(id));
    } finally {
      remote.close();
    }
  }
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const { authority } = deployment;
    return await here(authority, id, { actor: `cli:${io.user}`, view: (request) => viewOf(request, { profiles: authority.profiles, trustDomain: authority.trustDomain, now: io.clock.now() }) });
  } finally {
    await deployment.close();
  }
}

async function reading({ io, options, directory }: Call<RemoteOptions>, { far, here }: { readonly far: (remote: RemoteAuthority) => Promise<readonly RequestView[]>; readonly here: RequestQuery }): Promise<readonly RequestView[]> {
  const remote = remoteOf(io, options);
  if (remote !== undefined) {
    try {
      return await far(remote);
    } finally {
      remote.close();
    }
  }
  const { config, store, close } = await openForReading(directory, io.clock);
  try {
    const profiles = profilesOfAuthority(profileSettings(config));
    return (await store.ca.findRequests(here)).map((request: CertificateRequest) => viewOf(request, { profiles, trustDomain: config.trustDomain, now: io.clock.now() }));
  } finally {
    await close();
  }
}

/** As it is shown here, out of what the API says of it. */
const viewOfAnswer = ({ id, state, agent, profile, way, requestedBy, vouchedBy, address, createdAt, expiresAt, wouldIssue, problem, keyAlgorithm, spkiHash, decidedAt, decidedBy, reason, serial }: z.output<typeof requestSchema>): RequestView => ({
  id, state, agent, profile, way, requestedBy, vouchedBy, address, createdAt: new Date(createdAt), expiresAt: new Date(expiresAt), wouldIssue, problem,
  key: { algorithm: keyAlgorithm, spkiHash }, decidedAt: decidedAt === null ? null : new Date(decidedAt), decidedBy, reason, serial,
});

const madeOf = ({ agent, serial, thumbprint, notAfter }: z.output<typeof certificateSchema>) => ({ agent, serial, thumbprint: thumbprint ?? '', notAfter: new Date(notAfter) });

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
