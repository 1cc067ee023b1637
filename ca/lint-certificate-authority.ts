/** Rules for root, issuing CA and the certificates between two roots. */
import type { LintRule } from './lint-rule.ts';
import { equalBytes } from './x509/der.ts';
import { EXTENSION } from './x509/extension.ts';

export const certificateAuthorityRules: readonly LintRule[] = [
  {
    name: 'caTrue',
    citation: 'RFC 5280 §4.2.1.9',
    of: 'ca',
    check: ({ basicConstraints }) => (basicConstraints?.ca === true ? undefined : 'cA is not TRUE'),
  },
  {
    // One step below the root and none below the issuing CA; of one that is run elsewhere what was asked for.
    name: 'pathLen',
    citation: 'RFC 5280 §4.2.1.9',
    of: 'ca',
    check: ({ basicConstraints }, { profile }) => (profile === 'subordinate' ? basicConstraints?.pathLen !== undefined : basicConstraints?.pathLen === (profile === 'issuing' ? 0 : 1)) ? undefined : `pathLen is ${basicConstraints?.pathLen ?? 'absent'}`,
  },
  {
    name: 'caKeyUsage',
    citation: 'RFC 5280 §4.2.1.3',
    of: 'ca',
    check: ({ keyUsage }) => (keyUsage?.size === 2 && keyUsage.has('keyCertSign') && keyUsage.has('cRLSign') ? undefined : 'keyUsage is not exactly keyCertSign and cRLSign'),
  },
  {
    name: 'caSubject',
    citation: 'RFC 5280 §4.1.2.6',
    of: 'ca',
    check: ({ subject }) => (subject.length > 0 ? undefined : 'a CA needs a subject'),
  },
  {
    // A root's successor has its name, so that what one certifies of the other is self-issued and takes no step of the pathLen.
    name: 'selfIssued',
    citation: 'RFC 5280 §6.1',
    of: 'ca',
    check: ({ issuerNameDer, subjectNameDer }, { profile }) => (profile === 'subordinate' || (profile !== 'issuing') === equalBytes(issuerNameDer, subjectNameDer) ? undefined : 'issuer and subject do not fit the role'),
  },
  {
    name: 'caWithoutNames',
    citation: 'RFC 5280 §4.2.1.12, stricter',
    of: 'ca',
    check: ({ extensions }) => (extensions.has(EXTENSION.extendedKeyUsage) || extensions.has(EXTENSION.subjectAltName) || extensions.has(EXTENSION.noRevAvail) ? 'a CA carries an extension of an end entity' : undefined),
  },
  {
    name: 'nameConstraintsCritical',
    citation: 'RFC 5280 §4.2.1.10',
    of: 'ca',
    check: ({ extensions }) => (extensions.get(EXTENSION.nameConstraints)?.critical === false ? 'nameConstraints is not critical' : undefined),
  },
];
