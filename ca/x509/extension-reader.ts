/** Certificate and CRL extensions, read strictly. Everything refuses with `ERR_DER_INVALID`. */
import { DerReader, TAG, contextTag, invalid } from './der.ts';
import { EXTENSION } from './extension-oid.ts';
import { readGeneralNames } from './general-name.ts';
import { KEY_USAGES } from './key-usage.ts';
import type { GeneralNames } from './general-name.ts';
import type { KeyUsage } from './key-usage.ts';

export interface Extension {
  readonly oid: string;
  readonly critical: boolean;
  /** Content of the OCTET STRING: the DER value. */
  readonly value: Uint8Array;
}

export interface BasicConstraints {
  readonly ca: boolean;
  readonly pathLen: number | undefined;
}

/** A place where a CRL is found, as certificates name it. */
export interface DistributionPoint {
  readonly uris: readonly string[];
  /** Limited to some reasons: not enough on its own to say a certificate is not revoked. */
  readonly limitedReasons: boolean;
  /** The CRL is issued by somebody else than the certificate's issuer. */
  readonly foreignIssuer: boolean;
}

/** RFC 5280 §5.2.5. */
export interface IssuingDistributionPoint {
  /** Undefined without a distribution point; empty when it names none by URI. */
  readonly uris: readonly string[] | undefined;
  readonly onlyUserCertificates: boolean;
  readonly onlyCaCertificates: boolean;
  readonly onlyAttributeCertificates: boolean;
  readonly onlySomeReasons: boolean;
  readonly indirect: boolean;
}

const MAX_EXTENSIONS = 64;
const MAX_POINTS = 64;
const MAX_USAGES = 64;

/** Reads `Extensions`: SIZE (1..MAX), and no extension twice (RFC 5280 §4.2). */
export function readExtensions(reader: DerReader): ReadonlyMap<string, Extension> {
  const list = reader.enter(TAG.sequence);
  if (list.done) throw invalid('empty list of extensions', list.offset);
  const extensions = new Map<string, Extension>();
  while (!list.done) {
    if (extensions.size === MAX_EXTENSIONS) throw invalid('more extensions than the limit', list.offset);
    const at = list.offset;
    const extension = readExtension(list);
    if (extensions.has(extension.oid)) throw invalid(`extension ${extension.oid} appears twice`, at);
    extensions.set(extension.oid, extension);
  }
  return extensions;
}

export function readExtension(list: DerReader): Extension {
  const fields = list.enter(TAG.sequence);
  const oid = fields.oid();
  const critical = fields.booleanDefaultFalse();
  const value = fields.octetString();
  fields.finish();
  return { oid, critical, value };
}

export function parseBasicConstraints(value: Uint8Array): BasicConstraints {
  return whole(value, (fields) => {
    const ca = fields.booleanDefaultFalse();
    const pathLen = fields.done ? undefined : fields.smallInteger();
    // RFC 5280 §4.2.1.9: a path length only where cA is TRUE.
    if (pathLen !== undefined && !ca) throw invalid('path length without cA', fields.offset);
    return { ca, pathLen };
  });
}

export function parseKeyUsage(value: Uint8Array): ReadonlySet<KeyUsage> {
  const reader = new DerReader(value);
  const bits = reader.namedBits();
  reader.finish();
  // RFC 5280 §4.2.1.3: at least one of the bits is set.
  if (bits.length === 0) throw invalid('keyUsage without a usage', 0);
  return new Set(
    bits.map((bit) => {
      const usage = KEY_USAGES[bit];
      if (usage === undefined) throw invalid('unknown keyUsage bit', 0);
      return usage;
    }),
  );
}

/** Dotted OIDs; `EXTENDED_KEY_USAGE` names the usual ones. */
export function parseExtendedKeyUsage(value: Uint8Array): readonly string[] {
  return whole(value, (list) => {
    if (list.done) throw invalid('extendedKeyUsage without a usage', list.offset);
    const usages: string[] = [];
    while (!list.done) {
      if (usages.length === MAX_USAGES) throw invalid('more usages than the limit', list.offset);
      usages.push(list.oid());
    }
    return usages;
  });
}

export function parseSubjectAltName(value: Uint8Array): GeneralNames {
  return whole(value, readGeneralNames);
}

/** Octets of the key identifier. */
export function parseSubjectKeyIdentifier(value: Uint8Array): Uint8Array {
  const reader = new DerReader(value);
  const identifier = boundedIdentifier(reader.octetString());
  reader.finish();
  return identifier;
}

/** The key identifier; undefined when the extension names the issuer only by name and serial. */
export function parseAuthorityKeyIdentifier(value: Uint8Array): Uint8Array | undefined {
  return whole(value, (fields) => {
    const keyTag = contextTag(0, 'primitive');
    const identifier = fields.peek() === keyTag ? boundedIdentifier(fields.content(keyTag)) : undefined;
    const issuer = fields.enterOptional(contextTag(1));
    if (issuer !== undefined) readGeneralNames(issuer);
    const serialTag = contextTag(2, 'primitive');
    const serial = fields.peek() === serialTag;
    if (serial) fields.integer({ tag: serialTag, maxOctets: 21 });
    // RFC 5280 appendix A.2: issuer and serial are both present or both absent.
    if (serial !== (issuer !== undefined)) throw invalid('authorityKeyIdentifier with half of issuer and serial', fields.offset);
    return identifier;
  });
}

export function parseCrlDistributionPoints(value: Uint8Array): readonly DistributionPoint[] {
  return whole(value, (list) => {
    if (list.done) throw invalid('empty list of distribution points', list.offset);
    const points: DistributionPoint[] = [];
    while (!list.done) {
      if (points.length === MAX_POINTS) throw invalid('more distribution points than the limit', list.offset);
      points.push(readDistributionPoint(list.enter(TAG.sequence)));
    }
    return points;
  });
}

export function parseIssuingDistributionPoint(value: Uint8Array): IssuingDistributionPoint {
  return whole(value, (fields) => {
    // RFC 5280 §5.2.5: never an empty sequence.
    if (fields.done) throw invalid('issuingDistributionPoint without a field', fields.offset);
    const name = fields.enterOptional(contextTag(0));
    const uris = name === undefined ? undefined : readPointName(name);
    const onlyUserCertificates = flag(fields, 1);
    const onlyCaCertificates = flag(fields, 2);
    const reasons = contextTag(3, 'primitive');
    const onlySomeReasons = fields.peek() === reasons && fields.namedBits(reasons).length >= 0;
    const indirect = flag(fields, 4);
    const onlyAttributeCertificates = flag(fields, 5);
    // RFC 5280 §5.2.5: at most one of the three.
    if (Number(onlyUserCertificates) + Number(onlyCaCertificates) + Number(onlyAttributeCertificates) > 1) throw invalid('contradictory scopes', fields.offset);
    return { uris, onlyUserCertificates, onlyCaCertificates, onlyAttributeCertificates, onlySomeReasons, indirect };
  });
}

/** CRLNumber and BaseCRLNumber. RFC 5280 §5.2.3: at most 20 octets. */
export function parseCrlNumber(value: Uint8Array): bigint {
  const reader = new DerReader(value);
  const magnitude = reader.nonNegativeInteger({ maxOctets: 20 });
  reader.finish();
  return BigInt(`0x${Buffer.from(magnitude).toString('hex')}`);
}

/** CRLReason number (RFC 5280 §5.3.1). */
export function parseReasonCode(value: Uint8Array): number {
  const reader = new DerReader(value);
  const code = reader.smallInteger(TAG.enumerated);
  reader.finish();
  if (code > 10 || code === 7) throw invalid('unknown reason code', 0);
  return code;
}

/** RFC 9608 §2 and RFC 6960 §4.2.2.2.1: NULL. */
export function parseNullExtension(value: Uint8Array): true {
  const reader = new DerReader(value);
  reader.null();
  reader.finish();
  return true;
}

/** URIs of AccessDescriptions with the given method. */
export function parseAuthorityInformationAccess(value: Uint8Array, method: string): readonly string[] {
  return whole(value, (list) => {
    if (list.done) throw invalid('empty list of access descriptions', list.offset);
    const uris: string[] = [];
    while (!list.done) {
      const description = list.enter(TAG.sequence);
      const matches = description.oid() === method;
      const names = readGeneralNames(description);
      if (matches) uris.push(...names.uris);
    }
    return uris;
  });
}

/** The value of an extension, parsed; undefined when the certificate does not carry it. */
export function extensionValue<T>(extensions: ReadonlyMap<string, Extension>, oid: (typeof EXTENSION)[keyof typeof EXTENSION], parse: (value: Uint8Array) => T): T | undefined {
  const extension = extensions.get(oid);
  return extension === undefined ? undefined : parse(extension.value);
}

function readDistributionPoint(fields: DerReader): DistributionPoint {
  const name = fields.enterOptional(contextTag(0));
  const uris = name === undefined ? [] : readPointName(name);
  const reasons = contextTag(1, 'primitive');
  const limitedReasons = fields.peek() === reasons;
  if (limitedReasons) fields.namedBits(reasons);
  const issuer = fields.enterOptional(contextTag(2));
  if (issuer !== undefined) readGeneralNames(issuer);
  fields.finish();
  // RFC 5280 §4.2.1.13: a point with reasons alone says nothing.
  if (name === undefined && issuer === undefined) throw invalid('distribution point without a place', fields.offset);
  return { uris, limitedReasons, foreignIssuer: issuer !== undefined };
}

/** DistributionPointName, a CHOICE of fullName [0] and nameRelativeToCRLIssuer [1]. */
function readPointName(choice: DerReader): readonly string[] {
  const full = choice.enterOptional(contextTag(0));
  if (full !== undefined) {
    choice.finish();
    return readGeneralNames(full).uris;
  }
  const relative = choice.enter(contextTag(1));
  choice.finish();
  if (relative.done) throw invalid('empty relative name', relative.offset);
  // A place we do not look for: no URI ever equals it.
  while (!relative.done) relative.raw(TAG.sequence);
  return [];
}

function flag(fields: DerReader, number: number): boolean {
  const tag = contextTag(number, 'primitive');
  if (fields.peek() !== tag) return false;
  const at = fields.offset;
  const content = fields.content(tag);
  // X.690 §11.5: DEFAULT FALSE is not encoded, and TRUE is ff.
  if (content.length !== 1 || content[0] !== 0xff) throw invalid('not a DER boolean that is true', at);
  return true;
}

function boundedIdentifier(identifier: Uint8Array): Uint8Array {
  if (identifier.length === 0 || identifier.length > 64) throw invalid('key identifier empty or too long', 0);
  return identifier;
}

/** One SEQUENCE that fills the value, read to its end. */
function whole<T>(value: Uint8Array, read: (fields: DerReader) => T): T {
  const outer = new DerReader(value);
  const fields = outer.enter(TAG.sequence);
  outer.finish();
  const result = read(fields);
  fields.finish();
  return result;
}
