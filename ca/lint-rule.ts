import type { Granted } from './issuance.ts';
import type { Profile } from './profile.ts';
import type { Certificate } from './x509/certificate.ts';

/**
 * `cross`: the key of one root certified by another, under the name that both have. `subordinate`: the key
 * of a CA that is run elsewhere.
 */
export type AuthorityRole = 'root' | 'issuing' | 'cross' | 'subordinate';

export interface LintContext {
  /** Certificate of the issuer; undefined for a root looked at before it exists. */
  readonly issuer: Certificate | undefined;
  readonly profile: Profile | AuthorityRole;
  /** What the end entity was granted. */
  readonly granted?: Granted;
}

export interface LintRule {
  readonly name: string;
  readonly citation: string;
  readonly of: 'all' | 'ca' | 'endEntity';
  /** What is wrong, or undefined. */
  readonly check: (certificate: Certificate, context: LintContext) => string | undefined;
}

export interface LintFinding {
  readonly rule: string;
  readonly citation: string;
  readonly message: string;
}
