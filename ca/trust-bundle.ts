/** Whom a relying party is to trust, as one text. */
import { createPublicKey } from 'node:crypto';
import { pemOf, trustedOf } from './issuer.ts';
import type { Hierarchy } from './issuer.ts';

/** Roots, then issuing CAs and what stands above those, in PEM: what nginx and the like verify agents with. */
export const trustBundlePem = (hierarchy: Hierarchy): string =>
  pemOf([...trustedOf(hierarchy, 'root').map(({ certificate }) => certificate), ...trustedOf(hierarchy, 'issuing').flatMap(({ certificate, above }) => [certificate, ...above])]);

/** How soon a change should have reached everybody: much sooner than a prepared root begins to count. */
const refreshHintSeconds = 300;

/** SPIFFE Trust Domain and Bundle §4: a JWK Set with one key for each root. */
export const spiffeBundle = (hierarchy: Hierarchy): object => ({
  spiffe_sequence: hierarchy.sequence,
  spiffe_refresh_hint: refreshHintSeconds,
  keys: trustedOf(hierarchy, 'root').map(({ certificate, der }) => ({
    ...createPublicKey({ key: Buffer.from(certificate.spki), type: 'spki', format: 'der' }).export({ format: 'jwk' }),
    use: 'x509-svid',
    // §4.2.2: exactly one certificate, that of the authority.
    x5c: [Buffer.from(der).toString('base64')],
  })),
});
