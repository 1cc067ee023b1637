import { z } from 'zod';
import type { RevokeSelector } from '../../../ca/requests.ts';
import { SallyportError } from '../../errors.ts';
import { waitUntilApplied } from '../../store/changes.ts';
import { operation } from '../operation.ts';
import type { ApiWorld, Operation } from '../operation.ts';
import { crl, issuerWord, release, releaseBody, revocation, revokeBody } from '../schemas.ts';
import { badRequest, certificateView, crlView, issuerIdOf, targetOf } from '../views.ts';

/** A gateway that has not answered by then is named; what was done stands regardless. */
const patienceMs = 2_000;
/** Certificates told one by one. */
const told = 1_000;

const revokeCertificates = operation(
  {
    id: 'revokeCertificates', method: 'POST', path: '/revocations', tag: 'revocation', summary: 'Revoke certificates, finally or on hold, and close their connections',
    description: 'Of several conditions all must match. One certificate, and those of one agent, are revoked at once; other selections are only told, with `dryRun: true` in the answer, unless `confirm` is true.',
    action: 'certificate:revoke', changes: true,
  },
  { body: revokeBody, answer: revocation },
  {
    prepare: async ({ body, world: { authority } }) => {
      const selector = selectorOf(body, authority);
      const preview = await authority.previewRevocation(selector, { reason: body.reason });
      return { targets: preview.due.map(targetOf), prepared: { selector, preview } };
    },
    run: async ({ body, principal, permits, world }, { selector, preview }) => {
      const { authority, clock } = world;
      const bulk = preview.due.length > 1 && !isOneIdentity(selector);
      if (body.dryRun || (bulk && !body.confirm)) {
        return { answer: { dryRun: true, reason: body.reason, count: preview.due.length, certificates: shown(preview.due, clock.now()), alreadyRevoked: preview.alreadyRevoked.length, gateways: [], missing: [] } };
      }
      const done = await authority.revoke(selector, { reason: body.reason, actor: principal.id, among: (record) => permits(targetOf(record)) });
      return { answer: { dryRun: false, reason: body.reason, count: done.revoked.length, certificates: shown(done.revoked, clock.now()), alreadyRevoked: done.alreadyRevoked.length, ...(await applied(world, done.changeSeq)) } };
    },
  },
);

const releaseCertificates = operation(
  { id: 'releaseCertificates', method: 'POST', path: '/releases', tag: 'revocation', summary: 'Lift the hold of an agent or a certificate', action: 'certificate:release', changes: true },
  { body: releaseBody, answer: release },
  {
    prepare: async ({ body, world: { authority } }) => {
      const { agent, serial, thumbprint } = body;
      const selector = { ...(agent === undefined ? {} : { agent }), ...(serial === undefined ? {} : { serial }), ...(thumbprint === undefined ? {} : { thumbprint }) };
      const held = await authority.certificates({ ...selector, revocationReasons: ['certificateHold'] });
      return { targets: held.map(targetOf), prepared: selector };
    },
    run: async ({ principal, permits, world }, selector) => {
      const { released, changeSeq } = await world.authority.release(selector, { actor: principal.id, among: (record) => permits(targetOf(record)) });
      const { gateways, missing } = await applied(world, changeSeq);
      return { answer: { certificates: shown(released, world.clock.now()), gateways: gateways.map(({ node }) => ({ node })), missing } };
    },
  },
);

const listCrls = operation(
  { id: 'listCrls', method: 'GET', path: '/crls', tag: 'revocation', summary: 'The newest CRL of each CA', action: 'authority:read', changes: false },
  { answer: z.strictObject({ items: z.array(crl) }) },
  {
    run: async ({ world: { authority, store } }) => {
      const items = await Promise.all(authority.issuers.map(async ({ id, name }) => crlView(await store.ca.crlStates(id), name)));
      return { answer: { items: items.filter((item) => item !== undefined) } };
    },
  },
);

const publishCrl = operation(
  { id: 'publishCrl', method: 'POST', path: '/crls/{ca}', tag: 'revocation', summary: 'Sign and publish a new CRL now', action: 'crl:publish', changes: true },
  { params: z.strictObject({ ca: issuerWord() }), answer: crl },
  {
    run: async ({ params, principal, world: { authority } }) => {
      const id = issuerIdOf(params.ca, authority);
      const name = authority.issuers.find((issuer) => issuer.id === id)?.name;
      if (name === undefined) throw badRequest(`there is no CA ${params.ca}`);
      const published = crlView(await authority.publishCrls(name, { actor: principal.id }), name);
      if (published === undefined) throw new SallyportError('ERR_INTERNAL', 'there is no CRL although one was published');
      return { answer: published };
    },
  },
);

export const revocationOperations: readonly Operation[] = [revokeCertificates, releaseCertificates, listCrls, publishCrl];

const selectorOf = (body: z.output<typeof revokeBody>, authority: ApiWorld['authority']): RevokeSelector => {
  const { agent, serial, thumbprint, spkiHash, profile, organizationalUnit, issuedFrom, issuedBefore } = body;
  const issuerId = issuerIdOf(body.issuer, authority);
  return {
    ...(agent === undefined ? {} : { agent }),
    ...(serial === undefined ? {} : { serial }),
    ...(thumbprint === undefined ? {} : { thumbprint }),
    ...(spkiHash === undefined ? {} : { spkiHash }),
    ...(issuerId === undefined ? {} : { issuerId }),
    ...(profile === undefined ? {} : { profile }),
    ...(organizationalUnit === undefined ? {} : { organizationalUnit }),
    ...(issuedFrom === undefined ? {} : { issuedFrom: new Date(issuedFrom) }),
    ...(issuedBefore === undefined ? {} : { issuedBefore: new Date(issuedBefore) }),
  };
};

/** As the command line has it: that an agent has a second certificate while it renews must not hold up its revocation. */
const isOneIdentity = (selector: RevokeSelector): boolean => Object.keys(selector).length === 1 && (selector.agent !== undefined || selector.serial !== undefined || selector.thumbprint !== undefined);

const shown = (records: Parameters<typeof certificateView>[0][] | readonly Parameters<typeof certificateView>[0][], now: Date) => records.slice(0, told).map((record) => certificateView(record, now));

const applied = async ({ store, clock }: ApiWorld, seq: number) => {
  const { applied: confirmed, missing } = await waitUntilApplied(store.changes, { seq, clock, timeoutMs: patienceMs });
  return {
    gateways: confirmed.map(({ nodeId, facts }) => ({ node: nodeId, connectionsCut: facts.connectionsCut, millis: facts.millis })),
    missing: missing.map(({ nodeId, seenAt }) => ({ node: nodeId, seenAt: seenAt.toISOString() })),
  };
};
