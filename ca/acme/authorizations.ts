/** Authorizations and their challenges, RFC 8555 §7.5. */
import { authorizationDeactivated, challengeSettled } from './events.ts';
import type { AcmeAuthorization, AcmeChallenge, ChallengeType } from './ports.ts';
import { AcmeProblem, malformed, notFound } from './problem.ts';
import { payloadOf } from './signed-request.ts';
import type { AccountRequest } from './signed-request.ts';
import { json } from './world.ts';
import type { AcmeWorld } from './world.ts';

/** A validation takes a good half minute at most; one that is older was left behind by a process that ended. */
const staleMs = 60_000;

export const authorization = async (world: AcmeWorld, request: AccountRequest, id: string): Promise<Response> => {
  const { store, clock } = world;
  let found = await ownAuthorization(world, request, id);
  if (request.payload.length > 0) {
    // RFC 8555 §7.5.2.
    if (payloadOf(request).get('status') !== 'deactivated') throw malformed('the only status an authorization may be given is deactivated');
    found = (await store.deactivateAuthorization(id, authorizationDeactivated(found, { time: clock.now(), address: request.address }))) ?? found;
  }
  for (const { type, status } of found.challenges) if (status === 'processing') found = (await begin(world, request, found, type)) ?? found;
  return json(200, authorizationView(world, found), isWaiting(found) ? { 'retry-after': '1' } : {});
};

/** With an empty object the client says that it is ready; with nothing it asks how things are. */
export const challenge = async (world: AcmeWorld, request: AccountRequest, id: string, name: string): Promise<Response> => {
  let found = await ownAuthorization(world, request, id);
  const type = challengeOf(found, name).type;
  if (request.payload.length > 0) {
    payloadOf(request);
    if (found.status === 'pending' && found.expiresAt <= world.clock.now()) throw malformed('the authorization has expired; make a new order');
    found = (await begin(world, request, found, type)) ?? (await ownAuthorization(world, request, id));
  }
  const view = challengeView(world, found, challengeOf(found, type));
  // RFC 8555 §7.5.1.
  const link = `<${world.urls.authorization(id)}>;rel="up"`;
  return json(200, view, { link, location: world.urls.challenge(id, type), ...(isWaiting(found) ? { 'retry-after': '1' } : {}) });
};

/** Undefined when there is nothing to begin: it is under way, or decided. */
const begin = async (world: AcmeWorld, { account, key }: AccountRequest, { id, challenges, status }: AcmeAuthorization, type: ChallengeType): Promise<AcmeAuthorization | undefined> => {
  const { store, clock, validator, limits } = world;
  const now = clock.now();
  const staleBefore = new Date(now.getTime() - staleMs);
  const before = challenges.find((each) => each.type === type);
  if (status !== 'pending' || before === undefined) return undefined;
  if (before.status === 'processing' && (before.attemptedAt ?? now) >= staleBefore) return undefined;
  if (!validator.hasRoom) throw new AcmeProblem('rateLimited', 'too many validations wait; try again in a moment', { headers: { 'retry-after': '30' } });
  limits.take('validation', account.id);
  const begun = await store.beginValidation({ authorizationId: id, type }, now, staleBefore);
  if (begun === undefined) return undefined;
  const { token } = challengeOf(begun, type);
  world.background(async (closing) => {
    const problem = await validator.validate(type, { identifier: begun.identifier, token, keyAuthorization: `${token}.${key.thumbprint}` });
    // What the end of this process broke off was not answered: it is begun again when the client asks.
    if (closing.aborted && problem !== undefined) return;
    const at = clock.now();
    const error = problem?.document;
    await store.settleChallenge({ authorizationId: id, type }, { at, error }, challengeSettled(begun, type, { time: at, error }));
  });
  return begun;
};

const ownAuthorization = async ({ store }: AcmeWorld, { account }: AccountRequest, id: string): Promise<AcmeAuthorization> => {
  const found = await store.authorization(id);
  if (found === undefined) throw notFound('authorization');
  if (found.accountId !== account.id) throw new AcmeProblem('unauthorized', 'this authorization belongs to another account');
  return found;
};

const challengeOf = (found: AcmeAuthorization, type: string): AcmeChallenge => {
  const challenge = found.challenges.find((each) => each.type === type);
  if (challenge === undefined) throw notFound('challenge');
  return challenge;
};

const isWaiting = ({ status, challenges }: AcmeAuthorization): boolean => status === 'pending' && challenges.some((each) => each.status === 'processing');

const authorizationView = (world: AcmeWorld, found: AcmeAuthorization): object => {
  const expired = found.expiresAt <= world.clock.now();
  // RFC 8555 §7.1.4: of a settled one only the challenge that settled it is shown.
  const settled = found.challenges.filter(({ status }) => status === 'valid' || status === 'invalid');
  const challenges = found.status === 'pending' || settled.length === 0 ? found.challenges : settled;
  return {
    identifier: found.identifier,
    status: expired && (found.status === 'pending' || found.status === 'valid') ? (found.status === 'valid' ? 'expired' : 'invalid') : found.status,
    expires: found.expiresAt.toISOString(),
    challenges: challenges.map((each) => challengeView(world, found, each)),
  };
};

const challengeView = ({ urls }: AcmeWorld, { id }: AcmeAuthorization, { type, status, token, validatedAt, error }: AcmeChallenge): object => ({
  type,
  url: urls.challenge(id, type),
  status,
  token,
  ...(validatedAt === undefined ? {} : { validated: validatedAt.toISOString() }),
  ...(error === undefined ? {} : { error }),
});
