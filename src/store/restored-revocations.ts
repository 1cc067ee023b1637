/** What CRLs say that a restored store has forgotten: put on record in the transaction that fills it. */
import { hash } from 'node:crypto';
import type { Transaction } from 'kysely';
import { CaError } from '../../ca/errors.ts';
import { certificateRevoked } from '../../ca/events.ts';
import type { AuditEvent, CrlScope, IssuerId, RevocationReason, SerialHex } from '../../ca/ports.ts';
import { recordOfRow } from './certificate-rows.ts';
import { portions } from './portions.ts';
import { revokeCertificates } from './revocations.ts';
import type { CertificateTable, Schema } from './schema.ts';

/** A CRL that was verified. */
export interface PublishedRevocations {
  /** For messages. */
  readonly name: string;
  readonly issuerId: IssuerId;
  readonly scope: CrlScope;
  readonly crlNumber: bigint;
  /** End of its issuer: nothing that it signed lives longer. */
  readonly issuerEnds: Date;
  entries(): Iterable<ListedRevocation>;
}

export interface ListedRevocation {
  readonly serial: SerialHex;
  readonly revokedAt: Date;
  readonly reason: RevocationReason;
}

export interface RecordedRevocations {
  /** Those put on record, the ones below included. */
  readonly recorded: number;
  /** Of certificates that are not in the backup: kept by their serial alone. */
  readonly unknown: readonly { readonly issuerId: IssuerId; readonly serial: SerialHex }[];
  readonly events: readonly AuditEvent[];
}

/** Nobody is called so: names of agents have no colon. */
export const unknownAgent = (serial: SerialHex): string => `unknown:${serial}`;

/** @throws CaError `ERR_CRL_STALE` when the backup has a newer one */
export const recordPublished = async (tx: Transaction<Schema>, crls: readonly PublishedRevocations[], circumstances: { readonly time: Date; readonly actor: string }): Promise<RecordedRevocations> => {
  const recorded = { recorded: 0, unknown: [] as { issuerId: IssuerId; serial: SerialHex }[], events: [] as AuditEvent[] };
  for (const crl of crls) {
    await refuseOlder(tx, crl);
    let some: ListedRevocation[] = [];
    for (const listed of crl.entries()) {
      some.push(listed);
      if (some.length < entriesTogether) continue;
      await recordSome(tx, crl, some, circumstances, recorded);
      some = [];
    }
    if (some.length > 0) await recordSome(tx, crl, some, circumstances, recorded);
  }
  return recorded;
};

const entriesTogether = 200;

const refuseOlder = async (tx: Transaction<Schema>, { name, issuerId, scope, crlNumber }: PublishedRevocations): Promise<void> => {
  const stored = await tx.selectFrom('crl').select('crl_number').where('issuer_id', '=', issuerId).where('partitions', '=', scope.partitions).where('partition', '=', scope.partition).executeTakeFirst();
  if (stored === undefined || crlNumber >= BigInt(stored.crl_number)) return;
  throw new CaError('ERR_CRL_STALE', `${name} is CRL number ${crlNumber}, and the backup has number ${stored.crl_number} of the same CA: give the newest that was published`, { facts: { file: name, crlNumber: String(crlNumber), stored: stored.crl_number } });
};

interface Recording {
  recorded: number;
  readonly unknown: { issuerId: IssuerId; serial: SerialHex }[];
  readonly events: AuditEvent[];
}

const recordSome = async (tx: Transaction<Schema>, { issuerId, crlNumber, issuerEnds }: PublishedRevocations, some: readonly ListedRevocation[], circumstances: { readonly time: Date; readonly actor: string }, into: Recording): Promise<void> => {
  const rows = await tx.selectFrom('certificate').select(['serial', 'state', 'revocation_reason']).where('issuer_id', '=', issuerId).where('serial', 'in', some.map(({ serial }) => serial)).execute();
  const known = new Map(rows.map((row) => [row.serial, row]));
  const eventOf = (record: Parameters<typeof certificateRevoked>[0], { reason, revokedAt }: ListedRevocation): AuditEvent => ({
    ...certificateRevoked(record, reason, circumstances), detail: { crlNumber: String(crlNumber), revokedAt: revokedAt.toISOString() },
  });

  for (const listed of some) {
    const row = known.get(listed.serial);
    // A hold gives way to a final reason; nothing else that is revoked changes.
    if (row === undefined || (row.state === 'revoked' && !(row.revocation_reason === 'certificateHold' && listed.reason !== 'certificateHold'))) continue;
    // An intent whose certificate is on a CRL was signed after all.
    if (row.state === 'intent') await tx.updateTable('certificate').set({ state: 'unknownIssued' }).where('issuer_id', '=', issuerId).where('serial', '=', listed.serial).execute();
    const change = { tx, record: (event: AuditEvent) => void into.events.push(event), announce: () => undefined };
    const { revoked } = await revokeCertificates(change, { keys: [{ issuerId, serial: listed.serial }], reason: listed.reason, at: listed.revokedAt, event: (record) => eventOf(record, listed) });
    into.recorded += revoked.length;
  }

  const added = some.filter(({ serial }) => !known.has(serial)).map((listed) => ({ listed, row: rowOf(listed, { issuerId, issuerEnds }) }));
  for (const portion of portions(added)) await tx.insertInto('certificate').values(portion.map(({ row }) => row)).execute();
  for (const { listed, row } of added) {
    into.events.push(eventOf(recordOfRow(row), listed));
    into.unknown.push({ issuerId, serial: listed.serial });
    into.recorded += 1;
  }
};

/** Nothing but the serial is known of the certificate, and that it was revoked. */
const rowOf = ({ serial, revokedAt, reason }: ListedRevocation, { issuerId, issuerEnds }: { readonly issuerId: IssuerId; readonly issuerEnds: Date }): CertificateTable => ({
  issuer_id: issuerId, serial, state: 'revoked', tbs: new Uint8Array(), der: null, thumbprint: null,
  agent: unknownAgent(serial), profile: '', subject: '', common_name: '', organizational_units: '[]', uri: null, dns_names: '[]',
  // Of no key there is, and another for each, so that nothing is taken for certified twice.
  spki_hash: hash('sha256', `${issuerId} ${serial}`, 'hex'),
  not_before: revokedAt.getTime(), not_after: issuerEnds.getTime(), created_at: revokedAt.getTime(), replaces: null,
  revoked_at: revokedAt.getTime(), revocation_reason: reason, first_seen_at: null, released_at: null,
});
