/** One CA of the hierarchy, and the hierarchy as a value: which CAs there are, and what each is for now. */
import { CaError } from './errors.ts';
import type { IssuerId, Signer } from './ports.ts';
import type { IssuerName } from './requests.ts';
import type { Certificate } from './x509/certificate.ts';
import { encodePem } from './x509/pem.ts';

export type IssuerRole = 'root' | 'issuing';

/**
 * `prepared`: trusted, issues nothing yet. `active`: issues, one of each role. `superseded`: another issues
 * in its place, what it issued is still trusted. `retired`: trusted no more; its CRL goes on, so that this shows.
 */
export type IssuerStatus = 'prepared' | 'active' | 'superseded' | 'retired';

export interface Issuer {
  readonly name: IssuerName;
  readonly id: IssuerId;
  readonly role: IssuerRole;
  readonly status: IssuerStatus;
  /** When it got its status. */
  readonly since: Date;
  /** The root above it; a root's own name. */
  readonly root: IssuerName;
  readonly certificate: Certificate;
  /** Between it and its root, from below: those of an authority that was made elsewhere. */
  readonly above: readonly Certificate[];
  readonly der: Uint8Array;
  /** Of itself, and of what stands between it and its root, if anything does. */
  readonly pem: string;
  /** PEM from it up to its root. */
  readonly chain: string;
  /** Undefined when the key is kept elsewhere, as that of a root may be. */
  readonly signer: Signer | undefined;
}

/** The key of one CA, certified by another root than its own: who trusts that root can verify what leads to the other. */
export interface CrossCertificate {
  /** `<of>-by-<by>`. */
  readonly name: string;
  readonly of: IssuerName;
  readonly by: IssuerName;
  readonly certificate: Certificate;
  readonly pem: string;
}

export interface Hierarchy {
  /** Grows with every change of it. */
  readonly sequence: number;
  /** Oldest first. */
  readonly issuers: readonly Issuer[];
  readonly crossCertificates: readonly CrossCertificate[];
  /** The active one of each role. */
  readonly root: Issuer;
  readonly issuing: Issuer;
  /** Where it is kept; undefined for one that lives in memory only. */
  readonly directory: string | undefined;
}

/** @throws CaError `ERR_CA_MISSING` unless one CA of each role is active, or there is a root alone */
export const hierarchyOf = (parts: Omit<Hierarchy, 'root' | 'issuing'>): Hierarchy => {
  const active = (role: IssuerRole): Issuer => {
    const [only, another] = parts.issuers.filter((issuer) => issuer.role === role && issuer.status === 'active');
    if (only === undefined || another !== undefined) throw new CaError('ERR_CA_MISSING', `${only === undefined ? 'no' : 'more than one'} ${role} CA is active; restore certs/hierarchy.json from a backup`);
    return only;
  };
  const root = active('root');
  // A root alone: who asks for an issuing CA meets one that issues nothing.
  return { ...parts, root, issuing: isRootAlone(parts) ? root : active('issuing') };
};

/** Whether a directory holds a root and nothing under it, to be kept offline. */
export const isRootAlone = ({ issuers }: Pick<Hierarchy, 'issuers'>): boolean => !issuers.some(({ role }) => role === 'issuing');

export const issuerIn = (hierarchy: Hierarchy, name: IssuerName): Issuer | undefined => hierarchy.issuers.find((issuer) => issuer.name === name);

/** Whether certificates of it, or under it, are accepted. */
export const isTrusted = ({ status }: Pick<Issuer, 'status'>): boolean => status !== 'retired';

/** Those that are accepted, the active one first: what it issues now is found without looking further. */
export const trustedOf = ({ issuers }: Hierarchy, role: IssuerRole): readonly Issuer[] => {
  const trusted = issuers.filter((issuer) => issuer.role === role && isTrusted(issuer));
  return [...trusted.filter(({ status }) => status === 'active'), ...trusted.filter(({ status }) => status !== 'active')];
};

/** Every root to be trusted, in PEM: what goes into `ca.pem`. */
export const rootsPem = (hierarchy: Hierarchy): string => trustedOf(hierarchy, 'root').map(({ pem }) => pem).join('');

/** The issuing CAs and roots above what an issuer signs, up to the oldest root that is still trusted, for whoever knows only that one. */
export const pathAbove = (hierarchy: Hierarchy, issuer: Issuer): { readonly pem: string; readonly root: Issuer } => {
  const position = (name: IssuerName): number => hierarchy.issuers.findIndex((each) => each.name === name);
  let root = issuerIn(hierarchy, issuer.root) ?? issuer;
  let pem = issuer.role === 'root' ? '' : issuer.pem;
  for (;;) {
    const older = hierarchy.crossCertificates.find(({ of, by }) => of === root.name && position(by) < position(of));
    const next = older === undefined ? undefined : issuerIn(hierarchy, older.by);
    if (older === undefined || next === undefined || !isTrusted(next)) return { pem, root };
    pem += older.pem;
    root = next;
  }
};

/** Every CA whose name constraints hold for what an issuer signs. */
export const boundsOf = (hierarchy: Hierarchy, issuer: Issuer): readonly Certificate[] => [issuer.certificate, ...issuer.above, ...(issuer.role === 'root' ? [] : [issuerIn(hierarchy, issuer.root)?.certificate ?? issuer.certificate])];

/**
 * Beside `pathAbove`, for a server to show: the issuing CA certified by the older roots themselves. Some verifiers count
 * self-issued certificates against the pathLen, which RFC 5280 §6.1.4 (l) does not; those that try every path find this one.
 * Last, because OpenSSL takes the first issuer it is shown, and must not be led away from the newer root.
 */
export const shortPaths = (hierarchy: Hierarchy, issuer: Issuer): string =>
  hierarchy.crossCertificates
    .filter(({ of, by }) => of === issuer.name && hierarchy.issuers.some((each) => each.name === by && isTrusted(each)))
    .map(({ pem }) => pem)
    .join('');

/** Certificates in PEM, one after the other. */
export const pemOf = (certificates: readonly Certificate[]): string => certificates.map(({ der }) => encodePem('CERTIFICATE', der)).join('');
