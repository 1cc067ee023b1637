/** `trust:` in sallyport.yaml: whose certificates may connect beside those of our own CA. */
import { z } from 'zod';
import { duration, httpUrl, text, typeNames } from './schema-parts.ts';

/** A file relative to the data directory, or an address to fetch from. */
const place = (protocols: readonly string[]) =>
  text().min(1).refine((given) => {
    if (!given.includes('://')) return true;
    const url = URL.parse(given);
    return url !== null && protocols.includes(url.protocol) && url.username === '' && url.password === '' && url.hash === '';
  }, `must be a file, or an address that begins with ${protocols.map((each) => `${each}//`).join(' or ')}, without user name and fragment`);

const list = <Item extends z.ZodType>(item: Item) => z.union([z.array(item).min(1, 'must hold at least one'), item.transform((one) => [one])], { error: 'must be a list' });

export const trustDomain = z.string('must be a lower-case name such as corp.example').regex(/^[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?$/, 'must be a lower-case name such as corp.example');

export const trustName = z.string().regex(/^(?!own$)[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/, 'the name of an anchor is 1 to 32 lower-case letters, digits and hyphens, and not own, which is our own CA');

const spiffe = z.strictObject({
  trustDomain: trustDomain.describe('Trust domain whose SPIFFE IDs are believed'),
  bundle: place(['https:']).describe('SPIFFE trust bundle: a file relative to the data directory, or an https URL that is fetched again as it asks'),
  endpoint: z.enum(['https_web', 'https_spiffe'], { error: 'must be https_web or https_spiffe' }).default('https_web').describe('How the server of the bundle proves itself: to the CAs Node.js trusts (or `ca`), or with an SVID of the trust domain'),
  endpointId: text().optional().describe('SPIFFE ID of that server, with https_spiffe'),
  bootstrap: text().min(1).optional().describe('File with the bundle to begin with, with https_spiffe'),
  ca: text().min(1).optional().describe('PEM file of the CAs that may sign the certificate of that server, with https_web'),
});

const crl = z.union([
  place(['http:', 'https:']).transform((from) => ({ from, delta: undefined, issuer: undefined })),
  z.strictObject({ from: place(['http:', 'https:']), delta: place(['http:', 'https:']).optional(), issuer: text().min(1).optional() }),
], { error: 'must be a file, a URL, or { from, delta, issuer }' });

const ocsp = z.strictObject({
  url: httpUrl(['http:', 'https:'], 'an http or https URL').describe('OCSP responder; the addresses in certificates are not followed'),
  nonce: z.enum(['optional', 'required', 'none'], { error: 'must be optional, required or none' }).default('optional').describe('Whether answers must repeat a nonce: responders that prepare their answers cannot'),
  hash: z.enum(['sha1', 'sha256'], { error: 'must be sha1 or sha256' }).default('sha1').describe('Hash of the CertID; SHA-1 is what every responder knows, and no security rests on it'),
});

const identity = z.strictObject({
  from: z.enum(['spiffe', 'commonName', 'dns', 'email'], { error: 'must be spiffe, commonName, dns or email' }).describe('What names an agent: its SPIFFE ID, or its one common name, DNS name or email address'),
  trustDomain: trustDomain.optional().describe('Trust domain of the SPIFFE IDs'),
});

const week = 7 * 86_400_000;

export const trustAnchor = z.strictObject({
  anchors: list(text().min(1)).optional().register(typeNames, { type: 'list of files' }).describe('PEM files of root certificates, relative to the data directory; changed ones are taken over at once'),
  spiffe: spiffe.optional().describe('A SPIFFE trust domain in place of `anchors` and `identity`'),
  issuers: z.union([z.literal('any'), list(text().min(1))], { error: 'must be any, or a list of PEM files' }).optional().register(typeNames, { type: 'list of files | any' }).describe('PEM files of the issuing CAs whose end entities may connect; any: whatever CA leads to an anchor. Default: any with `spiffe`, else it must be said'),
  identity: identity.optional().describe('What names an agent'),
  crl: list(crl).default([]).register(typeNames, { type: 'list of files, URLs or { from, delta, issuer }' }).describe('CRLs of the CAs; `issuer` names the certificate of a CA that is neither an anchor nor pinned'),
  ocsp: ocsp.optional().describe('OCSP responder of the issuing CAs'),
  maxAge: duration().optional().describe('Oldest CRL or OCSP answer that is used, whatever it says of itself'),
  refresh: duration().prefault('15m').describe('Longest time between two looks at a URL; an unchanged document is not sent again'),
  shortLived: duration().refine((millis) => millis <= week, 'must be at most 7d').optional().describe('Certificates that live at most so long need nobody to say that they are not revoked; longer ones are refused. Default with `spiffe`, without crl and ocsp: 24h'),
  dangerouslyAcceptStaleFor: duration().optional().describe('How long past its end the last good status is used when no newer one can be had. Default: not at all'),
  dangerouslyAcceptUnknownStatus: z.literal(true, 'can only be true: leave it out otherwise').optional().register(typeNames, { type: 'true' }).describe('Let certificates in of which nobody says whether they are revoked'),
});

export type TrustAnchorConfig = z.output<typeof trustAnchor>;

/** Which keys may stand at a path below `trust.<name>`. */
export const trustKeysAt = (path: readonly PropertyKey[]): readonly string[] => {
  switch (path[0]) {
    case undefined:
      return Object.keys(trustAnchor.shape);
    case 'spiffe':
      return Object.keys(spiffe.shape);
    case 'identity':
      return Object.keys(identity.shape);
    case 'ocsp':
      return Object.keys(ocsp.shape);
    default:
      return ['from', 'delta', 'issuer'];
  }
};
