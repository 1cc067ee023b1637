import { hash } from 'node:crypto';
import { z } from 'zod';
import { grantedToAgent, grantedToServer } from '../../../ca/grant.ts';
import type { Granted } from '../../../ca/issuance.ts';
import { revocationReasons } from '../../../ca/revocation.ts';
import { wholeSecond } from '../../../ca/revocation-selector.ts';
import type { CertificateQuery, CertificateRecord } from '../../../ca/ports.ts';
import type { IssuedCertificate } from '../../../ca/requests.ts';
import { parseCertificate } from '../../../ca/x509/certificate.ts';
import { parseCsr } from '../../../ca/x509/csr.ts';
import { formatName, nameAttributes } from '../../../ca/x509/name.ts';
import { CaError } from '../../../ca/errors.ts';
import type { AdminTarget } from '../../admin/decision.ts';
import { principalOf } from '../../identity/principal-of.ts';
import { ownTrust } from '../../identity/principal.ts';
import type { Principal } from '../../identity/principal.ts';
import { SallyportError } from '../../errors.ts';
import type { Policy } from '../../policy/policy.ts';
import { summarizeGrants } from '../../policy/summary.ts';
import { operation } from '../operation.ts';
import type { ApiCall, ApiWorld, Operation } from '../operation.ts';
import { certificate, certificateFilter, issueBody, issued, issuerWord, newlyIssued, page, serial } from '../schemas.ts';
import { certificateView, cursorOf, issuedView, issuerIdOf, placeOf, targetOf } from '../views.ts';

type Filter = z.output<typeof certificateFilter>;
type IssueBody = z.output<typeof issueBody>;

const listCertificates = operation(
  { id: 'listCertificates', method: 'GET', path: '/certificates', tag: 'certificates', summary: 'Certificates, oldest first', action: 'certificate:read', changes: false },
  { query: certificateFilter, answer: page(certificate) },
  {
    run: async ({ query, world: { authority, clock } }) => {
      const now = clock.now();
      const records = await authority.certificates(queryOf(query, authority, now));
      const last = records.at(-1);
      return { answer: { items: records.map((record) => certificateView(record, now)), next: last === undefined || records.length < query.limit ? null : cursorOf(last.createdAt, last.serial, last.issuerId) } };
    },
  },
);

const getCertificate = operation(
  { id: 'getCertificate', method: 'GET', path: '/certificates/{serial}', tag: 'certificates', summary: 'One certificate, with its PEM and what leads to the root', action: 'certificate:read', changes: false },
  { params: z.strictObject({ serial: serial() }), query: z.strictObject({ issuer: issuerWord().optional() }), answer: issued },
  {
    run: async ({ params, query, world: { authority, clock } }) => {
      const issuerId = issuerIdOf(query.issuer, authority);
      const [record] = await authority.certificates({ serial: params.serial, ...(issuerId === undefined ? {} : { issuerId }), limit: 1 });
      if (record?.der === undefined) throw new CaError('ERR_CA_CERTIFICATE_UNKNOWN', `there is no certificate with serial ${params.serial}; listCertificates shows those there are`);
      return { answer: issuedView(record, authority, clock.now()) };
    },
  },
);

const issueCertificate = operation(
  {
    id: 'issueCertificate', method: 'POST', path: '/certificates', tag: 'certificates', summary: 'Issue a certificate for the key of a request', status: 201, idempotent: true,
    description: 'With an `Idempotency-Key` the same request sent again is answered with the same certificate. Where the profile demands approval the answer is 202 and the problem ERR_REQUEST_PENDING until a second person approved it; then the same request gets the certificate.',
    action: 'certificate:issue', changes: true,
  },
  { body: issueBody, answer: newlyIssued },
  {
    prepare: async ({ body, world }) => ({ targets: [await newTarget(world, body)], prepared: undefined }),
    run: async (call) => {
      const { world: { authority, clock, places, policy } } = call;
      const { key, replayed } = await issueOnce(call);
      const [record] = await authority.certificates({ ...key, limit: 1 });
      if (record === undefined) throw new SallyportError('ERR_INTERNAL', 'the certificate is not in the store');
      const { gateway, enrollment } = places();
      return { answer: { ...issuedView(record, authority, clock.now()), grants: grantsOf(record, policy()), gateway, renewal: `${enrollment}/renew` }, ...(replayed ? { headers: { 'idempotent-replayed': 'true' } } : {}) };
    },
  },
);

export const certificateOperations: readonly Operation[] = [listCertificates, getCertificate, issueCertificate];

const queryOf = (filter: Filter, authority: ApiWorld['authority'], now: Date): CertificateQuery => {
  const { limit, cursor, issuer, status, createdFrom, createdBefore, expiresBefore, ...equal } = filter;
  const from = cursor === undefined ? undefined : placeOf(cursor);
  const issuerId = issuerIdOf(issuer, authority);
  const ends = [...(expiresBefore === undefined ? [] : [Date.parse(expiresBefore)]), ...(status === 'expired' ? [wholeSecond(now).getTime()] : [])];
  return {
    ...(Object.fromEntries(Object.entries(equal).filter(([, value]) => value !== undefined)) as Pick<CertificateQuery, 'agent'>),
    ...(issuerId === undefined ? {} : { issuerId }),
    ...(createdFrom === undefined ? {} : { createdFrom: new Date(createdFrom) }),
    ...(createdBefore === undefined ? {} : { createdBefore: new Date(createdBefore) }),
    ...(ends.length === 0 ? {} : { expiresBefore: new Date(Math.min(...ends)) }),
    ...(status === undefined ? {} : statusQuery(status, now)),
    ...(from === undefined ? {} : { after: { createdAt: from.at, serial: from.first, issuerId: from.second } }),
    limit,
  };
};

const statusQuery = (status: NonNullable<Filter['status']>, now: Date): Pick<CertificateQuery, 'states' | 'validAt' | 'revocationReasons'> => {
  switch (status) {
    case 'live':
      return { states: ['issued'], validAt: wholeSecond(now) };
    case 'expired':
      return { states: ['issued'] };
    case 'held':
      return { revocationReasons: ['certificateHold'] };
    case 'revoked':
      return { revocationReasons: revocationReasons.filter((reason) => reason !== 'certificateHold') };
    case 'unknownIssued':
    case 'intent':
      return { states: [status] };
    default:
      return status satisfies never;
  }
};

/** What the certificate will say, for those who decide. */
export const newTarget = async ({ authority, clock }: Pick<ApiWorld, 'authority' | 'clock'>, request: Pick<IssueBody, 'agent' | 'hosts' | 'profile' | 'organizationalUnits' | 'email'>): Promise<AdminTarget> => {
  const { agent, hosts, organizationalUnits = [], email } = request;
  const name = request.profile ?? (hosts === undefined ? 'agent' : 'server');
  const profile = authority.profiles.get(name);
  if (profile === undefined) throw new CaError('ERR_CA_PROFILE', `there is no profile ${JSON.stringify(name)}; use one of ${[...authority.profiles.keys()].join(', ')}`, { facts: { profile: name } });
  const granted = hosts === undefined ? grantedToAgent(authority.trustDomain, agent ?? '', { organizationalUnits, email }, profile) : grantedToServer(hosts, profile);
  // A server is known by its hosts, and may be called as an agent is.
  const held = agent === undefined ? [] : await authority.certificates({ agent, validAt: wholeSecond(clock.now()), limit: mostNamesakes });
  const namesakes = held.filter((record) => authority.profiles.get(record.profile)?.kind !== 'server').map(targetOf);
  return { agent: agent ?? hosts?.[0] ?? '', profile: name, organizationalUnits, becomes: principalToBe(granted, authority.issuing.id), namesakes };
};

/** Those of an agent that have not expired: the live ones and what was replaced or revoked lately. */
const mostNamesakes = 1_000;

const principalToBe = ({ subject, uris, dnsNames, emails = [] }: Granted, issuerId: string): Principal => ({
  id: uris[0] ?? '',
  subject: formatName(subject),
  commonName: nameAttributes(subject, 'CN')[0],
  organizations: nameAttributes(subject, 'O'),
  organizationalUnits: nameAttributes(subject, 'OU'),
  uris,
  dnsNames,
  emails,
  trust: ownTrust,
  issuerId,
  serial: '',
  thumbprint: '',
  notBefore: new Date(0),
  notAfter: new Date(0),
});

const grantsOf = ({ der, issuerId }: CertificateRecord, policy: Policy): z.input<typeof newlyIssued>['grants'] => {
  if (der === undefined) return [];
  return summarizeGrants(policy, principalOf(parseCertificate(der), issuerId)).map(({ upstream, tools, resources, prompts, logging, argumentRules, denied, roles }) => ({
    upstream, tools: [...tools], resources: [...resources], prompts: [...prompts], logging, argumentRules: [...argumentRules], denied: [...denied], roles: [...roles],
  }));
};

type IssueCall = ApiCall<undefined, undefined, IssueBody>;

const issue = ({ body, principal, world: { authority } }: IssueCall): Promise<IssuedCertificate> => {
  const { csr, agent, hosts, profile, organizationalUnits, email, ttl, allowRevoked } = body;
  const common = { csr, actor: principal.id, way: 'api' as const, ...(profile === undefined ? {} : { profile }), ...(ttl === undefined ? {} : { ttl }) };
  if (hosts !== undefined) return authority.issueServer({ hosts, ...common });
  return authority.issue({ agent: agent ?? '', organizationalUnits: organizationalUnits ?? [], onRevokedIdentity: allowRevoked === true ? 'allow' : 'deny', ...(email === undefined ? {} : { email }), ...common });
};

/** How long a request that was begun and not finished is taken to be at work still. */
const patienceMs = 60_000;

interface Once {
  readonly key: Pick<CertificateRecord, 'issuerId' | 'serial'>;
  readonly replayed: boolean;
}

/** The key is on disk before anything is issued, so that a crash in between is found out about at the next try. */
const issueOnce = async (call: IssueCall): Promise<Once> => {
  const { principal, idempotencyKey, body, world: { store, clock, authority } } = call;
  if (idempotencyKey === undefined) return { key: keyOf(await issue(call)), replayed: false };
  const request = { principal: principal.id, key: idempotencyKey };
  const fresh = { ...request, digest: hash('sha256', JSON.stringify(body, Object.keys(body).toSorted()), 'hex'), at: clock.now() };
  let earlier = await store.answered.begin(fresh);
  if (earlier !== undefined) {
    if (earlier.digest !== fresh.digest) throw new SallyportError('ERR_API_REPEATED', 'this Idempotency-Key was used for another request; use a new one');
    const made = earlier.certificate ?? (await madeSince(earlier.at, body, authority));
    if (made !== undefined) {
      if (earlier.certificate === undefined) await store.answered.complete(request, made);
      return { key: made, replayed: true };
    }
    if (fresh.at.getTime() - earlier.at.getTime() < patienceMs) throw stillAtWork();
    earlier = await store.answered.begin(fresh, { instead: earlier });
    if (earlier !== undefined) throw stillAtWork();
  }
  let key: Once['key'];
  try {
    key = keyOf(await issue(call));
  } catch (error) {
    await store.answered.forget(request);
    throw error;
  }
  await store.answered.complete(request, key);
  return { key, replayed: false };
};

const keyOf = ({ issuerId, serial: number }: IssuedCertificate): Once['key'] => ({ issuerId, serial: number });

/** What a process that died had issued before it could note it. */
const madeSince = async (since: Date, { csr, agent, hosts }: IssueBody, authority: ApiWorld['authority']): Promise<Once['key'] | undefined> => {
  const [record] = await authority.certificates({ spkiHash: parseCsr(csr).spkiHash, agent: agent ?? hosts?.[0] ?? '', createdFrom: since, states: ['issued', 'revoked'], limit: 1 });
  return record?.der === undefined ? undefined : { issuerId: record.issuerId, serial: record.serial };
};

const stillAtWork = (): SallyportError => new SallyportError('ERR_API_REPEATED', 'the request with this Idempotency-Key is not finished; ask again in a moment');
