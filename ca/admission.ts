/**
 * May this agent have this certificate now? Judged by what was there when the intent was recorded: of two processes
 * that ask at the same time the later one sees the intent of the earlier, so both are never granted.
 */
import { CaError } from './errors.ts';
import type { CertificateIntent, Contender, Contenders } from './ports.ts';
import type { Profile } from './profile.ts';
import { compromises } from './revocation.ts';
import { wholeSecond } from './revocation-selector.ts';
import type { CertificateKey } from './requests.ts';

export interface Admission {
  readonly intent: CertificateIntent;
  readonly kind: Profile['kind'];
  readonly kindOf: (profile: string) => Profile['kind'] | undefined;
  readonly maxLive: number;
  /** When whoever vouches gave his word; a revocation at or after it stands. `ignore`: the operator knows. */
  readonly revokedIdentity: { readonly wordGivenAt: Date } | 'ignore';
  /** The certificate presented for renewal. */
  readonly presented?: CertificateKey & { readonly expired?: boolean };
}

/** Answers with the certificates to be retired (revoked as `superseded`) to stay within the limit. */
export const admit = ({ ofAgent, ofKey }: Contenders, admission: Admission): readonly Contender[] => {
  const { intent, revokedIdentity } = admission;
  const current = ofAgent.filter(({ notAfter }) => notAfter >= wholeSecond(intent.createdAt));
  checkKeyHistory(ofKey, admission);
  if (revokedIdentity !== 'ignore') checkIdentity(ofAgent.filter(({ state }) => state === 'revoked'), intent.agent, revokedIdentity.wordGivenAt);
  checkPresented(admission.presented?.expired === true ? ofAgent : current, admission);
  checkBearer(current, admission);
  return withinLimit(current, admission);
};

/** The revocation, of these, that a word given then does not lift. */
export const standingRevocation = <Record extends Pick<Contender, 'revocationReason' | 'revokedAt'>>(revoked: readonly Record[], wordGivenAt: Date): Record | undefined =>
  revoked.find((record) => record.revocationReason !== 'superseded' && (record.revokedAt?.getTime() ?? Infinity) >= wordGivenAt.getTime());

const checkKeyHistory = (ofKey: Contenders['ofKey'], { intent, kind, kindOf }: Admission): void => {
  const facts = { spkiHash: intent.spkiHash, agent: intent.agent };
  if (ofKey.some((record) => record.revocationReason !== undefined && compromises.has(record.revocationReason))) {
    throw new CaError('ERR_CA_KEY_REFUSED', 'the key was revoked as compromised; make a new one', { facts });
  }
  // A server may change its names and keep its key; an agent's key is the agent.
  if (ofKey.some((record) => record.agent !== intent.agent && !(kind === 'server' && kindOf(record.profile) === 'server'))) {
    throw new CaError('ERR_CA_KEY_REUSED', 'the key belongs to another agent; make a new one for this agent', { facts });
  }
};

const checkIdentity = (revoked: readonly Contender[], agent: string, wordGivenAt: Date): void => {
  const standing = standingRevocation(revoked, wordGivenAt);
  if (standing === undefined) return;
  throw new CaError('ERR_CA_IDENTITY_REVOKED', `agent ${JSON.stringify(agent)} was revoked; an operator must allow it again, with issue --allow-revoked or a new token`, {
    facts: { agent, reason: standing.revocationReason, serial: standing.serial },
  });
};

/** Revoked since it was presented, as when a whole agent is revoked while it renews. */
const checkPresented = (ofAgent: readonly Contender[], { intent, presented }: Admission): void => {
  if (presented === undefined) return;
  const record = ofAgent.find(({ serial, issuerId }) => serial === presented.serial && issuerId === presented.issuerId);
  // An expired one is among the contenders only when it was revoked.
  if (presented.expired === true ? record?.state !== 'revoked' : record?.state === 'issued') return;
  throw new CaError('ERR_CA_IDENTITY_REVOKED', 'the certificate presented for renewal is no longer valid; ask the operator for a new identity', { facts: { agent: intent.agent, serial: presented.serial } });
};

/** A person must not come by the name of an agent, nor an agent by that of a person: policy and revocation know them by it. */
const checkBearer = (others: readonly Contender[], { intent, kind, kindOf }: Admission): void => {
  if (kind === 'server' || kind === 'ocsp') return;
  const person = kind === 'console-user';
  const foreign = others.find(({ profile, state }) => state !== 'revoked' && kindOf(profile) !== undefined && kindOf(profile) !== 'server' && (kindOf(profile) === 'console-user') !== person);
  if (foreign === undefined) return;
  throw new CaError('ERR_CA_NAME', `${JSON.stringify(intent.agent)} is the name of ${person ? 'an agent' : 'a person'}; use another`, { facts: { agent: intent.agent, serial: foreign.serial } });
};

/**
 * Renewal never locks an agent out: what a lost answer left behind (renewals of the presented
 * certificate never seen in use) and what was replaced by one seen in use make room, oldest first.
 * The presented certificate itself stays, until it expires or the next one has been seen.
 */
const withinLimit = (others: readonly Contender[], admission: Admission): readonly Contender[] => {
  const { intent, kind, kindOf, maxLive, presented } = admission;
  if (kind === 'server' || kind === 'ocsp') return [];
  const live = others.filter((record) => (record.state === 'issued' || record.state === 'intent') && kindOf(record.profile) !== 'server');
  const excess = live.length + 1 - maxLive;
  if (excess <= 0) return [];
  const replacedAndSeen = new Set(live.filter((record) => record.firstSeenAt !== undefined).map((record) => record.replaces));
  const retirable = live.filter(
    (record) => record.state === 'issued' && record.serial !== presented?.serial && (replacedAndSeen.has(record.serial) || (presented !== undefined && record.replaces === presented.serial && record.firstSeenAt === undefined)),
  );
  if (retirable.length < excess) {
    throw new CaError('ERR_CA_LIMIT', `agent ${JSON.stringify(intent.agent)} holds ${live.length} live certificates of ${maxLive}; revoke one or let it expire`, {
      facts: { agent: intent.agent, live: live.length, limit: maxLive },
    });
  }
  return retirable.slice(0, excess);
};
