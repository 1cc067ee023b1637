import { parseDuration } from './duration.ts';
import { CaError } from './errors.ts';
import type { KeyAlgorithm } from './ports.ts';
import { checkAttributeText } from './subject-rules.ts';

/** What a certificate is for; fixes its extendedKeyUsage and the form of its subjectAltName. */
export type ProfileKind = 'agent' | 'agent-spiffe' | 'server';

/** One kind of certificate as an operator writes it under `ca.profiles.<name>`. */
export interface ProfileConfig {
  /** `agent`: clientAuth and a SPIFFE ID. `agent-spiffe`: clientAuth and serverAuth. `server`: serverAuth, DNS names and IP addresses. */
  readonly kind: ProfileKind;
  /** Lifetime when none is asked for: `24h` or seconds. Default 24h, for servers 90d. */
  readonly defaultTtl?: string | number;
  /** Longest lifetime that may be asked for. Default 90d, for servers 397d. */
  readonly maxTtl?: string | number;
  /** How far notBefore lies in the past, for peers whose clock is slow. Not counted as lifetime. Default 60. */
  readonly backdateSeconds?: number;
  /** Subject keys accepted. Default: every supported algorithm. */
  readonly keyAlgorithms?: readonly KeyAlgorithm[];
  /** OUs that may be granted. Default: any. */
  readonly organizationalUnits?: readonly string[];
  /** O attribute put in front of every subject. Default: none. */
  readonly organization?: string;
  /** `noRevAvail`: short-lived, RFC 9608, without CDP and AIA; at most 7 days. `crl`: CDP and AIA when the CA has a public URL. Default `crl`. */
  readonly status?: 'crl' | 'noRevAvail';
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
  readonly backdateSeconds: number;
  readonly keyAlgorithms: ReadonlySet<KeyAlgorithm>;
  readonly organizationalUnits: ReadonlySet<string> | undefined;
  readonly organization: string | undefined;
  readonly status: 'crl' | 'noRevAvail';
}

export const keyAlgorithms: readonly KeyAlgorithm[] = ['p256', 'p384', 'ed25519', 'rsa2048', 'rsa3072', 'rsa4096', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'];

/** The profiles every authority has; configuration of the same name replaces one. */
export const builtinProfiles: Readonly<Record<ProfileKind, ProfileConfig>> = {
  agent: { kind: 'agent' },
  'agent-spiffe': { kind: 'agent-spiffe' },
  server: { kind: 'server' },
};

const usages = { agent: ['clientAuth'], 'agent-spiffe': ['clientAuth', 'serverAuth'], server: ['serverAuth'] } as const;
const knownKeys: ReadonlySet<string> = new Set(['kind', 'defaultTtl', 'maxTtl', 'backdateSeconds', 'keyAlgorithms', 'organizationalUnits', 'organization', 'status']);
const shortLivedCeiling = 7 * 86_400;

/** Validates one profile; every contradiction is `ERR_CA_PROFILE` and names the key. */
export const createProfile = (name: string, config: ProfileConfig): Profile => {
  const refuse = (what: string, cause?: unknown): never => {
    throw new CaError('ERR_CA_PROFILE', `profile ${JSON.stringify(name)}: ${what}`, { facts: { profile: name }, cause });
  };
  const duration = (key: 'defaultTtl' | 'maxTtl', fallback: number): number => {
    try {
      return config[key] === undefined ? fallback : parseDuration(config[key]);
    } catch (error) {
      return refuse(`${key}: ${error instanceof Error ? error.message : 'not a lifetime'}`, error);
    }
  };

  if (!/^[a-z0-9][a-z0-9-]{0,31}$/.test(name)) refuse('a profile name is 1 to 32 lower-case letters, digits and hyphens');
  if (typeof config !== 'object' || config === null) refuse('write keys and values, at least kind');
  const unknown = Object.keys(config).find((key) => !knownKeys.has(key));
  if (unknown !== undefined) refuse(`unknown key ${JSON.stringify(unknown)}; known are ${[...knownKeys].join(', ')}`);
  if (!Object.hasOwn(usages, config.kind)) refuse(`kind must be one of ${Object.keys(usages).join(', ')}`);

  const status = config.status ?? 'crl';
  if (status !== 'crl' && status !== 'noRevAvail') refuse('status must be crl or noRevAvail');
  const server = config.kind === 'server';
  const maxTtlSeconds = duration('maxTtl', status === 'noRevAvail' ? shortLivedCeiling : (server ? 397 : 90) * 86_400);
  const defaultTtlSeconds = duration('defaultTtl', Math.min(maxTtlSeconds, (server && status === 'crl' ? 90 : 1) * 86_400));
  if (defaultTtlSeconds > maxTtlSeconds) refuse('defaultTtl is longer than maxTtl');
  // RFC 9608 §3 leaves "short" to the CA; seven days is our margin.
  if (status === 'noRevAvail' && maxTtlSeconds > shortLivedCeiling) refuse('status noRevAvail is for lifetimes up to 7d; lower maxTtl');

  const backdateSeconds = config.backdateSeconds ?? 60;
  if (!Number.isInteger(backdateSeconds) || backdateSeconds < 0 || backdateSeconds > 3_600) refuse('backdateSeconds must be a whole number from 0 to 3600');

  const algorithms = config.keyAlgorithms ?? keyAlgorithms;
  if (!Array.isArray(algorithms) || algorithms.length === 0 || !algorithms.every((each) => keyAlgorithms.includes(each))) refuse(`keyAlgorithms must list some of ${keyAlgorithms.join(', ')}`);

  try {
    if (config.organizationalUnits !== undefined) for (const unit of config.organizationalUnits) checkAttributeText(unit, 'organizational unit');
    if (config.organization !== undefined) checkAttributeText(config.organization, 'organization');
  } catch (error) {
    refuse(error instanceof Error ? error.message : 'unusable name', error);
  }

  const profile: Omit<Profile, typeof checked> = {
    name,
    kind: config.kind,
    extendedKeyUsage: usages[config.kind],
    defaultTtlSeconds,
    maxTtlSeconds,
    backdateSeconds,
    keyAlgorithms: new Set(algorithms),
    organizationalUnits: config.organizationalUnits === undefined ? undefined : new Set(config.organizationalUnits),
    organization: config.organization,
    status,
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
  backdateSeconds: 60,
  keyAlgorithms: new Set(keyAlgorithms),
  organizationalUnits: undefined,
  organization: undefined,
  status: 'crl',
}) as Profile;
