/** A request for a certificate as an approver sees it: who asks, from where, with which key, and what would be issued. */
import { grantedBy } from '../../ca/asking.ts';
import { CaError } from '../../ca/errors.ts';
import type { CertificateAuthority } from '../../ca/authority.ts';
import type { CertificateRequest, RequestState } from '../../ca/ports.ts';
import type { Profile } from '../../ca/profile.ts';
import { keyAlgorithmOfSpki } from '../../ca/x509/algorithm.ts';
import { parseCsr } from '../../ca/x509/csr.ts';
import { formatName } from '../../ca/x509/name.ts';

export interface RequestView {
  readonly id: string;
  readonly state: CertificateRequest['state'];
  readonly agent: string;
  readonly profile: string;
  readonly way: string;
  readonly requestedBy: string;
  readonly vouchedBy: string | null;
  readonly address: string | null;
  readonly createdAt: Date;
  readonly expiresAt: Date;
  /** By the profile as it is now. `problem` says why nothing would be. */
  readonly wouldIssue: { readonly subject: string; readonly names: readonly string[]; readonly lifetimeSeconds: number; readonly extendedKeyUsage: readonly string[] } | null;
  readonly problem: string | null;
  readonly key: { readonly algorithm: string; readonly spkiHash: string };
  readonly decidedAt: Date | null;
  readonly decidedBy: string | null;
  readonly reason: string | null;
  readonly serial: string | null;
}

export const viewOf = (request: CertificateRequest, { profiles, trustDomain, now }: { readonly profiles: ReadonlyMap<string, Profile>; readonly trustDomain: string; readonly now: Date }): RequestView => {
  const { id, agent, terms } = request;
  const profile = profiles.get(request.profile);
  let wouldIssue: RequestView['wouldIssue'] = null;
  let problem: string | null = profile === undefined ? `there is no profile ${request.profile} any more` : null;
  if (profile !== undefined) {
    try {
      const { subject, uris, dnsNames, ipAddresses, emails = [] } = grantedBy(request, profile, trustDomain);
      wouldIssue = { subject: formatName(subject), names: [...uris, ...dnsNames, ...ipAddresses, ...emails], lifetimeSeconds: terms.ttlSeconds, extendedKeyUsage: profile.extendedKeyUsage };
    } catch (error) {
      if (!(error instanceof CaError)) throw error;
      problem = error.message;
    }
  }
  const overdue = (request.state === 'pending' || request.state === 'approved') && request.expiresAt <= now;
  return {
    id,
    state: overdue ? 'expired' : request.state,
    agent,
    profile: request.profile,
    way: terms.way,
    requestedBy: terms.requestedBy,
    vouchedBy: terms.vouchedBy ?? null,
    address: terms.address ?? null,
    createdAt: request.createdAt,
    expiresAt: request.expiresAt,
    wouldIssue,
    problem,
    key: { algorithm: keyAlgorithmOfSpki(parseCsr(request.csr).spki), spkiHash: request.spkiHash },
    decidedAt: request.decidedAt ?? null,
    decidedBy: request.decidedBy ?? null,
    reason: request.reason ?? null,
    serial: request.serial ?? null,
  };
};

/** Those overdue are marked as expired first. */
export const requestsInState = (state: RequestState | 'all', authority: Pick<CertificateAuthority, 'pendingRequests'>): Promise<readonly CertificateRequest[]> =>
  authority.pendingRequests(state === 'all' ? requestStates : [state]);

export const requestStates = ['pending', 'approved', 'issued', 'collected', 'denied', 'expired'] as const satisfies readonly RequestState[];
