/** Name, OUs and hosts an operator gives → subject and subjectAltName. Pure. */
import { CaError } from './errors.ts';
import type { Granted } from './issuance.ts';
import type { Profile } from './profile.ts';
import { checkAgentName, checkHosts, checkOrganizationalUnits } from './subject-rules.ts';
import type { DistinguishedName } from './x509/name.ts';

/** `O` (when the profile has one), one RDN for each OU, then the agent's name; and its SPIFFE ID. */
export const grantedToAgent = (trustDomain: string, agent: string, organizationalUnits: readonly string[], profile: Profile): Granted => {
  checkAgentName(agent);
  checkOrganizationalUnits(organizationalUnits);
  const foreign = organizationalUnits.find((unit) => profile.organizationalUnits?.has(unit) === false);
  if (foreign !== undefined) {
    throw new CaError('ERR_CA_PROFILE', `profile ${profile.name} does not grant the organizational unit ${JSON.stringify(foreign)}; use one of ${[...(profile.organizationalUnits ?? [])].join(', ')}`, {
      facts: { profile: profile.name },
    });
  }
  return {
    subject: [...organization(profile), ...organizationalUnits.map((value) => [{ type: 'OU', value }]), [{ type: 'CN', value: agent }]],
    uris: [`spiffe://${trustDomain}/agent/${agent}`],
    dnsNames: [],
    ipAddresses: [],
  };
};

/** The first host is the commonName when it fits there. */
export const grantedToServer = (hosts: readonly string[], profile: Profile): Granted => {
  const names = checkHosts(hosts);
  const commonName = [...names.dnsNames, ...names.ipAddresses].find((name) => name === hosts[0]?.toLowerCase()) ?? names.dnsNames[0] ?? names.ipAddresses[0] ?? '';
  return { subject: [...organization(profile), ...(commonName.length > 64 ? [] : [[{ type: 'CN', value: commonName }]])], uris: [], ...names };
};

const organization = (profile: Profile): DistinguishedName => (profile.organization === undefined ? [] : [[{ type: 'O', value: profile.organization }]]);
