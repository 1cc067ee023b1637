/** Which names may be ordered, and by whom. Pure. */
import { isIP } from 'node:net';
import { CaError } from '../errors.ts';
import { checkHosts, lowerCaseHost } from '../subject-rules.ts';
import { isAllowedBy } from './address-range.ts';
import type { AddressRange } from './address-range.ts';
import type { ExternalAccount, Identifier, IdentifierType } from './ports.ts';
import { AcmeProblem, malformed } from './problem.ts';

export interface NamePolicy {
  /** A name and everything beneath it; with a dot in front only what is beneath. */
  readonly dnsSuffixes: readonly string[];
  readonly ipRanges: readonly AddressRange[];
  /** `<agent>.<agentSuffix>` stands for an agent. */
  readonly agentSuffix: string;
}

const types: ReadonlySet<string> = new Set<IdentifierType>(['dns', 'ip', 'permanent-identifier']);
const maxIdentifiers = 64;

/** @throws AcmeProblem `malformed`, `unsupportedIdentifier` */
export const parseIdentifiers = (value: unknown): readonly Identifier[] => {
  if (!Array.isArray(value) || value.length === 0) throw malformed('an order needs identifiers');
  if (value.length > maxIdentifiers) throw malformed(`an order may name at most ${maxIdentifiers} identifiers`);
  const found = new Map<string, Identifier>();
  for (const each of value as readonly unknown[]) {
    const { type, value: name } = (typeof each === 'object' && each !== null ? each : {}) as Readonly<Record<string, unknown>>;
    if (typeof type !== 'string' || typeof name !== 'string') throw malformed('an identifier has a type and a value, both texts');
    if (!types.has(type)) throw new AcmeProblem('unsupportedIdentifier', `identifiers of type ${JSON.stringify(type.slice(0, 40))} are not known here; use dns, ip or permanent-identifier`);
    const identifier = { type: type as IdentifierType, value: type === 'permanent-identifier' ? name : lowerCaseHost(name) };
    found.set(`${identifier.type} ${identifier.value}`, identifier);
  }
  return [...found.values()];
};

/** In the spelling a certificate would have. Everything that is refused is said at once, RFC 8555 §6.7.1. @throws AcmeProblem */
export const checkIdentifiers = (identifiers: readonly Identifier[], external: ExternalAccount | undefined, policy: NamePolicy): readonly Identifier[] => {
  const refused: AcmeProblem[] = [];
  const checked = identifiers.flatMap((identifier) => {
    const outcome = external?.agent === undefined ? checkHost(identifier, external?.names ?? [], policy) : checkAgent(identifier, external.agent, policy);
    if (outcome instanceof AcmeProblem) refused.push(outcome);
    return outcome instanceof AcmeProblem ? [] : [outcome];
  });
  const [first] = refused;
  if (first === undefined) return checked;
  if (refused.length === 1) throw first;
  throw new AcmeProblem(first.type, `${refused.length} identifiers are refused`, { subproblems: refused.map(({ document }) => document) });
};

/** Whether the names of a server may be ordered, by anybody; also asked of the targets of redirections. */
export const isAllowedHost = (host: string, { dnsSuffixes, ipRanges }: Pick<NamePolicy, 'dnsSuffixes' | 'ipRanges'>): boolean =>
  isIP(host) === 0 ? dnsSuffixes.some((suffix) => isUnder(host, suffix)) : isAllowedBy(ipRanges, host);

const checkHost = (identifier: Identifier, names: readonly string[], policy: NamePolicy): Identifier | AcmeProblem => {
  const { type, value } = identifier;
  const refuse = (why: string): AcmeProblem => new AcmeProblem('rejectedIdentifier', `${JSON.stringify(value.slice(0, 253))} ${why}`, { identifier });
  if (type === 'permanent-identifier') return refuse('is an identifier of agents; bind the account with sallyport acme create AGENT');
  if (value.startsWith('*.')) return refuse('is a wildcard, which only dns-01 could prove and which is not issued here');
  if ((isIP(value) !== 0) !== (type === 'ip')) return refuse(type === 'ip' ? 'is not an IP address' : 'is an IP address; order it as type ip');
  const spelt = spelling(value);
  if (spelt === undefined) return refuse('is not a name that certificates can have');
  if (type === 'ip' && spelt.startsWith('::ffff:')) return refuse('is an IPv4 address in the form of IPv6; order the IPv4 address');
  if (type === 'dns' && isUnder(spelt, `.${policy.agentSuffix}`)) return refuse('is kept for agents; bind the account with sallyport acme create AGENT');
  if (!isAllowedHost(spelt, policy)) return refuse(type === 'ip' ? 'is outside ca.acme.ipRanges' : 'is outside ca.acme.dnsSuffixes');
  if (names.length > 0 && !names.some((name) => name === spelt || (type === 'dns' && isUnder(spelt, name)))) return refuse('is not among the names of this account');
  return { type, value: spelt };
};

/** An account of an agent may order this agent, in any of the ways that clients can write it. */
const checkAgent = (identifier: Identifier, agent: string, { agentSuffix }: NamePolicy): Identifier | AcmeProblem => {
  const { type, value } = identifier;
  if (type === 'permanent-identifier' ? value === agent : type === 'dns' && agentNames(agent, agentSuffix).includes(value)) return identifier;
  return new AcmeProblem('rejectedIdentifier', `${JSON.stringify(value.slice(0, 253))} does not stand for the agent of this account; order ${agentNames(agent, agentSuffix)[0] ?? agent}`, { identifier });
};

/** What stands for an agent as a DNS name. The short one is also what clients read out of its certificate when they renew. */
export const agentNames = (agent: string, agentSuffix: string): readonly string[] => [agent.toLowerCase(), `${agent.toLowerCase()}.${agentSuffix}`];

const spelling = (value: string): string | undefined => {
  try {
    const { dnsNames, ipAddresses } = checkHosts([value]);
    return dnsNames[0] ?? ipAddresses[0];
  } catch (error) {
    if (error instanceof CaError && error.code === 'ERR_CA_NAME') return undefined;
    throw error;
  }
};

const isUnder = (name: string, suffix: string): boolean => name === suffix || name.endsWith(suffix.startsWith('.') ? suffix : `.${suffix}`);
