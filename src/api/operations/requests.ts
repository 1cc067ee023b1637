import { z } from 'zod';
import type { CertificateRequest } from '../../../ca/ports.ts';
import type { AdminTarget } from '../../admin/decision.ts';
import { operation } from '../operation.ts';
import type { ApiWorld, Operation } from '../operation.ts';
import { issued, request as requestSchema, requestState } from '../schemas.ts';
import { requestsInState, viewOf } from '../request-view.ts';
import { issuedView } from '../views.ts';
import { newTarget } from './certificates.ts';

const id = z.string().min(1).max(64);

const listRequests = operation(
  { id: 'listRequests', method: 'GET', path: '/requests', tag: 'requests', summary: 'Requests that wait for a second person, oldest first; the first thousand', action: 'request:read', changes: false },
  { query: z.strictObject({ state: z.enum([...requestState.options, 'all']).default('pending') }), answer: z.strictObject({ items: z.array(requestSchema) }) },
  { run: async ({ query: { state }, world }) => ({ answer: { items: (await requestsInState(state, world.authority)).map((each) => requestView(each, world)) } }) },
);

const getRequest = operation(
  { id: 'getRequest', method: 'GET', path: '/requests/{id}', tag: 'requests', summary: 'One request', action: 'request:read', changes: false },
  { params: z.strictObject({ id }), answer: requestSchema },
  { run: async ({ params, world }) => ({ answer: requestView(await world.authority.request(params.id), world) }) },
);

const approveRequest = operation(
  { id: 'approveRequest', method: 'POST', path: '/requests/{id}/approval', tag: 'requests', summary: 'Approve and issue; not for who asked or vouched for it', action: 'request:decide', changes: true },
  { params: z.strictObject({ id }), answer: z.strictObject({ request: requestSchema, issued }) },
  {
    prepare: async ({ params, world }) => ({ targets: [await targetOfRequest(world, await world.authority.request(params.id))], prepared: undefined }),
    run: async ({ params, principal, world }) => {
      const { authority, clock } = world;
      const { request, certificate } = await authority.approveRequest(params.id, { actor: principal.id });
      const [record] = await authority.certificates({ issuerId: certificate.issuerId, serial: certificate.serial, limit: 1 });
      if (record === undefined) throw new TypeError('what was issued is in the store');
      return { answer: { request: requestView(request, world), issued: issuedView(record, authority, clock.now()) } };
    },
  },
);

const denyRequest = operation(
  { id: 'denyRequest', method: 'POST', path: '/requests/{id}/denial', tag: 'requests', summary: 'Deny a request, with a reason for who asked', action: 'request:decide', changes: true },
  { params: z.strictObject({ id }), body: z.strictObject({ reason: z.string().min(1).max(500) }).meta({ id: 'DenyRequest' }), answer: requestSchema },
  {
    prepare: async ({ params, world: { authority } }) => {
      const { agent, profile, terms } = await authority.request(params.id);
      return { targets: [{ agent, profile, organizationalUnits: terms.organizationalUnits }], prepared: undefined };
    },
    run: async ({ params, body, principal, world }) => ({ answer: requestView(await world.authority.denyRequest(params.id, { actor: principal.id, reason: body.reason }), world) }),
  },
);

export const requestOperations: readonly Operation[] = [listRequests, getRequest, approveRequest, denyRequest];

const targetOfRequest = (world: ApiWorld, { agent, profile, terms }: CertificateRequest): Promise<AdminTarget> => {
  const { organizationalUnits, hosts, email } = terms;
  return newTarget(world, { profile, ...(hosts.length > 0 ? { hosts: [...hosts] } : { agent, organizationalUnits: [...organizationalUnits], email }) });
};

const requestView = (request: CertificateRequest, { authority, clock }: Pick<ApiWorld, 'authority' | 'clock'>): z.input<typeof requestSchema> => {
  const { organizationalUnits, hosts, email, ttlSeconds } = request.terms;
  const { key, wouldIssue, createdAt, expiresAt, decidedAt, ...view } = viewOf(request, { profiles: authority.profiles, trustDomain: authority.trustDomain, now: clock.now() });
  return {
    ...view,
    organizationalUnits: [...organizationalUnits],
    hosts: [...hosts],
    email: email ?? null,
    ttlSeconds,
    wouldIssue: wouldIssue === null ? null : { ...wouldIssue, names: [...wouldIssue.names], extendedKeyUsage: [...wouldIssue.extendedKeyUsage] },
    spkiHash: key.spkiHash,
    keyAlgorithm: key.algorithm,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt.toISOString(),
    decidedAt: decidedAt?.toISOString() ?? null,
  };
};
