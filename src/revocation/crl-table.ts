/** From the octets of a CRL to a table of its serials: parsed strictly, signature verified once. Pure; runs in a worker for large ones. */
import { CaError } from '../../ca/errors.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { parseCrl, verifyCrl } from '../../ca/x509/crl.ts';
import type { Crl, CrlHead } from '../../ca/x509/crl.ts';
import type { IssuingDistributionPoint } from '../../ca/x509/extension.ts';
import { namesEqual } from '../../ca/x509/name.ts';
import type { HashSeed } from './keyed-hash.ts';
import { reasonNumber } from './serial-table.ts';
import type { SerialTable } from './serial-table.ts';
import { SerialTableBuilder } from './serial-table-builder.ts';
import { WORDS, wordsOfBytes } from './serial-words.ts';

export interface CrlToIndex {
  readonly crl: Uint8Array;
  /** A delta CRL to be merged into it. */
  readonly delta?: Uint8Array | undefined;
  /** DER of the certificates of the CAs of which one must have signed it. */
  readonly issuers: readonly Uint8Array[];
  readonly at: Date;
  readonly maxAgeMs: number | undefined;
  /** Whether one that is past its end may still say what it knows to be revoked. The caller minds its end. Default `refused`. */
  readonly stale?: 'refused' | 'accepted' | undefined;
  readonly seed: HashSeed;
}

export interface IndexedCrl {
  readonly head: CrlHead;
  /** Of the delta CRL that was merged. */
  readonly delta: CrlHead | undefined;
  /** Of `issuers`. */
  readonly issuerIndex: number;
  readonly table: SerialTable;
}

/** @throws CaError `ERR_CRL_INVALID`, `ERR_CRL_ISSUER`, `ERR_CRL_SCOPE`, `ERR_CRL_SIGNATURE`, `ERR_CRL_STALE`, `ERR_PEM_INVALID` */
export const indexCrl = (job: CrlToIndex): IndexedCrl => {
  const { crl: octets, seed } = job;
  const builder = new SerialTableBuilder(seed, { expected: octets.length / USUAL_ENTRY_OCTETS });
  const words = new Uint32Array(WORDS);
  const crl = parseCrl(textOrDer(octets), {
    onEntry: ({ der, serialOffset, serialLength, revokedAt, reasonCode }) => {
      wordsOfBytes(der, serialOffset, serialOffset + serialLength, words);
      builder.add(words, 0, Math.max(0, revokedAt), reasonCode);
    },
  });
  const issuers = job.issuers.map((der) => parseCertificate(der));
  const issuerIndex = issuerOf(crl, issuers);
  verify(crl, issuers[issuerIndex], job, 'complete');
  const table = builder.build();
  const delta = job.delta === undefined ? undefined : merge(table, crl, issuers[issuerIndex], job.delta, job);
  return { head: headOf(crl), delta, issuerIndex, table };
};

/** A delta that the complete CRL has caught up with changes nothing. */
const merge = (table: SerialTable, base: Crl, issuer: Certificate | undefined, octets: Uint8Array, job: CrlToIndex): CrlHead | undefined => {
  const delta = parseCrl(textOrDer(octets));
  verify(delta, issuer, job, 'delta');
  const { baseCrlNumber = 0n, crlNumber } = delta;
  // RFC 5280 §5.2.4: same scope, and a complete CRL at least as new as the one the changes start from.
  const unfit = !sameScope(base.issuingDistributionPoint, delta.issuingDistributionPoint) ? 'is of another scope than the complete one'
    : base.crlNumber === undefined || crlNumber === undefined ? 'cannot be merged, since one of the two has no crlNumber'
    : base.crlNumber < baseCrlNumber ? 'starts from a later complete CRL than the one at hand; fetch that'
    : undefined;
  if (unfit !== undefined) throw new CaError('ERR_CRL_SCOPE', `the delta CRL ${unfit}`, { facts: { crlNumber: crlNumber?.toString(), baseCrlNumber: baseCrlNumber.toString(), complete: base.crlNumber?.toString() } });
  if ((base.crlNumber ?? 0n) >= (crlNumber ?? 0n)) return undefined;
  const words = new Uint32Array(WORDS);
  delta.forEachEntry((der, offset, length, revokedAt, reason) => {
    wordsOfBytes(der, offset, offset + length, words);
    if (reason === undefined) table.remove(words, 0);
    else table.add(words, 0, Math.max(0, revokedAt), reasonNumber(reason));
  });
  return headOf(delta);
};

/** By name, and by key identifier where one name has several keys. */
const issuerOf = (crl: Crl, issuers: readonly Certificate[]): number => {
  const named = issuers.findIndex(({ subjectNameDer, subjectKeyIdentifier }) =>
    namesEqual(crl.issuerNameDer, subjectNameDer) && (crl.authorityKeyIdentifier === undefined || subjectKeyIdentifier === undefined || crl.authorityKeyIdentifier === subjectKeyIdentifier));
  return Math.max(0, named);
};

const verify = (crl: Crl, issuer: Certificate | undefined, { at, maxAgeMs, stale }: CrlToIndex, kind: 'complete' | 'delta'): void => {
  if (issuer === undefined) throw new TypeError('a CRL is verified against the certificate of a CA');
  try {
    verifyCrl(crl, issuer, { at, kind, ...(maxAgeMs === undefined ? {} : { maxAgeMs }) });
  } catch (error) {
    // Said last, so of a genuine one only. From the future it is of no use in any case.
    const past = error instanceof CaError && error.code === 'ERR_CRL_STALE' && crl.thisUpdate <= at;
    if (!past || stale !== 'accepted' || crl.nextUpdate === undefined) throw error;
  }
};

/** Copies: names are views of the whole CRL, which must not stay in memory for them. */
const headOf = ({ issuerNameDer, issuer, issuingDistributionPoint, crlNumber, thisUpdate, nextUpdate }: Crl): CrlHead =>
  ({ issuerNameDer: Uint8Array.from(issuerNameDer), issuer, issuingDistributionPoint, crlNumber, thisUpdate, nextUpdate });

const sameScope = (a: IssuingDistributionPoint | undefined, b: IssuingDistributionPoint | undefined): boolean => JSON.stringify(a) === JSON.stringify(b);

const textOrDer = (octets: Uint8Array): Uint8Array | string => (octets[0] === 0x30 ? octets : new TextDecoder().decode(octets));

/** A serial of 19 octets, a UTCTime and a reason. */
const USUAL_ENTRY_OCTETS = 52;
