/** What ACME leaves in the audit log, one function per action. */
import type { AuditEvent } from '../ports.ts';
import type { AcmeAccount, AcmeAuthorization, AcmeOrder, ChallengeType, ExternalAccount, OrderedCertificate, ProblemDocument } from './ports.ts';

interface Circumstances {
  readonly time: Date;
  readonly address?: string | undefined;
}

export const actorOf = (accountId: string): string => `acme:${accountId}`;

export const externalAccountCreated = (account: ExternalAccount, { time, actor }: { readonly time: Date; readonly actor: string }): AuditEvent => ({
  action: 'acme.externalAccountCreated',
  outcome: 'done',
  time,
  actor,
  agent: account.agent,
  detail: {
    kid: account.kid,
    expiresAt: account.expiresAt.toISOString(),
    ...(account.agent === undefined ? { names: account.names } : { profile: account.profile ?? 'agent', organizationalUnits: account.organizationalUnits }),
  },
});

export const externalAccountRemoved = (account: ExternalAccount, { time, actor }: { readonly time: Date; readonly actor: string }): AuditEvent => ({
  action: 'acme.externalAccountRemoved',
  outcome: 'done',
  time,
  actor,
  agent: account.agent,
  detail: { kid: account.kid, ...(account.accountId === undefined ? {} : { account: account.accountId }) },
});

export const accountCreated = (account: AcmeAccount, agent: string | undefined, { time, address }: Circumstances): AuditEvent => ({
  action: 'acme.accountCreated',
  outcome: 'done',
  time,
  actor: actorOf(account.id),
  agent,
  address,
  detail: { thumbprint: account.thumbprint, contacts: account.contacts, ...(account.kid === undefined ? {} : { kid: account.kid }) },
});

/** A wrong or spent binding, or an account where none is allowed. */
export const accountRefused = (reason: string, { time, address }: Circumstances): AuditEvent => ({ action: 'acme.accountRefused', outcome: 'denied', time, actor: 'acme', reason, address });

export const accountChanged = (account: AcmeAccount, changes: Readonly<Record<string, string | readonly string[]>>, { time, address, actor = actorOf(account.id) }: Circumstances & { readonly actor?: string }): AuditEvent => ({
  action: 'acme.accountChanged',
  outcome: 'done',
  time,
  actor,
  address,
  detail: { account: account.id, ...changes },
});

export const orderCreated = (order: AcmeOrder, agent: string | undefined, { time, address }: Circumstances): AuditEvent => ({
  action: 'acme.orderCreated',
  outcome: 'done',
  time,
  actor: actorOf(order.accountId),
  agent,
  address,
  detail: { order: order.id, profile: order.profile, identifiers: order.identifiers.map(({ type, value }) => `${type}:${value}`) },
});

export const challengeSettled = (authorization: AcmeAuthorization, type: ChallengeType, { time, error }: { readonly time: Date; readonly error: ProblemDocument | undefined }): AuditEvent => ({
  ...(error === undefined ? { action: 'acme.challengeValidated', outcome: 'done' } : { action: 'acme.challengeFailed', outcome: 'failed', reason: error.type.replace('urn:ietf:params:acme:error:', '') }),
  time,
  actor: actorOf(authorization.accountId),
  detail: { order: authorization.orderId, challenge: type, identifier: `${authorization.identifier.type}:${authorization.identifier.value}` },
});

export const authorizationDeactivated = (authorization: AcmeAuthorization, { time, address }: Circumstances): AuditEvent => ({
  action: 'acme.authorizationDeactivated',
  outcome: 'done',
  time,
  actor: actorOf(authorization.accountId),
  address,
  detail: { order: authorization.orderId, identifier: `${authorization.identifier.type}:${authorization.identifier.value}` },
});

export const orderFilled = (order: AcmeOrder, certificate: OrderedCertificate, { time }: Circumstances): AuditEvent => ({
  action: 'acme.orderFilled',
  outcome: 'done',
  time,
  actor: actorOf(order.accountId),
  serial: certificate.serial,
  issuer: certificate.issuerId,
  detail: { order: order.id },
});

export const orderFailed = (order: AcmeOrder, error: ProblemDocument, { time }: Circumstances): AuditEvent => ({
  action: 'acme.orderFailed',
  outcome: 'failed',
  time,
  actor: actorOf(order.accountId),
  reason: error.type.replace('urn:ietf:params:acme:error:', ''),
  detail: { order: order.id },
});
