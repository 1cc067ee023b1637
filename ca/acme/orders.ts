/** Orders, RFC 8555 §7.4. */
import { standingRevocation } from '../admission.ts';
import { CaError } from '../errors.ts';
import { grantedToAgent, grantedToServer } from '../grant.ts';
import { allCertificates } from '../revocation.ts';
import { orderCreated } from './events.ts';
import { followUp } from './finalize.ts';
import type { Progress } from './finalize.ts';
import { checkIdentifiers, parseIdentifiers } from './identifiers.ts';
import type { AcmeAuthorization, AcmeOrder, ExternalAccount, Identifier } from './ports.ts';
import { AcmeProblem, malformed, notFound } from './problem.ts';
import { certificateNamed } from './renewal-info.ts';
import { randomName } from './secrets.ts';
import { toBase64url } from './base64url.ts';
import { payloadOf, requireEmpty } from './signed-request.ts';
import type { AccountRequest } from './signed-request.ts';
import { json } from './world.ts';
import type { AcmeWorld } from './world.ts';

const lifetimeMs = 24 * 3_600_000;
const mostOpen = 300;
const pageSize = 100;

export const newOrder = async (world: AcmeWorld, request: AccountRequest): Promise<Response> => {
  const { store, clock, limits, settings, randomness } = world;
  const { account, external, address } = request;
  limits.take('order', account.id);
  const payload = payloadOf(request);
  // RFC 8555 §7.4: what cannot be granted is refused, not left out.
  if (payload.has('notBefore') || payload.has('notAfter')) throw malformed('the lifetime is that of the profile: leave out notBefore and notAfter');
  const identifiers = checkIdentifiers(parseIdentifiers(payload.get('identifiers')), external, settings);
  const profile = profileOf(payload.get('profile'), external, settings.profiles);
  await requireStanding(world, external);
  requireGrantable(world, identifiers, profile, external);
  const replaces = await replaced(world, payload.get('replaces'), { accountId: account.id, identifiers });
  const time = clock.now();
  if ((await store.openOrders(account.id, time)) >= mostOpen) throw new AcmeProblem('rateLimited', `the account has ${mostOpen} open orders; finish them, or let them expire`, { headers: { 'retry-after': '3600' } });

  const expiresAt = new Date(time.getTime() + lifetimeMs);
  const id = randomName(randomness);
  const authorizations = identifiers.map((identifier): AcmeAuthorization => ({
    id: randomName(randomness), orderId: id, accountId: account.id, identifier, expiresAt,
    ...(external?.agent === undefined ? { status: 'pending', challenges: challengesOf(world) } : { status: 'valid', challenges: [] }),
  }));
  const order: AcmeOrder = {
    id, accountId: account.id, identifiers, profile, replaces, expiresAt, createdAt: time,
    // The external account is the proof: an operator gave it for this agent and no other.
    status: external?.agent === undefined ? 'pending' : 'ready',
    authorizationIds: authorizations.map((authorization) => authorization.id),
    error: undefined, csr: undefined, spkiHash: undefined, finalizedAt: undefined, certificate: undefined,
  };
  const taken = await store.createOrder(order, authorizations, orderCreated(order, external?.agent, { time, address }));
  // RFC 9773 §5.
  if (!taken) throw new AcmeProblem('alreadyReplaced', 'another order replaces this certificate already');
  return json(201, orderView(world, order), { location: world.urls.order(id) });
};

export const showOrder = async (world: AcmeWorld, request: AccountRequest, id: string): Promise<Response> => {
  requireEmpty(request);
  return orderResponse(world, await followUp(world, request, await ownOrder(world, request, id)));
};

export const orderResponse = (world: AcmeWorld, { order, retryAfterSeconds = 1 }: Progress): Response =>
  json(200, orderView(world, order), { location: world.urls.order(order.id), ...(order.status === 'processing' ? { 'retry-after': String(retryAfterSeconds) } : {}) });

/** RFC 8555 §7.1.2.1: in portions, with a link to the next. */
export const listOrders = async ({ store, urls }: AcmeWorld, request: AccountRequest, id: string, after: string | undefined): Promise<Response> => {
  requireEmpty(request);
  if (id !== request.account.id) throw new AcmeProblem('unauthorized', 'these are the orders of another account');
  const ids = await store.orderIds(id, { after, limit: pageSize });
  const last = ids.at(-1);
  const next = ids.length === pageSize && last !== undefined ? { link: `<${urls.account(id)}/orders?after=${last}>;rel="next"` } : {};
  return json(200, { orders: ids.map((each) => urls.order(each)) }, next);
};

/** @throws AcmeProblem 404, or `unauthorized` for that of another account */
export const ownOrder = async ({ store }: AcmeWorld, { account }: AccountRequest, id: string): Promise<AcmeOrder> => {
  const order = await store.order(id);
  if (order === undefined) throw notFound('order');
  if (order.accountId !== account.id) throw new AcmeProblem('unauthorized', 'this order belongs to another account');
  return order;
};

/** RFC 8555 §7.1.6: an order that is not filled by then is invalid. */
export const statusOf = (order: AcmeOrder, now: Date): AcmeOrder['status'] => ((order.status === 'pending' || order.status === 'ready') && order.expiresAt <= now ? 'invalid' : order.status);

const orderView = ({ urls, clock }: AcmeWorld, order: AcmeOrder): object => ({
  status: statusOf(order, clock.now()),
  expires: order.expiresAt.toISOString(),
  identifiers: order.identifiers,
  profile: order.profile,
  authorizations: order.authorizationIds.map((id) => urls.authorization(id)),
  finalize: `${urls.order(order.id)}/finalize`,
  ...(order.replaces === undefined ? {} : { replaces: order.replaces }),
  ...(order.error === undefined ? {} : { error: order.error }),
  ...(order.certificate === undefined ? {} : { certificate: urls.certificate(order.id) }),
});

const challengesOf = ({ randomness }: AcmeWorld): AcmeAuthorization['challenges'] =>
  (['http-01', 'tls-alpn-01'] as const).map((type) => ({ type, status: 'pending', token: toBase64url(randomness.bytes(32)), attemptedAt: undefined, validatedAt: undefined, error: undefined }));

/** Of an agent it is what the operator said; of servers one of those offered (draft-aaron-acme-profiles). */
const profileOf = (asked: unknown, external: ExternalAccount | undefined, offered: readonly string[]): string => {
  const may = external?.agent === undefined ? offered : [external.profile ?? 'agent'];
  const [first = ''] = may;
  if (asked === undefined) return first;
  if (typeof asked !== 'string' || !may.includes(asked)) throw new AcmeProblem('invalidProfile', `this account may order ${may.join(', ')}`);
  return asked;
};

/** An agent that was revoked after the operator gave his word cannot come back by itself. */
const requireStanding = async ({ certificates }: AcmeWorld, external: ExternalAccount | undefined): Promise<void> => {
  if (external?.agent === undefined) return;
  const revoked = await allCertificates(certificates, { agent: external.agent, states: ['revoked'] });
  if (standingRevocation(revoked, external.createdAt) !== undefined) throw new AcmeProblem('unauthorized', 'the agent was revoked; ask the operator for a new external account');
};

/** What the profile would refuse at the end is refused at the beginning. */
const requireGrantable = ({ authority }: AcmeWorld, identifiers: readonly Identifier[], name: string, external: ExternalAccount | undefined): void => {
  const profile = authority.profiles.get(name);
  if (profile === undefined) throw new AcmeProblem('invalidProfile', `profile ${name} is gone; ask the operator`);
  try {
    if (external?.agent === undefined) grantedToServer(identifiers.map(({ value }) => value), profile);
    else grantedToAgent(authority.trustDomain, external.agent, external.organizationalUnits, profile);
  } catch (error) {
    if (error instanceof CaError) throw new AcmeProblem('rejectedIdentifier', error.message, { cause: error });
    throw error;
  }
};

/** RFC 9773 §5: ours, of this account, and about at least one of the same names. */
const replaced = async ({ authority, store }: AcmeWorld, given: unknown, order: { readonly accountId: string; readonly identifiers: readonly Identifier[] }): Promise<string | undefined> => {
  if (given === undefined) return undefined;
  if (typeof given !== 'string') throw malformed('replaces is a certificate identifier, as renewalInfo takes it');
  const { issuerId, serial } = await certificateNamed(authority, given);
  const before = await store.orderOfCertificate(issuerId, serial);
  if (before?.accountId !== order.accountId) throw new AcmeProblem('unauthorized', 'the certificate to be replaced was ordered by another account');
  const names = new Set(before.identifiers.map(({ type, value }) => `${type} ${value}`));
  if (!order.identifiers.some(({ type, value }) => names.has(`${type} ${value}`))) throw malformed('the certificate to be replaced has none of the identifiers of this order');
  return given;
};
