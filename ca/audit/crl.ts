/** The current CRL of one CA: genuine, fresh, and the same as what the store says is revoked. */
import { CaError } from '../errors.ts';
import type { CaStore, CrlRecord, RevokedSerial } from '../ports.ts';
import type { Certificate } from '../x509/certificate.ts';
import { parseCrl, verifyCrl } from '../x509/crl.ts';
import type { Crl, CrlEntryCursor } from '../x509/crl.ts';
import { formatName } from '../x509/name.ts';
import { serialToHex } from '../x509/serial.ts';
import type { AuditFinding } from './finding.ts';
import { moment } from './row.ts';

export interface CrlAudit {
  readonly store: Pick<CaStore, 'latestCrl' | 'revokedSerials'>;
  readonly issuer: Certificate;
  readonly now: () => Date;
  readonly onFinding: (finding: AuditFinding) => void;
}

/** A revocation this recent may wait for its CRL, which follows within seconds. */
const patienceMs = 60_000;

/** Answers with the number of entries; undefined when there is no CRL that could be read. */
export const auditCrl = async ({ store, issuer, now, onFinding }: CrlAudit): Promise<number | undefined> => {
  const name = formatName(issuer.subject);
  const report = (code: AuditFinding['code'], message: string, serial?: string): void => {
    onFinding({ code, serial, issuer: issuer.spkiHash, agent: undefined, message });
  };
  const record = await store.latestCrl(issuer.spkiHash);
  if (record === undefined) {
    report('crlMissing', `${name} has not published a CRL`);
    return undefined;
  }
  let crl: Crl;
  try {
    crl = parseCrl(record.der);
  } catch (error) {
    report('crlUnreadable', `the CRL of ${name} cannot be read: ${reasonOf(error)}`);
    return undefined;
  }
  const differing = rowDifferences(record, crl);
  if (differing.length > 0) report('crlRowDiffers', `the CRL of ${name}: ${differing.join('; ')}`);
  try {
    verifyCrl(crl, issuer, { at: now() });
  } catch (error) {
    const stale = error instanceof CaError && error.code === 'ERR_CRL_STALE';
    report(stale ? 'crlStale' : 'crlUnusable', `the CRL of ${name}: ${reasonOf(error)}`);
    // What another key signed says nothing about these certificates.
    if (!stale) return crl.entryCount;
  }

  const listed = new Listed(crl.entries());
  for await (const page of store.revokedSerials(issuer.spkiHash)) {
    for (const revoked of page) {
      while (!listed.unordered && listed.serial !== undefined && listed.serial < revoked.serial) reportUnrevoked(listed, report);
      if (listed.unordered) break;
      if (listed.serial === revoked.serial) {
        const difference = entryDifference(listed.cursor, revoked);
        if (difference !== undefined) report('entryDiffers', difference, revoked.serial);
        listed.advance();
      } else if (now().getTime() - revoked.revokedAt.getTime() > patienceMs && revoked.notAfter.getTime() + 1_000 > crl.thisUpdate.getTime()) {
        // Left out rightly: what had expired before this CRL.
        report('revokedNotListed', `revoked at ${moment(revoked.revokedAt)}, and CRL ${crl.crlNumber} of ${name} does not list it`, revoked.serial);
      }
    }
    if (listed.unordered) break;
  }
  while (listed.serial !== undefined && !listed.unordered) reportUnrevoked(listed, report);
  if (listed.unordered) report('crlUnordered', `the CRL of ${name} does not list its serials in order, so it was not compared with the store`);
  return crl.entryCount;
};

function reportUnrevoked(listed: Listed, report: (code: AuditFinding['code'], message: string, serial?: string) => void): void {
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
