/** From the octets of a CRL to a table of its serials: parsed strictly, signature verified once. Pure; runs in a worker for large ones. */
import { parseCertificate } from '../../ca/x509/certificate.ts';
import { parseCrl, verifyCrl } from '../../ca/x509/crl.ts';
import type { CrlHead } from '../../ca/x509/crl.ts';
import type { HashSeed } from './keyed-hash.ts';
import type { SerialTable } from './serial-table.ts';
import { SerialTableBuilder } from './serial-table-builder.ts';
import { WORDS, wordsOfBytes } from './serial-words.ts';

export interface CrlToIndex {
  readonly crl: Uint8Array;
  /** DER of the certificate of the CA that must have signed it. */
  readonly issuer: Uint8Array;
  readonly at: Date;
  readonly maxAgeMs: number | undefined;
  readonly seed: HashSeed;
}

export interface IndexedCrl {
  readonly head: CrlHead;
  readonly table: SerialTable;
}

/** @throws CaError `ERR_CRL_INVALID`, `ERR_CRL_ISSUER`, `ERR_CRL_SCOPE`, `ERR_CRL_SIGNATURE`, `ERR_CRL_STALE`, `ERR_PEM_INVALID` */
export const indexCrl = ({ crl: octets, issuer, at, maxAgeMs, seed }: CrlToIndex): IndexedCrl => {
  const table = new SerialTableBuilder(seed, { expected: octets.length / USUAL_ENTRY_OCTETS });
  const words = new Uint32Array(WORDS);
  const crl = parseCrl(octets[0] === 0x30 ? octets : new TextDecoder().decode(octets), {
    onEntry: ({ der, serialOffset, serialLength, revokedAt, reasonCode }) => {
      wordsOfBytes(der, serialOffset, serialOffset + serialLength, words);
      table.add(words, 0, Math.max(0, revokedAt), reasonCode);
    },
  });
  verifyCrl(crl, parseCertificate(issuer), { at, ...(maxAgeMs === undefined ? {} : { maxAgeMs }) });
  const { issuerNameDer, issuer: name, issuingDistributionPoint, crlNumber, thisUpdate, nextUpdate } = crl;
  // A copy: the name is a view of the whole CRL, which must not stay in memory for it.
  return { head: { issuerNameDer: Uint8Array.from(issuerNameDer), issuer: name, issuingDistributionPoint, crlNumber, thisUpdate, nextUpdate }, table: table.build() };
};

/** A serial of 19 octets, a UTCTime and a reason. */
const USUAL_ENTRY_OCTETS = 52;
