/**
 * Is a name within a subtree? (RFC 5280 §4.2.1.10.) Where two readings are possible, a permitted
 * subtree gets the narrow one and an excluded subtree the wide one. A name that cannot be compared
 * with certainty is `unclear`, and the path is refused.
 */
import type { NameKind, SubjectName, Subtree } from './constrained-name.ts';

export type Match = 'within' | 'outside' | 'unclear';

/** `within`: everything the name may stand for lies inside. */
export function matchPermitted(name: SubjectName, subtree: Subtree): Match {
  return matchers[name.kind](name, subtree, 'permitted');
}

/** `within`: something the name may stand for lies inside. */
export function matchExcluded(name: SubjectName, subtree: Subtree): Match {
  return matchers[name.kind](name, subtree, 'excluded');
}

type Side = 'permitted' | 'excluded';
type Matcher = (name: SubjectName, subtree: Subtree, side: Side) => Match;

/** Letters, digits, hyphens and, as they are in use, underscores; no root dot. */
const HOST = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const isHost = (text: string): boolean => text.length <= 253 && HOST.test(text);
const ALL_NUMERIC = /(?:^|\.)\d+$/;

const matchDns: Matcher = ({ text }, { text: base }, side) => {
  const name = text.toLowerCase();
  const domain = base.toLowerCase();
  if (domain === '') return 'within';
  const host = domain.startsWith('.') ? domain.slice(1) : domain;
  const wildcard = name.startsWith('*.');
  const plain = wildcard ? name.slice(2) : name;
  if (!isHost(plain) || !isHost(host)) return 'unclear';
  if (isBelow(name, host)) return 'within';
  // RFC 5280 defines no leading dot for DNS names. Read so that either reading refuses: the host itself is not permitted, and is excluded.
  if (plain === host && !wildcard) return domain === host || side === 'excluded' ? 'within' : 'outside';
  // Stricter than the RFC, which knows no wildcards: `*.example.com` also stands for the excluded `secret.example.com`.
  if (side === 'excluded' && wildcard && isBelow(host, plain)) return 'within';
  return 'outside';
};

const matchHost = (host: string, base: string): Match => {
  const domain = base.toLowerCase();
  if (domain === '') return 'within';
  const plain = domain.startsWith('.') ? domain.slice(1) : domain;
  if (!isHost(host) || !isHost(plain)) return 'unclear';
  // For URI and mail a leading dot means what is below, and nothing but the host is meant without it.
  if (domain.startsWith('.')) return isBelow(host, plain) ? 'within' : 'outside';
  return host === plain ? 'within' : 'outside';
};

const matchUri: Matcher = ({ text }, { text: base }) => {
  const [, authority] = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(text) ?? [];
  // RFC 5280 §4.2.1.10: without a host name there is nothing to compare, and the certificate is refused.
  if (authority === undefined) return 'unclear';
  // User information and IPv6 addresses are no host names either.
  const host = authority.replace(/:\d*$/, '').toLowerCase();
  return !isHost(host) || ALL_NUMERIC.test(host) ? 'unclear' : matchHost(host, base);
};

/** Quoted local parts and comments are not taken apart. */
const MAILBOX = /^([\w!#$%&'*+/=?^`{|}~.-]{1,64})@([^@]+)$/;

const matchEmail: Matcher = ({ text }, { text: base }, side) => {
  if (base === '') return 'within';
  const [, local, domain] = MAILBOX.exec(text) ?? [];
  if (local === undefined || domain === undefined) return 'unclear';
  if (!base.includes('@')) return matchHost(domain.toLowerCase(), base);
  const [, onlyLocal, onlyDomain] = MAILBOX.exec(base) ?? [];
  if (onlyLocal === undefined || onlyDomain === undefined) return 'unclear';
  // The local part has case (RFC 5321 §2.4); an exclusion does not rely on it.
  const sameLocal = side === 'excluded' ? local.toLowerCase() === onlyLocal.toLowerCase() : local === onlyLocal;
  return sameLocal ? matchHost(domain.toLowerCase(), onlyDomain) : 'outside';
};

/** Address and mask: 8 octets for IPv4, 32 for IPv6. */
const matchIp: Matcher = ({ octets: address }, { octets: range }) => {
  if (range.length !== address.length * 2) return 'outside';
  for (const [index, octet] of address.entries()) {
    const mask = range[address.length + index] ?? 0;
    if ((octet & mask) !== ((range[index] ?? 0) & mask)) return 'outside';
  }
  return 'within';
};

/** RFC 5280 §7.1: the RDNs of the subtree are the first of the name. */
const matchDirectory: Matcher = ({ rdns }, { rdns: base }) => (base.length <= rdns.length && base.every((rdn, index) => rdn === rdns[index]) ? 'within' : 'outside');

/** Kinds of names for which RFC 5280 defines no comparison. */
const cannotTell: Matcher = () => 'unclear';

const matchers: Readonly<Record<NameKind, Matcher>> = { dns: matchDns, uri: matchUri, email: matchEmail, ip: matchIp, directory: matchDirectory, other: cannotTell, registeredId: cannotTell, x400: cannotTell, ediParty: cannotTell };

const isBelow = (name: string, domain: string): boolean => name.endsWith(`.${domain}`);
