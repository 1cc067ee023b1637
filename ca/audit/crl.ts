/** The current CRLs of one CA: genuine, fresh, and together the same as what the store says is revoked. */
import { changesSince } from '../crl-build.ts';
import { partitionOf, scopeName } from '../crl-scope.ts';
import { namedScopes } from '../crl-series.ts';
import { CaError } from '../errors.ts';
import type { CaStore, CrlRecord, CrlScope, CrlState, RevokedSerial } from '../ports.ts';
import type { Certificate } from '../x509/certificate.ts';
import { CrlEntryCursor, parseCrl, readCrlList, verifyCrl } from '../x509/crl.ts';
import type { Crl, CrlList } from '../x509/crl.ts';
import { equalBytes } from '../x509/der.ts';
import { formatName } from '../x509/name.ts';
import { serialToHex } from '../x509/serial.ts';
import type { AuditFinding } from './finding.ts';
import { moment } from './row.ts';

export interface CrlAudit {
  readonly store: Pick<CaStore, 'crlStates' | 'crlSeries' | 'latestCrl' | 'revokedSerials'>;
  readonly issuer: Certificate;
  readonly now: () => Date;
  readonly onFinding: (finding: AuditFinding) => void;
}

type Report = (code: AuditFinding['code'], message: string, serial?: string) => void;

/** A revocation this recent may wait for its CRL, which follows within seconds. */
const patienceMs = 60_000;

/** Answers with how many there are that could be read, and their entries. */
export const auditCrls = async ({ store, issuer, now, onFinding }: CrlAudit): Promise<{ readonly crls: number; readonly entries: number }> => {
  const id = issuer.spkiHash;
  const report: Report = (code, message, serial) => {
    onFinding({ code, serial, issuer: id, agent: undefined, message });
  };
  const states = await store.crlStates(id);
  const present = new Set(states.map(({ scope }) => scopeName(scope)));
  for (const scope of namedScopes(await store.crlSeries(id), states, now())) {
    if (!present.has(scopeName(scope))) report('crlMissing', `${formatName(issuer.subject)} has not published a CRL${ofPartition(scope)}`);
  }

  const read: Examined[] = [];
  for (const state of states) read.push(...(await examine(state, { store, issuer, now, report })));
  const lists = new Map<number, (Examined | undefined)[]>();
  for (const each of read) {
    const { partitions, partition } = each.scope;
    const series = lists.get(partitions) ?? Array.from({ length: partitions }, (): Examined | undefined => undefined);
    // What another key signed says nothing about these certificates.
    if (each.believed) series[partition] = each;
    lists.set(partitions, series);
  }
  for await (const page of store.revokedSerials(id)) {
    for (const revoked of page) {
      for (const [partitions, series] of lists) {
        const examined = series[partitionOf(revoked.serial, partitions)];
        if (examined !== undefined) compare(examined, revoked, { now: now(), report });
      }
    }
  }
  for (const { believed, listed, name } of read) {
    if (!believed) continue;
    while (listed.serial !== undefined && !listed.unordered) reportUnrevoked(listed, report);
    if (listed.unordered) report('crlUnordered', `the CRL of ${name} does not list its serials in order, so it was not compared with the store`);
  }
  return { crls: read.length, entries: read.reduce((sum, { crl }) => sum + crl.entryCount, 0) };
};

interface Examined {
  readonly scope: CrlScope;
  /** Of the CA, and of the partition where there are several. */
  readonly name: string;
  readonly crl: Crl;
  readonly believed: boolean;
  readonly listed: Listed;
}

const examine = async (state: CrlState, { store, issuer, now, report }: Pick<CrlAudit, 'store' | 'issuer' | 'now'> & { readonly report: Report }): Promise<readonly Examined[]> => {
  const { scope } = state;
  const name = `${formatName(issuer.subject)}${ofPartition(scope)}`;
  let record: CrlRecord | undefined;
  let crl: Crl;
  try {
    record = await store.latestCrl(issuer.spkiHash, { scope });
    // Withdrawn this very moment.
    if (record === undefined) return [];
    crl = parseCrl(record.der);
  } catch (error) {
    if (error instanceof CaError && error.code === 'ERR_STORE_UNAVAILABLE') throw error;
    report('crlUnreadable', `the CRL of ${name} cannot be read: ${reasonOf(error)}`);
    return [];
  }
  const differing = rowDifferences(record, crl);
  if (differing.length > 0) report('crlRowDiffers', `the CRL of ${name}: ${differing.join('; ')}`);
  let believed = true;
  try {
    verifyCrl(crl, issuer, { at: now() });
  } catch (error) {
    const stale = error instanceof CaError && error.code === 'ERR_CRL_STALE';
    report(stale ? 'crlStale' : 'crlUnusable', `the CRL of ${name}: ${reasonOf(error)}`);
    believed = stale;
  }
  if (state.delta !== undefined) await examineDelta({ store, issuer, scope, report, name });
  return [{ scope, name, crl, believed, listed: new Listed(crl.entries()) }];
};

/** Whoever adds the changes to the base must arrive at the complete CRL of the same number. */
const examineDelta = async ({ store, issuer, scope, report, name }: Pick<CrlAudit, 'store' | 'issuer'> & { readonly scope: CrlScope; readonly report: Report; readonly name: string }): Promise<void> => {
  try {
    const [complete, delta, base] = await Promise.all((['complete', 'delta', 'base'] as const).map((kind) => store.latestCrl(issuer.spkiHash, { scope, kind })));
    // Replaced while it was read: the one that came is looked at another time.
    if (complete === undefined || delta === undefined || base === undefined || complete.crlNumber !== delta.crlNumber) return;
    const changes = parseCrl(delta.der);
    verifyCrl(changes, issuer, { at: delta.thisUpdate, kind: 'delta' });
    const from = readCrlList(base.der);
    const due = changesSince(from, readCrlList(complete.der).entryOctets).octets();
    const listed = readCrlList(delta.der);
    const same = changes.crlNumber === complete.crlNumber && changes.baseCrlNumber === from.crlNumber && equalBytes(listed.entryOctets.subarray(0, due.length), due) && onlyRemovals(listed, due.length);
    if (!same) report('deltaDiffers', `the delta CRL of ${name} does not lead from CRL ${base.crlNumber} to CRL ${complete.crlNumber}`);
  } catch (error) {
    if (error instanceof CaError && error.code === 'ERR_STORE_UNAVAILABLE') throw error;
    report('deltaDiffers', `the delta CRL of ${name}: ${reasonOf(error)}`);
  }
};

/** What comes after the changes since the base takes off what was on a list only in between. */
const onlyRemovals = ({ entryOctets }: CrlList, start: number): boolean => {
  const rest = new CrlEntryCursor(entryOctets, { start, end: entryOctets.length, version: 2 });
  while (rest.next()) if (rest.reason !== undefined) return false;
  return true;
};

const compare = ({ listed, crl, name }: Examined, revoked: RevokedSerial, { now, report }: { readonly now: Date; readonly report: Report }): void => {
  while (!listed.unordered && listed.serial !== undefined && listed.serial < revoked.serial) reportUnrevoked(listed, report);
  if (listed.unordered) return;
  if (listed.serial === revoked.serial) {
    const difference = entryDifference(listed.cursor, revoked);
    if (difference !== undefined) report('entryDiffers', difference, revoked.serial);
    listed.advance();
  } else if (now.getTime() - revoked.revokedAt.getTime() > patienceMs && revoked.notAfter.getTime() + 1_000 > crl.thisUpdate.getTime()) {
    // Left out rightly: what had expired before this CRL.
    report('revokedNotListed', `revoked at ${moment(revoked.revokedAt)}, and CRL ${crl.crlNumber} of ${name} does not list it`, revoked.serial);
  }
};

const ofPartition = ({ partitions, partition }: CrlScope): string => (partitions === 1 ? '' : `, partition ${partition} of ${partitions}`);

function reportUnrevoked(listed: Listed, report: Report): void {
  report('listedNotRevoked', 'the current CRL lists it as revoked, and the store does not', listed.serial);
  listed.advance();
}

/** Walks a CRL in the order in which our CRLs are written, which is also that of the store. */
class Listed {
  readonly cursor: CrlEntryCursor;
  /** Undefined after the last. */
  serial: string | undefined;
  unordered = false;

  constructor(cursor: CrlEntryCursor) {
    this.cursor = cursor;
    this.advance();
  }

  advance(): void {
    const { cursor } = this;
    const before = this.serial;
    this.serial = cursor.next() ? serialToHex(cursor.der.subarray(cursor.serialOffset, cursor.serialOffset + cursor.serialLength)) : undefined;
    if (before !== undefined && this.serial !== undefined && this.serial <= before) this.unordered = true;
  }
}

function rowDifferences(record: CrlRecord, crl: Crl): readonly string[] {
  const compared = [
    ['number', String(record.crlNumber), String(crl.crlNumber ?? 'none')],
    ['thisUpdate', moment(record.thisUpdate), moment(crl.thisUpdate)],
    ['nextUpdate', moment(record.nextUpdate), crl.nextUpdate === undefined ? 'none' : moment(crl.nextUpdate)],
    ['entries', String(record.entries), String(crl.entryCount)],
  ] as const;
  return compared.filter(([, row, octets]) => row !== octets).map(([what, row, octets]) => `${what}: the row says ${row}, the CRL ${octets}`);
}

function entryDifference({ revokedAt, reason }: CrlEntryCursor, revoked: RevokedSerial): string | undefined {
  const seconds = Math.floor(revoked.revokedAt.getTime() / 1_000);
  if (revokedAt !== seconds) return `the store says revoked at ${moment(revoked.revokedAt)}, the current CRL ${moment(new Date(revokedAt * 1_000))}`;
  return reason === revoked.reason ? undefined : `the store says ${revoked.reason}, the current CRL ${reason ?? 'no reason'}`;
}

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : 'not readable');
