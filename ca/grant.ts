/** Name, OUs and hosts an operator gives → subject and subjectAltName. Pure. */
import { CaError } from './errors.ts';
import type { Granted } from './issuance.ts';
import { spiffeIdOf } from './naming-rules.ts';
import type { Profile } from './profile.ts';
import { checkAgentName, checkEmail, checkHosts, checkOrganizationalUnits } from './subject-rules.ts';
import type { DistinguishedName } from './x509/name.ts';

/** What is asked for by name: an agent or a person. */
export interface NamedGrant {
  readonly organizationalUnits: readonly string[];
  /** Of a person. */
  readonly email?: string | undefined;
}

/** `O` (when the profile has one), one RDN for each OU, then the name; and its SPIFFE ID. */
export const grantedToAgent = (trustDomain: string, agent: string, asked: readonly string[] | NamedGrant, profile: Profile): Granted => {
  const { organizationalUnits, email }: NamedGrant = 'organizationalUnits' in asked ? asked : { organizationalUnits: asked };
  const { naming } = profile;
  const refuse = (what: string): never => {
    throw new CaError('ERR_CA_PROFILE', `profile ${profile.name} does not grant ${what}`, { facts: { profile: profile.name } });
  };
  checkAgentName(agent);
  checkOrganizationalUnits(organizationalUnits);
  if (!naming.allowsName(agent)) refuse(`the name ${JSON.stringify(agent)}; use one like ${naming.config.names?.join(', ') ?? ''}`);
  const foreign = organizationalUnits.find((unit) => !naming.allowsUnit(unit));
  if (foreign !== undefined) refuse(`the organizational unit ${JSON.stringify(foreign)}; use one of ${naming.config.organizationalUnits?.join(', ') ?? ''}`);
  const missing = naming.missingUnit(organizationalUnits);
  if (missing !== undefined) refuse(`a certificate without an organizational unit ${JSON.stringify(missing)}; give it with --ou`);
  if (email !== undefined) {
    if (profile.kind !== 'console-user') refuse('an email address, which only people have; leave it out');
    if (!naming.allowsEmail(checkEmail(email))) refuse(`the email address ${JSON.stringify(email)}; use one at ${naming.config.emailDomains?.join(', ') ?? ''}`);
  }
  return {
    subject: [...organization(profile), ...organizationalUnits.map((value) => [{ type: 'OU', value }]), [{ type: 'CN', value: agent }]],
    uris: [spiffeIdOf(trustDomain, naming, { name: agent, units: organizationalUnits })],
    dnsNames: [],
    ipAddresses: [],
    ...(email === undefined ? {} : { emails: [email] }),
  };
};

/** The first host is the commonName when it fits there. */
export const grantedToServer = (hosts: readonly string[], profile: Profile): Granted => {
  const names = checkHosts(hosts);
  const { naming } = profile;
  const foreign = names.dnsNames.find((name) => !naming.allowsDnsName(name)) ?? names.ipAddresses.find((address) => !naming.allowsIpAddress(address));
  if (foreign !== undefined) {
    throw new CaError('ERR_CA_PROFILE', `profile ${profile.name} does not grant ${foreign}; use hosts of ${[...(naming.config.dnsSuffixes ?? []), ...(naming.config.ipRanges ?? [])].join(', ')}`, { facts: { profile: profile.name } });
  }
  const commonName = [...names.dnsNames, ...names.ipAddresses].find((name) => name === hosts[0]?.toLowerCase()) ?? names.dnsNames[0] ?? names.ipAddresses[0] ?? '';
  return { subject: [...organization(profile), ...(commonName.length > 64 ? [] : [[{ type: 'CN', value: commonName }]])], uris: [], ...names };
};

const organization = (profile: Profile): DistinguishedName => (profile.organization === undefined ? [] : [[{ type: 'O', value: profile.organization }]]);
