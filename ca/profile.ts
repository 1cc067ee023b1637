import { parseDuration } from './duration.ts';
import { CaError } from './errors.ts';
import { createNamingRules, namingKeys } from './naming-rules.ts';
import type { NamingConfig, NamingRules } from './naming-rules.ts';
import type { IssuanceWay, KeyAlgorithm } from './ports.ts';
import { checkAttributeText } from './subject-rules.ts';

/** What a certificate is for; fixes its extendedKeyUsage and the form of its subjectAltName. */
export type ProfileKind = 'agent' | 'agent-spiffe' | 'server' | 'console-user';

/** One kind of certificate as an operator writes it under `ca.profiles.<name>`. */
export interface ProfileConfig extends NamingConfig {
  /**
   * `agent`: clientAuth and a SPIFFE ID. `agent-spiffe`: clientAuth and serverAuth. `server`: serverAuth, DNS names and IP
   * addresses. `console-user`: a person, clientAuth, a SPIFFE ID under `/user` and perhaps an email address.
   */
  readonly kind: ProfileKind;
  /** Lifetime when none is asked for: `24h` or seconds. Default 24h, for servers 90d, for people 7d. */
  readonly defaultTtl?: string | number;
  /** Longest lifetime that may be asked for. Default 90d, for servers 397d. */
  readonly maxTtl?: string | number;
  /** Shortest lifetime that may be asked for. Default 1s. */
  readonly minTtl?: string | number;
  /** How far notBefore lies in the past, for peers whose clock is slow. Not counted as lifetime. Default 60. */
  readonly backdateSeconds?: number;
  /** Subject keys accepted. Default: every supported algorithm. */
  readonly keyAlgorithms?: readonly KeyAlgorithm[];
  /** O attribute put in front of every subject. Default: none. */
  readonly organization?: string;
  /** `noRevAvail`: short-lived, RFC 9608, without CDP and AIA; at most 7 days. `crl`: CDP and AIA when the CA has a public URL. Default `crl`. */
  readonly status?: 'crl' | 'noRevAvail';
  /** Ways on which such a certificate may be issued. Default: all that its kind has. */
  readonly mayIssue?: readonly IssuanceWay[];
  /** `required`: a second person must approve before it is issued. Renewals are not asked about. Default `none`. */
  readonly approval?: 'none' | 'required';
}

declare const checked: unique symbol;

/** A validated profile; only `createProfile` makes one. */
export interface Profile {
  readonly [checked]: true;
  readonly name: string;
  /** `ocsp`: the responder's own certificate, of which `ocspProfile` is the only one. */
  readonly kind: ProfileKind | 'ocsp';
  readonly extendedKeyUsage: readonly ('clientAuth' | 'serverAuth' | 'OCSPSigning')[];
  readonly defaultTtlSeconds: number;
  readonly maxTtlSeconds: number;
  readonly minTtlSeconds: number;
  readonly backdateSeconds: number;
  readonly keyAlgorithms: ReadonlySet<KeyAlgorithm>;
  readonly naming: NamingRules;
  readonly organization: string | undefined;
  readonly status: 'crl' | 'noRevAvail';
  readonly mayIssue: ReadonlySet<IssuanceWay>;
  readonly approval: 'none' | 'required';
}

export const keyAlgorithms: readonly KeyAlgorithm[] = ['p256', 'p384', 'ed25519', 'rsa2048', 'rsa3072', 'rsa4096', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'];

/** The profiles every authority has; configuration of the same name replaces one. */
export const builtinProfiles = {
  agent: { kind: 'agent' },
  'agent-spiffe': { kind: 'agent-spiffe' },
  server: { kind: 'server' },
  'short-lived': { kind: 'agent', status: 'noRevAvail', defaultTtl: '1h', maxTtl: '24h' },
  'console-user': { kind: 'console-user' },
} as const satisfies Readonly<Record<string, ProfileConfig>>;

const usages = { agent: ['clientAuth'], 'agent-spiffe': ['clientAuth', 'serverAuth'], server: ['serverAuth'], 'console-user': ['clientAuth'] } as const;
const knownKeys: ReadonlySet<string> = new Set(['kind', 'defaultTtl', 'maxTtl', 'minTtl', 'backdateSeconds', 'keyAlgorithms', 'organization', ...namingKeys, 'status', 'mayIssue', 'approval']);
const shortLivedCeiling = 7 * 86_400;

export const issuanceWays: readonly IssuanceWay[] = ['operator', 'token', 'est', 'acme', 'renewal', 'api'];

/**
 * Tokens name agents and people, and a server cannot show its certificate as a client, so a server is certified by an
 * operator, over the API or by ACME. ACME does not prove who a person is.
 */
const waysOf: Readonly<Record<ProfileKind, readonly IssuanceWay[]>> = {
  agent: issuanceWays,
  'agent-spiffe': issuanceWays,
  server: ['operator', 'acme', 'api'],
  'console-user': ['operator', 'token', 'est', 'renewal', 'api'],
};

/** Validates one profile; every contradiction is `ERR_CA_PROFILE` and names the key, in `facts` too. */
export const createProfile = (name: string, config: ProfileConfig): Profile => {
  const refuse = (key: keyof ProfileConfig | undefined, what: string, cause?: unknown): never => {
    throw new CaError('ERR_CA_PROFILE', `profile ${JSON.stringify(name)}: ${key === undefined ? '' : `${key}: `}${what}`, { facts: { profile: name, key, why: what }, cause });
  };
  const duration = (key: 'defaultTtl' | 'maxTtl' | 'minTtl', fallback: number): number => {
    try {
      return config[key] === undefined ? fallback : parseDuration(config[key]);
    } catch (error) {
      return refuse(key, error instanceof Error ? error.message : 'not a lifetime', error);
    }
  };

  if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(name)) refuse(undefined, 'a profile name is 1 to 32 lower-case letters, digits and hyphens');
  if (typeof config !== 'object' || config === null) refuse(undefined, 'write keys and values, at least kind');
  const unknown = Object.keys(config).find((key) => !knownKeys.has(key));
  if (unknown !== undefined) refuse(undefined, `unknown key ${JSON.stringify(unknown)}; known are ${[...knownKeys].join(', ')}`);
  const { kind } = config;
  if (!Object.hasOwn(usages, kind)) refuse('kind', `must be one of ${Object.keys(usages).join(', ')}`);

  const status = config.status ?? 'crl';
  if (status !== 'crl' && status !== 'noRevAvail') refuse('status', 'must be crl or noRevAvail');
  const maxTtlSeconds = duration('maxTtl', status === 'noRevAvail' ? shortLivedCeiling : (kind === 'server' ? 397 : 90) * 86_400);
  const defaultDays = status === 'noRevAvail' ? 1 : kind === 'server' ? 90 : kind === 'console-user' ? 7 : 1;
  const minTtlSeconds = duration('minTtl', 1);
  const defaultTtlSeconds = duration('defaultTtl', Math.max(Math.min(maxTtlSeconds, defaultDays * 86_400), Math.min(minTtlSeconds, maxTtlSeconds)));
  if (minTtlSeconds > maxTtlSeconds) refuse('minTtl', 'is longer than maxTtl');
  if (defaultTtlSeconds > maxTtlSeconds) refuse('defaultTtl', 'is longer than maxTtl');
  if (defaultTtlSeconds < minTtlSeconds) refuse('defaultTtl', 'is shorter than minTtl');
  // RFC 9608 §3 leaves "short" to the CA; seven days is our margin.
  if (status === 'noRevAvail' && maxTtlSeconds > shortLivedCeiling) refuse('maxTtl', 'is longer than the 7d that status noRevAvail is for; lower it');

  const backdateSeconds = config.backdateSeconds ?? 60;
  if (!Number.isInteger(backdateSeconds) || backdateSeconds < 0 || backdateSeconds > 3_600) refuse('backdateSeconds', 'must be a whole number from 0 to 3600');

  const algorithms = config.keyAlgorithms ?? keyAlgorithms;
  if (!Array.isArray(algorithms) || algorithms.length === 0 || !algorithms.every((each) => keyAlgorithms.includes(each))) refuse('keyAlgorithms', `must list some of ${keyAlgorithms.join(', ')}`);

  try {
    if (config.organization !== undefined) checkAttributeText(config.organization, 'organization');
  } catch (error) {
    refuse('organization', error instanceof Error ? error.message : 'unusable name', error);
  }

  const ways = config.mayIssue ?? waysOf[kind];
  if (!Array.isArray(ways) || ways.length === 0 || !ways.every((each) => issuanceWays.includes(each))) refuse('mayIssue', `must list some of ${issuanceWays.join(', ')}`);
  const impossible = ways.find((way) => !waysOf[kind].includes(way));
  if (impossible !== undefined) refuse('mayIssue', `holds ${impossible}, which kind ${kind} does not have; it has ${waysOf[kind].join(', ')}`);
  const approval = config.approval ?? 'none';
  if (approval !== 'none' && approval !== 'required') refuse('approval', 'must be none or required');
  if (approval === 'required' && ways.every((way) => way === 'renewal')) refuse('approval', 'is required, but mayIssue holds nothing that could be approved; renewals are not');
  // It renews its own certificate by this profile, unattended.
  if (name === 'server' && kind !== 'server') refuse('kind', 'must be server: the certificate of the gateway itself is of this profile');
  if (name === 'server' && approval === 'required') refuse('approval', 'cannot be required: the certificate of the gateway itself is of this profile; use another name');
  if (name === 'server' && !ways.includes('operator')) refuse('mayIssue', 'must hold operator: the certificate of the gateway itself is of this profile; use another name');

  const profile: Omit<Profile, typeof checked> = {
    name,
    kind,
    extendedKeyUsage: usages[kind],
    defaultTtlSeconds,
    maxTtlSeconds,
    minTtlSeconds,
    backdateSeconds,
    keyAlgorithms: new Set(algorithms),
    naming: createNamingRules(kind, config, (key, why) => refuse(key, why)),
    organization: config.organization,
    status,
    mayIssue: new Set(ways),
    approval,
  };
  return Object.freeze(profile) as Profile;
};

/** Built-in profiles, replaced and extended by `configs`. */
export const createProfiles = (configs: Readonly<Record<string, ProfileConfig>> = {}): ReadonlyMap<string, Profile> =>
  new Map(Object.entries({ ...builtinProfiles, ...configs }).map(([name, config]) => [name, createProfile(name, config)]));

/** Those of an authority: lifetimes of the built-in agent profiles, replaced and extended by its own. */
export const profilesOfAuthority = (options: { readonly defaultTtl?: string | number | undefined; readonly maxTtl?: string | number | undefined; readonly profiles?: Readonly<Record<string, ProfileConfig>> | undefined }): ReadonlyMap<string, Profile> => {
  const ttls = { ...(options.defaultTtl === undefined ? {} : { defaultTtl: options.defaultTtl }), ...(options.maxTtl === undefined ? {} : { maxTtl: options.maxTtl }) };
  return createProfiles({ agent: { kind: 'agent', ...ttls }, 'agent-spiffe': { kind: 'agent-spiffe', ...ttls }, ...options.profiles });
};

/**
 * The OCSP responder's certificate: OCSPSigning and id-pkix-ocsp-nocheck, no other name than its subject. Nobody
 * asks for its status, so its life is short (RFC 6960 §4.2.2.2.1). Not among the profiles an operator may choose.
 */
export const ocspProfile: Profile = Object.freeze<Omit<Profile, typeof checked>>({
  name: 'ocsp',
  kind: 'ocsp',
  extendedKeyUsage: ['OCSPSigning'],
  defaultTtlSeconds: 14 * 86_400,
  maxTtlSeconds: 14 * 86_400,
  minTtlSeconds: 1,
  backdateSeconds: 60,
  keyAlgorithms: new Set(keyAlgorithms),
  naming: createNamingRules('server', {}, () => {
    throw new CaError('ERR_CA_PROFILE', 'the profile of the OCSP responder has no rules for names');
  }),
  organization: undefined,
  status: 'crl',
  mayIssue: new Set<IssuanceWay>(),
  approval: 'none',
}) as Profile;
