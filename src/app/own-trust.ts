/** Our own CAs as the gateway trusts them: those of every step of a rotation. */
import type { Hierarchy, IssuerId } from '../../ca/index.ts';
import { trustedOf } from '../../ca/issuer.ts';
import { TrustStore } from '../tls/trust.ts';

/** Whoever is not retired. What stands between an issuing CA and its root vouches for it, and for nobody else. */
export const trustOf = (hierarchy: Hierarchy): TrustStore =>
  new TrustStore({
    issuing: trustedOf(hierarchy, 'issuing').map(({ der }) => der),
    intermediates: trustedOf(hierarchy, 'issuing').flatMap(({ above }) => above.map(({ der }) => der)),
    roots: trustedOf(hierarchy, 'root').map(({ der }) => der),
  });

/** Whose revocations count: also those of CAs that are elsewhere, which come as CRLs. */
export const revokersIn = ({ issuers }: Pick<Hierarchy, 'issuers'>): readonly IssuerId[] => [...new Set(issuers.flatMap(({ id, above }) => [id, ...above.map(({ spkiHash }) => spkiHash)]))];
