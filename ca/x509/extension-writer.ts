/** Certificate and CRL extensions, written (RFC 5280 §4.2, §5.2 and §5.3; RFC 9608). Each function answers a complete Extension. */
import { hash } from 'node:crypto';
import { DerReader, boolean, contextTag, element, enumerated, explicit, ia5String, implicit, integer, namedBits, nullValue, octetString, oid, sequence } from './der.ts';
import { ACCESS_METHOD, EXTENSION } from './extension-oid.ts';
import { encodeGeneralNames, encodeUri } from './general-name.ts';
import { KEY_USAGES, REMOVE_FROM_CRL, extendedKeyUsageOid, reasonCodeOf } from './key-usage.ts';
import type { RevocationReason } from '../ports.ts';
import type { GeneralNamesInput } from './general-name.ts';
import type { KeyUsage } from './key-usage.ts';

export type Criticality = 'critical' | 'nonCritical';

/** Wraps the DER value of an extension. */
export function encodeExtension(dotted: string, criticality: Criticality, value: Uint8Array): Uint8Array {
  // X.690 §11.5: critical is DEFAULT FALSE, so it is written only when true.
  return criticality === 'critical' ? sequence(oid(dotted), boolean(true), octetString(value)) : sequence(oid(dotted), octetString(value));
}

/** Critical. `pathLen` only for a CA. */
export function encodeBasicConstraints({ ca, pathLen }: { ca: boolean; pathLen?: number | undefined }): Uint8Array {
  if (!ca && pathLen !== undefined) throw new TypeError('only a CA has a path length');
  const fields = [...(ca ? [boolean(true)] : []), ...(pathLen === undefined ? [] : [integer(pathLen)])];
  return encodeExtension(EXTENSION.basicConstraints, 'critical', sequence(...fields));
}

/** Critical. */
export function encodeKeyUsage(usages: readonly KeyUsage[]): Uint8Array {
  // RFC 5280 §4.2.1.3: at least one bit is set.
  if (usages.length === 0) throw new TypeError('keyUsage names at least one usage');
  return encodeExtension(EXTENSION.keyUsage, 'critical', namedBits(usages.map((usage) => KEY_USAGES.indexOf(usage))));
}

/** Short names such as `clientAuth`, or dotted OIDs. */
export function encodeExtendedKeyUsage(usages: readonly string[]): Uint8Array {
  if (usages.length === 0) throw new TypeError('extendedKeyUsage names at least one usage');
  return encodeExtension(EXTENSION.extendedKeyUsage, 'nonCritical', sequence(...usages.map((usage) => oid(extendedKeyUsageOid(usage)))));
}

/** RFC 5280 §4.2.1.6: critical when the subject is empty. */
export function encodeSubjectAltName(names: GeneralNamesInput, criticality: Criticality = 'nonCritical'): Uint8Array {
  const value = encodeGeneralNames(names);
  if (value.length === 2) throw new TypeError('subjectAltName holds at least one name');
  return encodeExtension(EXTENSION.subjectAltName, criticality, value);
}

/** RFC 7093 §2 method 1: the leftmost 160 bits of the SHA-256 of the public key's bits. */
export function keyIdentifierOf(spki: Uint8Array): Uint8Array {
  const info = new DerReader(spki).enter();
  info.raw();
  return new Uint8Array(hash('sha256', info.bitString(), 'buffer').subarray(0, 20));
}

export function encodeSubjectKeyIdentifier(keyIdentifier: Uint8Array): Uint8Array {
  return encodeExtension(EXTENSION.subjectKeyIdentifier, 'nonCritical', octetString(keyIdentifier));
}

export function encodeAuthorityKeyIdentifier(keyIdentifier: Uint8Array): Uint8Array {
  return encodeExtension(EXTENSION.authorityKeyIdentifier, 'nonCritical', sequence(implicit(0, octetString(keyIdentifier))));
}

/** One distribution point with all the URIs, as places to find the same CRL. */
export function encodeCrlDistributionPoints(uris: readonly string[]): Uint8Array {
  if (uris.length === 0) throw new TypeError('crlDistributionPoints holds at least one URI');
  return encodeExtension(EXTENSION.crlDistributionPoints, 'nonCritical', sequence(sequence(distributionPointName(uris))));
}

/** RFC 5280 §4.2.1.15 and §5.2.6: where the delta CRLs are. Non-critical, in the form of crlDistributionPoints. */
export function encodeFreshestCrl(uris: readonly string[]): Uint8Array {
  if (uris.length === 0) throw new TypeError('freshestCRL holds at least one URI');
  return encodeExtension(EXTENSION.freshestCrl, 'nonCritical', sequence(sequence(distributionPointName(uris))));
}

export function encodeAuthorityInformationAccess(places: { readonly caIssuers?: readonly string[]; readonly ocsp?: readonly string[] }): Uint8Array {
  const access = (method: string) => (uri: string) => sequence(oid(method), encodeUri(uri));
  const descriptions = [...(places.ocsp ?? []).map(access(ACCESS_METHOD.ocsp)), ...(places.caIssuers ?? []).map(access(ACCESS_METHOD.caIssuers))];
  if (descriptions.length === 0) throw new TypeError('authorityInformationAccess holds at least one URI');
  return encodeExtension(EXTENSION.authorityInformationAccess, 'nonCritical', sequence(...descriptions));
}

/** Subtrees of a kind of name that the CA may issue under; DNS and URI hosts, without a scheme. */
export interface NameConstraintsInput {
  readonly permittedUriHosts?: readonly string[];
  readonly permittedDnsNames?: readonly string[];
  readonly excludedUriHosts?: readonly string[];
  readonly excludedDnsNames?: readonly string[];
}

/** Critical (RFC 5280 §4.2.1.10). A URI constraint is a host, or a domain with a leading dot. */
export function encodeNameConstraints(constraints: NameConstraintsInput): Uint8Array {
  const subtrees = (tag: number, names: readonly string[] | undefined) => (names ?? []).map((name) => sequence(ia5String(name, tag)));
  const list = (number: number, entries: readonly Uint8Array[]) => (entries.length === 0 ? [] : [implicit(number, sequence(...entries))]);
  const uri = contextTag(6, 'primitive');
  const dns = contextTag(2, 'primitive');
  const parts = [
    ...list(0, [...subtrees(dns, constraints.permittedDnsNames), ...subtrees(uri, constraints.permittedUriHosts)]),
    ...list(1, [...subtrees(dns, constraints.excludedDnsNames), ...subtrees(uri, constraints.excludedUriHosts)]),
  ];
  if (parts.length === 0) throw new TypeError('nameConstraints holds at least one subtree');
  return encodeExtension(EXTENSION.nameConstraints, 'critical', sequence(...parts));
}

/** RFC 9608 §2: non-critical, NULL. */
export function encodeNoRevAvail(): Uint8Array {
  return encodeExtension(EXTENSION.noRevAvail, 'nonCritical', nullValue());
}

/** RFC 6960 §4.2.2.2.1: a responder's certificate needs no status of its own. */
export function encodeOcspNoCheck(): Uint8Array {
  return encodeExtension(EXTENSION.ocspNoCheck, 'nonCritical', nullValue());
}

/** RFC 5280 §5.2.3: at most 20 octets, non-critical. */
export function encodeCrlNumber(crlNumber: number | bigint): Uint8Array {
  const value = integer(crlNumber);
  if (value.length > 22) throw new RangeError('a CRL number has at most 20 octets');
  return encodeExtension(EXTENSION.crlNumber, 'nonCritical', value);
}

/** RFC 5280 §5.2.4: critical, and names the complete CRL the changes apply to. */
export function encodeDeltaCrlIndicator(baseCrlNumber: number | bigint): Uint8Array {
  return encodeExtension(EXTENSION.deltaCrlIndicator, 'critical', integer(baseCrlNumber));
}

export interface IssuingDistributionPointInput {
  /** Where this CRL is found; must equal the certificates' distribution point. */
  readonly uris?: readonly string[];
  readonly only?: 'userCertificates' | 'caCertificates';
}

/** RFC 5280 §5.2.5: critical, and never empty. */
export function encodeIssuingDistributionPoint({ uris = [], only }: IssuingDistributionPointInput): Uint8Array {
  if (uris.length === 0 && only === undefined) throw new TypeError('issuingDistributionPoint limits the scope by a URI or a kind of certificate');
  const flag = only === undefined ? [] : [implicit(only === 'userCertificates' ? 1 : 2, boolean(true))];
  return encodeExtension(EXTENSION.issuingDistributionPoint, 'critical', sequence(...(uris.length === 0 ? [] : [distributionPointName(uris)]), ...flag));
}

/** CRL entry extension. RFC 5280 §5.3.1: absent rather than `unspecified`. */
export function encodeReasonCode(reason: Exclude<RevocationReason, 'unspecified'> | 'removeFromCRL'): Uint8Array {
  return encodeExtension(EXTENSION.reasonCode, 'nonCritical', enumerated(reason === 'removeFromCRL' ? REMOVE_FROM_CRL : reasonCodeOf(reason)));
}

/** `distributionPoint [0] EXPLICIT` holding `fullName [0] IMPLICIT GeneralNames`. */
function distributionPointName(uris: readonly string[]): Uint8Array {
  return explicit(0, element(contextTag(0), ...uris.map(encodeUri)));
}
