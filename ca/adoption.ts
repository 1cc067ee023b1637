/** Puts the certificates of CAs into the store, so that they are listed and can be revoked. */
import type { AuthorityOptions } from './authority-options.ts';
import { CaError } from './errors.ts';
import { certificateIssued } from './events.ts';
import { issuerIn } from './issuer.ts';
import type { Hierarchy } from './issuer.ts';
import { lintParsed } from './lint.ts';
import type { AuthorityRole } from './lint-rule.ts';
import type { CertificateIntent, IssuerId } from './ports.ts';
import type { Certificate } from './x509/certificate.ts';
import { equalBytes } from './x509/der.ts';
import { formatName, nameAttributes } from './x509/name.ts';

export interface AuthorityEntry {
  readonly name: string;
  readonly role: AuthorityRole;
  /** Whose signature it bears. */
  readonly issuerId: IssuerId;
  readonly actor: string;
}

/** Idempotent, and finishes what an interrupted run began. */
export const recordAuthorities = async (hierarchy: Hierarchy, options: Pick<AuthorityOptions, 'store' | 'clock'>): Promise<void> => {
  for (const { name, role, root, certificate, above, id } of hierarchy.issuers) {
    const rootId = issuerIn(hierarchy, root)?.id ?? id;
    await recordAuthority(certificate, { name, role, issuerId: above[0]?.spkiHash ?? rootId, actor: 'ca' }, options);
    for (const [index, intermediate] of above.entries()) await recordAuthority(intermediate, { name: intermediateName(name, index), role: 'issuing', issuerId: above[index + 1]?.spkiHash ?? rootId, actor: 'ca' }, options);
  }
  for (const { name, of, by, certificate } of hierarchy.crossCertificates) await recordAuthority(certificate, { name, role: issuerIn(hierarchy, of)?.role === 'issuing' ? 'issuing' : 'cross', issuerId: issuerIn(hierarchy, by)?.id ?? certificate.spkiHash, actor: 'ca' }, options);
};

/** Its name in the inventory. */
const intermediateName = (issuing: string, index: number): string => `${issuing}-above-${index + 1}`;

/** Certificates from elsewhere stand in the inventory as such: they are not held to the rules of what is made here. */
export const importedProfile = 'imported';

const profileOf = (certificate: Certificate, role: AuthorityRole): string => {
  // The issuer is not at hand; what depends on it is checked when the hierarchy is read.
  const findings = lintParsed(certificate, { issuer: undefined, profile: role }).filter(({ rule }) => !['authorityKeyIdentifier', 'signatureAlgorithm'].includes(rule));
  return findings.length === 0 ? role : importedProfile;
};

/** What stands in the store of a CA's certificate, also before it is signed. */
export const authorityIntent = (certificate: Certificate, { name, role, issuerId }: AuthorityEntry, createdAt: Date): CertificateIntent => ({
  issuerId,
  serial: certificate.serial,
  tbs: certificate.tbs,
  // No agent is named so: names have no colon.
  agent: `ca:${name}`,
  profile: profileOf(certificate, role),
  subject: formatName(certificate.subject),
  commonName: nameAttributes(certificate.subject, 'CN')[0] ?? '',
  organizationalUnits: [],
  uri: undefined,
  dnsNames: [],
  spkiHash: certificate.spkiHash,
  notBefore: certificate.notBefore,
  notAfter: certificate.notAfter,
  createdAt,
  replaces: undefined,
});

export const recordAuthority = async (certificate: Certificate, entry: AuthorityEntry, { store, clock }: Pick<AuthorityOptions, 'store' | 'clock'>): Promise<void> => {
  const { issuerId, name, actor } = entry;
  const [present] = await store.findCertificates({ issuerId, serial: certificate.serial, limit: 1 });
  if (present !== undefined && !equalBytes(present.tbs, certificate.tbs)) {
    throw new CaError('ERR_STORE_DUPLICATE_SERIAL', `another certificate has the serial of the ${name} CA; the random source repeats itself or this store belongs to another CA`, { facts: { serial: certificate.serial } });
  }
  if (present !== undefined && present.state !== 'intent' && present.state !== 'unknownIssued') return;
  const time = clock.now();
  const intent = authorityIntent(certificate, entry, time);
  try {
    if (present === undefined) await store.recordIntent(intent);
    await store.recordIssued({ issuerId, serial: certificate.serial, der: certificate.der, thumbprint: certificate.thumbprint }, certificateIssued(intent, certificate.thumbprint, { time, actor }));
  } catch (error) {
    // Another process records it at the same moment.
    const raced = error instanceof CaError && (error.code === 'ERR_STORE_DUPLICATE_SERIAL' || error.code === 'ERR_CA_CERTIFICATE_UNKNOWN');
    if (!raced) throw error;
  }
};
