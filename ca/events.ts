/** The CA's audit events, one function per action. Never a token, a key or a passphrase. */
import { CodedError } from './errors.ts';
import type { AuditEvent, CertificateIntent, CertificateRecord, CertificateRequest, CrlPublication, CrlScope, CrlState, EnrollmentToken, RevocationReason } from './ports.ts';
import type { Issuer } from './issuer.ts';
import type { IssuerName } from './requests.ts';
import { formatName } from './x509/name.ts';

interface Circumstances {
  readonly time: Date;
  readonly actor: string;
}

const factsOf = (record: CertificateIntent): Pick<AuditEvent, 'agent' | 'subject' | 'serial' | 'issuer'> => ({
  agent: record.agent,
  subject: record.subject,
  serial: record.serial,
  issuer: record.issuerId,
});

/** The code of an error of ours; anything else is not told apart. */
export const reasonOf = (error: unknown): string => (error instanceof CodedError ? String(error.code) : 'ERR_INTERNAL');

export const certificateIssued = (intent: CertificateIntent, thumbprint: string, { time, actor }: Circumstances): AuditEvent => ({
  action: 'certificate.issued',
  outcome: 'done',
  time,
  actor,
  ...factsOf(intent),
  thumbprint,
  detail: {
    profile: intent.profile,
    notBefore: intent.notBefore.toISOString(),
    notAfter: intent.notAfter.toISOString(),
    organizationalUnits: intent.organizationalUnits,
    spkiHash: intent.spkiHash,
    ...(intent.uri === undefined ? {} : { uri: intent.uri }),
    ...(intent.dnsNames.length === 0 ? {} : { dnsNames: intent.dnsNames }),
    ...(intent.replaces === undefined ? {} : { replaces: intent.replaces }),
  },
});

/** An intent taken back before the signer was asked. */
export const certificateDiscarded = (intent: CertificateIntent, error: unknown, { time, actor }: Circumstances): AuditEvent => ({
  action: 'certificate.refused',
  outcome: 'denied',
  time,
  actor,
  reason: reasonOf(error),
  ...factsOf(intent),
});

/** Refused before an intent existed. */
export const certificateRefused = (agent: string | undefined, error: unknown, { time, actor, address }: Circumstances & { readonly address?: string | undefined }): AuditEvent => ({
  action: 'certificate.refused',
  outcome: 'denied',
  time,
  actor,
  reason: reasonOf(error),
  agent,
  address,
});

/** The signer answered with something else than what was intended; what it signed stays on record as an intent. */
export const certificateWithheld = (intent: CertificateIntent, error: unknown, { time, actor }: Circumstances): AuditEvent => ({
  action: 'certificate.withheld',
  outcome: 'failed',
  time,
  actor,
  reason: reasonOf(error),
  ...factsOf(intent),
});

export const certificateUnknownIssued = (record: CertificateRecord, { time, actor }: Circumstances): AuditEvent => ({
  action: 'certificate.unknownIssued',
  outcome: 'failed',
  time,
  actor,
  ...factsOf(record),
  detail: { intendedAt: record.createdAt.toISOString() },
});

export const certificateRevoked = (record: CertificateRecord, reason: RevocationReason, { time, actor }: Circumstances): AuditEvent => ({
  action: 'certificate.revoked',
  outcome: 'done',
  time,
  actor,
  reason,
  ...factsOf(record),
  thumbprint: record.thumbprint,
});

export const certificateReleased = (record: CertificateRecord, { time, actor }: Circumstances): AuditEvent => ({
  action: 'certificate.released',
  outcome: 'done',
  time,
  actor,
  ...factsOf(record),
  thumbprint: record.thumbprint,
});

/** Allowed although the certificate that was shown has expired. */
export const renewalLate = (old: CertificateRecord, { time, actor, lateSeconds }: Circumstances & { readonly lateSeconds: number }): AuditEvent => ({
  action: 'renewal.late',
  outcome: 'allowed',
  time,
  actor,
  ...factsOf(old),
  thumbprint: old.thumbprint,
  detail: { notAfter: old.notAfter.toISOString(), lateSeconds },
});

export const crlPublished = (crl: CrlPublication, name: IssuerName, { time, actor }: Circumstances): AuditEvent => ({
  action: 'crl.published',
  outcome: 'done',
  time,
  actor,
  issuer: crl.issuerId,
  name,
  detail: {
    crlNumber: String(crl.crlNumber), thisUpdate: crl.thisUpdate.toISOString(), nextUpdate: crl.nextUpdate.toISOString(), entries: crl.entries,
    ...partitionOfScope(crl.scope),
    ...(crl.delta === undefined ? {} : { baseCrlNumber: String(crl.delta.baseCrlNumber), deltaEntries: crl.delta.entries }),
  },
});

/** No certificate names it any more. */
export const crlWithdrawn = ({ issuerId, crlNumber, scope }: CrlState, name: IssuerName, { time, actor }: Circumstances): AuditEvent => ({
  action: 'crl.withdrawn',
  outcome: 'done',
  time,
  actor,
  issuer: issuerId,
  name,
  detail: { crlNumber: String(crlNumber), ...partitionOfScope(scope) },
});

const partitionOfScope = ({ partitions, partition }: CrlScope): { partitions?: number; partition?: number } => (partitions === 1 ? {} : { partitions, partition });

type Succession = Circumstances & { readonly sequence: number };

export const authorityPrepared = (issuer: Issuer, circumstances: Succession): AuditEvent => ({ action: 'ca.prepared', ...successionOf(issuer, circumstances) });

export const authorityActivated = (issuer: Issuer, circumstances: Succession): AuditEvent => ({ action: 'ca.activated', ...successionOf(issuer, circumstances) });

export const authorityRetired = (issuer: Issuer, circumstances: Succession): AuditEvent => ({ action: 'ca.retired', ...successionOf(issuer, circumstances) });

const successionOf = ({ name, id, root, certificate }: Issuer, { time, actor, sequence }: Succession): Omit<AuditEvent, 'action'> => ({
  outcome: 'done',
  time,
  actor,
  issuer: id,
  name,
  subject: formatName(certificate.subject),
  serial: certificate.serial,
  thumbprint: certificate.thumbprint,
  detail: { root, notAfter: certificate.notAfter.toISOString(), sequence },
});

export const tokenCreated = (token: EnrollmentToken, { time, actor }: Circumstances): AuditEvent => ({
  action: 'token.created',
  outcome: 'done',
  time,
  actor,
  agent: token.agent,
  detail: { profile: token.profile, organizationalUnits: token.organizationalUnits, expiresAt: token.expiresAt.toISOString() },
});

export const tokenDeleted = (token: EnrollmentToken, { time, actor }: Circumstances): AuditEvent => ({ action: 'token.deleted', outcome: 'done', time, actor, agent: token.agent });

export const tokenSpent = (token: EnrollmentToken, { time, address }: { readonly time: Date; readonly address: string | undefined }): AuditEvent => ({
  action: 'token.spent',
  outcome: 'done',
  time,
  actor: `token:${token.agent}`,
  agent: token.agent,
  address,
});

export const tokenRefused = (error: unknown, { time, address }: { readonly time: Date; readonly address: string | undefined }): AuditEvent => ({
  action: 'token.refused',
  outcome: 'denied',
  time,
  actor: 'token',
  reason: reasonOf(error),
  address,
});

const factsOfRequest = (request: CertificateRequest): Pick<AuditEvent, 'agent' | 'name' | 'detail'> => ({
  agent: request.agent,
  name: request.id,
  detail: {
    profile: request.profile,
    way: request.terms.way,
    requestedBy: request.terms.requestedBy,
    spkiHash: request.spkiHash,
    organizationalUnits: request.terms.organizationalUnits,
    ...(request.terms.hosts.length === 0 ? {} : { hosts: request.terms.hosts }),
    ...(request.terms.vouchedBy === undefined ? {} : { vouchedBy: request.terms.vouchedBy }),
  },
});

export const requestCreated = (request: CertificateRequest): AuditEvent => ({
  action: 'request.created',
  outcome: 'done',
  time: request.createdAt,
  actor: request.terms.requestedBy,
  address: request.terms.address,
  ...factsOfRequest(request),
});

/** With the serial that is reserved: what is issued under it is what was approved. */
export const requestApproved = (request: CertificateRequest, { time, actor, serial, issuer }: Circumstances & Pick<AuditEvent, 'serial' | 'issuer'>): AuditEvent => ({
  action: 'request.approved',
  outcome: 'allowed',
  time,
  actor,
  serial,
  issuer,
  ...factsOfRequest(request),
});

/** Another serial in place of one that a crash spoilt. */
export const requestReserved = (request: CertificateRequest, { time, actor, serial, issuer }: Circumstances & Pick<AuditEvent, 'serial' | 'issuer'>): AuditEvent => ({
  action: 'request.reserved',
  outcome: 'done',
  time,
  actor,
  serial,
  issuer,
  ...factsOfRequest(request),
});

export const requestDenied = (request: CertificateRequest, { time, actor, reason }: Circumstances & { readonly reason: string }): AuditEvent => ({
  action: 'request.denied',
  outcome: 'denied',
  time,
  actor,
  reason,
  ...factsOfRequest(request),
});

/** Somebody tried to decide who may not. */
export const requestDecisionRefused = (request: CertificateRequest, error: unknown, { time, actor }: Circumstances): AuditEvent => ({
  action: 'request.decisionRefused',
  outcome: 'denied',
  time,
  actor,
  reason: reasonOf(error),
  ...factsOfRequest(request),
});

export const requestExpired = (request: CertificateRequest, { time, actor }: Circumstances): AuditEvent => ({
  action: 'request.expired',
  outcome: 'denied',
  time,
  actor,
  ...factsOfRequest(request),
});

export const requestCollected = (request: CertificateRequest, { time, actor, address }: Circumstances & { readonly address: string | undefined }): AuditEvent => ({
  action: 'request.collected',
  outcome: 'done',
  time,
  actor,
  address,
  serial: request.serial,
  issuer: request.issuerId,
  ...factsOfRequest(request),
});
