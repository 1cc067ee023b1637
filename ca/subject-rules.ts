/** What may stand in a subject or subjectAltName we sign. Pure; every refusal is `ERR_CA_NAME`. */
import { isIP } from 'node:net';
import { CaError } from './errors.ts';

/** RFC 5280 Appendix A: ub-common-name and ub-organizational-unit-name are 64 characters. */
const upperBound = 64;
const maxOrganizationalUnits = 16;

/**
 * The name of an agent: commonName and last segment of its SPIFFE ID, so the alphabet is that of a
 * SPIFFE path segment (SPIFFE-ID §2.2), and it starts with a letter or digit.
 */
export const checkAgentName = (name: string): string => {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) {
    throw new CaError('ERR_CA_NAME', `${quote(name)} is not an agent name; use 1 to 64 letters, digits, dots, hyphens and underscores, starting with a letter or digit`);
  }
  return name;
};

/** SPIFFE-ID §2.1: lower-case letters, digits, dots, hyphens, underscores; at most 255 octets. Empty labels are refused, which is stricter. */
export const checkTrustDomain = (trustDomain: string): string => {
  const labels = trustDomain.split('.');
  if (trustDomain.length > 255 || !labels.every((label) => /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label)) || isIP(trustDomain) !== 0) {
    throw new CaError('ERR_CA_NAME', `${quote(trustDomain)} is not a trust domain; use lower-case letters, digits, dots, hyphens and underscores, such as acme.internal`);
  }
  return trustDomain;
};

/** Several OUs are several attributes; a repeated one is refused rather than merged. */
export const checkOrganizationalUnits = (units: readonly string[]): readonly string[] => {
  if (units.length > maxOrganizationalUnits) throw new CaError('ERR_CA_NAME', `${units.length} organizational units are too many; give at most ${maxOrganizationalUnits}`);
  for (const unit of units) checkAttributeText(unit, 'organizational unit');
  if (new Set(units).size !== units.length) throw new CaError('ERR_CA_NAME', 'an organizational unit is given twice; give each once');
  return [...units];
};

/**
 * Text of a name attribute: 1 to 64 characters (RFC 5280 counts characters, not octets), and,
 * stricter than the RFC, in NFC, without surrounding or repeated blanks and without control, format,
 * private-use or unassigned characters, so that two names which look the same are the same.
 */
export const checkAttributeText = (text: string, what: string): string => {
  const length = [...text].length;
  if (length < 1 || length > upperBound) throw new CaError('ERR_CA_NAME', `the ${what} has ${length} characters; give 1 to ${upperBound}`);
  if (/\p{C}/u.test(text) || !text.isWellFormed()) throw new CaError('ERR_CA_NAME', `the ${what} ${quote(text)} holds a control or invisible character; remove it`);
  if (text !== text.normalize('NFC')) throw new CaError('ERR_CA_NAME', `the ${what} ${quote(text)} is not in Unicode normalization form C; normalize it`);
  if (text !== text.trim() || /\s\s|[^\S ]/u.test(text)) throw new CaError('ERR_CA_NAME', `the ${what} ${quote(text)} has blanks around it, repeated or unusual ones; use single spaces between words`);
  return text;
};

/** RFC 5280 §4.2.1.6: a Mailbox of RFC 2821. Of its spellings only the plain one, in lower case, so that one address has one text. */
export const checkEmail = (email: string): string => {
  const [, local = '', domain = ''] = /^([a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*)@([a-z0-9.-]+)$/.exec(email) ?? [];
  if (local === '' || local.length > 64 || !isHostName(domain)) throw new CaError('ERR_CA_NAME', `${quote(email)} is not an email address; write it in lower case, such as alice@acme.example`);
  return email;
};

export interface HostNames {
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
}

/** Hosts of a TLS server → dNSName and iPAddress entries, in order, without repetition. */
export const checkHosts = (hosts: readonly string[]): HostNames => {
  const dnsNames: string[] = [];
  const ipAddresses: string[] = [];
  for (const host of hosts) {
    const target = isIP(host) === 0 ? dnsNames : ipAddresses;
    const name = isIP(host) === 0 ? checkDnsName(host) : checkIpAddress(host);
    if (!target.includes(name)) target.push(name);
  }
  if (dnsNames.length + ipAddresses.length === 0) throw new CaError('ERR_CA_NAME', 'a server certificate needs a host; give a DNS name or an IP address');
  if (dnsNames.length + ipAddresses.length > 64) throw new CaError('ERR_CA_NAME', 'a server certificate may name at most 64 hosts');
  return { dnsNames, ipAddresses };
};

/** RFC 5280 §4.2.1.6: preferred name syntax (RFC 1034 §3.5). Wildcards are refused, which is stricter. */
const checkDnsName = (host: string): string => {
  const name = lowerCaseHost(host);
  if (!isHostName(name)) throw new CaError('ERR_CA_NAME', `${quote(host)} is not a host name; give a DNS name without wildcard, or an IP address`);
  return name;
};

/** RFC 4343 §3: ASCII letters alone have a case. Else the Kelvin sign would be a k, and two names one. */
export const lowerCaseHost = (host: string): string => host.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());

const isHostName = (name: string): boolean => {
  const labels = name.split('.');
  return name.length <= 253 && labels.every((label) => /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(label)) && !/^\d+$/.test(labels.at(-1) ?? '');
};

const checkIpAddress = (host: string): string => {
  if (host.includes('%')) throw new CaError('ERR_CA_NAME', `${quote(host)} carries a zone; give the address alone`);
  // One spelling per address: RFC 5952, as URLs have it.
  return isIP(host) === 6 ? new URL(`http://[${host}]`).hostname.slice(1, -1) : host;
};

const quote = (text: string): string => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
