/** Distinguished names (RFC 5280 §4.1.2.4 and §7.1, RFC 4514). */
import { CaError } from '../errors.ts';
import { DerReader, PRINTABLE, TAG, compareBytes, decodeAscii, decodeUtf8, equalBytes, ia5String, invalid, oid, printableString, sequence, set, utf8String } from './der.ts';

export interface NameAttribute {
  /** Short name such as `CN`, or a dotted OID when there is none. */
  readonly type: string;
  readonly value: string;
}

/** One RDN holds several attributes when it is multi-valued. In encoding order, the most general first. */
export type RelativeDistinguishedName = readonly NameAttribute[];
export type DistinguishedName = readonly RelativeDistinguishedName[];

/** Short names, their OIDs, and the upper bounds of RFC 5280 appendix A.1. */
const ATTRIBUTES: readonly (readonly [name: string, oid: string, maxLength: number])[] = [
  ['CN', '2.5.4.3', 64],
  ['SN', '2.5.4.4', 40],
  ['serialNumber', '2.5.4.5', 64],
  ['C', '2.5.4.6', 2],
  ['L', '2.5.4.7', 128],
  ['ST', '2.5.4.8', 128],
  ['STREET', '2.5.4.9', 128],
  ['O', '2.5.4.10', 64],
  ['OU', '2.5.4.11', 64],
  ['title', '2.5.4.12', 64],
  ['GN', '2.5.4.42', 16],
  ['initials', '2.5.4.43', 5],
  ['generationQualifier', '2.5.4.44', 3],
  ['dnQualifier', '2.5.4.46', 64],
  ['pseudonym', '2.5.4.65', 128],
  ['UID', '0.9.2342.19200300.100.1.1', 256],
  ['DC', '0.9.2342.19200300.100.1.25', 63],
  ['emailAddress', '1.2.840.113549.1.9.1', 255],
];
const OID_OF = new Map(ATTRIBUTES.map(([name, dotted]) => [name, dotted]));
const NAME_OF = new Map(ATTRIBUTES.map(([name, dotted]) => [dotted, name]));
const MAX_LENGTH = new Map(ATTRIBUTES.map(([name, , length]) => [name, length]));

const MAX_NAME_OCTETS = 16 * 1024;
const MAX_RDNS = 64;
const MAX_ATTRIBUTES = 16;
const MAX_VALUE_OCTETS = 4096;

/** DER Name. Refuses with `ERR_CA_NAME` what a certificate of ours must not carry. */
export function encodeName(name: DistinguishedName): Uint8Array {
  return sequence(
    ...name.map((rdn) => {
      if (rdn.length === 0) throw new CaError('ERR_CA_NAME', 'a relative distinguished name is empty; give it an attribute or leave it out');
      return set(...rdn.map(encodeAttribute));
    }),
  );
}

/** Refuses with `ERR_DER_INVALID`. */
export function parseName(der: Uint8Array): DistinguishedName {
  const reader = new DerReader(der);
  const name = readName(reader);
  reader.finish();
  return name;
}

/** Reads the Name at the reader's position. */
export function readName(reader: DerReader): DistinguishedName {
  const at = reader.offset;
  const rdns = reader.enter(TAG.sequence);
  if (rdns.end - at > MAX_NAME_OCTETS) throw invalid('name longer than the limit', at);
  const name: RelativeDistinguishedName[] = [];
  while (!rdns.done) {
    if (name.length === MAX_RDNS) throw invalid('name has too many parts', rdns.offset);
    name.push(readRdn(rdns));
  }
  return name;
}

/** RFC 4514 text: the last RDN first, multi-valued RDNs joined by `+`. */
export function formatName(name: DistinguishedName): string {
  return name
    .toReversed()
    .map((rdn) => rdn.map(({ type, value }) => `${type}=${escapeValue(value)}`).join('+'))
    .join(',');
}

/** Values of every attribute of a type, across all RDNs and inside multi-valued ones, in encoding order. */
export function nameAttributes(name: DistinguishedName, type: string): string[] {
  return name.flatMap((rdn) => rdn.filter((attribute) => attribute.type === type).map((attribute) => attribute.value));
}

/**
 * RFC 5280 §7.1: equal after case folding and white space compression, so `TEST  CA` is `Test CA`.
 * Refuses a malformed Name with `ERR_DER_INVALID`.
 */
export function namesEqual(derA: Uint8Array, derB: Uint8Array): boolean {
  if (equalBytes(derA, derB)) return true;
  const a = parseName(derA);
  const b = parseName(derB);
  return a.length === b.length && a.every((rdn, i) => normalizedRdn(rdn) === normalizedRdn(b[i] ?? []));
}

/** One text per RDN, the same for every spelling that `namesEqual` takes for equal. */
export function rdnKeys(name: DistinguishedName): readonly string[] {
  return name.map(normalizedRdn);
}

function encodeAttribute({ type, value }: NameAttribute): Uint8Array {
  const dotted = OID_OF.get(type) ?? type;
  if (!/^[0-2](\.\d+)+$/.test(dotted)) throw new CaError('ERR_CA_NAME', 'unknown name attribute; use a short name such as CN or OU, or a dotted OID', { facts: { type } });
  const longest = MAX_LENGTH.get(type) ?? MAX_LENGTH.get(NAME_OF.get(dotted) ?? '') ?? 256;
  const length = [...value].length;
  if (length === 0 || length > longest) throw new CaError('ERR_CA_NAME', `${type} must have between 1 and ${longest} characters`, { facts: { type, length } });
  // Control characters, NUL above all, read differently in different programs. Stricter than RFC 5280.
  if (/\p{Cc}/u.test(value) || !value.isWellFormed()) throw new CaError('ERR_CA_NAME', `${type} holds a control character; remove it`, { facts: { type } });
  return sequence(oid(dotted), encodeValue(NAME_OF.get(dotted) ?? dotted, value));
}

function encodeValue(type: string, value: string): Uint8Array {
  switch (type) {
    // RFC 5280 appendix A.1: these have one string type each.
    case 'C':
    case 'serialNumber':
    case 'dnQualifier':
      if (!PRINTABLE.test(value)) throw new CaError('ERR_CA_NAME', `${type} must be letters, digits and plain punctuation`, { facts: { type } });
      return printableString(value);
    case 'DC':
    case 'emailAddress':
      if (!/^[\x20-\x7e]*$/.test(value)) throw new CaError('ERR_CA_NAME', `${type} must be ASCII`, { facts: { type } });
      return ia5String(value);
    default:
      return utf8String(value);
  }
}

function readRdn(rdns: DerReader): RelativeDistinguishedName {
  const attributes = rdns.enter(TAG.set);
  // RFC 5280 §4.1.2.4: SET SIZE (1..MAX).
  if (attributes.done) throw invalid('empty relative distinguished name', attributes.offset);
  const rdn: NameAttribute[] = [];
  let previous: Uint8Array | undefined;
  while (!attributes.done) {
    if (rdn.length === MAX_ATTRIBUTES) throw invalid('relative distinguished name has too many attributes', attributes.offset);
    const start = attributes.offset;
    const attribute = attributes.enter(TAG.sequence);
    const encoded = attributes.bytes.subarray(start, attributes.offset);
    if (previous !== undefined && compareBytes(previous, encoded) >= 0) throw invalid('set is not in DER order', start);
    previous = encoded;
    const dotted = attribute.oid();
    const value = readValue(attribute);
    attribute.finish();
    rdn.push({ type: NAME_OF.get(dotted) ?? dotted, value });
  }
  return rdn;
}

function readValue(reader: DerReader): string {
  const at = reader.offset;
  const tag = reader.peek();
  if (tag === undefined) throw invalid('attribute without a value', at);
  const content = reader.content(tag);
  if (content.length === 0 || content.length > MAX_VALUE_OCTETS) throw invalid('attribute value empty or longer than the limit', at);
  const value = decodeValue(tag, content, at);
  if (value.includes('\0')) throw invalid('attribute value holds NUL', at);
  return value;
}

const utf16 = new TextDecoder('utf-16be', { fatal: true, ignoreBOM: true });

function decodeValue(tag: number, content: Uint8Array, at: number): string {
  const latin1 = () => Buffer.from(content.buffer, content.byteOffset, content.length).toString('latin1');
  switch (tag) {
    case TAG.utf8String:
      return decodeUtf8(content, at);
    case TAG.printableString: {
      const text = latin1();
      if (!PRINTABLE.test(text)) throw invalid('not a PrintableString', at);
      return text;
    }
    case TAG.ia5String:
      return decodeAscii(content, at);
    // As OpenSSL and GnuTLS read it: ISO 8859-1.
    case TAG.teletexString:
      return latin1();
    case TAG.bmpString:
      return decodeUtf16(content, at);
    default:
      throw invalid('attribute value is not a string type of RFC 5280', at);
  }
}

function decodeUtf16(content: Uint8Array, at: number): string {
  try {
    return utf16.decode(content);
  } catch (cause) {
    throw invalid('attribute value is not valid text', at, cause);
  }
}

/** RFC 4518 in short: compatibility forms and case folded, white space runs are one space, ends trimmed. */
function normalizedRdn(rdn: RelativeDistinguishedName): string {
  const attributes = rdn.map(({ type, value }) => `${type}=${value.normalize('NFKC').toLowerCase().normalize('NFKC').replaceAll(/\s+/g, ' ').trim()}`);
  return JSON.stringify(attributes.toSorted());
}

/** RFC 4514 §2.4. Control characters become `\xx`. */
function escapeValue(value: string): string {
  return value
    .replaceAll(/[\\"+,;<>]/g, '\\$&')
    .replace(/^[ #]/, '\\$&')
    .replace(/ $/, '\\ ')
    .replaceAll(/\p{Cc}/gu, (control) => [...new TextEncoder().encode(control)].map((octet) => `\\${octet.toString(16).padStart(2, '0')}`).join(''));
}
