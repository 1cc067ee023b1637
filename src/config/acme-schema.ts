/** `ca.acme` of sallyport.yaml. */
import { isIP, isIPv4 } from 'node:net';
import { z } from 'zod';
import { parseRange } from '../../ca/acme/address-range.ts';
import { count, httpUrl, text } from './schema-parts.ts';

const dnsSuffix = z.string('must be a DNS name').regex(/^\.?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/, 'must be a lower-case DNS name such as acme.internal, or .acme.internal for what is beneath it only');
const addressRange = z.string('must be a range of addresses').refine((range) => parseRange(range) !== undefined, 'must be a range of IP addresses such as 10.0.0.0/8, or one address');

const isDnsServer = (server: string): boolean => {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(server) ?? [];
  return isIP(server) !== 0 || ((isIP(bracketed ?? '') === 6 || isIPv4(plain ?? '')) && Number(port ?? 53) <= 65_535);
};

/** Which profiles there are is known to the authority. */
export const acme = z.strictObject({
  enabled: z.boolean('must be true or false').default(false).describe('Serve ACME at /acme/directory of the enrollment port'),
  profiles: z.array(text().min(1)).min(1, 'must name at least one profile').default(['server']).describe('Profiles of kind server that may be ordered; the first one unless the client asks for another'),
  dnsSuffixes: z.array(dnsSuffix).default([]).describe('Names that may be ordered for servers: each with everything beneath it; with a dot in front only what is beneath'),
  ipRanges: z.array(addressRange).default([]).describe('IP addresses that may be ordered for servers'),
  agentSuffix: z.string('must be a DNS name').regex(/^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/, 'must be a lower-case DNS name').optional().describe('<agent>.<agentSuffix> is what clients order for an agent. Default: agents.<trustDomain>'),
  externalAccount: z.enum(['agents', 'everyone'], { error: 'must be agents or everyone' }).default('agents').describe('Who needs an external account of sallyport acme create: agents do in any case'),
  termsOfService: httpUrl(['http:', 'https:'], 'an http or https URL').optional().describe('Terms that clients must agree to'),
  website: httpUrl(['http:', 'https:'], 'an http or https URL').optional().describe('What clients may show of this CA'),
  validationRanges: z.array(addressRange).default(['0.0.0.0/0', '::/0']).describe('Where validation may connect to. This machine, the link and the metadata of clouds only when a range lies within them'),
  dnsServers: z.array(z.string().refine(isDnsServer, 'must be an IP address, with :port if it is not 53')).default([]).describe('Servers that names are asked of in validation. Default: as the system resolves them'),
  dangerouslyHttpPort: count(1, 65_535).optional().describe('Port of http-01 in place of 80: whoever may listen there on a host gets certificates for it'),
  dangerouslyTlsPort: count(1, 65_535).optional().describe('Port of tls-alpn-01 in place of 443, with the same danger'),
});
