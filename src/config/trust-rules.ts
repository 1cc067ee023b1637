/** What of `trust:` contradicts itself, or the rest of the configuration. */
import { parseSpiffeId } from '../identity/spiffe-id.ts';
import type { TrustAnchorConfig } from './trust-schema.ts';

export interface TrustProblem {
  /** Below `trust`. */
  readonly key: readonly string[];
  readonly message: string;
}

export function trustContradictions(trust: Readonly<Record<string, TrustAnchorConfig>>, ownTrustDomain: string): readonly TrustProblem[] {
  const taken = new Map([[ownTrustDomain, 'our own CA']]);
  return Object.entries(trust).flatMap(([name, anchor]) => {
    const problems = anchorProblems(anchor).map(({ key, message }) => ({ key: [name, ...key], message }));
    const domain = trustDomainOf(anchor);
    if (domain === undefined) return problems;
    const holder = taken.get(domain);
    taken.set(domain, `trust.${name}`);
    const key = anchor.spiffe === undefined ? 'identity' : 'spiffe';
    // Two authorities over one name would each be able to be the other.
    return holder === undefined ? problems : [...problems, { key: [name, key, 'trustDomain'], message: `is the trust domain of ${holder}, and no other authority may name its agents: give it another` }];
  });
}

export const trustDomainOf = ({ spiffe, identity }: TrustAnchorConfig): string | undefined => spiffe?.trustDomain ?? identity?.trustDomain;

/** How an anchor without any source of status is read. */
export const shortLivedOf = ({ spiffe, crl, ocsp, shortLived, dangerouslyAcceptUnknownStatus }: TrustAnchorConfig): number | undefined =>
  shortLived ?? (spiffe !== undefined && crl.length === 0 && ocsp === undefined && dangerouslyAcceptUnknownStatus === undefined ? 86_400_000 : undefined);

export function trustFindings(trust: Readonly<Record<string, TrustAnchorConfig>>): readonly { readonly key: string; readonly message: string }[] {
  return Object.entries(trust).flatMap(([name, { dangerouslyAcceptStaleFor, dangerouslyAcceptUnknownStatus }]) => [
    ...(dangerouslyAcceptStaleFor === undefined ? [] : [{ key: `trust.${name}.dangerouslyAcceptStaleFor`, message: 'a revocation may go unnoticed for that much longer while its source cannot be reached' }]),
    ...(dangerouslyAcceptUnknownStatus === undefined ? [] : [{ key: `trust.${name}.dangerouslyAcceptUnknownStatus`, message: 'revoked certificates are let in wherever nobody says that they are revoked' }]),
  ]);
}

function anchorProblems(anchor: TrustAnchorConfig): readonly TrustProblem[] {
  const { anchors, spiffe, issuers, identity, crl, ocsp, shortLived, dangerouslyAcceptStaleFor, dangerouslyAcceptUnknownStatus } = anchor;
  const problems: TrustProblem[] = [];
  const problem = (key: readonly string[], message: string): void => {
    problems.push({ key, message });
  };
  if ((anchors === undefined) === (spiffe === undefined)) problem([], 'needs anchors (root certificates), or spiffe (a trust bundle): give one of them');
  if (spiffe === undefined) {
    if (issuers === undefined) problem([], 'does not say which CAs may issue: name them under issuers, or write issuers: any');
    if (identity === undefined) problem([], 'does not say what names an agent: add identity, such as { from: commonName }');
    if (identity?.from === 'spiffe' && identity.trustDomain === undefined) problem(['identity'], 'needs the trustDomain whose SPIFFE IDs are believed');
    if (identity !== undefined && identity.from !== 'spiffe' && identity.trustDomain !== undefined) problem(['identity', 'trustDomain'], `goes with from: spiffe, not with from: ${identity.from}: remove one`);
  } else {
    if (identity !== undefined) problem(['identity'], 'is given by spiffe: remove it');
    spiffeProblems(spiffe, problem);
  }
  const hasSource = crl.length > 0 || ocsp !== undefined;
  if (hasSource && shortLived !== undefined) problem(['shortLived'], 'is for CAs that publish no revocations: remove it, or crl and ocsp');
  if (hasSource && dangerouslyAcceptUnknownStatus !== undefined && dangerouslyAcceptStaleFor !== undefined) problem(['dangerouslyAcceptStaleFor'], 'has no meaning beside dangerouslyAcceptUnknownStatus: remove one');
  if (!hasSource && dangerouslyAcceptStaleFor !== undefined) problem(['dangerouslyAcceptStaleFor'], 'needs crl or ocsp: without them there is no status that could go stale');
  if (!hasSource && shortLivedOf(anchor) === undefined && dangerouslyAcceptUnknownStatus === undefined) {
    problem([], 'has nobody who says what is revoked: add crl or ocsp, or shortLived where certificates live for hours');
  }
  return problems;
}

function spiffeProblems({ bundle, endpoint, endpointId, bootstrap, ca, trustDomain }: NonNullable<TrustAnchorConfig['spiffe']>, problem: (key: readonly string[], message: string) => void): void {
  if (endpoint === 'https_spiffe') {
    if (!bundle.includes('://')) problem(['spiffe', 'endpoint'], 'is for a bundle that is fetched: give bundle an https URL');
    const id = endpointId === undefined ? undefined : parseSpiffeId(endpointId);
    if (id === undefined || id.path === '') problem(['spiffe', 'endpointId'], 'must be the SPIFFE ID of the server, such as spiffe://corp.example/spire/server');
    else if (id.trustDomain !== trustDomain) problem(['spiffe', 'endpointId'], `must be of the trust domain ${trustDomain}`);
    if (bootstrap === undefined) problem(['spiffe'], 'needs bootstrap, a file with the bundle to begin with: without it the server cannot prove itself the first time');
    if (ca !== undefined) problem(['spiffe', 'ca'], 'goes with https_web: remove it');
  } else if (endpointId !== undefined || bootstrap !== undefined) {
    problem(['spiffe', endpointId === undefined ? 'bootstrap' : 'endpointId'], 'goes with endpoint: https_spiffe');
  }
}
