/** Strict DER, both ways. */
export { DerReader, MAX_DEPTH, decodeAscii, decodeUtf8 } from './der-reader.ts';
export {
  PRINTABLE,
  bitString,
  boolean,
  compareBytes,
  element,
  elementHeader,
  enumerated,
  equalBytes,
  explicit,
  generalizedTime,
  ia5String,
  implicit,
  integer,
  namedBits,
  nullValue,
  octetString,
  oid,
  printableString,
  sequence,
  set,
  utcOrGeneralizedTime,
  utf8String,
} from './der-writer.ts';
export { decodeAs, invalid } from './malformed.ts';
export { TAG, contextTag } from './tag.ts';
