/** Revoking: by agent, serial or thumbprint, without missing what is being issued at this moment. */
import { CaError } from './errors.ts';
import { certificateRevoked, certificateUnknownIssued } from './events.ts';
import type { CaStore, CertificateQuery, CertificateRecord, Clock, RevocationReason } from './ports.ts';
import type { RevokeOptions, RevokeResult, RevokeSelector } from './requests.ts';
import { serialFromHex, serialToHex } from './x509/serial.ts';

/** RFC 5280 §5.3.1, without `removeFromCRL`, which undoes a hold in a delta CRL. */
export const revocationReasons: readonly RevocationReason[] = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  'privilegeWithdrawn',
  'aACompromise',
];

/** A key revoked for one of these is never certified again. */
export const compromises: ReadonlySet<RevocationReason> = new Set<RevocationReason>(['keyCompromise', 'cACompromise', 'aACompromise']);

export interface RevocationWorld {
  readonly store: CaStore;
  readonly clock: Clock;
  readonly sleep: (ms: number) => Promise<void>;
  /** How long a pending intent may take before it counts as left behind. */
  readonly intentPatienceMs: number;
}

/** Every certificate of a query, page by page. */
export const allCertificates = async (store: CaStore, query: Omit<CertificateQuery, 'limit' | 'offset'>): Promise<readonly CertificateRecord[]> => {
  const pageSize = 1_000;
  const all: CertificateRecord[] = [];
  for (;;) {
    const page = await store.findCertificates({ ...query, limit: pageSize, offset: all.length });
    all.push(...page);
    if (page.length < pageSize) return all;
  }
};

/**
 * Revokes at once what is issued. What is still an intent may become a certificate a moment later,
 * in another process even: it is waited for, and when nobody finishes it, declared unknown and revoked.
 */
export const revokeSelected = async (world: RevocationWorld, selector: RevokeSelector, options: RevokeOptions): Promise<RevokeResult> => {
  const { store, clock } = world;
  const reason = options.reason ?? 'unspecified';
  if (!revocationReasons.includes(reason)) throw new CaError('ERR_CA_REASON', `${JSON.stringify(reason)} is not a revocation reason; use one of ${revocationReasons.join(', ')}`);
  const actor = options.actor ?? 'ca';
  const query = queryOf(selector, clock.now());

  const revoked: CertificateRecord[] = [];
  let found = await allCertificates(store, query);
  const alreadyRevoked = found.filter((record) => record.state === 'revoked');
  let changeSeq = 0;
  for (let waitedMs = 0; ; waitedMs += 20) {
    const due = found.filter((record) => record.state === 'issued' || record.state === 'unknownIssued');
    if (due.length > 0) {
      const at = clock.now();
      const done = await store.revoke(due, reason, at, (record) => certificateRevoked(record, reason, { time: at, actor }));
      revoked.push(...done.revoked);
      changeSeq = Math.max(changeSeq, done.changeSeq);
    }
    const pending = found.filter((record) => record.state === 'intent');
    // Look again after each change: an intent from between the look and the change was admitted before it.
    if (pending.length === 0 && due.length === 0) break;
    if (pending.length > 0 && waitedMs >= world.intentPatienceMs) {
      const last = Math.max(...pending.map((record) => record.createdAt.getTime()));
      await store.recoverIntents(new Date(last + 1), (record) => certificateUnknownIssued(record, { time: clock.now(), actor }));
    } else if (pending.length > 0) await world.sleep(20);
    found = await allCertificates(store, { ...query, states: ['intent', 'issued', 'unknownIssued'] });
  }
  if (revoked.length === 0) refuseEmpty(selector, alreadyRevoked);
  return { revoked, alreadyRevoked, changeSeq };
};

const queryOf = (selector: RevokeSelector, now: Date): Omit<CertificateQuery, 'limit' | 'offset'> => {
  if ('agent' in selector) return { agent: selector.agent, validAt: wholeSecond(now) };
  if ('thumbprint' in selector) return { thumbprint: selector.thumbprint.replaceAll(':', '').toLowerCase() };
  const serial = serialToHex(serialFromHex(selector.serial));
  return selector.issuerId === undefined ? { serial } : { serial, issuerId: selector.issuerId };
};

/** notAfter is inclusive: within its last second a certificate still lives. */
export const wholeSecond = (now: Date): Date => new Date(Math.floor(now.getTime() / 1_000) * 1_000);

const refuseEmpty = (selector: RevokeSelector, alreadyRevoked: readonly CertificateRecord[]): never => {
  const what = 'agent' in selector ? `agent ${JSON.stringify(selector.agent)}` : 'thumbprint' in selector ? `thumbprint ${selector.thumbprint}` : `serial ${selector.serial}`;
  const facts = { ...selector };
  if (alreadyRevoked.length > 0) throw new CaError('ERR_CA_ALREADY_REVOKED', `${what} is revoked already; see sallyport inventory --status revoked`, { facts });
  throw new CaError('ERR_CA_CERTIFICATE_UNKNOWN', `${what} has no ${'agent' in selector ? 'live ' : ''}certificate here; see sallyport inventory`, { facts });
};
