/** The two writes of every issuance, for as many certificates as wait at the same time. */
import { sql } from 'kysely';
import type { QueryResult } from 'kysely';
import { CaError } from '../../ca/errors.ts';
import type { AuditEvent, CertificateIntent, Contenders, IssuerId, SerialHex } from '../../ca/ports.ts';
import { rowOfIntent } from './certificate-rows.ts';
import { contendersOf } from './contenders.ts';
import type { Database } from './database.ts';
import { portions } from './portions.ts';
import { Refusal } from './write-queue.ts';
import type { BatchWork } from './write-queue.ts';

interface Key {
  readonly issuerId: IssuerId;
  readonly serial: SerialHex;
}

export interface Issued extends Key {
  readonly der: Uint8Array;
  readonly thumbprint: string;
  readonly event: AuditEvent;
}

export const createIntentBatch = ({ kind, together }: Database): BatchWork<CertificateIntent, Contenders> => async ({ tx }, intents) => {
  const inserts = [...portions(intents)].map((some) =>
    tx
      .insertInto('certificate')
      .values(some.map((intent) => rowOfIntent(intent)))
      .onConflict((on) => on.columns(['issuer_id', 'serial']).doNothing())
      .returning(['issuer_id', 'serial'])
      .compile(),
  );
  const met = contendersOf(tx, intents, kind);
  const results = await together(tx, [...inserts, ...met.queries]);
  const inserted = new Set(results.slice(0, inserts.length).flatMap(namesIn));
  const contenders = met.read(results[inserts.length], results[inserts.length + 1]);
  // Of two callers with one serial the first has it.
  return intents.map((intent) => (inserted.delete(nameOf(intent)) ? contenders(intent) : duplicate(intent)));
};

export const createIssuedBatch = ({ kind, together }: Database): BatchWork<Issued, void> => {
  // PostgreSQL takes parameters in a list of values for text unless told otherwise.
  const bytes = sql.raw(kind === 'sqlite' ? 'BLOB' : 'BYTEA');
  return async ({ tx, record }, all) => {
    const updates = [...portions(all)].map((some) => {
      const values = sql.join(some.map(({ issuerId, serial, der, thumbprint }) => sql`(CAST(${issuerId} AS TEXT), CAST(${serial} AS TEXT), CAST(${der} AS ${bytes}), CAST(${thumbprint} AS TEXT))`));
      // An intent that another process declared unknown meanwhile turns out to be known after all.
      return sql`
        WITH issued (issuer_id, serial, der, thumbprint) AS (VALUES ${values})
        UPDATE certificate SET state = 'issued', der = issued.der, thumbprint = issued.thumbprint FROM issued
        WHERE certificate.issuer_id = issued.issuer_id AND certificate.serial = issued.serial AND certificate.state IN ('intent', 'unknownIssued')
        RETURNING certificate.issuer_id, certificate.serial`.compile(tx);
    });
    const stored = new Set((await together(tx, updates)).flatMap(namesIn));
    return all.map((issued) => {
      if (!stored.delete(nameOf(issued))) return noIntent(issued);
      record(issued.event);
      return undefined;
    });
  };
};

export const noIntent = (key: Key): Refusal =>
  new Refusal(
    new CaError('ERR_CA_CERTIFICATE_UNKNOWN', 'no intent is recorded for this serial; record the intent before signing', {
      facts: { issuer: key.issuerId, serial: key.serial },
    }),
  );

const namesIn = ({ rows }: QueryResult<unknown>): readonly string[] => (rows as { issuer_id: string; serial: string }[]).map((row) => nameOf({ issuerId: row.issuer_id, serial: row.serial }));

const nameOf = (key: Key): string => `${key.issuerId} ${key.serial}`;

const duplicate = (key: Key): Refusal =>
  new Refusal(new CaError('ERR_STORE_DUPLICATE_SERIAL', 'the serial is taken; draw another', { facts: { issuer: key.issuerId, serial: key.serial } }));
