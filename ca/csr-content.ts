/** What a request says. It may repeat what was granted or say nothing; anything else it asks for is refused, never trimmed. */
import { CaError } from './errors.ts';
import type { Granted } from './issuance.ts';
import type { IssuanceWay } from './ports.ts';
import type { Profile } from './profile.ts';
import { lowerCaseHost } from './subject-rules.ts';
import { parseCsr, verifyCsr, verifyCsrAside } from './x509/csr.ts';
import type { Csr } from './x509/csr.ts';
import { EXTENDED_KEY_USAGE, EXTENSION } from './x509/extension.ts';

/** Attributes with no bearing on the certificate: challengePassword, unstructuredName, and what Microsoft tools add. */
const harmlessAttributes: ReadonlySet<string> = new Set(['1.2.840.113549.1.9.7', '1.2.840.113549.1.9.2', '1.3.6.1.4.1.311.13.2.3', '1.3.6.1.4.1.311.21.20', '1.3.6.1.4.1.311.13.2.2']);
const comparable: ReadonlySet<string> = new Set([EXTENSION.subjectAltName, EXTENSION.keyUsage, EXTENSION.extendedKeyUsage, EXTENSION.basicConstraints, EXTENSION.subjectKeyIdentifier]);

/** A request whose sender holds the key. */
export const provenCsr = (input: Uint8Array | string): Csr => {
  const csr = parseCsr(input);
  verifyCsr(csr);
  return csr;
};

/** The same, proven on a thread of the pool. */
export const provenCsrAside = async (input: Uint8Array | string): Promise<Csr> => {
  const csr = parseCsr(input);
  await verifyCsrAside(csr);
  return csr;
};

/** `ERR_CA_CSR_CONTENT`, with everything that was asked for too much among the facts. */
export const checkCsrContent = (csr: Csr, granted: Granted, profile: Profile, options: { readonly way?: IssuanceWay | undefined } = {}): void => {
  // acme-client asks for keyEncipherment whatever the key is for. It is not granted.
  const excess = [...excessOf(csr, granted, profile)].filter((what) => !(options.way === 'acme' && what === 'keyUsage keyEncipherment'));
  if (excess.length === 0) return;
  throw new CaError('ERR_CA_CSR_CONTENT', `the request asks for what is not granted: ${excess.join(', ')}; send a request with the key alone, or ask the operator for a grant`, { facts: { excess } });
};

/** As if these names were granted too. */
export const withStandIns = (granted: Granted, names: readonly string[] = []): Granted => ({
  ...granted,
  subject: [...granted.subject, ...names.map((value) => [{ type: 'CN', value }])],
  dnsNames: [...granted.dnsNames, ...names.map((name) => name.toLowerCase())],
});

function* excessOf(csr: Csr, granted: Granted, profile: Profile): Generator<string> {
  const attributes = new Set(granted.subject.flat().map(({ type, value }) => `${type}=${value}`));
  // RFC 8555 §7.4: a host is asked for in any case; it is granted in lower case.
  const spelt = (type: string, value: string): string => (profile.kind === 'server' && type === 'CN' ? lowerCaseHost(value) : value);
  for (const { type, value } of csr.subject.flat()) if (!attributes.has(`${type}=${spelt(type, value)}`)) yield `subject ${type}=${short(value)}`;

  const { requested } = csr;
  for (const uri of requested.uris) if (!granted.uris.includes(uri)) yield `URI ${short(uri)}`;
  for (const name of requested.dnsNames) if (!granted.dnsNames.includes(name.toLowerCase())) yield `DNS name ${short(name)}`;
  for (const address of requested.ipAddresses) if (!granted.ipAddresses.includes(address)) yield `IP address ${address}`;
  for (const email of requested.emails) if (granted.emails?.includes(email) !== true) yield `email ${short(email)}`;
  if (requested.otherNames.length > 0) yield 'a name of another kind';

  if (requested.basicConstraints?.ca === true) yield 'to be a CA';
  for (const usage of requested.keyUsage ?? []) if (usage !== 'digitalSignature') yield `keyUsage ${usage}`;
  const usages: ReadonlySet<string> = new Set(profile.extendedKeyUsage.map((usage) => EXTENDED_KEY_USAGE[usage]));
  for (const oid of requested.extendedKeyUsage ?? []) if (!usages.has(oid)) yield `extendedKeyUsage ${oid}`;
  for (const oid of requested.oids) if (!comparable.has(oid)) yield `extension ${oid}`;
  for (const oid of csr.otherAttributes) if (!harmlessAttributes.has(oid)) yield `attribute ${oid}`;
}

const short = (text: string): string => JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
