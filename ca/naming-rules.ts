/** Which names a profile grants: patterns for names and OUs, a template for SPIFFE IDs, domains and address ranges for servers. Pure. */
import { BlockList, isIP } from 'node:net';
import { CaError } from './errors.ts';
import { checkAttributeText } from './subject-rules.ts';

export interface NamingConfig {
  /** Names that may be granted, each a pattern for the whole name in which `*` stands for any characters. Default: any. */
  readonly names?: readonly string[];
  /** OUs that may be granted, as patterns. Default: any. */
  readonly organizationalUnits?: readonly string[];
  /** Each of these patterns must be met by an OU of the certificate. Default: none. */
  readonly requiredOrganizationalUnits?: readonly string[];
  /** Path of the SPIFFE ID, for agents: `/agent/{name}` (default), `/ns/{ou}/{name}` and the like. */
  readonly spiffePath?: string;
  /** Domains, for servers: these and the names below them. With `ipRanges` alone there are no DNS names. */
  readonly dnsSuffixes?: readonly string[];
  /** Address ranges such as `10.0.0.0/8`, for servers. With `dnsSuffixes` alone there are no addresses. */
  readonly ipRanges?: readonly string[];
  /** Domains of the email address, for console users. Default: any. */
  readonly emailDomains?: readonly string[];
}

export const namingKeys = ['names', 'organizationalUnits', 'requiredOrganizationalUnits', 'spiffePath', 'dnsSuffixes', 'ipRanges', 'emailDomains'] as const satisfies readonly (keyof NamingConfig)[];

/** Refuses the key with a reason. */
export type RefuseKey = (key: keyof NamingConfig, why: string) => never;

export interface NamingRules {
  /** As configured, for those who want to see it. */
  readonly config: NamingConfig;
  readonly allowsName: (name: string) => boolean;
  readonly allowsUnit: (unit: string) => boolean;
  /** The first pattern that none of these OUs meets. */
  readonly missingUnit: (units: readonly string[]) => string | undefined;
  readonly spiffePath: string;
  readonly allowsDnsName: (name: string) => boolean;
  readonly allowsIpAddress: (address: string) => boolean;
  readonly allowsEmail: (email: string) => boolean;
}

type NamedKind = 'agent' | 'agent-spiffe' | 'server' | 'console-user';

/** Which keys mean something for which kind; the others are contradictions. */
const keysOf: Readonly<Record<NamedKind, ReadonlySet<string>>> = {
  agent: new Set(['names', 'organizationalUnits', 'requiredOrganizationalUnits', 'spiffePath']),
  'agent-spiffe': new Set(['names', 'organizationalUnits', 'requiredOrganizationalUnits', 'spiffePath']),
  server: new Set(['dnsSuffixes', 'ipRanges']),
  'console-user': new Set(['names', 'organizationalUnits', 'requiredOrganizationalUnits', 'emailDomains']),
};

export const createNamingRules = (kind: NamedKind, config: NamingConfig, refuse: RefuseKey): NamingRules => {
  for (const key of namingKeys) if (config[key] !== undefined && !keysOf[kind].has(key)) refuse(key, `has no meaning for kind ${kind}; remove it`);
  const lists = (['names', 'organizationalUnits', 'requiredOrganizationalUnits', 'dnsSuffixes', 'ipRanges', 'emailDomains'] as const).map((key) => [key, config[key]] as const);
  for (const [key, list] of lists) if (list !== undefined && (!Array.isArray(list) || !list.every((each) => typeof each === 'string'))) refuse(key, 'must be a list of texts');
  for (const key of ['names', 'organizationalUnits', 'dnsSuffixes', 'ipRanges', 'emailDomains'] as const) if (config[key]?.length === 0 && !(key === 'organizationalUnits')) refuse(key, 'is empty, so nothing could be issued; list what is allowed, or remove it');

  for (const pattern of config.names ?? []) if (!/^[A-Za-z0-9*][A-Za-z0-9._*-]{0,63}$/.test(pattern)) refuse('names', `${JSON.stringify(pattern)} is no pattern for a name; use letters, digits, dots, hyphens, underscores and *`);
  for (const key of ['organizationalUnits', 'requiredOrganizationalUnits'] as const) {
    for (const pattern of config[key] ?? []) {
      try {
        checkAttributeText(pattern, 'organizational unit');
      } catch (error) {
        refuse(key, error instanceof CaError ? error.message : 'holds an unusable name');
      }
    }
  }
  const units = config.organizationalUnits;
  const unmet = (config.requiredOrganizationalUnits ?? []).find((pattern) => units !== undefined && !pattern.includes('*') && !units.some((allowed) => matches(allowed, pattern)));
  if (unmet !== undefined) refuse('requiredOrganizationalUnits', `demands ${JSON.stringify(unmet)}, which organizationalUnits does not allow; add it there`);

  for (const suffix of config.dnsSuffixes ?? []) if (!isDomain(suffix)) refuse('dnsSuffixes', `${JSON.stringify(suffix)} is not a lower-case domain such as acme.internal`);
  for (const domain of config.emailDomains ?? []) if (!isDomain(domain)) refuse('emailDomains', `${JSON.stringify(domain)} is not a lower-case domain such as acme.example`);
  const bounded = config.dnsSuffixes !== undefined || config.ipRanges !== undefined;
  const addresses = rangesOf(config.ipRanges ?? [], (range) => refuse('ipRanges', `${JSON.stringify(range)} is not a range such as 10.0.0.0/8 or fd00::/8`));

  return Object.freeze({
    config: Object.fromEntries(namingKeys.flatMap((key) => (config[key] === undefined ? [] : [[key, config[key]]]))) as NamingConfig,
    allowsName: (name: string) => config.names === undefined || config.names.some((pattern) => matches(pattern, name)),
    allowsUnit: (unit: string) => units === undefined || units.some((pattern) => matches(pattern, unit)),
    missingUnit: (given: readonly string[]) => config.requiredOrganizationalUnits?.find((pattern) => !given.some((unit) => matches(pattern, unit))),
    spiffePath: kind === 'console-user' ? '/user/{name}' : checkTemplate(config.spiffePath ?? '/agent/{name}', refuse),
    allowsDnsName: (name: string) => !bounded || (config.dnsSuffixes?.some((suffix) => name === suffix || name.endsWith(`.${suffix}`)) ?? false),
    allowsIpAddress: (address: string) => !bounded || addresses.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4'),
    allowsEmail: (email: string) => config.emailDomains?.includes(email.slice(email.lastIndexOf('@') + 1)) ?? true,
  });
};

/** The SPIFFE ID of a name with these OUs. `ERR_CA_NAME` when the path asks for one OU and there is another number. */
export const spiffeIdOf = (trustDomain: string, { spiffePath }: Pick<NamingRules, 'spiffePath'>, { name, units }: { readonly name: string; readonly units: readonly string[] }): string => {
  const path = spiffePath.split('/').map((segment) => (segment === '{name}' ? name : segment === '{ou}' ? onlyUnit(units, spiffePath) : segment));
  return `spiffe://${trustDomain}${path.join('/')}`;
};

const onlyUnit = (units: readonly string[], path: string): string => {
  const [unit] = units;
  if (unit === undefined || units.length !== 1) throw new CaError('ERR_CA_NAME', `the SPIFFE path ${path} needs exactly one organizational unit, not ${units.length}; give one`);
  if (!isSegment(unit)) throw new CaError('ERR_CA_NAME', `the organizational unit ${JSON.stringify(unit)} cannot stand in the SPIFFE path ${path}; use letters, digits, dots, hyphens and underscores`);
  return unit;
};

/**
 * The name is last and the first segment is fixed, so that two templates never give the ID of one agent to another;
 * `/user` is for people.
 */
const checkTemplate = (template: string, refuse: RefuseKey): string => {
  const why = (what: string): never => refuse('spiffePath', `${JSON.stringify(template)} ${what}`);
  if (typeof template !== 'string') return refuse('spiffePath', 'must be a text such as /agent/{name}');
  const [empty, ...segments] = template.split('/');
  if (empty !== '' || segments.length < 2 || segments.length > 8) why('must be 2 to 8 segments, such as /agent/{name}');
  if (segments.at(-1) !== '{name}' || segments.slice(0, -1).includes('{name}')) why('must end in {name}, and hold it once');
  const between = segments.slice(0, -1);
  if (between.filter((segment) => segment === '{ou}').length > 1) why('may hold {ou} once');
  if (!isSegment(segments[0] ?? '')) why('must begin with a fixed segment, such as /ns');
  if (segments[0] === 'user') why('must not begin with /user, which is for people');
  const strange = between.find((segment) => segment !== '{ou}' && !isSegment(segment));
  if (strange !== undefined) why(`has the segment ${JSON.stringify(strange)}; use letters, digits, dots, hyphens, underscores, {ou} and {name}`);
  return template;
};

/** SPIFFE-ID §2.2. */
const isSegment = (text: string): boolean => /^[A-Za-z0-9._-]{1,64}$/.test(text) && text !== '.' && text !== '..';

const isDomain = (text: string): boolean => text.length <= 253 && /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/.test(text);

const rangesOf = (ranges: readonly string[], refuse: (range: string) => never): BlockList => {
  const list = new BlockList();
  for (const range of ranges) {
    const [, address = '', prefix = ''] = /^([0-9A-Fa-f.:]+)\/(\d{1,3})$/.exec(range) ?? [];
    const family = isIP(address);
    if (family === 0 || Number(prefix) > (family === 4 ? 32 : 128)) refuse(range);
    list.addSubnet(address, Number(prefix), family === 4 ? 'ipv4' : 'ipv6');
  }
  return list;
};

/** Whether the whole text fits the pattern. Parts are taken where they first fit, so the time is linear whatever the pattern. */
const matches = (pattern: string, text: string): boolean => {
  const [first = '', ...rest] = pattern.split('*');
  const last = rest.pop();
  if (last === undefined) return pattern === text;
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length) return false;
  let at = first.length;
  for (const part of rest) {
    const found = text.indexOf(part, at);
    if (found < 0 || found + part.length > text.length - last.length) return false;
    at = found + part.length;
  }
  return true;
};
