/** Removes from the store what is long over. */
import { Fingerprints } from '../../ca/audit/fingerprints.ts';
import type { AuditEvent, CaStore, Clock } from '../../ca/ports.ts';
import { parseCrl } from '../../ca/x509/crl.ts';
import { SallyportError } from '../errors.ts';
import type { Store } from '../store/store.ts';
import type { TidyOptions, TidyResult } from '../store/tidy.ts';

export interface TidyRequest {
  readonly store: Store;
  readonly clock: Clock;
  /** How long after their end certificates are kept. */
  readonly olderThanMs: number;
  readonly actor: string;
  readonly signal?: AbortSignal | undefined;
}

/** Younger certificates are what an incident of today is about. */
export const leastAgeMs = 30 * 86_400_000;
/** Tokens, requests, orders and the like are over when they are over; a month is for those who ask what happened. */
const recordsAgeMs = 30 * 86_400_000;

/** What `tidy` would remove now. @throws SallyportError `ERR_USAGE` */
export const previewTidy = async (request: TidyRequest): Promise<readonly TidyResult[]> => request.store.tidy.count(await optionsOf(request));

export const tidy = async (request: TidyRequest): Promise<readonly TidyResult[]> => {
  const { store, clock, actor, signal } = request;
  const options = await optionsOf(request);
  const event = ({ rule, rows }: TidyResult): AuditEvent => ({
    action: 'store.tidied', outcome: 'done', time: clock.now(), actor, name: rule,
    detail: { rows, before: (rule === 'certificates' || rule === 'supersededCertificates' ? options.certificates : options.records).toISOString() },
  });
  return store.tidy.remove(options, event, signal);
};

const optionsOf = async ({ store, clock, olderThanMs }: TidyRequest): Promise<TidyOptions> => {
  if (olderThanMs < leastAgeMs) throw new SallyportError('ERR_USAGE', 'certificates are kept for 30d after their end at least: give a longer time');
  const now = clock.now().getTime();
  return { certificates: new Date(now - olderThanMs), records: new Date(now - recordsAgeMs), ...(await listedSerials(store.ca)) };
};

const kinds = ['complete', 'delta', 'base', 'nextBase'] as const;

/** Everything that any current CRL lists, as hashes: a million of them must fit. One taken for another only keeps a row. */
const listedSerials = async (store: CaStore): Promise<Pick<TidyOptions, 'isListed' | 'crlBuiltAt'>> => {
  const listed = new Fingerprints();
  const builtAt = new Map<string, Date>();
  for (const { issuerId, scope, thisUpdate } of await store.crlStates()) {
    const known = builtAt.get(issuerId);
    // The oldest of its partitions.
    if (known === undefined || thisUpdate < known) builtAt.set(issuerId, thisUpdate);
    const seen = new Set<bigint>();
    for (const kind of kinds) {
      const crl = await store.latestCrl(issuerId, { scope, kind });
      if (crl === undefined || (kind !== 'delta' && seen.has(crl.crlNumber))) continue;
      if (kind !== 'delta') seen.add(crl.crlNumber);
      const entries = parseCrl(crl.der).entries();
      while (entries.next()) listed.add(nameOf(issuerId, serialAt(entries)));
    }
  }
  return { isListed: (issuerId, serial) => listed.has(nameOf(issuerId, serial)), crlBuiltAt: (issuerId) => builtAt.get(issuerId) };
};

const nameOf = (issuerId: string, serial: string): string => `${issuerId} ${serial}`;

const serialAt = ({ der, serialOffset, serialLength }: { readonly der: Uint8Array; readonly serialOffset: number; readonly serialLength: number }): string =>
  Buffer.from(der.buffer, der.byteOffset + serialOffset, serialLength).toString('hex').replace(/^(?:00)+(?=..)/, '');
