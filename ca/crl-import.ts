/** CRLs of CAs whose keys are elsewhere, carried as files: kept, served on, and acted on. */
import { wholeScope } from './crl-scope.ts';
import { crlPublished, certificateRevoked } from './events.ts';
import { CaError } from './errors.ts';
import { exists, keyFile } from './hierarchy-files.ts';
import { boundsOf } from './issuer.ts';
import type { Hierarchy } from './issuer.ts';
import type { CaStore, Clock, CrlRecord, IssuerId, RevocationReason, SerialHex } from './ports.ts';
import { checkCrlCovers, parseCrl, verifyCrl } from './x509/crl.ts';
import type { Crl } from './x509/crl.ts';
import type { Certificate } from './x509/certificate.ts';
import { formatName, namesEqual } from './x509/name.ts';

export interface ImportedCrl {
  readonly issuer: Certificate;
  /** Name of the CA in the hierarchy; undefined for one between root and issuing CA. */
  readonly name: string | undefined;
  readonly record: CrlRecord;
  /** CAs of this hierarchy that it revokes, from now on here too. */
  readonly revoked: readonly { readonly issuerId: IssuerId; readonly serial: SerialHex; readonly reason: RevocationReason }[];
}

export interface AuthorityElsewhere {
  readonly certificate: Certificate;
  readonly name: string | undefined;
}

/** The CAs above what is issued here whose keys are elsewhere: their CRLs come as files. */
export const authoritiesElsewhere = async (hierarchy: Hierarchy): Promise<readonly AuthorityElsewhere[]> => {
  const { directory } = hierarchy;
  const own: AuthorityElsewhere[] = [];
  for (const { name, role, status, certificate, signer } of hierarchy.issuers) {
    // A hierarchy may be at hand without its keys having been opened.
    if (role === 'root' && status !== 'retired' && signer === undefined && !(directory !== undefined && (await exists(keyFile(directory, name))))) own.push({ name, certificate });
  }
  const between = hierarchy.issuers.filter(({ status }) => status !== 'retired').flatMap(({ above }) => above.map((certificate) => ({ name: undefined, certificate })));
  return [...new Map([...own, ...between].map((each) => [each.certificate.thumbprint, each])).values()];
};

/**
 * DER or PEM. A CRL that is older than the one that is here, of another CA, altered or out of date is refused.
 * @throws CaError `ERR_CRL_INVALID`, `ERR_CRL_ISSUER`, `ERR_CRL_SIGNATURE`, `ERR_CRL_STALE`
 */
export const importCrl = async (input: Uint8Array | string, hierarchy: Hierarchy, world: { readonly store: CaStore; readonly clock: Clock; readonly actor: string }): Promise<ImportedCrl> => {
  const { store, clock, actor } = world;
  const crl = parseCrl(input);
  const elsewhere = await authoritiesElsewhere(hierarchy);
  const named = elsewhere.filter(({ certificate }) => namesEqual(certificate.subjectNameDer, crl.issuerNameDer));
  if (named.length === 0) {
    throw new CaError('ERR_CRL_ISSUER', elsewhere.length === 0 ? 'every CA here makes its own CRLs; there is none to import' : `the CRL is not of a CA above the ones here; give one of ${elsewhere.map(({ certificate }) => formatName(certificate.subject)).join(' or ')}`);
  }
  const now = clock.now();
  const { certificate, name } = signerOf(crl, named, now);
  // What speaks of some certificates only would say good of those it does not speak of.
  for (const below of certifiedBy(certificate, hierarchy)) checkCrlCovers(crl, below);

  const issuerId = certificate.spkiHash;
  const record: CrlRecord = { issuerId, scope: wholeScope, crlNumber: crl.crlNumber ?? BigInt(crl.thisUpdate.getTime()), thisUpdate: crl.thisUpdate, nextUpdate: crl.nextUpdate ?? now, entries: crl.entryCount, der: crl.der };
  await refuseOlder(record, store);
  // First: once the CRL is here it is refused as known, and nobody would look at what it lists again.
  const revoked = await revokeListed(crl, certificate, hierarchy, world);
  await store.saveCrl(record, crlPublished(record, name ?? formatName(certificate.subject), { time: now, actor })).catch((error: unknown) => {
    throw error instanceof CaError && error.code === 'ERR_CRL_STALE' ? known(error) : error;
  });
  return { issuer: certificate, name, record, revoked };
};

/** As the store would when it is to be kept. */
const refuseOlder = async ({ issuerId, scope, crlNumber, thisUpdate }: CrlRecord, store: CaStore): Promise<void> => {
  const [kept] = await store.crlStates(issuerId, scope);
  if (kept !== undefined && (crlNumber <= kept.crlNumber || thisUpdate <= kept.thisUpdate)) throw known();
};

const known = (cause?: CaError): CaError => new CaError('ERR_CRL_STALE', 'this CRL, or a newer one of the same CA, is here already; fetch the newest from where the key is', { ...(cause === undefined ? {} : { facts: cause.facts }), cause });

/** Of two keys under one name the one that signed it; the refusal of the only one. */
const signerOf = (crl: Crl, candidates: readonly AuthorityElsewhere[], at: Date): AuthorityElsewhere => {
  let refusal: unknown;
  for (const candidate of candidates) {
    try {
      verifyCrl(crl, candidate.certificate, { at, toleranceMs: 60_000 });
      return candidate;
    } catch (error) {
      if (!(refusal instanceof CaError && refusal.code === 'ERR_CRL_STALE')) refusal = error;
    }
  }
  throw refusal;
};

/** CAs here whose certificates it signed. */
const certifiedBy = (by: Certificate, hierarchy: Hierarchy): readonly Certificate[] =>
  hierarchy.issuers.flatMap((issuer) => {
    const path = boundsOf(hierarchy, issuer);
    return path.filter((_, index) => path[index + 1]?.spkiHash === by.spkiHash);
  });

/** Every way from agents up goes through these; what the CRL says of them must hold here at once. */
const revokeListed = async (crl: Crl, by: Certificate, hierarchy: Hierarchy, { store, clock, actor }: { readonly store: CaStore; readonly clock: Clock; readonly actor: string }): Promise<ImportedCrl['revoked']> => {
  const revoked: { issuerId: IssuerId; serial: SerialHex; reason: RevocationReason }[] = [];
  for (const { serial } of certifiedBy(by, hierarchy)) {
    const { reason, revokedAt } = crl.find(serial) ?? {};
    if (reason === undefined || revokedAt === undefined) continue;
    // Since when is for the CRL to say; when it became known here is in the audit log.
    const result = await store.revoke([{ issuerId: by.spkiHash, serial }], reason, revokedAt, (record) => certificateRevoked(record, reason, { time: clock.now(), actor }));
    revoked.push(...result.revoked.map(() => ({ issuerId: by.spkiHash, serial, reason })));
  }
  return revoked;
};
