/** Revoking what is selected, without missing what is being issued at this moment. */
import { CaError } from './errors.ts';
import { certificateRevoked, certificateUnknownIssued } from './events.ts';
import type { CaStore, CertificateQuery, CertificateRecord, Clock, RevocationReason } from './ports.ts';
import type { RevocationPreview, RevokeOptions, RevokeResult, RevokeSelector } from './requests.ts';
import { describeSelector, isChosen, queryOf } from './revocation-selector.ts';

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
  /** How long after its end a certificate may be renewed, and so is worth revoking. Default 0. */
  readonly graceSeconds?: number;
}

/** Certificates of one transaction: what a crash leaves is revoked whole or not at all, and the write queue stays free for others. */
const portionSize = 200;

/** Every certificate of a query, page by page. */
export const allCertificates = async (store: Pick<CaStore, 'findCertificates'>, query: Omit<CertificateQuery, 'limit' | 'offset'>): Promise<readonly CertificateRecord[]> => {
  const pageSize = 1_000;
  const all: CertificateRecord[] = [];
  for (;;) {
    const page = await store.findCertificates({ ...query, limit: pageSize, offset: all.length });
    all.push(...page);
    if (page.length < pageSize) return all;
  }
};

/** What would be revoked and what is already, at this moment. */
export const previewRevocation = async (
  { store, clock, graceSeconds }: Pick<RevocationWorld, 'store' | 'clock' | 'graceSeconds'>,
  selector: RevokeSelector,
  options: Pick<RevokeOptions, 'reason'>,
): Promise<RevocationPreview> => {
  const reason = checkedReason(options.reason);
  const found = (await allCertificates(store, queryOf(selector, reach(clock, graceSeconds)))).filter(isChosen(selector));
  const due = found.filter(isDue(reason));
  const alreadyRevoked = found.filter((record) => record.state === 'revoked' && !isDue(reason)(record));
  if (due.length === 0) refuseEmpty(selector, alreadyRevoked, found.some(({ state }) => state === 'intent'));
  return { due, alreadyRevoked };
};

/**
 * Revokes at once what is issued. What is still an intent may become a certificate a moment later,
 * in another process even: it is waited for, and when nobody finishes it, declared unknown and revoked.
 */
export const revokeSelected = async (world: RevocationWorld, selector: RevokeSelector, options: RevokeOptions): Promise<RevokeResult> => {
  const { store, clock, graceSeconds } = world;
  const reason = checkedReason(options.reason);
  const actor = options.actor ?? 'ca';
  const query = queryOf(selector, reach(clock, graceSeconds));
  const selected = isChosen(selector);
  const chosen = (record: CertificateRecord): boolean => selected(record) && (options.among?.(record) ?? true);

  const revoked: CertificateRecord[] = [];
  let found = (await allCertificates(store, query)).filter(chosen);
  const alreadyRevoked = found.filter((record) => record.state === 'revoked' && !isDue(reason)(record));
  let changeSeq = 0;
  for (let waitedMs = 0; ; waitedMs += 20) {
    const due = found.filter(isDue(reason));
    for (let from = 0; from < due.length; from += portionSize) {
      const at = clock.now();
      const portion = due.slice(from, from + portionSize);
      const done = await store.revoke(portion, reason, at, (record) => certificateRevoked(record, reason, { time: at, actor }));
      revoked.push(...done.revoked);
      changeSeq = Math.max(changeSeq, done.changeSeq);
      options.onProgress?.({ done: from + portion.length, of: due.length });
    }
    const pending = found.filter((record) => record.state === 'intent');
    // Look again after each change: an intent from between the look and the change was admitted before it.
    if (pending.length === 0 && due.length === 0) break;
    if (pending.length > 0 && waitedMs >= world.intentPatienceMs) {
      const last = Math.max(...pending.map((record) => record.createdAt.getTime()));
      await store.recoverIntents(new Date(last + 1), (record) => certificateUnknownIssued(record, { time: clock.now(), actor }));
    } else if (pending.length > 0) await world.sleep(20);
    found = (await allCertificates(store, { ...query, states: ['intent', 'issued', 'unknownIssued'] })).filter(chosen);
  }
  if (revoked.length === 0) refuseEmpty(selector, alreadyRevoked, false);
  return { revoked, alreadyRevoked, changeSeq };
};

/** What ended before is of no use to anybody. */
const reach = (clock: Clock, graceSeconds = 0): Date => new Date(clock.now().getTime() - graceSeconds * 1_000);

const checkedReason = (reason: RevocationReason = 'unspecified'): RevocationReason => {
  if (revocationReasons.includes(reason)) return reason;
  throw new CaError('ERR_CA_REASON', `${JSON.stringify(reason)} is not a revocation reason; use one of ${revocationReasons.join(', ')}`);
};

/** A hold may be made final; a final revocation stays as it is. */
const isDue =
  (reason: RevocationReason) =>
  (record: CertificateRecord): boolean =>
    record.state === 'issued' || record.state === 'unknownIssued' || (record.state === 'revoked' && record.revocationReason === 'certificateHold' && reason !== 'certificateHold');

const refuseEmpty = (selector: RevokeSelector, alreadyRevoked: readonly CertificateRecord[], pending: boolean): void => {
  if (pending) return;
  const { what, facts } = describeSelector(selector);
  if (alreadyRevoked.length > 0) throw new CaError('ERR_CA_ALREADY_REVOKED', `${what} is revoked already; see sallyport inventory --status revoked`, { facts });
  throw new CaError('ERR_CA_CERTIFICATE_UNKNOWN', `${what} has no certificate here that could be revoked; see sallyport inventory`, { facts });
};
