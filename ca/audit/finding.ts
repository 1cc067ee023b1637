/** What an audit of the authority may find, and what to do about each. */
import type { IssuerId, SerialHex } from '../ports.ts';

/** By code, in the order of docs/audit.md: what to do. */
export const auditAdvice = {
  unreadable: 'restore the row from a backup; until then revoke the serial, and find out who wrote it',
  rowDiffers: 'somebody wrote into the database: restore it from a backup, and find out who; the certificate is what peers see',
  notAsIntended: 'somebody wrote into the database: restore it from a backup; if the certificate was used, revoke its serial',
  badSignature: 'it is not from this CA: no peer accepts it; restore the row from a backup, and find out who wrote it',
  breaksRule: 'replace the certificate and revoke it; report the rule as a defect if the certificate came from Sallyport',
  outsideProfile: 'if the profile was changed since, renew the certificate; if not, revoke it and find out who issued it',
  certificateMissing: 'restore the row from a backup; until then revoke the serial',
  stateDiffers: 'somebody wrote into the database: restore it from a backup, or revoke the serial',
  leftIntent: 'start the gateway or run sallyport issue, which take stock of it; then revoke its serial',
  unknownIssued: 'a crash may have left a certificate with this serial: revoke it with sallyport revoke --serial',
  serialRepeated: 'revoke both; the random source repeats itself, or a row was copied',
  keyShared: 'revoke both and enroll each agent with a key of its own',
  issuerUnknown: 'put the CA certificate back into certs/, or restore the store that belongs to this directory',
  authorityUnknown: 'no certificate in certs/ is this root: if nobody put it into the store, find out who wrote it',
  authorityNotRecorded: 'open the directory once with its keys, for instance with sallyport crl --publish, which records it; if it was recorded before, restore the store',
  crlMissing: 'publish one with sallyport crl --publish, or import that of a CA elsewhere with sallyport ca import-crl',
  crlUnreadable: 'publish another with sallyport crl --publish; if that is refused, restore the store from a backup',
  crlRowDiffers: 'publish another with sallyport crl --publish, and find out who wrote the row',
  crlUnusable: 'publish another with sallyport crl --publish; verifiers refuse this one',
  crlStale: 'publish another with sallyport crl --publish, and keep the gateway running, which does so by itself',
  deltaDiffers: 'publish another with sallyport crl --publish: who relies on delta CRLs may take a revoked certificate for a good one',
  crlUnordered: 'Sallyport lists serials in order: publish another with sallyport crl --publish',
  revokedNotListed: 'publish another with sallyport crl --publish: verifiers that rely on this one accept the certificate',
  listedNotRevoked: 'the store lost a revocation: revoke the serial again, or restore the store from a backup',
  entryDiffers: 'publish another with sallyport crl --publish; if the store is the one that is wrong, restore it',
  notInLog: 'nobody is on record for having issued it: run sallyport audit verify; revoke the serial unless it can be explained',
  notInStore: 'it was issued and its row is gone, so that it cannot be revoked: restore the store from a backup',
  revokedInLog: 'somebody undid a revocation in the database: revoke the serial again',
} as const;

export type AuditCode = keyof typeof auditAdvice;

export interface AuditFinding {
  readonly code: AuditCode;
  /** Undefined where it is about a CRL as a whole. */
  readonly serial: SerialHex | undefined;
  readonly issuer: IssuerId | undefined;
  readonly agent: string | undefined;
  readonly message: string;
}
