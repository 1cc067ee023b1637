/** Renewal after expiry: within the grace, of a certificate that nothing has taken the place of. */
import { CaError } from './errors.ts';
import type { CaStore, CertificateRecord } from './ports.ts';

/** Issued in its place they come soon after it; more than these are not looked through. */
const successorsLookedAt = 100;

/**
 * For how many seconds it has been expired; undefined while it is valid.
 * @throws CaError `ERR_CA_TTL` beyond the grace, `ERR_CA_IDENTITY_REVOKED` when its successor was in use already: then the
 * agent has a newer key, and whoever comes with the old one is perhaps not the agent
 */
export const lateness = async (old: CertificateRecord, { store, now, graceSeconds }: { readonly store: CaStore; readonly now: Date; readonly graceSeconds: number }): Promise<number | undefined> => {
  const lateMs = now.getTime() - (old.notAfter.getTime() + 1_000);
  if (lateMs < 0) return undefined;
  const facts = { issuerId: old.issuerId, serial: old.serial, notAfter: old.notAfter.toISOString() };
  if (lateMs >= graceSeconds * 1_000) throw new CaError('ERR_CA_TTL', 'the certificate presented for renewal has expired; enroll again with a new token', { facts });
  const later = await store.findCertificates({ agent: old.agent, createdFrom: old.createdAt, limit: successorsLookedAt });
  if (later.some(({ replaces, firstSeenAt }) => replaces === old.serial && firstSeenAt !== undefined)) {
    throw new CaError('ERR_CA_IDENTITY_REVOKED', 'the certificate presented for renewal has expired, and its successor has been in use; renew that one', { facts });
  }
  return Math.floor(lateMs / 1_000);
};
