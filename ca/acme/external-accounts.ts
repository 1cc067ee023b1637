/** External accounts as operators make and remove them. */
import { requireWay } from '../asking.ts';
import { formatDuration, parseDuration } from '../duration.ts';
import { CaError } from '../errors.ts';
import { grantedToAgent } from '../grant.ts';
import type { Clock, Randomness } from '../ports.ts';
import { checkHosts } from '../subject-rules.ts';
import { toBase64url } from './base64url.ts';
import { accountChanged, externalAccountCreated, externalAccountRemoved } from './events.ts';
import type { AcmeStore, ExternalAccount } from './ports.ts';
import { AcmeSecrets, randomName } from './secrets.ts';
import type { AcmeAuthority } from './world.ts';

export interface ExternalAccountWorld {
  readonly authority: Pick<AcmeAuthority, 'profiles' | 'trustDomain'>;
  readonly store: AcmeStore;
  readonly clock: Clock;
  readonly randomness: Randomness;
  /** What the MAC keys are drawn from, 32 octets. */
  readonly secret: Uint8Array;
}

export interface ExternalAccountRequest {
  /** Whose certificates may be ordered; without it those of servers. */
  readonly agent?: string | undefined;
  readonly organizationalUnits?: readonly string[] | undefined;
  /** Of kind `agent` or `agent-spiffe`. Default `agent`. */
  readonly profile?: string | undefined;
  readonly certificateTtl?: string | undefined;
  /** For servers: the names the account is confined to, each with what is beneath it. Default: what `ca.acme` allows. */
  readonly names?: readonly string[] | undefined;
  /** How long it may be used to register. Default 24h, at most 30d. */
  readonly ttl?: string | undefined;
  readonly actor: string;
}

export interface CreatedExternalAccount {
  readonly account: ExternalAccount;
  /** base64url, as every client takes it. Shown once; it is not kept. */
  readonly macKey: string;
}

const longestTtl = 30 * 86_400;

/** @throws CaError `ERR_CA_NAME`, `ERR_CA_PROFILE`, `ERR_CA_TTL` */
export const createExternalAccount = async (world: ExternalAccountWorld, request: ExternalAccountRequest): Promise<CreatedExternalAccount> => {
  const { store, clock, randomness, secret } = world;
  const granted = request.agent === undefined ? { profile: undefined, ttlSeconds: undefined } : agentGrant(world, request.agent, request);
  const names = request.names ?? [];
  if (request.agent !== undefined && names.length > 0) throw new CaError('ERR_CA_NAME', 'the external account of an agent is for that agent alone; leave out the names');
  for (const name of names) checkHosts([name]);
  const seconds = parseDuration(request.ttl ?? '24h');
  if (seconds > longestTtl) throw new CaError('ERR_CA_TTL', 'an external account waits 30d at most for its client; create it when it is needed');
  const time = clock.now();
  const account: ExternalAccount = {
    kid: randomName(randomness),
    agent: request.agent,
    organizationalUnits: request.organizationalUnits ?? [],
    ...granted,
    names: names.map((name) => name.toLowerCase()),
    createdAt: time,
    createdBy: request.actor,
    expiresAt: new Date(time.getTime() + seconds * 1_000),
    removedAt: undefined,
    accountId: undefined,
  };
  await store.insertExternalAccount(account, externalAccountCreated(account, { time, actor: request.actor }));
  return { account, macKey: toBase64url(new AcmeSecrets(secret).macKey(account.kid)) };
};

/** By key identifier, or by the id of an account that has none. @throws CaError `ERR_ACME_ACCOUNT_UNKNOWN` */
export const removeAccount = async ({ store, clock }: Pick<ExternalAccountWorld, 'store' | 'clock'>, name: string, actor: string): Promise<{ readonly kid: string | undefined; readonly accountId: string | undefined; readonly agent: string | undefined }> => {
  const time = clock.now();
  const external = await store.externalAccount(name);
  if (external !== undefined && (await store.removeExternalAccount(name, time, externalAccountRemoved(external, { time, actor })))) return external;
  const account = external === undefined ? await store.account(name) : undefined;
  if (account?.kid !== undefined) return removeAccount({ store, clock }, account.kid, actor);
  if (account !== undefined && (await store.changeAccount(name, { status: 'revoked' }, accountChanged(account, { status: 'revoked' }, { time, actor }))) !== undefined) return { kid: undefined, accountId: name, agent: undefined };
  throw new CaError('ERR_ACME_ACCOUNT_UNKNOWN', `${JSON.stringify(name.slice(0, 80))} is no external account and no account that could be removed; see sallyport acme list`);
};

const agentGrant = ({ authority }: ExternalAccountWorld, agent: string, { organizationalUnits = [], profile: name = 'agent', certificateTtl }: ExternalAccountRequest): { readonly profile: string; readonly ttlSeconds: number | undefined } => {
  const profile = authority.profiles.get(name);
  if (profile === undefined || (profile.kind !== 'agent' && profile.kind !== 'agent-spiffe')) throw new CaError('ERR_CA_PROFILE', `${JSON.stringify(name)} is not a profile for agents; use one of kind agent or agent-spiffe`, { facts: { profile: name } });
  requireWay(profile, 'acme');
  grantedToAgent(authority.trustDomain, agent, organizationalUnits, profile);
  const ttlSeconds = certificateTtl === undefined ? undefined : parseDuration(certificateTtl);
  if (ttlSeconds !== undefined && (ttlSeconds > profile.maxTtlSeconds || ttlSeconds < profile.minTtlSeconds)) {
    throw new CaError('ERR_CA_TTL', `a lifetime of ${certificateTtl ?? ''} is outside profile ${name}; ask for ${formatDuration(profile.minTtlSeconds)} to ${formatDuration(profile.maxTtlSeconds)}`);
  }
  return { profile: name, ttlSeconds };
};
