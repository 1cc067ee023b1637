/** Puts both CA certificates into the store, so that they are listed and the issuing CA can be revoked. */
import type { AuthorityOptions } from './authority-options.ts';
import { CaError } from './errors.ts';
import { certificateIssued } from './events.ts';
import type { Hierarchy, Issuer } from './hierarchy.ts';
import type { CertificateIntent } from './ports.ts';
import { equalBytes } from './x509/der.ts';
import { formatName, nameAttributes } from './x509/name.ts';

/** Idempotent, and finishes what an interrupted run began. */
export const recordAuthorities = async (hierarchy: Hierarchy, options: Pick<AuthorityOptions, 'store' | 'clock'>): Promise<void> => {
  for (const issuer of [hierarchy.root, hierarchy.issuing]) await recordAuthority(issuer, hierarchy.root.id, options);
};

const recordAuthority = async (issuer: Issuer, signedBy: string, { store, clock }: Pick<AuthorityOptions, 'store' | 'clock'>): Promise<void> => {
  const { certificate } = issuer;
  const [present] = await store.findCertificates({ issuerId: signedBy, serial: certificate.serial, limit: 1 });
  if (present !== undefined && !equalBytes(present.tbs, certificate.tbs)) {
    throw new CaError('ERR_STORE_DUPLICATE_SERIAL', `another certificate has the serial of the ${issuer.name} CA; the random source repeats itself or this store belongs to another CA`, { facts: { serial: certificate.serial } });
  }
  if (present !== undefined && present.state !== 'intent' && present.state !== 'unknownIssued') return;
  const time = clock.now();
  const intent: CertificateIntent = {
    issuerId: signedBy,
    serial: certificate.serial,
    tbs: certificate.tbs,
    // No agent is named so: names have no colon.
    agent: `ca:${issuer.name}`,
    profile: issuer.name,
    subject: formatName(certificate.subject),
    commonName: nameAttributes(certificate.subject, 'CN')[0] ?? '',
    organizationalUnits: [],
    uri: undefined,
    dnsNames: [],
    spkiHash: certificate.spkiHash,
    notBefore: certificate.notBefore,
    notAfter: certificate.notAfter,
    createdAt: time,
    replaces: undefined,
  };
  try {
    if (present === undefined) await store.recordIntent(intent);
    await store.recordIssued({ issuerId: signedBy, serial: certificate.serial, der: certificate.der, thumbprint: certificate.thumbprint }, certificateIssued(intent, certificate.thumbprint, { time, actor: 'ca' }));
  } catch (error) {
    // Another process records it at the same moment.
    const raced = error instanceof CaError && (error.code === 'ERR_STORE_DUPLICATE_SERIAL' || error.code === 'ERR_CA_CERTIFICATE_UNKNOWN');
    if (!raced) throw error;
  }
};
