/** Which rules an old certificate can be held to: its profile may have been changed, or be gone. Pure. */
import { lintParsed } from '../lint.ts';
import type { LintFinding } from '../lint.ts';
import type { CertificateRecord } from '../ports.ts';
import { importedProfile } from '../adoption.ts';
import { createProfile, ocspProfile } from '../profile.ts';
import type { Profile, ProfileKind } from '../profile.ts';
import type { Certificate } from '../x509/certificate.ts';
import { EXTENDED_KEY_USAGE } from '../x509/extension.ts';
import { roleOf } from '../record-role.ts';

export interface RuleFindings {
  /** Broken whatever the profile says. */
  readonly broken: readonly LintFinding[];
  /** Not what the profile of today would give. */
  readonly outsideProfile: readonly LintFinding[];
}

/** An operator may change these between two certificates. */
const changeable: ReadonlySet<string> = new Set(['lifetime', 'noRevAvailByProfile']);

/** `live`: only what is still valid is compared with the profile of today. */
export const rulesBroken = (
  record: CertificateRecord,
  certificate: Certificate,
  context: { readonly issuer: Certificate | undefined; readonly profiles: ReadonlyMap<string, Profile>; readonly live: boolean },
): RuleFindings => {
  const { issuer, profiles, live } = context;
  const role = roleOf(record);
  if (role === 'ca' && record.profile === importedProfile) return { broken: [], outsideProfile: [] };
  const configured = role === 'ca' ? (isOneOf(record.profile, ['root', 'cross', 'subordinate']) ? record.profile : 'issuing') : role === 'ocsp' ? ocspProfile : profiles.get(record.profile);
  const findings = lintParsed(certificate, { issuer, profile: configured ?? profileLike(certificate) });
  return {
    broken: findings.filter(({ rule }) => !changeable.has(rule)),
    outsideProfile: live && configured !== undefined ? findings.filter(({ rule }) => changeable.has(rule)) : [],
  };
};

const isOneOf = <Name extends string>(name: string, names: readonly Name[]): name is Name => (names as readonly string[]).includes(name);

/** The profile is no longer configured: the kind is read off the certificate, and the rules of that kind remain. */
const profileLike = ({ extendedKeyUsage, uris }: Certificate): Profile => {
  const client = extendedKeyUsage?.includes(EXTENDED_KEY_USAGE.clientAuth) === true;
  const server = extendedKeyUsage?.includes(EXTENDED_KEY_USAGE.serverAuth) === true;
  const person = uris.some((uri) => /^spiffe:\/\/[^/]+\/user\//.test(uri));
  return gone[client && server ? 'agent-spiffe' : server ? 'server' : person ? 'console-user' : 'agent'];
};

const gone: Readonly<Record<ProfileKind, Profile>> = {
  agent: createProfile('gone', { kind: 'agent' }),
  'agent-spiffe': createProfile('gone', { kind: 'agent-spiffe' }),
  server: createProfile('gone', { kind: 'server' }),
  'console-user': createProfile('gone', { kind: 'console-user' }),
};
