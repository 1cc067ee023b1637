/** CRLs in the store. Their octets are in parts, written before the row that makes them current, so that no statement takes long. */
import { hash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { CaError } from '../../ca/errors.ts';
import type { CaStore, CrlPublication, CrlRecord, CrlScope, CrlState, IssuerId } from '../../ca/ports.ts';
import type { Reading } from './database.ts';
import type { CrlTable } from './schema.ts';
import { Refusal } from './write-queue.ts';
import type { Change, WriteQueue } from './write-queue.ts';

type CrlStore = Pick<CaStore, 'crlStates' | 'latestCrl' | 'saveCrl' | 'dropCrl' | 'crlSeries' | 'extendCrlSeries'>;

/** Some milliseconds to write. */
const partOctets = 512 * 1024;
/** Some 8 MB: fewer syncs, and nobody else waits long for the database. */
const partsTogether = 16;
const wholeScope: CrlScope = { partitions: 1, partition: 0 };

export const createCrlStore = (reading: Reading, queue: WriteQueue): CrlStore => ({
  crlStates: (issuerId, scope) =>
    reading(async (db) => {
      const all = db.selectFrom('crl').selectAll().orderBy('issuer_id').orderBy('partitions').orderBy('partition');
      const chosen = issuerId === undefined ? all : scope === undefined ? all.where('issuer_id', '=', issuerId) : ofScope(all, issuerId, scope);
      return (await chosen.execute()).map(stateOf);
    }),

  latestCrl: async (issuerId, { scope = wholeScope, kind = 'complete' } = {}) => {
    // Octets that are superseded while they are read are gone; the row then names others.
    for (let attempt = 1; ; attempt++) {
      const row = await reading((db) => ofScope(db.selectFrom('crl').selectAll(), issuerId, scope).executeTakeFirst());
      const named = row === undefined ? undefined : recordOf(row, kind);
      if (named === undefined) return undefined;
      const der = await readOctets(reading, { issuerId, scope, octets: named.octets });
      if (der !== undefined) return { ...named.record, der };
      if (attempt === 5) throw new CaError('ERR_CRL_INVALID', 'the store has lost octets of a CRL; restore the newest backup', { facts: { issuer: issuerId, ...scope } });
    }
  },

  saveCrl: async (publication, event) => {
    const { issuerId, scope, der, delta } = publication;
    const complete = octetsOf(der);
    const change = delta === undefined ? undefined : octetsOf(delta.der);
    const contents = [{ name: complete, der }, ...(delta === undefined || change === undefined ? [] : [{ name: change, der: delta.der }])];
    for (const { name, der: long } of contents) {
      // The last part of each comes with the row: a small CRL is one transaction.
      const ahead = partsOf(long).slice(0, -1);
      for (let from = 0; from < ahead.length; from += partsTogether) {
        // In one transaction, as the queue has them, which others wait for; the parts before are on disk by then.
        await Promise.all(ahead.slice(from, from + partsTogether).map(({ part, content }) => queue.run((write) => insertPart(write, { issuerId, scope, name, part, content }))));
      }
    }
    await queue.run(async (write) => {
      const stored = await ofScope(write.tx.selectFrom('crl').selectAll(), issuerId, scope).executeTakeFirst();
      // RFC 5280 §5.2.3: CRL numbers increase; relying parties that cache by thisUpdate need that to increase too.
      if (stored !== undefined && (publication.crlNumber <= BigInt(stored.crl_number) || publication.thisUpdate.getTime() <= stored.this_update)) {
        const facts = { issuer: issuerId, ...scope, crlNumber: String(publication.crlNumber), stored: stored.crl_number };
        throw new Refusal(new CaError('ERR_CRL_STALE', 'a CRL with this number or a later time is stored already; build the next one', { facts }));
      }
      for (const { name, der: long } of contents) {
        const last = partsOf(long).at(-1);
        if (last !== undefined) await insertPart(write, { issuerId, scope, name, ...last });
      }
      const row = rowOf(publication, { complete, change, stored });
      await write.tx
        .insertInto('crl')
        .values({ issuer_id: issuerId, ...scope, ...row })
        .onConflict((on) => on.columns(['issuer_id', 'partitions', 'partition']).doUpdateSet(row))
        .execute();
      const needed = [row.octets, row.delta_octets, row.base_octets, row.next_base_octets].filter((name) => name !== null);
      await ofScope(write.tx.deleteFrom('crl_part'), issuerId, scope).where('octets', 'not in', needed).execute();
      write.record(event);
    });
  },

  dropCrl: (issuerId, scope, event) =>
    queue.run(async ({ tx, record }) => {
      const { numDeletedRows } = await ofScope(tx.deleteFrom('crl'), issuerId, scope).executeTakeFirstOrThrow();
      await ofScope(tx.deleteFrom('crl_part'), issuerId, scope).execute();
      if (numDeletedRows > 0n) record(event);
    }),

  crlSeries: (issuerId) =>
    reading(async (db) => {
      const rows = await db.selectFrom('crl_series').selectAll().where('issuer_id', '=', issuerId).orderBy('partitions').orderBy('point').execute();
      return rows.map(({ partitions, point, until }) => ({ issuerId, partitions, point, until: new Date(until) }));
    }),

  extendCrlSeries: ({ issuerId, partitions, point, until }) =>
    queue.run(async ({ tx }) => {
      const key = { issuer_id: issuerId, partitions, point };
      const known = await tx.selectFrom('crl_series').select('until').where('issuer_id', '=', issuerId).where('partitions', '=', partitions).where('point', '=', point).executeTakeFirst();
      if (known !== undefined && known.until >= until.getTime()) return;
      await tx
        .insertInto('crl_series')
        .values({ ...key, until: until.getTime() })
        .onConflict((on) => on.columns(['issuer_id', 'partitions', 'point']).doUpdateSet({ until: until.getTime() }))
        .execute();
    }),
});

interface ScopedQuery<Q> {
  where(column: 'issuer_id' | 'partitions' | 'partition', operator: '=', value: string | number): Q;
}

const ofScope = <Q>(query: Q, issuerId: IssuerId, { partitions, partition }: CrlScope): Q => {
  const where = (of: Q, column: 'issuer_id' | 'partitions' | 'partition', value: string | number): Q => (of as ScopedQuery<Q>).where(column, '=', value);
  return where(where(where(query, 'issuer_id', issuerId), 'partitions', partitions), 'partition', partition);
};

const stateOf = (row: CrlTable): CrlState => ({
  issuerId: row.issuer_id,
  scope: { partitions: row.partitions, partition: row.partition },
  crlNumber: BigInt(row.crl_number),
  thisUpdate: new Date(row.this_update),
  nextUpdate: new Date(row.next_update),
  entries: row.entries,
  delta:
    row.delta_octets === null
      ? undefined
      : {
          baseCrlNumber: BigInt(row.base_number ?? 0),
          nextUpdate: new Date(row.delta_next_update ?? 0),
          entries: row.delta_entries ?? 0,
          nextBaseThisUpdate: new Date(row.next_base_this_update ?? 0),
        },
});

/** What a row says of one kind of CRL, and under which name its octets are. */
const recordOf = (row: CrlTable, kind: 'complete' | 'delta' | 'base' | 'nextBase'): { readonly octets: string; readonly record: Omit<CrlRecord, 'der'> } | undefined => {
  const { delta, ...record } = stateOf(row);
  if (kind === 'complete') return { octets: row.octets, record };
  if (delta === undefined) return undefined;
  if (kind === 'delta') return row.delta_octets === null ? undefined : { octets: row.delta_octets, record: { ...record, nextUpdate: delta.nextUpdate, entries: delta.entries } };
  const [octets, number] = kind === 'base' ? [row.base_octets, row.base_number] : [row.next_base_octets, row.next_base_number];
  return octets === null || number === null ? undefined : { octets, record: { ...record, crlNumber: BigInt(number) } };
};

const rowOf = (
  { crlNumber, thisUpdate, nextUpdate, entries, delta }: CrlPublication,
  { complete, change, stored }: { readonly complete: string; readonly change: string | undefined; readonly stored: CrlTable | undefined },
): Omit<CrlTable, 'issuer_id' | 'partitions' | 'partition'> => {
  const current = { octets: complete, base_number: String(crlNumber), next_base_this_update: thisUpdate.getTime() };
  const kept = stored === undefined || stored.next_base_octets === null ? undefined : stored;
  const bases = kept === undefined ? 'first' : delta?.bases;
  return {
    crl_number: String(crlNumber),
    this_update: thisUpdate.getTime(),
    next_update: nextUpdate.getTime(),
    entries,
    octets: complete,
    delta_octets: change ?? null,
    delta_entries: delta?.entries ?? null,
    delta_next_update: delta?.nextUpdate.getTime() ?? null,
    ...(delta === undefined
      ? { base_octets: null, base_number: null, next_base_octets: null, next_base_number: null, next_base_this_update: null }
      : bases === 'first' || kept === undefined
        ? { base_octets: current.octets, base_number: current.base_number, next_base_octets: current.octets, next_base_number: current.base_number, next_base_this_update: current.next_base_this_update }
        : bases === 'moved'
          ? { base_octets: kept.next_base_octets, base_number: kept.next_base_number, next_base_octets: current.octets, next_base_number: current.base_number, next_base_this_update: current.next_base_this_update }
          : { base_octets: kept.base_octets, base_number: kept.base_number, next_base_octets: kept.next_base_octets, next_base_number: kept.next_base_number, next_base_this_update: kept.next_base_this_update }),
  };
};

/** The end holds the signature over all the rest. */
const octetsOf = (der: Uint8Array): string => `${hash('sha256', der.subarray(-65_536))}-${der.length}`;

const partsOf = (der: Uint8Array): readonly { readonly part: number; readonly content: Uint8Array }[] =>
  Array.from({ length: Math.ceil(der.length / partOctets) }, (_, part) => ({ part, content: der.subarray(part * partOctets, (part + 1) * partOctets) }));

interface Part {
  readonly issuerId: IssuerId;
  readonly scope: CrlScope;
  readonly name: string;
  readonly part: number;
  readonly content: Uint8Array;
}

const insertPart = async ({ tx }: Change, { issuerId, scope, name, part, content }: Part): Promise<void> => {
  await tx
    .insertInto('crl_part')
    .values({ issuer_id: issuerId, ...scope, octets: name, part, content: shareable(content) })
    .onConflict((on) => on.doNothing())
    .execute();
};

/** A view of memory that threads share crosses to the one of the database as it is; of other memory the whole buffer would be copied, several times. */
const shareable = (content: Uint8Array): Uint8Array => {
  if (content.buffer instanceof SharedArrayBuffer) return content;
  const shared = new Uint8Array(new SharedArrayBuffer(content.length));
  shared.set(content);
  return shared;
};

/** Undefined when they are not, or no longer, all there. */
const readOctets = async (reading: Reading, { issuerId, scope, octets }: { readonly issuerId: IssuerId; readonly scope: CrlScope; readonly octets: string }): Promise<Uint8Array | undefined> => {
  const length = lengthIn(octets);
  let whole = new Uint8Array(0);
  for (let part = 0, at = 0; ; part++) {
    const row = await reading((db) => ofScope(db.selectFrom('crl_part').select('content'), issuerId, scope).where('octets', '=', octets).where('part', '=', part).executeTakeFirst());
    if (row === undefined) return undefined;
    const { content } = row;
    if (content.length === (length ?? content.length)) return content;
    if (part === 0) whole = new Uint8Array(length ?? 0);
    whole.set(content, at);
    at += content.length;
    if (at === length) return whole;
    // The next answer can be there before the event loop has turned once; copying a large CRL at once would hold it.
    await turn();
  }
};

/** Undefined for those that an earlier version wrote, which are one part. */
const lengthIn = (octets: string): number | undefined => {
  const [, length] = /-(\d+)$/.exec(octets) ?? [];
  return length === undefined ? undefined : Number(length);
};
