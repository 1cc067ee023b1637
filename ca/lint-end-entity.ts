/** Rules for agents, servers and people. */
import type { LintContext, LintRule } from './lint-rule.ts';
import { equalBytes } from './x509/der.ts';
import { EXTENDED_KEY_USAGE, EXTENSION } from './x509/extension.ts';
import { encodeName } from './x509/name.ts';

const isResponder = ({ profile }: LintContext): boolean => typeof profile !== 'string' && profile.kind === 'ocsp';

export const endEntityRules: readonly LintRule[] = [
  {
    name: 'caFalse',
    citation: 'RFC 5280 §4.2.1.9',
    of: 'endEntity',
    check: ({ basicConstraints }) => (basicConstraints?.ca === false && basicConstraints.pathLen === undefined ? undefined : 'cA is not FALSE'),
  },
  {
    name: 'digitalSignatureOnly',
    citation: 'RFC 5280 §4.2.1.3; SPIFFE X509-SVID §4.3',
    of: 'endEntity',
    check: ({ keyUsage }) => (keyUsage?.size === 1 && keyUsage.has('digitalSignature') ? undefined : 'keyUsage is not exactly digitalSignature'),
  },
  {
    name: 'extendedKeyUsage',
    citation: 'RFC 5280 §4.2.1.12; SPIFFE X509-SVID §4.4',
    of: 'endEntity',
    check: ({ extendedKeyUsage }, { profile }) => {
      if (typeof profile === 'string') return 'not an end-entity profile';
      const expected = profile.extendedKeyUsage.map((usage) => EXTENDED_KEY_USAGE[usage]);
      return extendedKeyUsage?.join() === expected.join() ? undefined : `extendedKeyUsage is not ${profile.extendedKeyUsage.join(' and ')}`;
    },
  },
  {
    // Strict verifiers refuse a certificate with a commonName only (RFC 9525 §2).
    name: 'subjectAltName',
    citation: 'RFC 5280 §4.2.1.6',
    of: 'endEntity',
    check: ({ extensions }, context) => (extensions.has(EXTENSION.subjectAltName) || isResponder(context) ? undefined : 'there is no subjectAltName'),
  },
  {
    name: 'responderAlone',
    citation: 'RFC 6960 §4.2.2.2, stricter',
    of: 'endEntity',
    check: ({ extensions }, context) => {
      const more = [EXTENSION.subjectAltName, EXTENSION.crlDistributionPoints, EXTENSION.authorityInformationAccess].some((oid) => extensions.has(oid));
      return isResponder(context) && more ? 'an OCSP responder carries names or a place to look for its status' : undefined;
    },
  },
  {
    name: 'subjectAltNameCritical',
    citation: 'RFC 5280 §4.2.1.6',
    of: 'endEntity',
    check: ({ extensions, subject }) => ((extensions.get(EXTENSION.subjectAltName)?.critical ?? false) === (subject.length === 0) ? undefined : 'subjectAltName must be critical exactly when the subject is empty'),
  },
  {
    name: 'spiffeId',
    citation: 'SPIFFE X509-SVID §2: exactly one URI',
    of: 'endEntity',
    check: ({ uris, dnsNames, ipAddresses }, { profile }) => {
      if (typeof profile === 'string' || profile.kind === 'server' || profile.kind === 'ocsp') return undefined;
      const one = uris.length === 1 && dnsNames.length === 0 && ipAddresses.length === 0;
      const [, first] = /^spiffe:\/\/[a-z0-9._-]{1,255}\/([A-Za-z0-9._-]+)(?:\/[A-Za-z0-9._-]+)*\/[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.exec(uris[0] ?? '') ?? [];
      // People are under /user and nobody else is, whatever template a profile has.
      return one && first !== undefined && (first === 'user') === (profile.kind === 'console-user') ? undefined : `not exactly one SPIFFE ID of ${profile.kind === 'console-user' ? 'a person' : 'an agent'}`;
    },
  },
  {
    name: 'serverNames',
    citation: 'RFC 9525 §6.3',
    of: 'endEntity',
    check: ({ uris, dnsNames, ipAddresses }, { profile }) => {
      if (typeof profile === 'string' || profile.kind !== 'server') return undefined;
      return dnsNames.length + ipAddresses.length > 0 && uris.length === 0 ? undefined : 'a server has DNS names or IP addresses, and no URI';
    },
  },
  {
    name: 'noOtherNames',
    citation: 'RFC 5280 §4.2.1.6, stricter',
    of: 'endEntity',
    check: ({ emails, otherNames }, { profile }) => {
      const most = typeof profile !== 'string' && profile.kind === 'console-user' ? 1 : 0;
      return emails.length <= most && otherNames.length === 0 ? undefined : 'carries a name of another kind';
    },
  },
  {
    name: 'asGranted',
    citation: 'only the key comes from the request',
    of: 'endEntity',
    check: ({ subjectNameDer, uris, dnsNames, ipAddresses, emails }, { granted }) => {
      if (granted === undefined) return undefined;
      const same = equalBytes(subjectNameDer, encodeName(granted.subject)) && uris.join() === granted.uris.join() && dnsNames.join() === granted.dnsNames.join() && ipAddresses.join() === granted.ipAddresses.join() && emails.join() === (granted.emails ?? []).join();
      return same ? undefined : 'subject or names are not those granted';
    },
  },
  {
    name: 'attributeLength',
    citation: 'RFC 5280 appendix A.1: 1 to 64 characters',
    of: 'endEntity',
    check: ({ subject }) => (subject.every((rdn) => rdn.length > 0 && rdn.every(({ value }) => value.length > 0 && [...value].length <= 64)) ? undefined : 'an attribute or RDN of the subject is empty or too long'),
  },
  {
    name: 'lifetime',
    citation: 'the profile: notAfter - now + 1 s ≤ maxTtl',
    of: 'endEntity',
    check: ({ notBefore, notAfter }, { profile }) => {
      if (typeof profile === 'string') return undefined;
      const seconds = (notAfter.getTime() - notBefore.getTime()) / 1_000 + 1;
      return seconds >= 1 && seconds <= profile.maxTtlSeconds + profile.backdateSeconds ? undefined : `lives ${seconds}s`;
    },
  },
  {
    name: 'noRevAvailAlone',
    citation: 'RFC 9608 §2: without CDP and OCSP',
    of: 'endEntity',
    check: ({ extensions, noRevAvail }) => (noRevAvail && (extensions.has(EXTENSION.crlDistributionPoints) || extensions.has(EXTENSION.authorityInformationAccess)) ? 'noRevAvail together with a place to look for status' : undefined),
  },
  {
    name: 'noRevAvailByProfile',
    citation: 'RFC 9608 §3',
    of: 'endEntity',
    check: ({ noRevAvail }, { profile }) => (typeof profile === 'string' || noRevAvail === (profile.status === 'noRevAvail') ? undefined : 'noRevAvail does not fit the profile'),
  },
  {
    name: 'noNameConstraints',
    citation: 'RFC 5280 §4.2.1.10: in a CA certificate only',
    of: 'endEntity',
    check: ({ nameConstraints }) => (nameConstraints === undefined ? undefined : 'an end entity carries nameConstraints'),
  },
];
