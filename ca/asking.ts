/** Who asks for a certificate, on which way, and what it comes down to when somebody has to approve it. Pure. */
import type { Question } from './approval-queue.ts';
import { provenCsr } from './csr-content.ts';
import { parseDuration } from './duration.ts';
import { CaError } from './errors.ts';
import { grantedToAgent, grantedToServer } from './grant.ts';
import type { Granted } from './issuance.ts';
import type { CertificateRequest, IssuanceWay, RequestTerms } from './ports.ts';
import type { Profile } from './profile.ts';
import type { Asking } from './requests.ts';

export const ttlOf = (ttl: string | number | undefined, profile: Profile): number => (ttl === undefined ? profile.defaultTtlSeconds : parseDuration(ttl));

/** `ERR_CA_PROFILE` when the profile is not issued on this way. */
export const requireWay = (profile: Profile, way: IssuanceWay): void => {
  if (profile.mayIssue.has(way)) return;
  throw new CaError('ERR_CA_PROFILE', `profile ${profile.name} is not issued by ${way}, only by ${[...profile.mayIssue].join(', ')}; use another profile, or mayIssue in its configuration`, { facts: { profile: profile.name, way } });
};

export const termsOf = (asking: Asking & { readonly actor: string; readonly ttl?: string | number | undefined }, profile: Profile, rest: Pick<RequestTerms, 'organizationalUnits' | 'hosts' | 'email' | 'wordGivenAt' | 'standIns'>): RequestTerms => ({
  way: asking.way ?? 'operator',
  ttlSeconds: ttlOf(asking.ttl, profile),
  requestedBy: asking.actor,
  vouchedBy: asking.vouchedBy,
  address: asking.address,
  ...rest,
});

/** The key must be with whoever asks, who may have to wait for days. */
export const questionOf = (asking: Asking & { readonly actor: string; readonly csr?: Uint8Array | string }, profile: Profile, agent: string): Omit<Question, 'terms'> => {
  if (asking.csr === undefined) throw new CaError('ERR_CA_PROFILE', `profile ${profile.name} demands approval, so the key is made by whoever asks; give a certificate signing request`, { facts: { profile: profile.name } });
  return { agent, profile: profile.name, csr: provenCsr(asking.csr), credential: asking.credential ?? `${asking.actor} ${profile.name} ${agent}` };
};

/** What a request is granted by the profile of today. */
export const grantedBy = ({ agent, terms }: Pick<CertificateRequest, 'agent' | 'terms'>, profile: Profile, trustDomain: string): Granted =>
  profile.kind === 'server' ? grantedToServer(terms.hosts, profile) : grantedToAgent(trustDomain, agent, terms, profile);
