/** Certificate revocation lists: written, read, judged. */
export { checkCrlCovers, checkCrlFreshness, crlCovers, verifyCrl } from './crl-check.ts';
export { CrlEntryCursor } from './crl-entry.ts';
export { MAX_CRL_OCTETS, parseCrl, readCrlList } from './crl-reader.ts';
export { CrlEntryBuffer, encodeTbsCrl } from './crl-writer.ts';
export type { CrlFreshness, CrlHead, CrlVerification } from './crl-check.ts';
export type { EntryVisitor } from './crl-entry.ts';
export type { Crl, CrlList, CrlParsing, RevokedEntry } from './crl-reader.ts';
export type { CrlEntry, TbsCrlFields } from './crl-writer.ts';
