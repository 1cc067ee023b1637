/** Certificate revocation lists (RFC 5280 §5), read strictly from their octets. */
import { readAlgorithmIdentifier } from './algorithm.ts';
import { CrlEntryCursor, summarizeEntries } from './crl-entry.ts';
import { DerReader, TAG, contextTag, decodeAs, equalBytes, invalid } from './der.ts';
import { EXTENSION, extensionValue, parseAuthorityKeyIdentifier, parseCrlDistributionPoints, parseCrlNumber, parseIssuingDistributionPoint, readExtensions } from './extension.ts';
import { readName } from './name.ts';
import { derOf } from './pem.ts';
import { serialFromHex } from './serial.ts';
import { readSigned } from './signed.ts';
import type { RevocationReason, SerialHex } from '../ports.ts';
import type { EntryVisitor } from './crl-entry.ts';
import type { Extension, IssuingDistributionPoint } from './extension.ts';
import type { DistinguishedName } from './name.ts';
import type { SignedParts } from './signed.ts';

/** A CRL as it was read. Every entry has been checked for form; `verifyCrl` says whether it may be used. */
export interface Crl {
  readonly der: Uint8Array;
  /** The signed octets. */
  readonly tbs: Uint8Array;
  readonly version: 1 | 2;
  readonly issuerNameDer: Uint8Array;
  readonly issuer: DistinguishedName;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date | undefined;
  readonly crlNumber: bigint | undefined;
  /** Number of the complete CRL that this delta CRL changes. */
  readonly baseCrlNumber: bigint | undefined;
  /** Lower-case hex. */
  readonly authorityKeyIdentifier: string | undefined;
  readonly issuingDistributionPoint: IssuingDistributionPoint | undefined;
  readonly entryCount: number;
  readonly signatureAlgorithm: Uint8Array;
  readonly signature: Uint8Array;
  /** Visits every entry without allocating: about 0.1 s for a million. */
  forEachEntry(visit: EntryVisitor): void;
  /** The same entries step by step, for callers that must give way to others in between. */
  entries(): CrlEntryCursor;
  /** Looks one serial up by walking the list. For many look-ups fill an index with `forEachEntry`. */
  find(serial: SerialHex): RevokedEntry | undefined;
}

export interface RevokedEntry {
  readonly revokedAt: Date;
  /** Undefined for `removeFromCRL`, which only a delta CRL holds: the certificate is not revoked. */
  readonly reason: RevocationReason | undefined;
}

/** Longest CRL read: some five million entries. */
export const MAX_CRL_OCTETS = 256 * 1024 * 1024;

/** RFC 5280 §5.2: what is understood; another critical extension makes the CRL unusable. */
const PROCESSED: ReadonlySet<string> = new Set([EXTENSION.authorityKeyIdentifier, EXTENSION.crlNumber, EXTENSION.deltaCrlIndicator, EXTENSION.issuingDistributionPoint]);

export interface CrlParsing {
  /**
   * Called at each entry during the walk that checks its form, which saves a second walk. The CRL
   * may still be refused: throw away what was gathered when `parseCrl` or `verifyCrl` throws.
   */
  readonly onEntry?: (entry: CrlEntryCursor) => void;
}

/** DER, or PEM with one `X509 CRL` block. Refuses with `ERR_CRL_INVALID` or `ERR_PEM_INVALID`. */
export function parseCrl(input: Uint8Array | string, options: CrlParsing = {}): Crl {
  const der = derOf(input, 'X509 CRL', 'CRL');
  return decodeAs('ERR_CRL_INVALID', 'CRL', () => readCrl(der, options));
}

/** What is needed of a CRL of one's own to write the next. Its entries are checked as they are walked, its signature is not. */
export interface CrlList {
  readonly thisUpdate: Date;
  readonly crlNumber: bigint | undefined;
  readonly issuingDistributionPoint: IssuingDistributionPoint | undefined;
  /** URIs of freshestCRL. */
  readonly freshest: readonly string[];
  /** The entries as they are encoded. */
  readonly entryOctets: Uint8Array;
  entries(): CrlEntryCursor;
}

/** Refuses with `ERR_CRL_INVALID`. */
export function readCrlList(der: Uint8Array): CrlList {
  return decodeAs('ERR_CRL_INVALID', 'CRL', () => {
    const { tbs, thisUpdate, range, extensions } = readFields(readSigned(der, MAX_CRL_OCTETS));
    return {
      thisUpdate,
      crlNumber: extensionValue(extensions, EXTENSION.crlNumber, parseCrlNumber),
      issuingDistributionPoint: extensionValue(extensions, EXTENSION.issuingDistributionPoint, parseIssuingDistributionPoint),
      freshest: (extensionValue(extensions, EXTENSION.freshestCrl, parseCrlDistributionPoints) ?? []).flatMap(({ uris }) => uris),
      entryOctets: tbs.subarray(range.start, range.end),
      entries: () => new CrlEntryCursor(tbs, range),
    };
  });
}

function readCrl(der: Uint8Array, { onEntry }: CrlParsing): Crl {
  const { tbs, algorithm, signature, version, issuer, issuerNameDer, thisUpdate, nextUpdate, range, extensions } = readFields(readSigned(der, MAX_CRL_OCTETS));
  const { count, removals } = summarizeEntries(new CrlEntryCursor(tbs, range), onEntry);
  const baseCrlNumber = extensionValue(extensions, EXTENSION.deltaCrlIndicator, parseCrlNumber);
  // RFC 5280 §5.3.1: removeFromCRL only in delta CRLs.
  if (removals && baseCrlNumber === undefined) throw invalid('removeFromCRL in a complete CRL', range.start);
  const keyIdentifier = extensionValue(extensions, EXTENSION.authorityKeyIdentifier, parseAuthorityKeyIdentifier);
  const entries = () => new CrlEntryCursor(tbs, range);
  return {
    der,
    tbs,
    version,
    issuerNameDer,
    issuer,
    thisUpdate,
    nextUpdate,
    crlNumber: extensionValue(extensions, EXTENSION.crlNumber, parseCrlNumber),
    baseCrlNumber,
    authorityKeyIdentifier: keyIdentifier === undefined ? undefined : Buffer.from(keyIdentifier).toString('hex'),
    issuingDistributionPoint: extensionValue(extensions, EXTENSION.issuingDistributionPoint, parseIssuingDistributionPoint),
    entryCount: count,
    signatureAlgorithm: algorithm,
    signature,
    entries,
    forEachEntry: (visit) => visitAll(entries(), visit),
    find: (serial) => find(entries(), serialFromHex(serial)),
  };
}

/** Everything but the entries. */
function readFields({ tbs, algorithm, signature }: SignedParts) {
  const outer = new DerReader(tbs);
  const fields = outer.enter(TAG.sequence);
  const version = readVersion(fields);
  // RFC 5280 §5.1.1.2: the signed algorithm is the one outside.
  if (!equalBytes(readAlgorithmIdentifier(fields), algorithm)) throw invalid('signature algorithms differ', fields.offset);
  const nameStart = fields.offset;
  const issuer = readName(fields);
  // RFC 5280 §5.1.2.3: a non-empty name.
  if (issuer.length === 0) throw invalid('empty issuer', nameStart);
  const issuerNameDer = tbs.subarray(nameStart, fields.offset);
  const thisUpdate = fields.time();
  const nextUpdate = fields.peek() === TAG.utcTime || fields.peek() === TAG.generalizedTime ? fields.time() : undefined;
  if (nextUpdate !== undefined && nextUpdate < thisUpdate) throw invalid('nextUpdate is before thisUpdate', fields.offset);
  const range = readEntryRange(fields, version);
  const extensions = readCrlExtensions(fields, version);
  fields.finish();
  return { tbs, algorithm, signature, version, issuer, issuerNameDer, thisUpdate, nextUpdate, range, extensions };
}

function readVersion(fields: DerReader): 1 | 2 {
  if (fields.peek() !== TAG.integer) return 1;
  const at = fields.offset;
  // RFC 5280 §5.1.2.1: when present it is v2(1).
  if (fields.smallInteger() !== 1) throw invalid('unknown version', at);
  return 2;
}

function readEntryRange(fields: DerReader, version: 1 | 2): { start: number; end: number; version: 1 | 2 } {
  const list = fields.enterOptional(TAG.sequence);
  if (list === undefined) return { start: 0, end: 0, version };
  // RFC 5280 §5.1.2.6: absent when there is nothing to list.
  if (list.done) throw invalid('empty list of revoked certificates', list.offset);
  return { start: list.offset, end: list.end, version };
}

function readCrlExtensions(fields: DerReader, version: 1 | 2): ReadonlyMap<string, Extension> {
  const wrapper = fields.enterOptional(contextTag(0));
  if (wrapper === undefined) return new Map();
  // RFC 5280 §5.1.2.7: only in version 2.
  if (version === 1) throw invalid('extensions in a version 1 CRL', wrapper.offset);
  const extensions = readExtensions(wrapper);
  wrapper.finish();
  for (const { oid, critical } of extensions.values()) {
    // RFC 5280 §5.2: such a CRL must not be used.
    if (critical && !PROCESSED.has(oid)) throw invalid(`critical extension ${oid} is not supported`, wrapper.offset);
  }
  return extensions;
}

function visitAll(cursor: CrlEntryCursor, visit: EntryVisitor): void {
  while (cursor.next()) visit(cursor.der, cursor.serialOffset, cursor.serialLength, cursor.revokedAt, cursor.reason);
}

function find(cursor: CrlEntryCursor, serial: Uint8Array): RevokedEntry | undefined {
  while (cursor.next()) {
    if (cursor.serialLength !== serial.length) continue;
    let i = 0;
    while (i < serial.length && cursor.der[cursor.serialOffset + i] === serial[i]) i++;
    if (i === serial.length) return { revokedAt: new Date(cursor.revokedAt * 1000), reason: cursor.reason };
  }
  return undefined;
}
