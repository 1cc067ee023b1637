/** Certificate and CRL extensions, both ways. */
export { ACCESS_METHOD, EXTENDED_KEY_USAGE, EXTENSION, OCSP } from './extension-oid.ts';
export {
  extensionValue,
  parseAuthorityInformationAccess,
  parseAuthorityKeyIdentifier,
  parseBasicConstraints,
  parseCrlDistributionPoints,
  parseCrlNumber,
  parseExtendedKeyUsage,
  parseIssuingDistributionPoint,
  parseKeyUsage,
  parseNullExtension,
  parseReasonCode,
  parseSubjectAltName,
  parseSubjectKeyIdentifier,
  readExtension,
  readExtensions,
} from './extension-reader.ts';
export {
  encodeAuthorityInformationAccess,
  encodeAuthorityKeyIdentifier,
  encodeBasicConstraints,
  encodeCrlDistributionPoints,
  encodeCrlNumber,
  encodeDeltaCrlIndicator,
  encodeExtendedKeyUsage,
  encodeExtension,
  encodeFreshestCrl,
  encodeIssuingDistributionPoint,
  encodeKeyUsage,
  encodeNameConstraints,
  encodeNoRevAvail,
  encodeOcspNoCheck,
  encodeReasonCode,
  encodeSubjectAltName,
  encodeSubjectKeyIdentifier,
  keyIdentifierOf,
} from './extension-writer.ts';
export { KEY_USAGES, REMOVE_FROM_CRL, extendedKeyUsageOid, reasonCodeOf, reasonOf } from './key-usage.ts';
export type { BasicConstraints, DistributionPoint, Extension, IssuingDistributionPoint } from './extension-reader.ts';
export type { Criticality, IssuingDistributionPointInput, NameConstraintsInput } from './extension-writer.ts';
export type { GeneralNames, GeneralNamesInput } from './general-name.ts';
export type { KeyUsage } from './key-usage.ts';
